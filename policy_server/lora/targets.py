"""Which layers of a policy an adapter may change, what part each plays, and how they are chosen by name or by role."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from policy_server.runtime.errors import ConfigurationError

ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)

# Role -> patterns of module paths. Each layer plays the first role that fits; a test holds that every adaptable layer has one.
ROLES: dict[str, tuple[str, ...]] = {
    # How the observations and the diffusion step are made into what the chunk reads.
    "conditioning": (
        *("denoiser.tokens.*", "denoiser.step.*", "denoiser.condition.*"),
        *("denoiser.unet.*.condition.history", "denoiser.unet.*.condition.step.*"),
    ),
    "attention": ("denoiser.*attention.query*", "denoiser.*attention.key_value", "denoiser.*attention.out"),
    "feedforward": ("denoiser.*.feed_forward.*",),
    "conv": ("denoiser.unet.*",),  # what is left of a UNet: its convolutions
    "ends": ("denoiser.actions", "denoiser.out.*"),  # of the transformer: the chunk in, the chunk out
    "encoder": ("encoder.*",),
}
# Several roles at once. Without pictures ``all`` is ``denoiser``.
GROUPS: dict[str, tuple[str, ...]] = {
    "denoiser": tuple(role for role in ROLES if role != "encoder"),
    "all": tuple(ROLES),
}


class LoraTargetError(ConfigurationError):
    """A target of an adapter names no layer of the policy."""


@dataclass(frozen=True)
class AdaptableLayer:
    """A layer that an adapter can change. ``shape`` is its weight's: (out, in), then the kernel of a convolution."""

    path: str
    role: str
    shape: tuple[int, ...]

    def parameters(self, rank: int) -> int:
        """How many an adapter of this rank has for it."""
        return rank * (self.shape[0] + self.weights // self.shape[0])

    @property
    def weights(self) -> int:
        product = 1
        for side in self.shape:
            product *= side
        return product


def adaptable_layers(policy: nn.Module) -> list[AdaptableLayer]:
    """Linear layers, Conv1d and Conv2d of a policy without adapter, in its order.

    Norms, biases and the transposed convolutions that lengthen the chunk in the UNet are not among them.
    """
    return [
        AdaptableLayer(path, _role(path), tuple(module.weight.shape))
        for path, module in policy.named_modules()
        if isinstance(module, ADAPTABLE)
    ]


def choose_layers(policy: nn.Module, targets: Sequence[str]) -> list[AdaptableLayer]:
    """The layers that ``targets`` name, in the policy's order; a target is a role, a group of roles, or a pattern of module paths.

    Raises:
        LoraTargetError: a target fits no layer; the message says what there is.
    """
    layers = adaptable_layers(policy)
    chosen: set[str] = set()
    for target in targets:
        fitting = {layer.path for layer in layers if _fits(layer, target)}
        if not fitting:
            raise LoraTargetError(f"lora.targets: '{target}' fits no layer of this policy; {_mend(target, layers)}")
        chosen |= fitting
    return [layer for layer in layers if layer.path in chosen]


def _fits(layer: AdaptableLayer, target: str) -> bool:
    if target in GROUPS:
        return layer.role in GROUPS[target]
    return layer.role == target if target in ROLES else fnmatchcase(layer.path, target)


def _role(path: str) -> str:
    return next((role for role, patterns in ROLES.items() if any(fnmatchcase(path, each) for each in patterns)), "")


def _mend(target: str, layers: Sequence[AdaptableLayer]) -> str:
    present = {layer.role for layer in layers}
    roles = [role for role in ROLES if role in present]
    near = difflib.get_close_matches(target, [*roles, *GROUPS, *(layer.path for layer in layers)], n=1)
    question = f"did you mean '{near[0]}'? " if near else ""
    return f"{question}its roles: {', '.join([*roles, *GROUPS])}; or give a pattern such as '*attention.query'"
