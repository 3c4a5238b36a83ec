import dataclasses
from pathlib import Path

import pytest
import torch

from policy_server.model.policy import DiffusionPolicy
from tests.small_policy import small_config, small_spec
from tests.synthetic_bundle import JOINTS


def policy(actions: str = "relative") -> DiffusionPolicy:
    torch.manual_seed(0)
    config = dataclasses.replace(small_config(Path(), Path()).model, actions=actions)
    return DiffusionPolicy(small_spec(), config).eval()


def context(batch: int, length: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn((batch, length, 1 + 12 + len(JOINTS)), generator=generator)
    rows[..., 0] = torch.arange(length - 1, -1, -1) * 0.2
    return rows


def test_every_remembered_row_can_change_the_chunk() -> None:
    model, noise = policy(), torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(2))
    reference = model.sample(context(1), noise)
    for row in range(4):
        changed = context(1)
        changed[0, row, 1] += 3.0
        assert (model.sample(changed, noise) - reference).abs().max() > 1e-5, f"row {row} is not read"


def test_the_order_of_the_past_matters() -> None:
    model, noise = policy(), torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(2))
    rows = context(1)
    swapped = rows.clone()
    swapped[0, [0, 1], 1:] = rows[0, [1, 0], 1:]
    assert (model.sample(swapped, noise) - model.sample(rows, noise)).abs().max() > 1e-5


def test_samples_of_a_batch_do_not_mix() -> None:
    model, noise = policy(), torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(2))
    together = model.sample(context(3), noise)
    for i in range(3):
        torch.testing.assert_close(
            model.sample(context(3)[i : i + 1], noise[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5
        )


def test_relative_actions_move_with_the_newest_joints() -> None:
    model = policy("relative")
    model.scaling.proprioception_std.fill_(1e9)  # blinds the network to the joints, so that only the anchor is left
    noise = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(2))
    rows = context(1)
    moved = rows.clone()
    moved[0, -1, -8:] += 0.5
    torch.testing.assert_close(model.sample(moved, noise), model.sample(rows, noise) + 0.5, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("actions", ["relative", "absolute"])
def test_the_loss_is_reproducible_from_its_generator(actions: str) -> None:
    model, chunk = policy(actions), torch.zeros(2, 8, 8)
    losses = [model.loss(context(2), chunk, torch.Generator().manual_seed(5)).item() for _ in range(2)]
    assert losses[0] == losses[1] > 0
