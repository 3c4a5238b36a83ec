"""The rule that says which parameters Muon trains, and how it can be overruled."""

import pytest
import torch
from torch import nn

from policy_server.muon.errors import MuonParameterError
from policy_server.muon.layers import Layer, LayerRule, assign_layers, describe, muon_parameters
from policy_server.muon.matrices import MatrixLayout


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.query = nn.Linear(32, 32)
        self.key_value = nn.Linear(32, 64)
        self.out_proj = nn.Linear(32, 32)
        self.feed_forward = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.tokens = nn.Linear(40, 32)
        self.position = nn.Parameter(torch.zeros(20, 32))
        self.narrow = nn.Conv1d(4, 32, 5)
        self.attention = nn.MultiheadAttention(32, 4)
        self.blocks = nn.ModuleList([Block() for _ in range(4)])
        self.mix = nn.Conv1d(32, 64, 3)
        self.grouped = nn.Conv1d(64, 64, 3, groups=2)
        self.depthwise = nn.Conv1d(64, 64, 3, groups=64)
        self.grow = nn.ConvTranspose1d(64, 32, 4)
        self.out = nn.Linear(32, 24)


def assigned(rule: LayerRule | None = None) -> dict[str, Layer]:
    return {layer.name: layer for layer in assign_layers(Network(), rule)}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("embedding.weight", "embedding"),
        ("tokens.weight", "first or last layer"),
        ("tokens.bias", "not a matrix"),
        ("position", "free-standing parameter of Network"),
        ("narrow.weight", "4 inputs or outputs, fewer than 16"),
        ("blocks.0.norm.weight", "not a matrix"),
        ("depthwise.weight", "1 inputs or outputs, fewer than 16"),
        ("out.weight", "first or last layer"),
    ],
)
def test_the_rest_is_adamws_for_a_stated_reason(name: str, reason: str) -> None:
    layer = assigned()[name]
    assert (layer.kind, layer.reason) == ("adamw", reason)


@pytest.mark.parametrize(
    ("name", "layout", "types"),
    [
        ("attention.in_proj_weight", MatrixLayout(3), ("Q", "K", "V")),
        ("attention.out_proj.weight", MatrixLayout(), ("O",)),
        ("blocks.1.query.weight", MatrixLayout(), ("Q",)),
        ("blocks.1.key_value.weight", MatrixLayout(2), ("K", "V")),
        ("blocks.1.feed_forward.1.weight", MatrixLayout(), ("up",)),
        ("blocks.1.feed_forward.3.weight", MatrixLayout(), ("down",)),
        ("mix.weight", MatrixLayout(), ("conv",)),
        ("grouped.weight", MatrixLayout(2), ("conv", "conv")),
        ("grow.weight", MatrixLayout(1, transposed=True), ("conv",)),
    ],
)
def test_hidden_layers_are_muons_with_their_type(name: str, layout: MatrixLayout, types: tuple[str, ...]) -> None:
    layer = assigned()[name]
    assert (layer.kind, layer.layout, layer.types) == ("muon", layout, types)


def test_depth_is_counted_per_type_and_the_last_lies_in_the_last_quarter() -> None:
    layers = assigned()
    assert [layers[f"blocks.{i}.query.weight"].quarter for i in range(4)] == [1, 2, 3, 4]
    assert layers["mix.weight"].quarter == 2
    assert layers["grow.weight"].quarter == 4


def test_patterns_overrule_the_rule() -> None:
    rule = LayerRule(
        muon=("position", "tokens.weight"),
        adamw=("blocks.0.*",),
        types=(("mix.weight", ("entry", "exit")),),
        quarters=(("grow.*", 1),),
    )
    layers = assigned(rule)
    assert layers["position"].kind == layers["tokens.weight"].kind == "muon"
    assert {layer.kind for name, layer in layers.items() if name.startswith("blocks.0.")} == {"adamw"}
    assert (layers["mix.weight"].types, layers["mix.weight"].matrix) == (("entry", "exit"), (32, 96))
    assert layers["grow.weight"].quarter == 1


def test_ends_and_narrow_layers_can_be_muons_too() -> None:
    layers = assigned(LayerRule(ends=False, smallest_side=1))
    assert all(layers[name].kind == "muon" for name in ("tokens.weight", "narrow.weight", "out.weight"))


@pytest.mark.parametrize("rule", [LayerRule(muon=("tokens.bias",)), LayerRule(muon=("*.norm.weight",))])
def test_what_is_no_matrix_cannot_be_forced_on_muon(rule: LayerRule) -> None:
    with pytest.raises(MuonParameterError, match="no matrix"):
        assigned(rule)


def test_a_pattern_that_fits_nothing_is_named() -> None:
    with pytest.raises(MuonParameterError, match=r"'blokcs\.\*'"):
        assigned(LayerRule(adamw=("blokcs.*",)))


def test_a_head_that_shares_the_embeddings_weight_is_an_embedding() -> None:
    model = Network()
    model.out = nn.Linear(32, 50)
    model.out.weight = model.embedding.weight
    layers = {layer.name: layer for layer in assign_layers(model)}
    assert layers["embedding.weight"].reason == "embedding"
    assert "out.weight" not in layers


def test_frozen_parameters_are_left_out() -> None:
    model = Network()
    model.mix.requires_grad_(False)
    assert not any(layer.name.startswith("mix.") for layer in assign_layers(model))


def test_every_trainable_parameter_is_in_exactly_one_group() -> None:
    model = Network()
    groups = muon_parameters(model)
    names = [name for group in groups for name, _ in group["params"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert [group["kind"] for group in groups] == ["muon", "adamw"]
    assert groups[0]["layouts"]["blocks.0.key_value.weight"] == (2, False)


def test_the_table_lists_every_parameter() -> None:
    layers = assign_layers(Network())
    lines = describe(layers).splitlines()
    assert len(lines) == 1 + len(layers)
    line = next(each for each in lines if each.startswith("blocks.2.key_value.weight"))
    assert line.split() == [
        "blocks.2.key_value.weight",
        "64x32",
        "Muon",
        "2",
        "of",
        "32x32",
        "K/V",
        "3/4",
        "hidden",
        "layer",
    ]
