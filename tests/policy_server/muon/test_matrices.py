"""Parameters seen as matrices and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from policy_server.muon.matrices import MatrixLayout, as_matrices, from_matrices, matrix_shape


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(1, 3), max_size=2), st.booleans())
def test_there_and_back_changes_nothing(
    parts: int, first: int, second: int, kernel: list[int], transposed: bool
) -> None:
    shape = (parts * first, second, *kernel)
    tensor = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    layout = MatrixLayout(parts, transposed)
    matrices = as_matrices(tensor, layout)
    assert matrices.shape == (parts, *matrix_shape(shape, layout))
    assert torch.equal(from_matrices(matrices, tensor, layout), tensor)


def test_a_convolution_is_outputs_times_inputs_and_kernel() -> None:
    layer = nn.Conv1d(3, 4, 5)
    assert torch.equal(as_matrices(layer.weight, MatrixLayout())[0], layer.weight.flatten(1))


def test_a_transposed_convolution_has_its_outputs_as_rows() -> None:
    layer = nn.ConvTranspose1d(3, 4, 5, bias=False)
    matrix = as_matrices(layer.weight, MatrixLayout(transposed=True))[0]
    assert matrix.shape == (4, 15)
    # An input of one step makes five output steps: all entries of the rows, input by input.
    x = torch.randn(1, 3, 1)
    expected = layer(x)[0]
    torch.testing.assert_close((matrix.unflatten(1, (3, 5)) * x[0][None]).sum(1), expected)


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_are_blocks_of_rows(parts: int) -> None:
    weight = torch.randn(6, 5)
    torch.testing.assert_close(as_matrices(weight, MatrixLayout(parts)), torch.stack(weight.chunk(parts)))
