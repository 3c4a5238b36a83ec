"""The runs of a ladder: an ordinary training for each rung and seed."""

import sys
from dataclasses import dataclass
from pathlib import Path

from policy_server.ladder.configuration import LadderConfig
from policy_server.runtime.configuration import to_plain
from policy_server.runtime.errors import ConfigurationError
from policy_server.sweep.jobs import Job, fingerprint
from policy_server.sweep.trainings import TRAINING_FILE, count_parameters, make_training, merged, write_training
from policy_server.training.configuration import TrainingConfig
from policy_server.training.trainer import what_is_learned


@dataclass(frozen=True)
class Rung:
    """One run: a family's rung, trained with one seed. ``parameters`` is its size."""

    family: str
    name: str
    seed: int
    parameters: int
    training: TrainingConfig

    @property
    def spectrum(self) -> Path:
        """The folder of its spectrum log."""
        return self.training.output / "spectrum"

    @property
    def job(self) -> Job:
        training = self.training
        return Job(
            name=training.name,
            folder=training.output,
            command=(sys.executable, "-m", "policy_server.train", str(training.output / TRAINING_FILE)),
            steps=training.steps,
            size=self.parameters,
            fingerprint=fingerprint(
                [
                    *(to_plain(what_is_learned(training)), training.steps, training.episodes),
                    # Left out of what is learned because a checkpoint knows them; whether a run is done is asked without one.
                    *(str(training.dataset), training.accumulate, training.damaged_episodes),
                ]
            ),
        )

    def prepare(self) -> None:
        """Write what the command reads, unless the run is done."""
        if not self.job.is_done:
            write_training(self.training)


def make_rungs(config: LadderConfig) -> list[Rung]:
    """All runs, small ones first, so that a ladder that is stopped early has whole rungs.

    Raises:
        ConfigurationError: settings that do not fit, a run without spectra, or two rungs of one size.
        DatasetError: the dataset is missing.
    """
    rungs = []
    for family, settings in config.families.items():
        sizes: dict[int, str] = {}
        for name, own in settings.rungs.items():
            trainings = [_training(config, family, name, seed, own) for seed in config.seeds]
            size = count_parameters(trainings[0])
            if size in sizes:
                raise ConfigurationError(f"families.{family}: the rungs '{sizes[size]}' and '{name}' are of one size")
            sizes[size] = name
            rungs += [Rung(family, name, each.seed, size, each) for each in trainings]
    return sorted(rungs, key=lambda rung: (rung.parameters, rung.seed))


def _training(config: LadderConfig, family: str, rung: str, seed: int, own: dict[str, object]) -> TrainingConfig:
    name = f"{family}-{rung}-s{seed}"
    training = make_training(
        name, config.output / name, seed, merged(config.base, config.families[family].training, own)
    )
    optimizer = training.optimizer
    if optimizer.kind != "muon" or not optimizer.muon.spectrum_every:
        raise ConfigurationError(
            f"{name}: set optimizer.kind=muon and optimizer.muon.spectrum_every: laws need spectra"
        )
    last = config.plateau.to_step or training.steps
    if not config.plateau.from_step <= last <= training.steps:
        raise ConfigurationError(
            f"{name}: plateau {config.plateau.from_step} to {last} does not lie within {training.steps} steps"
        )
    if last - config.plateau.from_step < 2 * optimizer.muon.spectrum_every:
        raise ConfigurationError(f"{name}: the plateau holds fewer than three measurements: measure more often")
    return training
