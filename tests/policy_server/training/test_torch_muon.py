import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import MuonSettings, OptimizerConfig, TrainingConfig, policy_spec
from policy_server.training.episodes import load_episodes
from policy_server.training.torch_muon import TorchMuon
from policy_server.training.trainer import Trainer
from tests.small_policy import INFO, small_config, write_small_dataset

CONFIG = OptimizerConfig(kind="torch_muon", learning_rate=0.01, weight_decay=0.1)


class Networks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 32)
        self.convolution = nn.Conv1d(32, 32, 3)
        self.hidden = nn.Linear(32, 48)
        self.norm = nn.LayerNorm(48)
        self.last = nn.Linear(48, 4)


@pytest.fixture
def networks() -> nn.Module:
    torch.manual_seed(0)
    return Networks()


def give_gradients(networks: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in networks.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_hidden_linear_layers_are_its_own_and_all_else_is_adamws(networks: nn.Module) -> None:
    optimizer = TorchMuon(networks, CONFIG)
    assert optimizer.names == ["hidden.weight"]
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 9]


def test_a_step_is_that_of_the_two_optimizers_of_torch(networks: nn.Module) -> None:
    reference = copy.deepcopy(networks)
    settings = {"lr": 0.01, "weight_decay": 0.1}
    rest = [tensor for name, tensor in reference.named_parameters() if name != "hidden.weight"]
    muon = torch.optim.Muon([reference.hidden.weight], adjust_lr_fn="match_rms_adamw", **settings)
    adamw = torch.optim.AdamW(rest, betas=CONFIG.betas, fused=True, **settings)
    optimizer = TorchMuon(networks, CONFIG)
    for step in range(3):
        for model in (networks, reference):
            give_gradients(model, step)
        optimizer.step()
        muon.step()
        adamw.step()
    for own, other in zip(networks.parameters(), reference.parameters(), strict=True):
        assert torch.equal(own, other)


def test_a_learning_rate_of_its_groups_is_heard_by_both(networks: nn.Module) -> None:
    optimizer = TorchMuon(networks, CONFIG)
    before = copy.deepcopy(networks.state_dict())
    give_gradients(networks, 0)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in networks.state_dict().items())


def test_gradients_are_cleared(networks: nn.Module) -> None:
    optimizer = TorchMuon(networks, CONFIG)
    give_gradients(networks, 0)
    optimizer.zero_grad(set_to_none=True)
    assert all(parameter.grad is None for parameter in networks.parameters())


def test_what_was_orthonormalised_can_be_looked_at(networks: nn.Module) -> None:
    optimizer = TorchMuon(networks, replace(CONFIG, muon=MuonSettings(momentum=0.5)))
    give_gradients(networks, 0)
    assert list(optimizer.matrices()) == []
    optimizer.step()
    ((name, matrices),) = optimizer.matrices()
    gradient = networks.hidden.weight.grad  # momentum 0.5: half of it is in the buffer, which counts half
    assert name == "hidden.weight" and gradient is not None
    torch.testing.assert_close(matrices, 0.75 * gradient[None])


def test_networks_and_scalings_that_it_cannot_do_are_named(networks: nn.Module) -> None:
    with pytest.raises(ConfigurationError, match="no hidden linear layer"):
        TorchMuon(nn.Sequential(nn.Conv1d(4, 32, 3), nn.Conv1d(32, 32, 3), nn.Conv1d(32, 4, 3)), CONFIG)
    with pytest.raises(ConfigurationError, match=r"optimizer\.muon\.scaling=none"):
        TorchMuon(networks, replace(CONFIG, muon=MuonSettings(scaling="none")))


def test_a_resumed_training_repeats_an_unbroken_one_bit_by_bit(tmp_path: Path) -> None:
    dataset = write_small_dataset(tmp_path / "data", (9,))

    def trainer(output: str, steps: int) -> Trainer:
        config: TrainingConfig = small_config(
            dataset, tmp_path / output, features=True, cameras={}, optimizer=CONFIG, steps=6
        )
        spec = policy_spec(config, INFO)
        made = Trainer(config, spec, load_episodes(dataset, spec))
        made.resume()
        made.run(should_stop=lambda: made.step >= steps)
        return made

    unbroken = trainer("whole", 6)
    trainer("parts", 2)
    resumed = trainer("parts", 6)
    assert resumed.step == unbroken.step == 6
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
