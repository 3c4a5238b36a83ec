"""The polar factor of momentum matrices: M = U S Vᵀ becomes (nearly) U Vᵀ, by the method that a configuration names."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.halley import halley_factor
from policy_server.muon.newton_schulz import iterate_direct, newton_schulz_factor
from policy_server.muon.symmetric import gram_matrix

# The squares of a matrix of a larger norm, as far as they matter to it, lie within float32.
_SAFE_NORM = 1e-15


def orthonormalise(matrices: Tensor, config: PolarConfig) -> Tensor:
    """``matrices`` (..., rows, columns) of one shape, wide or tall, any scale; returns the same shape and dtype.

    A zero matrix stays zero. Directions below the method's failure threshold (``policy_server.muon.response``) come out shorter
    than one, and those of singular value zero are left out, never made up. The form must be ``direct`` or ``gram``: resolve
    ``cheapest`` with ``policy_server.muon.cost.resolve_form``.
    """
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    rows, columns = flat.shape[-2:]
    iterate, is_turned = (_direct, rows < columns) if config.form == "direct" else (_by_gram, rows > columns)
    result = iterate(_unit_norm(flat.mT if is_turned else flat, config), config)
    result = result.mT if is_turned else result
    return result.reshape(matrices.shape).to(matrices.dtype)


def polar_factor(matrices: Tensor) -> Tensor:
    """The exact polar factor by SVD in float64, for reference: U Vᵀ over the singular values that are not zero to rounding.

    ``matrices`` (..., rows, columns); same shape, float64.
    """
    left, sigma, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    rounding = torch.finfo(torch.float64).eps * max(matrices.shape[-2:]) * sigma[..., :1]
    return (left * (sigma > rounding)[..., None, :]) @ right


def _unit_norm(matrices: Tensor, config: PolarConfig) -> Tensor:
    """Divided by the Frobenius norm, in the dtype that the form begins with."""
    work = torch.bfloat16 if config.precision == "bfloat16" and config.form == "direct" else config.gram_dtype
    # Zero divided by the smallest number stays zero.
    norm = _norms(matrices).to(config.gram_dtype).clamp(min=torch.finfo(config.gram_dtype).tiny)
    return (matrices.to(config.gram_dtype) / norm).to(work)


def _norms(matrices: Tensor) -> Tensor:
    """Frobenius norms (B, 1, 1). The squares of small or large momenta leave the range of float32, so float64 must sum them;
    on a CPU, where that costs a copy and a look at the result nothing, only when it is so."""
    if not matrices.is_cuda and matrices.dtype == torch.float32:
        norms = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
        if norms.min() > _SAFE_NORM and norms.max() < 1 / _SAFE_NORM:
            return norms
    return torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True, dtype=torch.float64)


def _direct(matrices: Tensor, config: PolarConfig) -> Tensor:
    """Of matrices (B, n, m), m <= n, whose products need them in that order in memory."""
    matrices = matrices.contiguous()
    gram = matrices.mT @ matrices
    if config.scale == "schatten4":
        norm = _frobenius(gram)
        matrices, gram = matrices / norm.sqrt(), gram / norm
    return iterate_direct(matrices, gram, config.triples())


def _by_gram(matrices: Tensor, config: PolarConfig) -> Tensor:
    """Of matrices (B, m, n), m <= n."""
    with full_float32():
        return _iterate_gram(matrices, config)


@contextmanager
def full_float32() -> Iterator[None]:
    """Float32 products in full: TF32 or bfloat16 products, which a program may have allowed, would give the Gram matrix negative
    eigenvalues, and the iterations infinity. A setting of the process: around threads that compute, not within them."""
    mkldnn: Any = torch.backends.mkldnn  # torch does not declare its settings
    backends = (torch.backends.cuda.matmul, mkldnn.matmul)
    allowed = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, allowed, strict=True):
            backend.fp32_precision = precision


def _iterate_gram(matrices: Tensor, config: PolarConfig) -> Tensor:
    segments = config.segments()
    for index, steps in enumerate(segments):
        if config.precision == "bfloat16" and index + 1 == len(segments):
            rounded = matrices.bfloat16()
            gram = (
                torch.bmm(rounded, rounded.mT, out_dtype=torch.float32) if matrices.is_cuda else gram_matrix(matrices)
            )
            matrices = rounded
        else:
            gram = gram_matrix(matrices)
        norm = _frobenius(gram)
        # Only the first segment scales: the later ones go on with what the steps before them made.
        scale = norm if config.scale == "schatten4" and index == 0 else torch.ones_like(norm)
        gram = gram / scale
        gram.diagonal(dim1=-2, dim2=-1).add_(config.gram_shift * (norm / scale)[..., 0])
        factor = _factor(gram, steps, config) * scale.rsqrt()
        matrices = factor.to(matrices.dtype) @ matrices
    return matrices


def _factor(gram: Tensor, steps: tuple[tuple[float, float, float], ...], config: PolarConfig) -> Tensor:
    if config.method == "eigh":
        return _inverse_root(gram)
    return halley_factor(gram, steps) if config.method == "halley" else newton_schulz_factor(gram, steps)


def _inverse_root(gram: Tensor) -> Tensor:
    """Gram^(-1/2), symmetric, by eigendecomposition; the shift keeps the eigenvalues from zero."""
    eigenvalues, vectors = torch.linalg.eigh(gram)
    smallest = torch.finfo(gram.dtype).eps * eigenvalues[..., -1:].clamp(min=torch.finfo(gram.dtype).tiny)
    return (vectors * eigenvalues.maximum(smallest).rsqrt()[..., None, :]) @ vectors.mT


def _frobenius(gram: Tensor) -> Tensor:
    """(B, 1, 1); one for a zero matrix, so that it stays zero."""
    norm = torch.linalg.vector_norm(gram, dim=(-2, -1), keepdim=True)
    return torch.where(norm > 0, norm, torch.ones_like(norm))
