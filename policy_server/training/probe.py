"""What an embedding still knows: how well a linear map reads the task's features from it, on episodes it was not fitted to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1e-3  # relative to a column of unit variance


@dataclass(frozen=True)
class Probe:
    """``r2``: per feature the coefficient of determination on the held-out ticks; None where the feature never changes there.

    ``embedding_std``: mean over the embedding's columns of their standard deviation over the held-out ticks; a collapsed encoder
    has almost none. ``ticks`` were held out.
    """

    r2: dict[str, float | None]
    embedding_std: float
    ticks: int


def probe_features(
    names: tuple[str, ...],
    fitted: tuple[NDArray[np.float32], NDArray[np.float32]],
    held_out: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Probe:
    """Ridge regression from embeddings (N, E) to features (N, F) on ``fitted``, scored on ``held_out``.

    R² of 1: the embedding holds the feature; 0: no better than its mean on the held-out ticks; below 0: worse.
    """
    embeddings, features = fitted[0].astype(np.float64), fitted[1].astype(np.float64)
    middle, spread = embeddings.mean(0), embeddings.std(0) + 1e-6
    scaled = (embeddings - middle) / spread
    ridge = _RIDGE * len(scaled) * np.eye(scaled.shape[1])
    weights = np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ (features - features.mean(0)))
    predicted = (held_out[0] - middle) / spread @ weights + features.mean(0)
    squared = np.square(predicted - held_out[1]).sum(0)
    total = np.square(held_out[1] - held_out[1].mean(0, dtype=np.float64)).sum(0)
    r2 = {
        name: None if total[i] < 1e-8 * len(held_out[1]) else float(1 - squared[i] / total[i])
        for i, name in enumerate(names)
    }
    return Probe(r2, float(held_out[0].std(0).mean()), len(held_out[0]))
