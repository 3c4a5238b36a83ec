"""Bundles on the way from the base to the tuned policy, (1 - alpha) base + alpha tuned (RETAIN, arXiv 2512.08333)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from policy_server.export.writing import write_bundle
from policy_server.lora.tuned import Tuned
from policy_server.lora.weights import InterpolationError, interpolated
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime import configuration
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import BundleError


def write_interpolations(
    tuned: Tuned,
    alphas: Sequence[float],
    folder: Path,
    should_stop: Callable[[], bool] = lambda: False,
    on_bundle: Callable[[float, Path], None] = lambda alpha, bundle: None,
) -> bool:
    """One merged bundle per alpha, ``folder/alpha_<alpha>``; one that is there already and is of this run and step is kept.

    Returns whether all are there; False when it was asked to stop between two.

    Raises:
        InterpolationError: an alpha is given twice or is not from 0 to 1, or the two policies are not of one line.
    """
    if len(set(alphas)) != len(alphas):
        raise InterpolationError(f"alphas {list(alphas)}: give each once")
    for alpha in alphas:
        interpolated(tuned.base, tuned.tuned, alpha)  # refuses before the first minute is spent
    for alpha in alphas:
        if should_stop():
            return False
        bundle = folder / f"alpha_{alpha:g}"
        if not _is_there(bundle, tuned, alpha):
            write_merged(tuned, bundle, alpha)
        on_bundle(alpha, bundle)
    return True


def write_merged(tuned: Tuned, bundle: Path, alpha: float = 1.0) -> None:
    """The bundle of the policy at ``alpha`` between the base (0) and the tuned one (1), checked against torch.

    Raises:
        InterpolationError: ``alpha`` is not from 0 to 1, or the two policies are not of one line.
        ParityError: the bundle does not answer what torch answers.
    """
    policy = DiffusionPolicy(tuned.spec, tuned.config.model)
    policy.load_state_dict(interpolated(tuned.base, tuned.tuned, alpha))
    write_bundle(policy, tuned.spec, bundle, _facts(tuned, alpha))


def _facts(tuned: Tuned, alpha: float) -> dict[str, object]:
    return {"steps": tuned.step, "config": configuration.to_plain(tuned.config), "alpha": alpha}


def _is_there(bundle: Path, tuned: Tuned, alpha: float) -> bool:
    try:
        return load_bundle(bundle).manifest.training == _facts(tuned, alpha)
    except BundleError:
        return False
