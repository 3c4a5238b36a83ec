"""A comparison of tiny policies on a tiny dataset, and runs that are done without any training."""

from pathlib import Path
from typing import Any

from policy_server.comparison.configuration import (
    ComparisonConfig,
    ContestantConfig,
    TuningConfig,
    ValidationLossConfig,
)
from policy_server.comparison.measurement import Measurement, write_measurement
from policy_server.comparison.runs import Run
from policy_server.sweep.jobs import mark_done
from tests.small_policy import write_small_dataset

ADAPTIVE = {"recipe": "adaptive", "adaptive": {"burn_in": 4, "every": 2}}


def small_comparison(folder: Path, **changes: Any) -> ComparisonConfig:
    base = {
        "dataset": write_small_dataset(folder / "data", (9, 8, 7)),
        "features": True,
        "episodes": 2,
        "steps": 20,
        "batch_windows": 4,
        "windows_per_episode": 1,
        "threads": 1,
        "context": {"length": 3, "stride_ticks": 1},
        "chunk": {"past_steps": 2, "future_steps": 6, "replan_every_ticks": 1},
        "sampling_steps": 4,
    }
    settings: dict[str, Any] = {
        "base": base,
        "policies": {"unet": {"model": {"unet": {"widths": [16], "heads": 2}}}},
        "contestants": {
            "adamw": ContestantConfig({"kind": "adamw"}, (1e-3, 1e-2)),
            "torch_muon": ContestantConfig({"kind": "torch_muon"}, (5e-3,)),
            "recipe": ContestantConfig({"kind": "muon", "muon": ADAPTIVE}, rate_of="torch_muon"),
        },
        "pairs": (("recipe", "adamw"), ("recipe", "torch_muon")),
        "seeds": (0, 1),
        "tuning": TuningConfig(7, 10),
        "validation": ValidationLossConfig(1, 6, 2, 4),
        "timing_rounds": 2,
    }
    return ComparisonConfig("small", folder / "runs", folder / "results", **(settings | changes))


def measured(validation_loss: float, **changes: float) -> Measurement:
    values = dict.fromkeys(Measurement.__dataclass_fields__, 1.0)
    return Measurement(**(values | {"validation_loss": validation_loss} | changes))


def finish(run: Run, validation_loss: float, **changes: float) -> None:
    """As if it had been trained, with this result."""
    run.prepare()
    write_measurement(run.training.output, measured(validation_loss, **changes))
    mark_done(run.job, 1.0)
