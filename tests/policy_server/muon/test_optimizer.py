"""The optimizer against an independent reference, step by step, and against torch's conventions."""

import copy
import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from policy_server.muon.adaptive import AdaptiveConfig
from policy_server.muon.configuration import PolarConfig
from policy_server.muon.errors import MuonParameterError, NonFiniteGradientError
from policy_server.muon.layers import muon_parameters
from policy_server.muon.optimizer import Muon
from policy_server.muon.recipe_file import Recipe
from policy_server.runtime.errors import ConfigurationError
from tests.policy_server.muon.small_network import RULE, SmallNetwork, draw_gradients

JORDAN = PolarConfig("jordan", 5, "direct")


def muon(network: nn.Module, **options: Any) -> Muon:
    return Muon(muon_parameters(network, RULE), **options)


class PlainMuon:
    """The published algorithm, written down once more: one parameter at a time, in float64."""

    def __init__(
        self, network: SmallNetwork, lr: float, decay: float, momentum: float, nesterov: bool, scaling: str
    ) -> None:
        self.network, self.lr, self.decay, self.momentum = network, lr, decay, momentum
        self.nesterov, self.scaling = nesterov, scaling
        self.buffers: dict[str, Tensor] = {}
        matrices = {"first.weight", "key_value.weight", "mix.weight", "again.weight", "grow.weight", "out.weight"}
        self.rest = [p for name, p in network.named_parameters() if name not in matrices]
        self.adamw = torch.optim.AdamW(self.rest, lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay)
        self.matrices = matrices

    def step(self) -> None:
        self.adamw.step()
        for name, parameter in self.network.named_parameters():
            if name in self.matrices:
                assert parameter.grad is not None
                parameter.data = self.updated(name, parameter.data.double(), parameter.grad.double()).float()

    def updated(self, name: str, value: Tensor, gradient: Tensor) -> Tensor:
        buffer = self.momentum * self.buffers.get(name, torch.zeros_like(gradient)) + (1 - self.momentum) * gradient
        self.buffers[name] = buffer
        update = self.momentum * buffer + (1 - self.momentum) * gradient if self.nesterov else buffer
        direction = torch.cat([self.of_part(each) for each in update.chunk(2)]) if name.startswith("key") else None
        if direction is None and name.startswith("grow"):
            swapped = update.transpose(0, 1)
            direction = self.of_part(swapped.flatten(1)).reshape(swapped.shape).transpose(0, 1)
        if direction is None:
            direction = self.of_part(update.flatten(1)).reshape(update.shape)
        return value * (1 - self.lr * self.decay) - self.lr * direction

    def of_part(self, matrix: Tensor) -> Tensor:
        rows, columns = matrix.shape
        x = matrix / matrix.norm()
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x - 4.7750 * a @ x + 2.0315 * a @ a @ x
        if self.scaling == "original":
            return x * max(1, rows / columns) ** 0.5
        return x * (0.2 * max(rows, columns) ** 0.5 if self.scaling == "match_rms_adamw" else 1)


def values(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw", "none"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("form", ["direct", "gram"])
def test_it_follows_the_published_algorithm_step_by_step(
    scaling: Any, nesterov: bool, foreach: bool, form: Any
) -> None:
    ours, reference = SmallNetwork(), SmallNetwork()
    plain = PlainMuon(reference, 0.02, 0.1, 0.9, nesterov, scaling)
    options: dict[str, Any] = {"weight_decay": 0.1, "momentum": 0.9, "nesterov": nesterov, "scaling": scaling}
    optimizer = muon(ours, lr=0.02, recipe=PolarConfig("jordan", 5, form), foreach=foreach, **options)
    for step in range(6):
        draw_gradients(ours, step)
        draw_gradients(reference, step)
        optimizer.step()
        plain.step()
        # Conv1d(6 -> 10, 3) and the parts of key_value have small singular values, where the Gram form's shift shows.
        tolerance = 1e-5 if form == "direct" else 1e-4
        for mine, theirs in zip(values(ours), values(reference), strict=True):
            torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=0)


def test_it_is_torchs_muon_up_to_bfloat16() -> None:
    torch.manual_seed(0)
    start = torch.randn(24, 40)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    recipe = PolarConfig("jordan", 5, "direct", "bfloat16")
    optimizers = [
        Muon([ours], lr=0.1, weight_decay=0.1, scaling="original", recipe=recipe),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1),
    ]
    for _ in range(5):
        ours.grad = torch.randn(24, 40)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    difference = (ours - theirs).norm() / (theirs - start).norm()
    assert difference < 0.03


def test_adamws_group_is_torchs_adamw() -> None:
    ours, theirs = SmallNetwork(), SmallNetwork()
    mine = Muon([{"params": list(ours.parameters()), "kind": "adamw"}], lr=0.01, betas=(0.8, 0.9), weight_decay=0.2)
    torchs = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.8, 0.9), weight_decay=0.2)
    for step in range(4):
        for network, optimizer in ((ours, mine), (theirs, torchs)):
            draw_gradients(network, step)
            optimizer.step()
    for one, other in zip(values(ours), values(theirs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)


def test_adamws_group_takes_parameters_as_they_lie_in_memory() -> None:
    torch.manual_seed(0)
    start, gradient = torch.randn(4, 6), torch.randn(6, 4)
    transposed, plain = nn.Parameter(start.clone().mT), nn.Parameter(start.mT.contiguous())
    for parameter in (transposed, plain):
        parameter.grad = gradient.clone()
        Muon([{"params": [parameter], "kind": "adamw"}], lr=0.1).step()
    torch.testing.assert_close(transposed, plain, atol=1e-6, rtol=0)


RECIPE = Recipe(PolarConfig("halley", 2, "gram", scale="schatten4"), {"mix.*": PolarConfig("eigh", 1, "gram")})


@pytest.mark.parametrize("recipe", [Recipe(), RECIPE])
@pytest.mark.parametrize("foreach", [None, True])
def test_foreach_equals_the_loop(recipe: Recipe, foreach: bool | None) -> None:
    networks = [SmallNetwork(), SmallNetwork()]
    settings = (False, foreach)
    optimizers = [muon(each, lr=0.05, recipe=recipe, foreach=way) for each, way in zip(networks, settings, strict=True)]
    for step in range(5):
        for network, optimizer in zip(networks, optimizers, strict=True):
            draw_gradients(network, step)
            optimizer.step()
    for one, other in zip(*map(values, networks), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0)


def train(network: nn.Module, optimizer: Muon, steps: range) -> list[float]:
    losses = []
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(32, 6, 8, generator=generator)
        target = torch.stack([x.mean((1, 2)), x.std((1, 2)), x[:, 0].amax(1), x[:, 1].amin(1)], dim=1)
        optimizer.zero_grad()
        loss = (network(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize("adaptive", [None, AdaptiveConfig(burn_in=6, every=2, refresh_every=5)])
def test_a_resumed_run_repeats_an_unbroken_one_bit_by_bit(
    foreach: bool | None, adaptive: AdaptiveConfig | None
) -> None:
    options: dict[str, Any] = {"lr": 0.01, "foreach": foreach}
    unbroken = SmallNetwork()
    losses = train(unbroken, muon(unbroken, adaptive=adaptive, **options), range(14))

    first = SmallNetwork()
    optimizer = muon(first, adaptive=adaptive, **options)
    train(first, optimizer, range(7))
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    second = SmallNetwork(seed=1)
    # Whatever the new object was told, the checkpoint's hyperparameters hold, as in every torch optimizer.
    resumed = muon(second, lr=99.0, foreach=foreach is not True)
    second.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert train(second, resumed, range(7, 14)) == losses[7:]
    assert all(torch.equal(one, other) for one, other in zip(values(unbroken), values(second), strict=True))


def test_a_checkpoint_of_a_distributed_run_goes_on_in_one_process() -> None:
    network = SmallNetwork()
    saved = muon(network, distribute=True).state_dict()
    alone = muon(network)
    alone.load_state_dict(saved)
    draw_gradients(network, 0)
    alone.step()


def test_it_learns_where_every_layer_is_trained() -> None:
    network = SmallNetwork()
    losses = train(network, muon(network, lr=0.01, recipe=RECIPE), range(120))
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])


def test_a_scheduler_sets_the_rate_of_every_group() -> None:
    networks = [SmallNetwork(), SmallNetwork()]
    scheduled, constant = (muon(network, lr=0.08, weight_decay=0.0) for network in networks)
    scheduler = torch.optim.lr_scheduler.LambdaLR(scheduled, lambda step: 0.25)
    before = values(networks[0])
    for network, optimizer in zip(networks, (scheduled, constant), strict=True):
        draw_gradients(network, 0)
        optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in scheduled.param_groups] == [0.02, 0.02]
    for start, quarter, whole in zip(before, *map(values, networks), strict=True):
        torch.testing.assert_close(quarter - start, (whole - start) / 4, atol=1e-6, rtol=1e-4)


def test_the_rate_may_be_a_tensor() -> None:
    one, other = SmallNetwork(), SmallNetwork()
    for network, rate in ((one, 0.0625), (other, torch.tensor(0.0625))):
        draw_gradients(network, 0)
        Muon(muon_parameters(network, RULE)[:1], lr=rate).step()
    assert all(torch.equal(a, b) for a, b in zip(values(one), values(other), strict=True))


def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned() -> None:
    network = SmallNetwork()
    optimizer = muon(network)
    before = values(network)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = network(torch.ones(2, 6, 8)).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0
    assert any(not torch.equal(one, other) for one, other in zip(before, values(network), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["mix.weight", "norm.bias"])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_is_changed(value: float, name: str) -> None:
    network = SmallNetwork()
    optimizer = muon(network)
    draw_gradients(network, 0)
    optimizer.step()
    before, state = values(network), copy.deepcopy(optimizer.state_dict())
    draw_gradients(network, 1)
    gradient = dict(network.named_parameters())[name].grad
    assert gradient is not None
    gradient.view(-1)[3] = value
    with pytest.raises(NonFiniteGradientError, match=f"'{name}'"):
        optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(before, values(network), strict=True))
    for index, entry in optimizer.state_dict()["state"].items():
        assert all(torch.equal(tensor, state["state"][index][key]) for key, tensor in entry.items())
    assert optimizer.param_groups[0]["steps"] == 1


def test_without_names_an_error_says_where_the_parameter_stands() -> None:
    parameters = [nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(4, 4))]
    optimizer = Muon(parameters)
    for parameter in parameters:
        parameter.grad = (
            torch.full_like(parameter, math.nan) if parameter is parameters[1] else parameter.detach().clone()
        )
    with pytest.raises(NonFiniteGradientError, match="'parameter 1 of group 0'"):
        optimizer.step()


def test_a_zero_gradient_moves_nothing_but_the_decay() -> None:
    network = SmallNetwork()
    optimizer = muon(network, lr=0.1, weight_decay=0.5, recipe=RECIPE)
    before = values(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for start, after in zip(before, values(network), strict=True):
        torch.testing.assert_close(after, start * 0.95)


@pytest.mark.parametrize("factor", [1e-25, 1e12])
def test_the_size_of_the_gradient_does_not_matter(factor: float) -> None:
    networks = [SmallNetwork(), SmallNetwork()]
    for network, scale in zip(networks, (1.0, factor), strict=True):
        groups = muon_parameters(network, RULE)[:1]
        for _, parameter in groups[0]["params"]:
            parameter.grad = torch.sin(torch.arange(float(parameter.numel()))).view_as(parameter) * scale
        Muon(groups, lr=0.1, recipe=RECIPE).step()
    for one, other in zip(*map(values, networks), strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=0)


def test_parameters_without_a_gradient_are_left_alone() -> None:
    network = SmallNetwork()
    optimizer = muon(network)
    draw_gradients(network, 0)
    network.mix.weight.grad = network.norm.bias.grad = None
    before = network.mix.weight.detach().clone()
    optimizer.step()
    assert torch.equal(network.mix.weight, before)
    assert network.mix.weight not in optimizer.state
    assert network.norm.bias not in optimizer.state


def test_what_was_orthonormalised_can_be_looked_at() -> None:
    network = SmallNetwork()
    optimizer = muon(network, momentum=0.9)
    draw_gradients(network, 0)
    optimizer.step()
    matrices = dict(optimizer.matrices())
    assert network.mix.weight.grad is not None
    # After one step the buffer is 0.1 g, and Nesterov's update 0.19 g.
    torch.testing.assert_close(matrices["mix.weight"][0], 0.19 * network.mix.weight.grad)
    assert matrices["key_value.weight"].shape == (2, 6, 10)


def test_a_copy_goes_on_like_the_original() -> None:
    network = SmallNetwork()
    optimizer = muon(network, lr=0.01)
    train(network, optimizer, range(3))
    twin, copied = copy.deepcopy((network, optimizer))
    assert train(network, optimizer, range(3, 6)) == train(twin, copied, range(3, 6))


def test_configurations_are_those_of_the_recipe_with_their_form() -> None:
    optimizer = muon(SmallNetwork(), recipe=Recipe(PolarConfig(), RECIPE.layers))
    configurations = optimizer.configurations()
    assert configurations["mix.weight"].method == "eigh"
    assert configurations["again.weight"] == PolarConfig(form="direct")
    assert configurations["grow.weight"].form == "gram"
    optimizer.set_recipe(RECIPE)
    assert optimizer.configurations()["again.weight"].method == "halley"


def test_a_recipe_for_another_model_is_refused() -> None:
    with pytest.raises(MuonParameterError, match=r"'blocks\.0\.weight'"):
        muon(SmallNetwork(), recipe=Recipe(layers={"blocks.0.weight": PolarConfig()}))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"lr": -1.0}, "lr: -1.0"),
        ({"momentum": 1.0}, "momentum: 1.0"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"scaling": "spectral"}, "scaling: 'spectral'"),
        ({"betas": (0.9, 1.0)}, "betas"),
    ],
)
def test_hyperparameters_out_of_range_are_named(options: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        muon(SmallNetwork(), **options)


def test_an_unknown_kind_of_group_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="kind: 'sgd'"):
        Muon([{"params": [nn.Parameter(torch.ones(2, 2))], "kind": "sgd"}])


def test_what_is_no_matrix_is_refused_in_a_muon_group() -> None:
    with pytest.raises(MuonParameterError, match=r"'bias' has shape \(3,\)"):
        Muon([("bias", nn.Parameter(torch.ones(3)))])


def test_complex_and_sparse_are_refused_by_name() -> None:
    with pytest.raises(MuonParameterError, match="'w' is complex"):
        Muon([("w", nn.Parameter(torch.ones(2, 2, dtype=torch.complex64)))])
    embedding = nn.Embedding(10, 4, sparse=True)
    optimizer = Muon([{"params": [("e", embedding.weight)], "kind": "adamw"}])
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(MuonParameterError, match="'e' has a sparse gradient"):
        optimizer.step()


def test_rows_that_cannot_be_split_are_refused() -> None:
    group = {"params": [("w", nn.Parameter(torch.ones(5, 4)))], "layouts": {"w": (2, False)}}
    with pytest.raises(MuonParameterError, match="'w' has 5 rows"):
        Muon([group])
