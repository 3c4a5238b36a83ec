"""What an optimizer step costs on the policy's parameters: ``python benchmarks/bench_muon.py --json muon.json``.

Our Muon with the recipe that it measures itself, against torch.optim.Muon (which takes matrices only, so it gets reshaped ones), a
plain float32 Muon of five steps, and the package ``muon-optimizer`` where it is installed; each with AdamW for the rest.
"""

import argparse
import importlib
import importlib.util
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from machine import describe_machine
from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.model.transformer import TransformerConfig
from policy_server.model.unet import UnetConfig
from policy_server.muon.adaptive import AdaptiveConfig
from policy_server.muon.configuration import PolarConfig, Precision, describe_config
from policy_server.muon.cost import CostModel, flops, measure_costs
from policy_server.muon.layers import assign_layers, muon_parameters
from policy_server.muon.matrices import MatrixLayout, as_matrices
from policy_server.muon.optimizer import Muon
from policy_server.muon.polar import orthonormalise
from policy_server.muon.recipe import FIXED_FIVE, ROUNDING, RecipeConfig
from policy_server.muon.recipe_file import Recipe
from policy_server.runtime.command import run_command
from policy_server.runtime.manifest import ActionSpec, HistorySpec, PolicySpec, SamplerSpec

POLICIES = {
    "unet": ModelConfig("unet_attention", unet=UnetConfig((128, 256, 512))),
    "unet_small": ModelConfig("unet_attention", unet=UnetConfig((64, 128, 256))),
    "transformer": ModelConfig("transformer", transformer=TransformerConfig(256, 8, 4)),
}
JOINTS = (*(f"fr3_joint{i}" for i in range(1, 8)), "fr3_finger_joint1")
CONTEXT, BATCH, FEATURES = 32, 64, 128
TORCHS = PolarConfig("jordan", 5, "direct", "bfloat16")


@dataclass(frozen=True)
class Subject:
    """A policy with gradients, the matrices of its Muon layers as they are orthonormalised, and the recipe for them."""

    policy: DiffusionPolicy
    matrices: dict[str, Tensor]
    recipe: dict[str, PolarConfig]


def main() -> int:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    model = measure_costs()
    results = {name: _measure(name, arguments, model) for name in arguments.policies}
    total = {
        key: sum(each["step_ms"][key] for each in results.values()) for key in next(iter(results.values()))["step_ms"]
    }
    result = {
        "step_speedup_over_torch": round(total["torch"] / total["recipe"], 3),
        "step_speedup_over_float32": round(total["float32"] / total["recipe"], 3),
        "step_speedup_over_reference": round(total["reference"] / total["recipe"], 3) if "reference" in total else None,
        "ns_flops_over_fixed5": round(
            sum(each["flops"] for each in results.values()) / sum(each["flops_fixed5"] for each in results.values()), 4
        ),
        "policies": results,
        "cost_model": vars(model),
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "machine": describe_machine(),
    }
    print(
        f"recipe: {result['step_speedup_over_torch']} times as fast as torch.optim.Muon, "
        f"{result['step_speedup_over_float32']} times as fast as five float32 steps, "
        f"with {result['ns_flops_over_fixed5']} of their FLOPs"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def _measure(name: str, arguments: argparse.Namespace, model: CostModel) -> dict[str, Any]:
    subject = _trained(POLICIES[name], arguments.train_steps, tuple(arguments.precision), model)
    step_ms = _interleaved(_contestants(subject), arguments.rounds, name)
    spent = sum(len(each) * flops(subject.recipe[key], *each.shape[1:]) for key, each in subject.matrices.items())
    fixed = sum(len(each) * flops(FIXED_FIVE, *each.shape[1:]) for each in subject.matrices.values())
    errors = _errors(
        subject,
        {
            "recipe": subject.recipe,
            "float32": dict.fromkeys(subject.recipe, FIXED_FIVE),
            "torch": dict.fromkeys(subject.recipe, TORCHS),
        },
    )
    counts = Counter(describe_config(config) for config in subject.recipe.values())
    print(f"{name}: {', '.join(f'{key} {value:.1f} ms' for key, value in step_ms.items())}")
    print(
        f"{name}: FLOPs {spent / fixed:.2f} of five steps', error {errors['recipe']:.3f} against {errors['float32']:.3f}"
    )
    return {
        "parameters": sum(parameter.numel() for parameter in subject.policy.parameters()),
        "layers": len(subject.recipe),
        "step_ms": {key: round(value, 2) for key, value in step_ms.items()},
        "step_speedup_over_torch": round(step_ms["torch"] / step_ms["recipe"], 3),
        "step_speedup_over_float32": round(step_ms["float32"] / step_ms["recipe"], 3),
        "flops": spent,
        "flops_fixed5": fixed,
        "ns_flops_over_fixed5": round(spent / fixed, 4),
        "orthogonalisation_error": {key: round(value, 4) for key, value in errors.items()},
        "recipe": dict(counts.most_common()),
    }


def _trained(config: ModelConfig, steps: int, precisions: tuple[Precision, ...], model: CostModel) -> Subject:
    """A policy after a few steps on made-up but learnable data, so that its momenta look like training, not like noise."""
    torch.manual_seed(0)
    features = tuple(f"feature_{i}" for i in range(FEATURES))
    spec = PolicySpec(
        name="bench",
        task="none",
        rate_hz=10.0,
        cameras=(),
        proprioception_joints=JOINTS,
        history=HistorySpec(tuple(range(CONTEXT - 1, -1, -1)), 0),
        action=ActionSpec(JOINTS, 4, 12, 4),
        sampler=SamplerSpec("ddim", 10, 100),
        features=features,
    )
    policy = DiffusionPolicy(spec, config)
    adaptive = AdaptiveConfig(steps, steps, recipe=RecipeConfig(precisions=precisions))
    optimizer = Muon(muon_parameters(policy), lr=1e-3, adaptive=adaptive, cost_model=model)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        policy.loss(*_batch(generator), generator).backward()
        optimizer.step()
    matrices = {name: each.clone() for name, each in optimizer.matrices()}
    return Subject(policy, matrices, optimizer.configurations())


def _batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Contexts (B, T, 1 + S) of slow random signals, and chunks (B, H, A) that depend on their past."""
    times = torch.arange(CONTEXT) / CONTEXT
    phases = torch.rand(BATCH, 1, 6, generator=generator) * 2 * math.pi
    signals = torch.sin(times[None, :, None] * torch.arange(1, 7) * 3 + phases)
    mixing = torch.sin(torch.arange(6.0)[:, None] * torch.arange(1.0, 1 + len(JOINTS) + FEATURES))
    states = signals @ mixing + 0.05 * torch.randn(BATCH, CONTEXT, mixing.shape[1], generator=generator)
    ages = ((CONTEXT - 1 - torch.arange(CONTEXT)) * 0.1).expand(BATCH, -1)[..., None]
    ahead = torch.linspace(-0.3, 1, 16)[None, :, None]
    actions = states[:, -1:, : len(JOINTS)] + 0.3 * ahead * torch.sin(3 * states[:, :1, : len(JOINTS)])
    return torch.cat([ages, states], dim=-1), actions


def _contestants(subject: Subject) -> dict[str, Callable[[], Any]]:
    """Name → one optimizer step, each on parameters and gradients of its own; learning rate 0, so that all stay alike."""
    parameters = dict(subject.policy.named_parameters())
    layers = assign_layers(subject.policy)
    # Joint projections as one matrix: five steps on it cost less than on its parts.
    matrices = [
        _own(parameters[layer.name], MatrixLayout(transposed=layer.layout.transposed))
        for layer in layers
        if layer.kind == "muon"
    ]
    rest = [_own(parameters[layer.name]) for layer in layers if layer.kind == "adamw"]
    adamw = torch.optim.AdamW(rest, lr=0.0)
    plain, torchs = PlainMuon(matrices, lr=0.0), torch.optim.Muon(matrices, lr=0.0)
    ours = Muon(muon_parameters(subject.policy), lr=0.0, recipe=Recipe(layers=subject.recipe))
    contestants: dict[str, Callable[[], Any]] = {
        "torch": lambda: (torchs.step(), adamw.step()),
        "float32": lambda: (plain.step(), adamw.step()),
        "recipe": ours.step,
    }
    if importlib.util.find_spec("muon"):
        package = importlib.import_module("muon")
        groups = [{"params": matrices, "lr": 0.0, "use_muon": True}, {"params": rest, "lr": 0.0, "use_muon": False}]
        contestants["reference"] = package.SingleDeviceMuonWithAuxAdam(groups).step
    return contestants


class PlainMuon(torch.optim.Optimizer):
    """What a short float32 Muon looks like: Jordan's quintic, five steps, one matrix after the other."""

    def __init__(self, matrices: list[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
                buffer.lerp_(parameter.grad, 0.05)
                direction = five_steps(parameter.grad.lerp(buffer, 0.95))
                rows, columns = parameter.shape
                parameter.mul_(1 - 0.1 * group["lr"])
                parameter.add_(direction, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)


def five_steps(matrix: Tensor) -> Tensor:
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if is_tall else x


def _own(parameter: Tensor, layout: MatrixLayout | None = None) -> nn.Parameter:
    """A copy with its gradient, as a matrix where a layout says how."""
    assert parameter.grad is not None

    def seen(tensor: Tensor) -> Tensor:
        return tensor.detach().clone() if layout is None else as_matrices(tensor.detach(), layout)[0].clone()

    own = nn.Parameter(seen(parameter))
    own.grad = seen(parameter.grad)
    return own


def _interleaved(contestants: dict[str, Callable[[], Any]], rounds: int, name: str) -> dict[str, float]:
    """Median milliseconds of each; every round runs all of them, so that a busy moment of the machine hits all alike."""
    durations_ms: dict[str, list[float]] = {key: [] for key in contestants}
    for step in contestants.values():
        step()
    for _ in tqdm(range(rounds), desc=f"measuring {name}"):
        for key, step in contestants.items():
            start_s = time.perf_counter()
            step()
            durations_ms[key].append(1e3 * (time.perf_counter() - start_s))
    return {key: statistics.median(values) for key, values in durations_ms.items()}


def _errors(subject: Subject, contenders: dict[str, dict[str, PolarConfig]]) -> dict[str, float]:
    """Root mean square, over all directions above rounding, of what is really computed less the exact polar factor."""
    squares, directions = dict.fromkeys(contenders, 0.0), 0
    for name, matrices in tqdm(subject.matrices.items(), desc="errors"):
        results = {key: orthonormalise(matrices, configs[name]) for key, configs in contenders.items()}
        for part, matrix in enumerate(matrices):
            wide = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).double()
            eigenvalues, left = torch.linalg.eigh(wide @ wide.T / wide.norm() ** 2)
            kept = eigenvalues > ROUNDING**2
            left = left[:, kept]
            right = left.T @ wide / (eigenvalues[kept].sqrt() * wide.norm())[:, None]
            directions += len(right)
            for key, result in results.items():
                own = result[part].double()
                squares[key] += float((left.T @ (own if wide.shape == own.shape else own.T) - right).square().sum())
    return {key: math.sqrt(value / directions) for key, value in squares.items()}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_muon.py",
        description="Median cost of an optimizer step with recipe Muon and with others, interleaved, and the FLOPs and error "
        "of its orthogonalisation.",
        epilog="example: python benchmarks/bench_muon.py --json muon.json",
    )
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES), help="which (default all)")
    parser.add_argument("--rounds", type=int, default=10, help="steps of each optimizer (default 10)")
    parser.add_argument("--train-steps", type=int, default=30, help="training before the recipe is made (default 30)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["float32", "bfloat16"],
        default=["float32", "bfloat16"],
        help="what a recipe may use (default both)",
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
