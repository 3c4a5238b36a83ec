"""``meta/stats.json`` and the statistics of each episode, as LeRobot's normalisation reads them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
_LEVELS = 256

Summary = dict[str, Any]


def summarise(values: NDArray[Any]) -> Summary:
    """Of the rows of a feature, (N,) or (N, C) with N ≥ 1: one number per column, and the number of rows."""
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    summary = {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        "count": np.array([len(rows)]),
        **{_key(q): np.quantile(rows, q, axis=0) for q in QUANTILES},
    }
    return {key: value.tolist() for key, value in summary.items()}


def levels(images: NDArray[np.uint8], most: int = 100) -> tuple[NDArray[np.int64], int]:
    """How often each of the 256 levels stands in each channel of at most ``most`` pictures at even distances.

    Args:
        images: uint8 (N, height, width, 3).

    Returns:
        int64 (3, 256), and the number of pictures that were looked at. Those of several episodes may be added.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int))
    pixels = images[chosen].reshape(-1, 3)
    counts = np.stack([np.bincount(pixels[:, channel], minlength=_LEVELS) for channel in range(3)])
    return counts.astype(np.int64), len(chosen)


def summarise_levels(counts: NDArray[np.int64], pictures: int) -> Summary:
    """Of pictures by their ``levels``: (3, 1, 1) of channels scaled to [0, 1]."""
    scale = np.arange(_LEVELS) / (_LEVELS - 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    present = counts > 0
    mean = shares @ scale
    below = np.cumsum(shares, axis=1)
    summary = {
        "min": scale[present.argmax(axis=1)],
        "max": scale[_LEVELS - 1 - present[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt((shares * (scale - mean[:, None]) ** 2).sum(axis=1)),
        **{_key(q): scale[(below >= q - 1e-12).argmax(axis=1)] for q in QUANTILES},
    }
    return {**{key: value.reshape(3, 1, 1).tolist() for key, value in summary.items()}, "count": [pictures]}


def _key(quantile: float) -> str:
    return f"q{round(100 * quantile):02d}"
