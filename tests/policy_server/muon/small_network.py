"""A small network with every kind of layer that Muon reshapes, and gradients that do not come from a loss."""

import torch
from torch import Tensor, nn

from policy_server.muon.layers import LayerRule

# Its layers are small, and none is an end worth sparing.
RULE = LayerRule(ends=False, smallest_side=2)


class SmallNetwork(nn.Module):
    """(B, 6, 8) → (B, 4)."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv1d(6, 10, 3, padding=1)
        self.norm = nn.GroupNorm(2, 10)
        self.key_value = nn.Linear(10, 12)
        self.mix = nn.Linear(12, 12)
        self.again = nn.Linear(12, 12)
        self.grow = nn.ConvTranspose1d(12, 5, 4, stride=2, padding=1)
        self.out = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.first(x))).transpose(1, 2)
        h = torch.tanh(self.again(torch.relu(self.mix(self.key_value(h)))))
        return self.out(self.grow(h.transpose(1, 2)).mean(-1))


def draw_gradients(network: nn.Module, seed: int) -> None:
    """Gradients as a function of the seed alone, of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    for index, parameter in enumerate(network.parameters()):
        parameter.grad = torch.randn(parameter.shape, generator=generator) * 10.0 ** (index % 5 - 3)
