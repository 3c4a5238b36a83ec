"""The runs of a comparison: a short one per learning rate to be tried, then every contestant, policy and seed."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from policy_server.comparison.configuration import ComparisonConfig, ValidationLossConfig
from policy_server.comparison.measurement import Measurement, read_measurement
from policy_server.runtime.configuration import to_plain
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.recording import list_episodes
from policy_server.sweep.jobs import Job, fingerprint
from policy_server.sweep.trainings import count_parameters, make_training, merged, write_training
from policy_server.training.configuration import TrainingConfig
from policy_server.training.trainer import what_is_learned

VALIDATION_FILE = "validation.yaml"


@dataclass(frozen=True)
class Run:
    """One training and what is measured of it."""

    policy: str
    contestant: str
    seed: int
    learning_rate: float
    parameters: int
    training: TrainingConfig
    validation: ValidationLossConfig

    @property
    def job(self) -> Job:
        folder, training = self.training.output, self.training
        settings = [
            *(to_plain(what_is_learned(training)), training.steps, training.episodes, to_plain(self.validation)),
            # Left out of what is learned because a checkpoint knows them; whether a run is done is asked without one.
            *(str(training.dataset), training.accumulate, training.damaged_episodes),
        ]
        return Job(
            name=training.name,
            folder=folder,
            command=(sys.executable, "-m", "policy_server.comparison.run", str(folder)),
            steps=training.steps,
            size=self.parameters,
            fingerprint=fingerprint(settings),
        )

    @property
    def measurement(self) -> Measurement:
        """Of a run that is done."""
        return read_measurement(self.training.output)

    def prepare(self) -> None:
        """Write what the command reads, unless the run is done."""
        if not self.job.is_done:
            write_training(self.training)
            file = self.training.output / VALIDATION_FILE
            file.write_text(yaml.safe_dump(to_plain(self.validation)), encoding="utf-8")


class Runs:
    """Makes the runs of one comparison.

    Raises:
        ConfigurationError: settings that do not fit, or a dataset without episodes to validate on.
        DatasetError: the dataset is missing.
    """

    def __init__(self, config: ComparisonConfig) -> None:
        self._config = config
        contestant = next(iter(config.contestants))
        self._sizes: dict[str, int] = {}
        for policy in config.policies:
            training = _training(config, policy, contestant, 1e-3, 0, Path("."))
            _check_held_out(training, config.validation.episodes)
            self._sizes[policy] = count_parameters(training)

    def tuning(self) -> list[Run]:
        """One run for each learning rate of a contestant that has several."""
        config = self._config
        folder = config.output / "tuning"
        runs = [
            self._run(policy, name, rate, config.tuning.seed, folder)
            for policy in config.policies
            for name, contestant in config.contestants.items()
            for rate in contestant.learning_rates
            if len(contestant.learning_rates) > 1
        ]
        steps = config.tuning.steps
        return [replace(run, training=replace(run.training, steps=steps)) if steps else run for run in runs]

    def compared(self, rates: Mapping[tuple[str, str], float]) -> list[Run]:
        """Every (policy, contestant) with a known learning rate, once per seed; whole seeds first."""
        config = self._config
        return [
            self._run(policy, name, rates[policy, name], seed, config.output)
            for seed in config.seeds
            for policy in config.policies
            for name in config.contestants
            if (policy, name) in rates
        ]

    def _run(self, policy: str, contestant: str, rate: float, seed: int, folder: Path) -> Run:
        training = _training(self._config, policy, contestant, rate, seed, folder)
        return Run(policy, contestant, seed, rate, self._sizes[policy], training, self._config.validation)


def choose_rates(config: ComparisonConfig, tuning: Sequence[Run]) -> dict[tuple[str, str], float]:
    """(policy, contestant) → learning rate, where it is known: of the tuning runs, all of which must be done, the one with the least
    validation loss."""
    rates: dict[tuple[str, str], float] = {}
    for policy in config.policies:
        for name, contestant in config.contestants.items():
            tried = [run for run in tuning if (run.policy, run.contestant) == (policy, name)]
            if len(contestant.learning_rates) == 1:
                rates[policy, name] = contestant.learning_rates[0]
            elif tried and all(run.job.is_done for run in tried):
                rates[policy, name] = min(tried, key=lambda run: run.measurement.validation_loss).learning_rate
        for name, contestant in config.contestants.items():
            if contestant.rate_of and (policy, contestant.rate_of) in rates:
                rates[policy, name] = rates[policy, contestant.rate_of]
    return rates


def _training(
    config: ComparisonConfig, policy: str, contestant: str, rate: float, seed: int, folder: Path
) -> TrainingConfig:
    name = f"{policy}-{contestant}-lr{rate:g}-s{seed}"
    own: dict[str, Any] = {"optimizer": merged(config.contestants[contestant].optimizer, {"learning_rate": rate})}
    return make_training(name, folder / name, seed, config.base, config.policies[policy], own)


def _check_held_out(training: TrainingConfig, validated: int) -> None:
    there = len(list_episodes(training.dataset))
    if training.episodes < 1 or training.episodes + max(1, validated) > there:
        raise ConfigurationError(
            f"episodes={training.episodes} to train on and validation.episodes={validated}: '{training.dataset}' has {there}; "
            "give fewer of either, and at least one of each"
        )
