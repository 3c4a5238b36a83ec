"""The log of spectra: one parquet file per measurement, whole or not there, so that a killed run loses nothing that was written."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy_server.muon.errors import SpectrumError
from policy_server.muon.layers import Layer
from policy_server.muon.recipe import LayerSpectrum
from policy_server.muon.spectrum import QUANTILES, part_spectra, quantile, schatten4
from policy_server.runtime.whole_file import whole_file

QUANTILE_COLUMNS = tuple(f"q{round(100 * q)}" for q in QUANTILES)
SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("name", pa.string()),
        ("part", pa.int32()),
        ("type", pa.string()),
        ("quarter", pa.int32()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("norm", pa.float64()),
        ("schatten4", pa.float64()),
        *((column, pa.float64()) for column in QUANTILE_COLUMNS),
        ("sigma", pa.list_(pa.float32())),
        ("measurement_s", pa.float64()),
    ]
)


@dataclass(frozen=True)
class SpectrumRow:
    """One part of one layer at one step.

    ``sigma``: singular values of M / ‖M‖_F, descending; ``norm``: ‖M‖_F; ``type`` and ``quarter`` as in ``Layer``;
    ``measurement_s``: what measuring all layers of this step took.
    """

    step: int
    name: str
    part: int
    type: str
    quarter: int
    rows: int
    columns: int
    norm: float
    sigma: NDArray[np.float64]
    measurement_s: float


class SpectrumLog:
    """Measures and writes the spectra of an optimizer's matrices every ``every`` steps.

    Args:
        folder: one file ``step_<number>.parquet`` per measurement.
        layers: from ``assign_layers``, for type and depth.
        every: see ``interval_for`` for how to choose it.
        step: files beyond it are deleted: a resumed run measures them anew.
    """

    def __init__(self, folder: Path, layers: Iterable[Layer], every: int, step: int = 0) -> None:
        self.folder, self.every = folder, every
        self.layers = {layer.name: layer for layer in layers}
        self.spent_s = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        for file in _files(folder):
            if _step_of(file) > step:
                file.unlink()

    def observe(self, step: int, matrices: Iterable[tuple[str, Tensor]]) -> bool:
        """To be called after every optimizer step with ``Muon.matrices()``; returns whether this step was measured."""
        if step % self.every:
            return False
        start_s = time.perf_counter()
        rows = [row for name, each in matrices for row in self._measure(step, name, each)]
        measurement_s = time.perf_counter() - start_s
        _write([{**row, "measurement_s": measurement_s} for row in rows], self.folder / f"step_{step:08d}.parquet")
        self.spent_s += time.perf_counter() - start_s
        return True

    def _measure(self, step: int, name: str, matrices: Tensor) -> list[dict[str, object]]:
        layer = self.layers[name]
        norms = torch.linalg.vector_norm(matrices, dim=(-2, -1), dtype=torch.float64).tolist()
        rows = []
        for part, (sigma, norm) in enumerate(zip(part_spectra(matrices), norms, strict=True)):
            quantiles = [quantile(sigma, q) for q in QUANTILES]
            row: dict[str, object] = {
                "step": step,
                "name": name,
                "part": part,
                "type": layer.types[part],
                "quarter": layer.quarter,
                "rows": matrices.shape[1],
                "columns": matrices.shape[2],
                "norm": norm,
                "schatten4": schatten4(sigma),
                "sigma": sigma.astype(np.float32),
            }
            rows.append(row | dict(zip(QUANTILE_COLUMNS, quantiles, strict=True)))
        return rows


def interval_for(measurement_s: float, step_s: float, share: float = 0.03) -> int:
    """How many steps must lie between measurements so that they take at most ``share`` of the training time."""
    return max(1, math.ceil(measurement_s / (share * step_s)))


def read_spectra(folder: Path | str, last: int | None = None) -> list[SpectrumRow]:
    """The measurements in ``folder``, or the ``last`` so many of them, oldest first.

    Raises:
        SpectrumError: no measurements, or a damaged file.
    """
    files = _files(Path(folder))
    if not files:
        raise SpectrumError(f"no spectra in '{folder}': train with a spectrum log, or give its folder")
    rows = []
    for file in files[-last:] if last else files:
        try:
            table = pq.read_table(file, schema=SCHEMA)
        except (pa.ArrowException, OSError) as error:
            raise SpectrumError(f"'{file}' is damaged ({' '.join(str(error).split())[:80]}): delete it") from None
        rows += [_row(each) for each in table.to_pylist()]
    return rows


def layer_spectra(rows: Iterable[SpectrumRow]) -> dict[str, LayerSpectrum]:
    """Name → all spectra of that layer in ``rows``, of all its parts and steps: a recipe must serve them all."""
    by_layer: dict[str, list[SpectrumRow]] = {}
    for row in rows:
        by_layer.setdefault(row.name, []).append(row)
    return {
        name: LayerSpectrum(own[0].rows, own[0].columns, tuple(row.sigma for row in own))
        for name, own in by_layer.items()
    }


def _row(values: dict[str, object]) -> SpectrumRow:
    derived = {"schatten4", *QUANTILE_COLUMNS}
    kept = {name: value for name, value in values.items() if name not in derived}
    return SpectrumRow(**{**kept, "sigma": np.array(values["sigma"], np.float64)})  # type: ignore[arg-type]


def _write(rows: list[dict[str, object]], file: Path) -> None:
    with whole_file(file) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary, compression="zstd")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*.parquet"))


def _step_of(file: Path) -> int:
    return int(file.stem.removeprefix("step_"))
