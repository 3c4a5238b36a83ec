"""What the optimizer refuses: parameters, hyperparameters and gradients that it cannot use."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from policy_server.muon.errors import MuonParameterError, NonFiniteGradientError
from policy_server.muon.matrices import MatrixLayout
from policy_server.runtime.errors import ConfigurationError


def refuse_non_finite(gradients: Sequence[tuple[str, Tensor]]) -> None:
    """Raises NonFiniteGradientError. One look at all gradients together, so that a GPU is waited for once."""
    if not gradients:
        return
    norms = torch._foreach_norm([gradient for _, gradient in gradients], dtype=torch.float32)
    if torch.stack([norm.to(norms[0].device) for norm in norms]).isfinite().all():
        return
    name = next(name for (name, _), norm in zip(gradients, norms, strict=True) if not norm.isfinite())
    raise NonFiniteGradientError(
        f"the gradient of '{name}' is not finite: lower the learning rate, clip the gradients or use float32"
    )


def check_parameter(name: str, parameter: Tensor, kind: str, layout: MatrixLayout) -> None:
    """Raises MuonParameterError: complex, or in a Muon group and no matrix, or not to be split as its layout says."""
    if parameter.is_complex():
        raise MuonParameterError(f"'{name}' is complex: train its real and imaginary parts")
    if kind != "muon":
        return
    if parameter.ndim < 2:
        raise MuonParameterError(
            f"'{name}' has shape {tuple(parameter.shape)}, no matrix: put it into a group of kind 'adamw' "
            "(muon_parameters does so)"
        )
    if parameter.shape[0] % layout.parts:
        raise MuonParameterError(f"'{name}' has {parameter.shape[0]} rows: not to be split into {layout.parts} parts")


def check_hyperparameters(group: dict[str, Any]) -> None:
    """Raises ConfigurationError for a value out of range in a parameter group."""

    def refuse(key: str, mend: str) -> None:
        raise ConfigurationError(f"{key}: {group[key]!r}: {mend}")

    if group["kind"] not in ("muon", "adamw"):
        refuse("kind", "must be 'muon' or 'adamw'")
    if not float(group["lr"]) >= 0:
        refuse("lr", "must not be negative")
    if not group["weight_decay"] >= 0:
        refuse("weight_decay", "must not be negative")
    if not 0 <= group["momentum"] < 1:
        refuse("momentum", "must lie in [0, 1)")
    if group["scaling"] not in ("original", "match_rms_adamw", "none"):
        refuse("scaling", "must be 'original', 'match_rms_adamw' or 'none'")
    if not all(0 <= beta < 1 for beta in group["betas"]):
        refuse("betas", "must lie in [0, 1)")
