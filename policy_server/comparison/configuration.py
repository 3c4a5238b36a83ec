"""What a comparison is: policies, contestants, and how each finds its learning rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policy_server.runtime.configuration import load
from policy_server.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class ContestantConfig:
    """An optimizer: settings of ``optimizer`` without the learning rate.

    Of several ``learning_rates`` the one with the least validation loss in a tuning run is taken, for each policy. ``rate_of``: that of
    another contestant, so that the two differ in nothing else.
    """

    optimizer: dict[str, Any]
    learning_rates: tuple[float, ...] = ()
    rate_of: str = ""


@dataclass(frozen=True)
class TuningConfig:
    """One run per learning rate, of so many ``steps`` (0: as many as the others), with a ``seed`` that is not compared."""

    seed: int = 100
    steps: int = 0


@dataclass(frozen=True)
class ValidationLossConfig:
    """The loss of the averaged weights on ``windows`` ticks spread over the ``episodes`` after those that are trained on (0: all of
    them), each with ``draws`` noises and diffusion steps, which depend on ``seed`` alone."""

    episodes: int = 100
    windows: int = 1024
    draws: int = 8
    batch: int = 256
    seed: int = 0


@dataclass(frozen=True)
class ComparisonConfig:
    """A comparison: every contestant trains every policy once per seed.

    ``base``: settings of ``policy_server.train`` that all runs share; ``episodes`` must leave some of the dataset to validate on.
    ``policies``: what each adds. ``pairs``: whose validation losses are compared, seed by seed. ``timing_rounds``: optimizer steps of each
    contestant that are timed, in turns. ``output``, ``results``, ``report`` as in a ladder.
    """

    name: str
    output: Path
    results: Path
    base: dict[str, Any]
    policies: dict[str, dict[str, Any]]
    contestants: dict[str, ContestantConfig]
    pairs: tuple[tuple[str, str], ...]
    report: str = "muon.md"
    seeds: tuple[int, ...] = (0, 1, 2)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    validation: ValidationLossConfig = field(default_factory=ValidationLossConfig)
    timing_rounds: int = 20
    confidence: float = 0.95


def load_comparison(path: Path | str, overrides: Iterable[str] = ()) -> ComparisonConfig:
    """Raises ConfigurationError: an unknown key, or a value that does not fit."""
    config = load(ComparisonConfig, path, overrides)
    for refused, reason in (*_faults(config), *_faults_of_contestants(config)):
        if refused:
            raise ConfigurationError(f"{path}: {reason}")
    return config


def _faults(config: ComparisonConfig) -> Iterator[tuple[bool, str]]:
    """(whether it is refused, why)."""
    validation = config.validation
    yield not config.policies, "policies: give at least one"
    yield not config.contestants, "contestants: give at least one"
    yield (
        not config.seeds or len(set(config.seeds)) < len(config.seeds),
        f"seeds {list(config.seeds)}: give each once",
    )
    yield config.tuning.seed in config.seeds, f"tuning.seed {config.tuning.seed}: it is one of the seeds to be compared"
    yield not 0 < config.confidence < 1, f"confidence {config.confidence}: give a number between 0 and 1"
    yield config.timing_rounds < 1, f"timing_rounds {config.timing_rounds}: give 1 or more"
    least = min(validation.windows, validation.draws, validation.batch)
    yield (
        least < 1 or validation.episodes < 0,
        "validation: windows, draws and batch must be 1 or more, episodes 0 or more",
    )
    for pair in config.pairs:
        unknown = [name for name in pair if name not in config.contestants]
        yield bool(unknown), f"pairs: no contestant is called '{''.join(unknown[:1])}'"


def _faults_of_contestants(config: ComparisonConfig) -> Iterator[tuple[bool, str]]:
    for name, contestant in config.contestants.items():
        where = f"contestants.{name}"
        yield "learning_rate" in contestant.optimizer, f"{where}.optimizer.learning_rate: give learning_rates instead"
        yield (
            bool(contestant.learning_rates) == bool(contestant.rate_of),
            f"{where}: give learning_rates, or rate_of another",
        )
        if contestant.rate_of:
            other = config.contestants.get(contestant.rate_of)
            yield (
                other is None or not other.learning_rates,
                f"{where}.rate_of '{contestant.rate_of}': no contestant with learning_rates",
            )
