"""The product of a matrix and its transpose."""

import pytest
import torch

from policy_server.muon.symmetric import gram_matrix


@pytest.mark.parametrize("shape", [(1, 3), (128, 7), (129, 300), (257, 64), (512, 40), (3, 300, 20), (2, 2, 130, 5)])
def test_it_is_the_product_and_its_outer_blocks_are_one_another_transposed(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    gram = gram_matrix(matrices)
    torch.testing.assert_close(gram, matrices @ matrices.mT, rtol=1e-5, atol=1e-4)
    if shape[-2] > 128:
        half = shape[-2] // 2
        assert torch.equal(gram[..., half:, :half], gram[..., :half, half:].mT)
