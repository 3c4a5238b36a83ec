"""A bundle that is made ready beside the running one, in a thread of its own that gives way to the control."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.errors import PolicyError
from policy_server.runtime.priority import give_way
from policy_server.runtime.succession import check_succession

Part = TypeVar("Part")
Stage = Literal["none", "reading", "warming up", "catching up", "ready", "taking over", "failed"]


class SwapError(PolicyError):
    """A bundle cannot take over (yet); the running one goes on."""


@dataclass(frozen=True)
class SwapState:
    """How far a swap of bundles has come in one node.

    Attributes:
        running: hash of the bundle that runs.
        stage: of the one that is to take over; "none" where there is none.
        folder, hash: of that one; the hash is empty while it is being read.
        detail: one line for people: how far it is, or why it failed.
        last: what came of the newest take-over, one line; empty before the first.
    """

    running: str
    stage: Stage = "none"
    folder: str = ""
    hash: str = ""
    detail: str = ""
    last: str = ""


def nothing_to_do(_part: object) -> bool:
    """The ``work`` of a part that is ready once it is built."""
    return False


class Successor(Generic[Part]):
    """The part of a new bundle that one node runs: its memory, or its actor.

    A thread reads the bundle, checks it against the running one, calls ``build``, then ``work`` until that returns False (nothing to
    do): it is ready. ``wake`` makes it look for work again. An exception out of either ends the thread; ``stage`` is then "failed",
    ``reason`` says why, and ``on_failure`` has been told. Every method may be called from any thread and returns at once.

    Attributes:
        outgoing: what the part has replaced; dropped by the thread, since to free a session takes tens of milliseconds.
    """

    def __init__(
        self,
        folder: str,
        running: Bundle,
        *,
        build: Callable[[Bundle], Part],
        work: Callable[[Part], bool] = nothing_to_do,
        on_failure: Callable[[str], object] = lambda reason: None,
        gives_way: bool = True,
    ) -> None:
        """``gives_way``: at low priority; not for a part that starts threads, which would keep it for good."""
        self.folder = folder
        self.bundle: Bundle | None = None
        self.reason = ""
        self.outgoing: object = None
        self._running = running
        self._build = build
        self._work = work
        self._on_failure = on_failure
        self._gives_way = gives_way
        self._stage: Stage = "reading"
        self._part: Part | None = None
        self._awake = threading.Event()
        self._settled = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="successor", daemon=True)
        self._thread.start()

    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def part(self) -> Part | None:
        """What was built; None before, and once it has failed or ended."""
        return self._part

    def wake(self) -> None:
        """Look for work."""
        self._awake.set()

    def fail(self, error: Exception) -> None:
        """Give up because of ``error``."""
        known = isinstance(error, PolicyError)
        self.reason = " ".join(str(error).split()) if known else f"{type(error).__name__}: {error}"
        self._stage, self._part = "failed", None
        self.end()
        self._on_failure(f"bundle '{self.folder}' does not take over, the running one goes on: {self.reason}")

    def end(self) -> None:
        """The thread ends after the step in progress, and drops what it holds."""
        self._ended = True
        self._awake.set()
        self._settled.set()

    def wait(self, timeout_s: float | None = None) -> Stage:
        """Until it is ready, has failed or was ended; returns the stage."""
        self._settled.wait(timeout_s)
        return self._stage

    def _run(self) -> None:
        try:
            if self._gives_way:
                give_way()
            self._live()
        except Exception as error:
            if not self._ended:  # else nobody waits for it any more
                self.fail(error)
        self._part = self.outgoing = None

    def _live(self) -> None:
        bundle = load_bundle(self.folder)
        check_succession(self._running, bundle)
        if self._ended:
            return
        self.bundle = bundle
        self._stage = "warming up"
        part = self._part = self._build(bundle)
        self._stage = "catching up"
        while not self._ended:
            if not self._work(part):
                self._be_ready()
                self._awake.wait()
                self._awake.clear()

    def _be_ready(self) -> None:
        if not self._ended:
            self._stage = "ready"
            self._settled.set()
