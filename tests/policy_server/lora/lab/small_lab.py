"""A laboratory that runs in a moment."""

from pathlib import Path
from typing import Any

from policy_server.lora.lab.cells import Cell, make_cells
from policy_server.lora.lab.configuration import LabConfig, SeriesConfig
from policy_server.lora.lab.dynamics import BatchSettings, Run
from policy_server.lora.lab.fine_tuning import FineTuning, fine_tuning

SMALL: dict[str, Any] = {"dimensions": (40,), "neurons": (5,), "scales": (0.2,), "horizon": 4.0}


def small_config(tmp_path: Path, **values: Any) -> LabConfig:
    settings = {
        "name": "small",
        "output": tmp_path / "runs",
        "series": {},
        "results": tmp_path / "results",
        "instances": 3,
    }
    return LabConfig(**{**settings, **values})


def cells_of(**values: Any) -> list[Cell]:
    return make_cells({"series": SeriesConfig(**{**SMALL, **values})})


def batch_of(instances: int = 3, seed: int = 0, both_sides: bool = False, **values: Any) -> FineTuning:
    """In double precision, so that two ways of computing the same can be compared closely."""
    sides = (1, -1) if both_sides else (1,)
    runs = [Run(cell, side) for cell in cells_of(**values) for side in sides]
    return fine_tuning(runs, BatchSettings(seed, instances, "float64"))
