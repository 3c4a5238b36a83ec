"""How a parameter is seen as matrices: outputs x inputs, convolution kernels reshaped, joint projections in parts."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class MatrixLayout:
    """A parameter (d0, d1, kernel...) as ``parts`` matrices that are orthonormalised one by one.

    A linear layer or convolution is outputs x (inputs * kernel). ``transposed``: a transposed convolution, whose weight has the
    inputs first. ``parts``: of the first dimension: query, key and value of one joint projection, or a convolution's groups.
    """

    parts: int = 1
    transposed: bool = False


def as_matrices(tensor: Tensor, layout: MatrixLayout) -> Tensor:
    """``tensor`` (d0, d1, ...) as (parts, rows, columns); a view where the memory allows."""
    first, second = tensor.shape[:2]
    split = tensor.reshape(layout.parts, first // layout.parts, second, -1)
    split = split.transpose(1, 2) if layout.transposed else split
    return split.reshape(*split.shape[:2], -1)


def from_matrices(matrices: Tensor, like: Tensor, layout: MatrixLayout) -> Tensor:
    """The inverse of ``as_matrices``: (parts, rows, columns) in the shape of ``like``."""
    if not layout.transposed:
        return matrices.reshape(like.shape)
    parts, rows, _ = matrices.shape
    return matrices.reshape(parts, rows, like.shape[0] // parts, -1).transpose(1, 2).reshape(like.shape)


def matrix_shape(shape: tuple[int, ...], layout: MatrixLayout) -> tuple[int, int]:
    """(rows, columns) of one part of a parameter of this shape."""
    kernel = 1
    for size in shape[2:]:
        kernel *= size
    first = shape[0] // layout.parts
    return (shape[1], first * kernel) if layout.transposed else (first, shape[1] * kernel)
