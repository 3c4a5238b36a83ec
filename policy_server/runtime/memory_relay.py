"""The memory of a running policy, and its change to another bundle without a lost tick."""

from collections.abc import Callable

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.clock import ns_to_seconds
from policy_server.runtime.errors import PolicyError
from policy_server.runtime.history import Context
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from policy_server.runtime.raw_frames import RawFrames
from policy_server.runtime.rebuilt_memory import RebuiltMemory, reach_ns
from policy_server.runtime.successor import Successor, SwapError, SwapState


class MemoryRelay:
    """Observation in, context and the hash of its bundle out.

    ``prepare`` makes the memory of another bundle ready beside the running one, of the frames that were kept; from the first
    observation after ``take_over`` at which it has caught up, contexts are its own. Until then, and when anything fails, they are
    those of the running bundle. No observation waits for more than one encoder pass. Methods but ``state`` are called one at a time.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "cpu",
        threads: int = 1,
        max_gap_ns: int,
        frames_limit_bytes: int,
        on_failure: Callable[[str], object] = lambda reason: None,
    ) -> None:
        """``frames_limit_bytes``: room for raw frames; 0: none are kept, so that only a policy without cameras can be swapped."""
        self.bundle = bundle
        self.frames = RawFrames(reach_ns(bundle.spec), frames_limit_bytes)
        self.last_network_ns = 0
        self._provider = provider
        self._threads = threads
        self._max_gap_ns = max_gap_ns
        self._frames_limit_bytes = frames_limit_bytes
        self._on_failure = on_failure
        self._memory = Memory(bundle, provider=provider, threads=threads, max_gap_ns=max_gap_ns)
        self._successor: Successor[RebuiltMemory] | None = None
        self._is_taking_over = False
        self._last = ""

    def observe(self, observation: Observation) -> tuple[Context, str]:
        """Raises ObservationError, StampError."""
        self.frames.add(observation)
        context = self._taken_over(observation) if self._is_taking_over else None
        if context is None:
            context = self._memory.observe(observation)
            if self._successor is not None:
                self._successor.wake()
        self.last_network_ns = self._memory.last_network_ns
        return context, self.bundle.hash

    def clear(self) -> None:
        """Forget the episode. A bundle that is being made ready stays so."""
        self.frames.clear()
        self._memory.clear()
        rebuilt = self._successor.part if self._successor else None
        if rebuilt is not None:
            rebuilt.clear()

    def prepare(self, folder: str) -> None:
        """Begin to make the bundle in this folder ready, in place of one that was; returns at once, ``state`` tells the rest."""
        self.abandon()
        self._successor = Successor(
            folder,
            self.bundle,
            build=self._build,
            work=RebuiltMemory.step,
            on_failure=self._on_failure,
            gives_way=self._threads == 1,
        )

    def abandon(self) -> None:
        """Drop the bundle that is being made ready, if any."""
        if self._successor is not None:
            self._successor.end()
        self._successor, self._is_taking_over = None, False
        self.frames.set_reach(reach_ns(self.bundle.spec))

    def take_over(self) -> str:
        """Let the new bundle take over with one of the next observations; returns its hash. Raises SwapError when none is ready."""
        state = self.state
        if state.stage not in ("ready", "taking over"):
            detail = f" is {state.stage}{f': {state.detail}' if state.detail else ''}" if state.folder else ""
            raise SwapError(f"no bundle is ready to take over: {state.folder or 'set next_bundle first'}{detail}")
        self._is_taking_over = True
        return state.hash

    @property
    def state(self) -> SwapState:
        """How far a swap has come."""
        successor = self._successor
        if successor is None:
            return SwapState(self.bundle.hash, last=self._last)
        stage = "taking over" if self._is_taking_over and successor.stage == "ready" else successor.stage
        new_hash = successor.bundle.hash if successor.bundle else ""
        return SwapState(self.bundle.hash, stage, successor.folder, new_hash, self._detail(successor), self._last)

    def _build(self, bundle: Bundle) -> RebuiltMemory:
        if bundle.spec.cameras and not self._frames_limit_bytes:
            raise SwapError(
                "no raw frames are kept (frames_mb is 0), so its encoder cannot see what was: start history_node with frames_mb above 0, "
                "or start the graph anew with the bundle"
            )
        # From now on for both: what it has to see must not be dropped before.
        self.frames.set_reach(max(reach_ns(self.bundle.spec), reach_ns(bundle.spec)))
        return RebuiltMemory(
            bundle, self.frames, provider=self._provider, threads=self._threads, max_gap_ns=self._max_gap_ns
        )

    def _taken_over(self, observation: Observation) -> Context | None:
        """The new bundle's context, if it can be had now; with it the old bundle is gone."""
        successor = self._successor
        rebuilt = successor.part if successor else None
        if successor is None or successor.bundle is None or rebuilt is None:
            self._is_taking_over = False  # it has failed, and said so
            return None
        try:
            context = rebuilt.observe(observation)
        except PolicyError as error:
            successor.fail(error)
            return None
        if context is None:
            return None
        padding = rebuilt.padding
        at_s = ns_to_seconds(observation.stamp_ns)
        self._last = f"{successor.bundle.hash[:12]} took over from {self.bundle.hash[:12]} at {at_s:.3f} s"
        self._last += f"; {padding}" if padding else "; its memory is complete"
        self.bundle = successor.bundle
        self._memory, successor.outgoing = rebuilt.memory, self._memory
        self.abandon()
        return context

    def _detail(self, successor: Successor[RebuiltMemory]) -> str:
        rebuilt = successor.part
        if rebuilt is None:
            return successor.reason
        waiting = rebuilt.waiting
        if waiting and successor.stage == "catching up":
            return f"{waiting} of {len(self.frames)} frames are still to be encoded"
        return rebuilt.padding
