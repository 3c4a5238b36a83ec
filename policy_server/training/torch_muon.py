"""``torch.optim.Muon`` as its user has it: hidden linear layers by it, all else by AdamW, as one optimizer to the trainer."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from policy_server.muon.layers import assign_layers
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import OptimizerConfig


class TorchMuon:
    """Two optimizers that step together.

    ``torch.optim.Muon`` takes matrices only, so convolution kernels go to AdamW with the norms, biases and the first and last layer;
    a joint projection of queries, keys and values is one matrix to it.

    Raises:
        ConfigurationError: a scaling that it does not know, or networks without a hidden linear layer.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        muon, scaling = config.muon, config.muon.scaling
        if scaling == "none":
            raise ConfigurationError(f"optimizer.muon.scaling={scaling}: torch_muon knows original and match_rms_adamw")
        hidden = {layer.name for layer in assign_layers(model) if layer.kind == "muon" and len(layer.shape) == 2}
        if not hidden:
            raise ConfigurationError("optimizer.kind=torch_muon: the networks have no hidden linear layer: use muon")
        named = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
        self.names = [name for name, _ in named if name in hidden]
        self.muon = torch.optim.Muon(
            [tensor for name, tensor in named if name in hidden],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            momentum=muon.momentum,
            nesterov=muon.nesterov,
            adjust_lr_fn=scaling,
        )
        self.adamw = torch.optim.AdamW(
            [tensor for name, tensor in named if name not in hidden],
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Muon's group, then AdamW's: the very ones that they read."""
        return [*self.muon.param_groups, *self.adamw.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.muon.zero_grad(set_to_none)
        self.adamw.zero_grad(set_to_none)

    def step(self) -> None:
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])

    @torch.no_grad()
    def matrices(self) -> Iterator[tuple[str, Tensor]]:
        """Name and what the last ``step`` orthonormalised, (1, rows, columns), while its gradients are still there."""
        for group in self.muon.param_groups:
            for name, parameter in zip(self.names, group["params"], strict=True):
                buffer = self.muon.state[parameter].get("momentum_buffer")
                if buffer is not None and parameter.grad is not None:
                    update = parameter.grad.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer
                    yield name, update[None]
