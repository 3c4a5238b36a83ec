"""The actor of a running policy, and its change to another bundle at the end of a chunk."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.actor import Actor
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import BundleError
from policy_server.runtime.history import Context
from policy_server.runtime.successor import Successor, SwapState


@dataclass(frozen=True)
class Answer:
    """A chunk, the hash of the bundle that it comes from, and how long the network ran for it (0: the standing plan goes on)."""

    chunk: ActionChunk
    bundle_hash: str
    network_ns: int


class ActorRelay:
    """Answers each context with the actor of the bundle that made it.

    ``prepare`` makes the actor of another bundle ready beside the running one. The first contexts of that bundle are still answered
    with the rest of the standing chunk; where the next sample is due the new actor takes over and the old one is gone. Methods but
    ``state`` are called one at a time.
    """

    def __init__(
        self,
        bundle: Bundle,
        make_actor: Callable[[Bundle], Actor],
        *,
        gives_way: bool = True,
        on_failure: Callable[[str], object] = lambda reason: None,
    ) -> None:
        """``gives_way``: see ``Successor``."""
        self.bundle = bundle
        self.actor = make_actor(bundle)
        self._make_actor = make_actor
        self._gives_way = gives_way
        self._on_failure = on_failure
        self._successor: Successor[Actor] | None = None
        self._last = ""

    def answer(self, context: Context, bundle_hash: str) -> Answer:
        """Raises BundleError for a context of a bundle that neither runs nor is ready, ObservationError as ``Actor.answer``."""
        if bundle_hash != self.bundle.hash:
            successor = self._ready(bundle_hash)
            if not self.actor.is_due(context.stamp_ns):
                return Answer(self.actor.go_on(context.stamp_ns), self.bundle.hash, 0)
            self._take_over(successor)
        chunk = self.actor.answer(context)
        return Answer(chunk, self.bundle.hash, self.actor.last_network_ns)

    def clear(self) -> None:
        """Forget the episode. A bundle that is being made ready stays so."""
        self.actor.clear()

    def prepare(self, folder: str) -> None:
        """Begin to make the bundle in this folder ready, in place of one that was; returns at once, ``state`` tells the rest."""
        self.abandon()
        self._successor = Successor(
            folder, self.bundle, build=self._build, on_failure=self._on_failure, gives_way=self._gives_way
        )

    def abandon(self) -> None:
        """Drop the bundle that is being made ready, if any."""
        if self._successor is not None:
            self._successor.end()
        self._successor = None

    @property
    def state(self) -> SwapState:
        """How far a swap has come."""
        successor = self._successor
        if successor is None:
            return SwapState(self.bundle.hash, last=self._last)
        new_hash = successor.bundle.hash if successor.bundle else ""
        return SwapState(self.bundle.hash, successor.stage, successor.folder, new_hash, successor.reason, self._last)

    def _build(self, bundle: Bundle) -> Actor:
        actor = self._make_actor(bundle)
        spec = bundle.spec
        context = np.zeros((spec.history.length, spec.row_width), np.float32)
        if not np.isfinite(actor.denoiser.sample(context, np.zeros(actor.denoiser.chunk_shape, np.float32))).all():
            raise BundleError(f"bundle '{bundle.path}' answers numbers that are not finite: train or export it again")
        return actor

    def _ready(self, bundle_hash: str) -> Successor[Actor]:
        successor = self._successor
        new = successor.bundle if successor is not None and successor.stage == "ready" else None
        if successor is None or new is None or new.hash != bundle_hash:
            raise BundleError(
                f"policy/context comes from bundle {bundle_hash[:12] or '(none)'}, this node runs {self.bundle.hash[:12]} "
                f"('{self.bundle.path}'): give history_node and inference_node the same bundle"
            )
        return successor

    def _take_over(self, successor: Successor[Actor]) -> None:
        actor, bundle = successor.part, successor.bundle
        assert actor is not None and bundle is not None
        self._last = f"{bundle.hash[:12]} took over from {self.bundle.hash[:12]}"
        self.bundle = bundle
        self.actor, successor.outgoing = actor, self.actor
        self.abandon()
