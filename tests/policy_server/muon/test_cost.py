"""FLOPs against a count of the products that are really made; the cheapest form per shape."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.cost import ARITHMETIC, CostModel, cheapest_form, cost, flops, measure_costs, resolve_form
from policy_server.muon.polar import orthonormalise

POLYNOMIALS = [
    PolarConfig("jordan", 5, "direct"),
    PolarConfig("jordan", 5, "gram"),
    PolarConfig("polar_express", 1, "gram"),
    PolarConfig("polar_express", 7, "gram", restart_every=3),
    PolarConfig("cubic", 4, "direct"),
    PolarConfig("cubic", 4, "gram"),
]


@contextmanager
def counted() -> Iterator[Any]:
    with FlopCounterMode(display=False) as counter:
        yield counter


@pytest.mark.parametrize("config", POLYNOMIALS)
@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
def test_flops_are_those_that_torch_counts(config: PolarConfig, shape: tuple[int, int]) -> None:
    with counted() as counter:
        orthonormalise(torch.ones(shape), config)
    assert flops(config, *shape) == counter.get_total_flops()


@pytest.mark.parametrize("config", [PolarConfig("halley", 3, "gram"), PolarConfig("eigh", 1, "gram")])
def test_factorisations_are_declared_and_the_products_beside_them_counted(config: PolarConfig) -> None:
    with counted() as counter:
        orthonormalise(torch.ones(16, 48), config)
    without = cost(config, 16, 48, CostModel((1,), (0.0,), (0.0,)))
    assert without == counter.get_total_flops()
    assert flops(config, 16, 48) == without + {"halley": 3 * 1.0, "eigh": 9.0}[config.method] * 16**3


def test_wide_matrices_take_the_gram_form_and_square_ones_the_direct() -> None:
    config = PolarConfig("polar_express", 5)
    assert cheapest_form(config, 64, 64, ARITHMETIC) == "direct"
    assert cheapest_form(config, 64, 640, ARITHMETIC) == "gram"
    assert cheapest_form(config, 640, 64, ARITHMETIC) == "gram"
    assert resolve_form(config, 64, 640, ARITHMETIC).form == "gram"
    assert flops(config, 64, 640) == flops(resolve_form(config, 64, 640, ARITHMETIC), 64, 640)


def test_fast_bfloat16_products_draw_towards_the_direct_form() -> None:
    config = PolarConfig("polar_express", 4, precision="bfloat16")
    assert cheapest_form(config, 64, 130, CostModel()) == "gram"
    assert cheapest_form(config, 64, 130, CostModel(bfloat16=0.25)) == "direct"


def test_costs_can_be_measured() -> None:
    model = measure_costs(sides=(24, 48), repetitions=2)
    assert model.sides == (24, 48)
    assert min(*model.eigh, *model.cholesky_inverse, model.bfloat16) > 0


def test_costs_of_factorisations_depend_on_the_side() -> None:
    model = CostModel((64, 256), (40.0, 20.0), (10.0, 4.0))
    assert [model.factor(model.eigh, side) for side in (32, 64, 128, 256, 512)] == pytest.approx([40, 40, 30, 20, 20])
