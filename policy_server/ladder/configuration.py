"""What a ladder is: families of policies, their rungs, and which steps count as the plateau."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policy_server.runtime.configuration import load
from policy_server.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class PlateauConfig:
    """The measurements from step ``from_step`` to ``to_step`` (0: the last) are averaged; those before are the burn-in."""

    from_step: int = 400
    to_step: int = 0


@dataclass(frozen=True)
class FamilyConfig:
    """Policies that differ in their size alone: ``training`` is common to all rungs; ``rungs`` has a name and settings for each."""

    rungs: dict[str, dict[str, Any]]
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LadderConfig:
    """A ladder: every rung of every family is trained once per seed.

    ``base``: settings of ``policy_server.train`` that all runs share. ``output``: a folder per run. ``results``: where tables and
    plots go, named ``muon_<name>_…``, and the page ``report``, of which the ladder writes one part.
    """

    name: str
    output: Path
    results: Path
    base: dict[str, Any]
    families: dict[str, FamilyConfig]
    report: str = "muon.md"
    seeds: tuple[int, ...] = (0, 1)
    plateau: PlateauConfig = field(default_factory=PlateauConfig)
    confidence: float = 0.95


def load_ladder(path: Path | str, overrides: Iterable[str] = ()) -> LadderConfig:
    """Raises ConfigurationError: an unknown key, or a value that does not fit."""
    config = load(LadderConfig, path, overrides)
    for refused, reason in (
        (not config.families, "families: give at least one"),
        (not config.seeds or len(set(config.seeds)) < len(config.seeds), f"seeds {list(config.seeds)}: give each once"),
        (not 0 < config.confidence < 1, f"confidence {config.confidence}: give a number between 0 and 1"),
        (config.plateau.from_step < 1, f"plateau.from_step {config.plateau.from_step}: give 1 or more"),
        (
            0 < config.plateau.to_step < config.plateau.from_step,
            f"plateau.to_step {config.plateau.to_step}: give 0 or more than from_step",
        ),
    ):
        if refused:
            raise ConfigurationError(f"{path}: {reason}")
    for name, family in config.families.items():
        if len(family.rungs) < 2:
            raise ConfigurationError(f"{path}: families.{name}.rungs: a law needs at least two sizes")
    return config
