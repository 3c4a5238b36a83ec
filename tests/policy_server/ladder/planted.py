"""Ladders whose spectra obey a planted law, without any training."""

import math
from pathlib import Path

import numpy as np
import torch

from policy_server.ladder.configuration import FamilyConfig, LadderConfig, PlateauConfig
from policy_server.ladder.plateau import PlateauValue
from policy_server.ladder.rungs import Rung
from policy_server.muon.layers import Layer
from policy_server.muon.spectrum_log import SpectrumLog
from policy_server.sweep.jobs import mark_done
from policy_server.sweep.trainings import make_training

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
STEPS = (10, 20, 30, 40, 50)


def value(parameters: int, sigma: float, seed: int = 0, **changes: object) -> PlateauValue:
    values: dict[str, object] = {
        "family": "unet",
        "rung": f"w{parameters}",
        "seed": seed,
        "parameters": parameters,
        "type": "Q",
        "quarter": 1,
        "matrices": 2,
        "quantile": 0.5,
        "sigma": sigma,
        "random": parameters**-0.25,
        "burn_in": 0.5,
        "drift": 0.1,
        "rank_deficient": False,
    }
    return PlateauValue(**(values | changes))  # type: ignore[arg-type]


def law_values(alpha: float, noise: float = 0.0, seeds: int = 2, **changes: object) -> list[PlateauValue]:
    """Of five sizes: sigma = 3 · size^(-alpha), with a deviation of ``noise`` in the logarithm."""
    generator = np.random.default_rng(0)
    return [
        value(size, 3 * size**-alpha * math.exp(noise * generator.normal()), seed, **changes)
        for size in SIZES
        for seed in range(seeds)
    ]


def config(folder: Path) -> LadderConfig:
    return LadderConfig(
        "planted",
        folder / "runs",
        folder / "results",
        {"dataset": "data"},
        {"unet": FamilyConfig({f"w{size}": {} for size in SIZES})},
        seeds=(0,),
        plateau=PlateauConfig(from_step=30),
    )


def planted_rungs(folder: Path, alpha: float = 0.3) -> list[Rung]:
    """Runs that are done, with spectrum logs of one Q and one O matrix (16 x 24), whose median singular value obeys the law.

    The spectrum is steeper at first: its burn-in ends at step 30.
    """
    rungs = []
    for size in SIZES:
        name = f"unet-w{size}-s0"
        training = make_training(name, folder / "runs" / name, 0, {"dataset": "data", "steps": 50})
        rung = Rung("unet", f"w{size}", 0, size, training)
        layers = [Layer(f"{kind}.weight", (16, 24), "muon", "", types=(kind,), quarter=4) for kind in "QO"]
        log = SpectrumLog(rung.spectrum, layers, every=10)
        for step in STEPS:
            steepness = 2 * math.log(size) * alpha * (2 if step < 30 else 1)
            sigma = torch.exp(-steepness * torch.linspace(0, 1, 16)).double()
            log.observe(step, [(layer.name, _matrix(sigma, seed)) for seed, layer in enumerate(layers)])
        mark_done(rung.job, 1.0)
        rungs.append(rung)
    return rungs


def _matrix(sigma: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(24, 16, generator=generator, dtype=torch.float64))[0]
    return ((left * sigma) @ right.T).float()[None]
