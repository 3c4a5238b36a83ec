"""Self-verification at test time (Past-Token Prediction, arXiv 2505.09561): of several candidate chunks, the one that agrees best
with the actions that were really executed."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import PolicyError
from policy_server.runtime.manifest import PolicySpec


class VerificationError(PolicyError):
    """A policy was asked to verify candidates that it has nothing to verify by."""


@dataclass(frozen=True)
class ExecutedPast:
    """The executed actions that a chunk's past rows can be compared with.

    Attributes:
        ticks_back: int64 (K,), how many ticks before the chunk's stamp each action was taken, at least 1.
        actions: float32 (K, A), joint targets in rad and m.
    """

    ticks_back: NDArray[np.int64]
    actions: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ticks_back)


@dataclass(frozen=True)
class Verification:
    """Which candidate was chosen, and the past errors of all of them (see ``past_errors``), float64 (N,)."""

    chosen: int
    errors: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The chosen candidate's past error."""
        return float(self.errors[self.chosen])

    @property
    def spread(self) -> float:
        """How much worse the worst candidate's past error is: near zero, the choice was between equals."""
        return float(self.errors.max() - self.errors.min())


class ExecutedActions:
    """What the policy commanded in the last ticks, one action per answered tick.

    The action of a tick is the first step of the chunk that answered it, the target for one period later: the very thing that a
    demonstration records as that tick's action. It is taken where the answer is given and not where the arm moves, so it
    depends on the contexts alone: it is the same in lockstep, in one process and over topics, and needs no topic of its own.
    The arm did something else only where the guard limited a step, refused a chunk or got it late; demonstrations, too, hold
    the target there and not the motion. A tick that was never answered is not in the record.
    """

    def __init__(self, period_ns: int, ticks: int) -> None:
        self._period_ns = period_ns
        self._ticks = ticks
        self._newest: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=ticks)

    def clear(self) -> None:
        """Forget the episode."""
        self._newest.clear()

    def add(self, stamp_ns: int, action: NDArray[np.float32]) -> None:
        """Record the action (A,) of the tick at ``stamp_ns``. A tick that is answered again takes the place of its first answer."""
        while self._newest and self._newest[-1][0] >= stamp_ns:
            self._newest.pop()
        self._newest.append((stamp_ns, action))

    def before(self, stamp_ns: int) -> ExecutedPast:
        """The actions of the last ``ticks`` ticks before ``stamp_ns`` that are in the record, oldest first."""
        known = [(round((stamp_ns - stamp) / self._period_ns), action) for stamp, action in self._newest]
        known = [(back, action) for back, action in known if 1 <= back <= self._ticks]
        actions = [action for _, action in known]
        return ExecutedPast(
            np.array([back for back, _ in known], np.int64),
            np.stack(actions) if actions else np.empty((0, 0), np.float32),
        )


def past_errors(
    candidates: NDArray[np.float32], past_steps: int, executed: ExecutedPast, scales: NDArray[np.float32]
) -> NDArray[np.float64]:
    """How far each candidate's past lies from what was executed: the mean square over the executed actions and joints.

    Each difference is first divided by its joint's scale (``VerificationSpec.scales``), so the error is that of the policy's
    own normalised actions, without unit.

    Args:
        candidates: float32 (N, H, A), rad and m, past rows first.
        past_steps: how many of the H rows are the past; row ``past_steps - b`` is the action b ticks ago.
        executed: at least one action, none further back than ``past_steps``.
        scales: float32 (A,), rad and m.

    Returns:
        float64 (N,); infinite for a candidate that holds a number that is not finite.
    """
    predicted = candidates[:, past_steps - executed.ticks_back].astype(np.float64)
    errors = np.square((predicted - executed.actions) / scales).mean(axis=(1, 2))
    return np.where(np.isfinite(candidates).all(axis=(1, 2)), errors, np.inf)


def verify(
    candidates: NDArray[np.float32], past_steps: int, executed: ExecutedPast, scales: NDArray[np.float32]
) -> Verification:
    """Choose the candidate with the smallest past error, the first of equals. Arguments as for ``past_errors``."""
    errors = past_errors(candidates, past_steps, executed, scales)
    return Verification(int(errors.argmin()), errors)


def check_candidates(spec: PolicySpec, candidates: int) -> int:
    """``candidates``, where the policy can be run with so many.

    Raises:
        VerificationError: fewer than one, or several of a policy without past actions, or whose manifest does not say their scale.
    """
    scales = spec.verification.scales
    if candidates < 1:
        raise VerificationError(f"{candidates} candidates: draw at least 1 (1 switches the verification off)")
    if candidates == 1:
        return candidates
    if spec.action.past_steps == 0:
        raise VerificationError(
            f"{candidates} candidates of policy '{spec.name}': its chunk has no past actions (past_steps 0) to verify them by; "
            "train with chunk.past_steps and past_targets, or draw 1 candidate"
        )
    if len(scales) != len(spec.action.joints) or min(scales) <= 0:
        raise VerificationError(
            f"{candidates} candidates of policy '{spec.name}': its manifest gives scales {scales} for "
            f"{len(spec.action.joints)} action joints; export the bundle again, or draw 1 candidate"
        )
    return candidates
