"""What is measured of one run of a comparison, once it is trained."""

import csv
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from policy_server.runtime.configuration import build
from policy_server.runtime.whole_file import write_whole
from policy_server.training.loss_log import LOSS_FILE

MEASUREMENT_FILE = "measurement.json"
_LAST_SHARE = 0.1


@dataclass(frozen=True)
class Measurement:
    """Losses, times, and what the orthonormalisation cost and missed.

    ``final_loss``: mean training loss of the last tenth of the steps. ``step_s``: median wall time of a training step, ``training_s`` of
    all of them. ``orthonormalised``: share of the parameters whose momentum is. ``flops``: of a step at the end of the run;
    ``flops_of_fixed_five``: of five fixed steps on the same matrices; ``flops_of_run``: an upper bound for the whole run. ``error`` and
    ``error_of_fixed_five``: root mean square of what comes out less the polar factor, over the directions above rounding, on the
    momenta at the end.
    """

    validation_loss: float
    final_loss: float
    step_s: float
    training_s: float
    orthonormalised: float
    flops: float
    flops_of_fixed_five: float
    flops_of_run: float
    error: float
    error_of_fixed_five: float


@dataclass(frozen=True)
class LossCurve:
    """Training loss, the mean of every ten steps that end with ``steps``."""

    steps: list[int]
    losses: list[float]
    seconds: list[float]

    @property
    def final_loss(self) -> float:
        kept = [
            loss
            for step, loss in zip(self.steps, self.losses, strict=True)
            if step > (1 - _LAST_SHARE) * self.steps[-1]
        ]
        return statistics.fmean(kept)

    @property
    def step_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def training_s(self) -> float:
        """Without the start of the process."""
        return statistics.fmean(self.seconds) * self.steps[-1]


def read_loss_curve(folder: Path) -> LossCurve:
    with (folder / LOSS_FILE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    steps = [int(row["step"]) for row in rows]
    return LossCurve(steps, [float(row["loss"]) for row in rows], [float(row["seconds"]) for row in rows])


def write_measurement(folder: Path, measurement: Measurement) -> None:
    write_whole(folder / MEASUREMENT_FILE, json.dumps(asdict(measurement), indent=1) + "\n")


def read_measurement(folder: Path) -> Measurement:
    file = folder / MEASUREMENT_FILE
    return build(Measurement, json.loads(file.read_text(encoding="utf-8")), str(file))
