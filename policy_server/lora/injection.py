"""An adapter on a policy that is trained: ``peft`` wraps the chosen layers, and nothing but the adapter learns."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from policy_server.lora.targets import choose_layers
from policy_server.lora.weights import is_of_adapter
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import LoraSettings


def inject_adapter(policy: nn.Module, settings: LoraSettings) -> None:
    """Put an adapter that changes nothing yet (B = 0, A drawn from torch's generator) on the layers that ``settings`` name.

    Raises:
        LoraTargetError: a target names no layer.
    """
    # Here, because it brings half of the Hugging Face world along and takes seconds, and most trainings have no adapter.
    from peft import LoraConfig, inject_adapter_in_model

    paths = [layer.path for layer in choose_layers(policy, settings.targets)]
    exactly = "|".join(re.escape(path) for path in paths)  # a list would be matched as endings of paths
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # any number will do
        target_modules=exactly,
        lora_dropout=0.0,
        bias="none",
    )
    inject_adapter_in_model(config, policy)
    train_adapter_alone(policy)


def is_adapted(module: nn.Module) -> bool:
    return any(is_of_adapter(name) for name, _ in module.named_parameters())


def train_adapter_alone(policy: nn.Module) -> None:
    """Freeze everything but the adapter."""
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(is_of_adapter(name))


def adapter_tensors(policy: nn.Module) -> dict[str, Tensor]:
    """Copies of the adapter's tensors, by their names in the policy's state dict."""
    return {name: value.detach().clone() for name, value in policy.named_parameters() if is_of_adapter(name)}


def trained_fraction(policy: nn.Module) -> float:
    """The adapter's parameters over those of the policy underneath; 1 without adapter."""
    sizes = {True: 0, False: 0}
    for name, parameter in policy.named_parameters():
        sizes[is_of_adapter(name)] += parameter.numel()
    return sizes[True] / sizes[False] if sizes[True] else 1.0


def check_encoder_goes_with_adapter(policy: nn.Module, mode: str) -> None:
    """Raises ConfigurationError when an encoder is to be adapted whose embeddings were written once, or that is to stay frozen."""
    encoder = policy.get_submodule("encoder")
    if is_adapted(encoder) and mode != "end_to_end":
        raise ConfigurationError(
            f"encoder.mode={mode} keeps the encoder as it is, but lora.targets adapt it: set encoder.mode=end_to_end, or leave "
            "'encoder' and 'all' out of the targets"
        )


def check_encoder_is_of_base(policy: nn.Module, base: Mapping[str, Tensor]) -> None:
    """Raises ConfigurationError when the policy's encoder is not that of ``base``, its state dict: the adapter would be for neither."""
    for name, value in policy.get_submodule("encoder").state_dict().items():
        if not torch.equal(value, base[name]):
            raise ConfigurationError(
                f"encoder.weights are not those of start_from ({name} differs): with lora, give the weights of the base's encoder"
            )
