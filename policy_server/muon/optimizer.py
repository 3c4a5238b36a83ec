"""Muon and AdamW in one torch optimizer: matrices get the polar factor of their momentum, all else AdamW's step."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, distributed
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from policy_server.muon.adaptive import AdaptiveConfig, measure_recipe
from policy_server.muon.batches import polar_factors
from policy_server.muon.checks import check_hyperparameters, check_parameter, refuse_non_finite
from policy_server.muon.configuration import PolarConfig
from policy_server.muon.cost import CostModel, cost, resolve_form
from policy_server.muon.errors import MuonParameterError
from policy_server.muon.matrices import MatrixLayout, as_matrices, from_matrices, matrix_shape
from policy_server.muon.recipe import FIXED_FIVE
from policy_server.muon.recipe_file import Recipe, recipe_from_plain, recipe_to_plain
from policy_server.muon.sharing import assign_owners, gather_shares
from policy_server.runtime.configuration import build, to_plain

# Elements of a matrix below which a batch of several is faster on a CPU than one after the other.
_SMALL_ON_CPU = 2**15

_PLAIN = MatrixLayout()

Scaling = Literal["original", "match_rms_adamw", "none"]


class _Entry(NamedTuple):
    """A parameter with a gradient, and how it is seen as matrices (parts, rows, columns)."""

    name: str
    parameter: Tensor
    gradient: Tensor
    layout: MatrixLayout

    @property
    def matrix(self) -> tuple[int, int]:
        return matrix_shape(tuple(self.parameter.shape), self.layout)


class Muon(Optimizer):
    """Momentum, orthonormalised (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks").

    For a group of ``kind`` ``muon``, gradient g, momentum m and parameter p, with lr = η, momentum = μ, weight_decay = λ:
    m ← μ m + (1 - μ) g;  u = μ m + (1 - μ) g (Nesterov) or m;  p ← (1 - η λ) p - η s polar(u).
    The scale s is 1 (``none``), √max(1, rows / columns) (``original``) or 0.2 √max(rows, columns) (``match_rms_adamw``,
    arXiv 2502.16982, with which a learning rate of AdamW serves both kinds). A group of ``kind`` ``adamw`` takes AdamW's step.
    ``policy_server.muon.layers.muon_parameters`` makes the groups from a model.

    Args:
        params: parameters, (name, parameter) pairs, or groups of either. A group's ``layouts`` maps names to
            (parts, transposed), see ``MatrixLayout``; without one a parameter is outputs x (inputs * kernel).
        recipe: how each layer's polar factor is computed; a single PolarConfig serves all.
        adaptive: measure the spectra and set the recipe, see ``AdaptiveConfig``.
        betas, eps: AdamW's.
        foreach: stack layers of one shape. None: on a GPU; on a CPU, stack small layers.
        distribute: each process of ``process_group`` orthonormalises its share of the matrices. All must hold the same
            gradients, as DistributedDataParallel sees to.
        cost_model: chooses the form ``cheapest`` and the adaptive recipe.

    Raises:
        MuonParameterError: a parameter that is no matrix in a Muon group; a sparse or complex one; a recipe for an unknown layer.
        ConfigurationError: a hyperparameter out of range.
        NonFiniteGradientError: from ``step``, before anything is changed.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        *,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,
        scaling: Scaling = "match_rms_adamw",
        recipe: Recipe | PolarConfig | None = None,
        adaptive: AdaptiveConfig | None = None,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        foreach: bool | None = None,
        distribute: bool = False,
        process_group: distributed.ProcessGroup | None = None,
        cost_model: CostModel | None = None,
    ) -> None:
        self._process_group = process_group
        self._configs: dict[str, PolarConfig] = {}
        recipe = Recipe(default=recipe) if isinstance(recipe, PolarConfig) else recipe or Recipe()
        defaults = {
            "kind": "muon",
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "scaling": scaling,
            "betas": betas,
            "eps": eps,
            "foreach": foreach,
            "distribute": distribute,
            "layouts": {},
            "steps": 0,
            # Plain values, so that a checkpoint loads with weights_only.
            "recipe": recipe_to_plain(recipe),
            "adaptive": to_plain(adaptive) if adaptive else None,
            "cost_model": to_plain(cost_model or CostModel()),
        }
        super().__init__(params, defaults)
        self.set_recipe(recipe)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        check_hyperparameters(group)
        for index, parameter in enumerate(group["params"]):
            name = self._name(group, index)
            check_parameter(name, parameter, group["kind"], _layout(group, name))
        self._configs.clear()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._configs = {}
        self.__dict__.setdefault("_process_group", None)  # a copy: process groups are not copied

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimizer's; but how the work is distributed is this run's, not the saved one's."""
        distribute = [group["distribute"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, value in zip(self.param_groups, distribute, strict=True):
            group["distribute"] = value

    def set_recipe(self, recipe: Recipe) -> None:
        """Use ``recipe`` from the next step on. Raises MuonParameterError when it names a layer that no Muon group has."""
        names = [self._name(group, i) for group in self._groups("muon") for i in range(len(group["params"]))]
        for pattern in recipe.layers:
            if not any(name == pattern or fnmatchcase(name, pattern) for name in names):
                raise MuonParameterError(f"recipe: no Muon layer is called '{pattern}': was it made for another model?")
        for group in self._groups("muon"):
            group["recipe"] = recipe_to_plain(recipe)
        self._configs.clear()

    def configurations(self) -> dict[str, PolarConfig]:
        """Name → the configuration in use, with its form resolved, for every layer that Muon trains."""
        return {
            name: self._config(group, name)
            for group in self._groups("muon")
            for name in (self._name(group, index) for index in range(len(group["params"])))
        }

    @torch.no_grad()
    def matrices(self) -> Iterator[tuple[str, Tensor]]:
        """Name and what the last ``step`` orthonormalised, (parts, rows, columns), while its gradients are still there."""
        for group in self._groups("muon"):
            for entry in self._entries(group):
                buffer = self.state[entry.parameter].get("momentum_buffer")
                if buffer is not None:
                    update = entry.gradient.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer
                    yield entry.name, as_matrices(update, entry.layout)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; returns the closure's loss. Raises NonFiniteGradientError before anything is changed."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        entries = [self._entries(group) for group in self.param_groups]
        refuse_non_finite([(entry.name, entry.gradient) for group in entries for entry in group])
        for group, of_group in zip(self.param_groups, entries, strict=True):
            if of_group and group["kind"] == "muon":
                self._muon_step(group, of_group)
            elif of_group:
                self._adamw_step(group, of_group)
        return loss

    def _muon_step(self, group: dict[str, Any], entries: list[_Entry]) -> None:
        updates = self._momentum(group, entries)
        matrices = [as_matrices(update, entry.layout) for update, entry in zip(updates, entries, strict=True)]
        group["steps"] += 1
        self._adapt(group, {entry.name: each for entry, each in zip(entries, matrices, strict=True)})
        results = self._orthonormalise(group, entries, matrices)
        lr = float(group["lr"])
        parameters = [entry.parameter for entry in entries]
        directions = [
            from_matrices(result, entry.parameter, entry.layout) for result, entry in zip(results, entries, strict=True)
        ]
        torch._foreach_mul_(directions, [-lr * _scale(group["scaling"], *entry.matrix) for entry in entries])
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        torch._foreach_add_(parameters, directions)

    def _momentum(self, group: dict[str, Any], entries: list[_Entry]) -> list[Tensor]:
        """Advance the momentum; returns what is to be orthonormalised."""
        gradients, buffers = [entry.gradient for entry in entries], []
        for entry in entries:
            state = self.state[entry.parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(entry.gradient)
            buffers.append(state["momentum_buffer"])
        momentum = group["momentum"]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return list(torch._foreach_lerp(gradients, buffers, momentum)) if group["nesterov"] else buffers

    def _adapt(self, group: dict[str, Any], matrices: Mapping[str, Tensor]) -> None:
        if group["adaptive"] is None:
            return
        config = build(AdaptiveConfig, group["adaptive"], "adaptive")
        if config.is_due(group["steps"]):
            group["recipe"] = recipe_to_plain(measure_recipe(matrices, config.recipe, _cost_model(group)))
            self._configs.clear()

    def _orthonormalise(self, group: dict[str, Any], entries: list[_Entry], matrices: list[Tensor]) -> list[Tensor]:
        """Polar factors of ``matrices``, each (parts, rows, columns), in their order."""
        configs = [self._config(group, entry.name) for entry in entries]
        stack_below = _stack_below(group, entries)
        if not group["distribute"]:
            return polar_factors(matrices, configs, stack_below)
        # By shape alone: recipes that differ in a rounding between machines must not change who does what.
        costs = [len(each) * cost(FIXED_FIVE, each.shape[1], each.shape[2], CostModel()) for each in matrices]
        owners = assign_owners(costs, distributed.get_world_size(self._process_group))
        rank = distributed.get_rank(self._process_group)
        mine = [index for index, owner in enumerate(owners) if owner == rank]
        own = polar_factors([matrices[i] for i in mine], [configs[i] for i in mine], stack_below)
        return gather_shares(dict(zip(mine, own, strict=True)), matrices, owners, self._process_group)

    def _adamw_step(self, group: dict[str, Any], entries: list[_Entry]) -> None:
        states = [self.state[entry.parameter] for entry in entries]
        for entry, state in zip(entries, states, strict=True):
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"] = torch.zeros_like(entry.parameter)
                state["exp_avg_sq"] = torch.zeros_like(entry.parameter)
        is_fused = all(map(_is_plain_on_cpu, entries))
        adamw(
            [entry.parameter for entry in entries],
            [entry.gradient for entry in entries],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=None if is_fused else _wants_foreach(group, entries),
            fused=is_fused,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _entries(self, group: dict[str, Any]) -> list[_Entry]:
        """The parameters of a group that have a gradient."""
        entries = []
        for index, parameter in enumerate(group["params"]):
            if parameter.grad is None:
                continue
            name = self._name(group, index)
            if parameter.grad.is_sparse:
                raise MuonParameterError(f"'{name}' has a sparse gradient: train it with another optimizer")
            entries.append(_Entry(name, parameter, parameter.grad, _layout(group, name)))
        return entries

    def _config(self, group: dict[str, Any], name: str) -> PolarConfig:
        """Looked up once per layer and recipe."""
        if name not in self._configs:
            recipe, model = recipe_from_plain(group["recipe"], "recipe"), _cost_model(group)
            for index, parameter in enumerate(group["params"]):
                own = self._name(group, index)
                shape = matrix_shape(tuple(parameter.shape), _layout(group, own))
                self._configs[own] = resolve_form(recipe.config_for(own), *shape, model)
        return self._configs[name]

    def _groups(self, kind: str) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if group["kind"] == kind]

    def _name(self, group: dict[str, Any], index: int) -> str:
        if "param_names" in group:
            return str(group["param_names"][index])
        position = next(i for i, each in enumerate(self.param_groups) if each is group)
        return f"parameter {index} of group {position}"


def _scale(scaling: Scaling, rows: int, columns: int) -> float:
    if scaling == "original":
        return math.sqrt(max(1.0, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns)) if scaling == "match_rms_adamw" else 1.0


def _layout(group: dict[str, Any], name: str) -> MatrixLayout:
    own = group["layouts"].get(name)
    return MatrixLayout(*own) if own else _PLAIN


def _cost_model(group: dict[str, Any]) -> CostModel:
    return build(CostModel, group["cost_model"], "cost_model")


def _stack_below(group: dict[str, Any], entries: list[_Entry]) -> float:
    if _wants_foreach(group, entries):
        return math.inf
    return _SMALL_ON_CPU if group["foreach"] is None else 0.0


def _is_plain_on_cpu(entry: _Entry) -> bool:
    """Whether torch's fused step on a CPU, which takes memory as it lies, fits: many small parameters are slow one by one."""
    return all(each.device.type == "cpu" and each.is_contiguous() for each in (entry.parameter, entry.gradient))


def _wants_foreach(group: dict[str, Any], entries: list[_Entry]) -> bool:
    if group["foreach"] is not None:
        return bool(group["foreach"])
    return all(entry.parameter.is_cuda for entry in entries)
