"""The optimizer that a configuration asks for."""

from pathlib import Path

import torch
from torch import nn

from policy_server.lora.injection import is_adapted
from policy_server.muon.cost import measure_costs
from policy_server.muon.layers import LayerRule, assign_layers, muon_parameters
from policy_server.muon.optimizer import Muon
from policy_server.muon.recipe import FIXED_FIVE
from policy_server.muon.recipe_file import Recipe, read_recipe
from policy_server.muon.spectrum_log import SpectrumLog
from policy_server.training.configuration import MuonSettings, OptimizerConfig
from policy_server.training.torch_muon import TorchMuon

TrainingOptimizer = torch.optim.Optimizer | TorchMuon


def make_optimizer(model: nn.Module, config: OptimizerConfig, processes: int) -> TrainingOptimizer:
    """AdamW, Muon of which every one of ``processes`` does its share, or torch's Muon, of which each does all.

    Call it before anything is frozen, so that an encoder that thaws later has its place; the weights under an adapter are frozen for
    good, and have none.

    Raises:
        ConfigurationError: an unreadable recipe, or a hyperparameter out of range.
        MuonParameterError: a recipe for layers that ``model`` lacks.
    """
    if config.kind == "adamw":
        return torch.optim.AdamW(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
    if config.kind == "torch_muon":
        return TorchMuon(model, config)
    muon = config.muon
    return Muon(
        muon_parameters(model, _rule(model)),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        momentum=muon.momentum,
        nesterov=muon.nesterov,
        scaling=muon.scaling,
        recipe=_recipe(muon),
        adaptive=muon.adaptive if muon.recipe == "adaptive" else None,
        betas=config.betas,
        distribute=processes > 1,
        cost_model=measure_costs(next(model.parameters()).device) if muon.costs == "measured" else None,
    )


def make_spectrum_log(model: nn.Module, config: OptimizerConfig, output: Path, step: int) -> SpectrumLog | None:
    """The log that ``muon.spectrum_every`` asks for, in ``output``/spectrum; a run resumed at ``step`` goes on in it."""
    if config.kind != "muon" or not config.muon.spectrum_every:
        return None
    return SpectrumLog(output / "spectrum", assign_layers(model, _rule(model)), config.muon.spectrum_every, step)


def _rule(model: nn.Module) -> LayerRule | None:
    """An adapter's matrices are as narrow as its rank and first and last of nothing: Muon has all of them."""
    return LayerRule(smallest_side=1, ends=False) if is_adapted(model) else None


def _recipe(muon: MuonSettings) -> Recipe:
    if isinstance(muon.recipe, Path):
        return read_recipe(muon.recipe)
    return Recipe(default=FIXED_FIVE)  # until the first measurement, if it is adaptive
