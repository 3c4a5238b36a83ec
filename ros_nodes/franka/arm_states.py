"""What the arm may do at the moment, and who has to say what before it may do more.

    unarmed ──arm──► armed ──first chunk──► running ──silence, pause, dead-man──► holding
       ▲               ▲                                                            │ │
       │               └──────────────────────── arm ───────────────────────────────┘ └─ next chunk, where
       └──recover── fault ◄── stop, reflex, contact, lost arm: from every state            that is allowed ─► running

A stop latches: nothing leads from fault to motion but ``recover`` and then ``arm``.
"""

from enum import StrEnum

from policy_server.runtime.errors import PolicyError


class ArmState(StrEnum):
    """See the module."""

    UNARMED = "unarmed"
    ARMED = "armed"
    RUNNING = "running"
    HOLDING = "holding"
    FAULT = "fault"


class CommandRefused(PolicyError):
    """An operator's command that does not fit the arm's state."""


class ArmStates:
    """The state machine; it moves nothing itself.

    Attributes:
        state: see ``ArmState``.
        cause: why, one line.
    """

    def __init__(self, *, auto_arm: bool, auto_resume: bool) -> None:
        """``auto_arm``: be armed without a command, at the start and after a reset. ``auto_resume``: after a silence the next
        chunk goes on."""
        self._auto_arm = auto_arm
        self._auto_resume = auto_resume
        self._resumes = False
        self.state = ArmState.UNARMED
        self.cause = ""
        self.reset()

    @property
    def may_follow(self) -> bool:
        """Whether a chunk may move the arm."""
        if self.state == ArmState.HOLDING:
            return self._resumes
        return self.state in (ArmState.ARMED, ArmState.RUNNING)

    def arm(self) -> None:
        """Let the next chunk move the arm. Raises CommandRefused in a fault."""
        if self.state == ArmState.FAULT:
            raise CommandRefused(f"the arm is in a fault ({self.cause}): mend that and recover first")
        if self.state != ArmState.RUNNING:
            self._enter(ArmState.ARMED, "waiting for a chunk")

    def pause(self) -> None:
        """Come to rest and hold until the arm is armed again. Raises CommandRefused where nothing can be paused."""
        if self.state in (ArmState.UNARMED, ArmState.FAULT):
            raise CommandRefused(f"the arm is {self.state} ({self.cause}): there is nothing to pause")
        self.hold("paused by the operator", resumes=False)

    def stop(self) -> None:
        """Come to rest and stay in a fault until recovered and armed again."""
        self.fault("stopped by the operator")

    def recovered(self) -> None:
        """The cause of the fault is gone. Raises CommandRefused while the arm may move."""
        if self.state not in (ArmState.FAULT, ArmState.UNARMED):
            raise CommandRefused(f"the arm is {self.state}: there is nothing to recover from")
        self._enter(ArmState.UNARMED, "recovered; waits to be armed")

    def chunk_followed(self) -> None:
        """A chunk moves the arm. Raises CommandRefused where it may not."""
        if not self.may_follow:
            raise CommandRefused(f"the arm is {self.state} ({self.cause}): it follows no chunk")
        self._enter(ArmState.RUNNING, "following the newest chunk")

    def fell_silent(self, cause: str) -> None:
        """There is no chunk to follow any more."""
        if self.state == ArmState.RUNNING:
            self.hold(cause, resumes=self._auto_resume)

    def hold(self, cause: str, *, resumes: bool) -> None:
        """Come to rest and hold; ``resumes`` says whether the next chunk goes on. Only what may move can be held."""
        if self.state in (ArmState.ARMED, ArmState.RUNNING, ArmState.HOLDING):
            self._enter(ArmState.HOLDING, cause)
            self._resumes = resumes

    def fault(self, cause: str) -> None:
        """Stop for a reason that an operator has to look at; the first cause stays."""
        if self.state != ArmState.FAULT:
            self._enter(ArmState.FAULT, cause)

    def reset(self) -> None:
        """A new episode; a fault stays."""
        if self.state == ArmState.FAULT:
            return
        if self._auto_arm:
            self._enter(ArmState.ARMED, "armed by itself; waiting for a chunk")
        else:
            self._enter(ArmState.UNARMED, "waits to be armed")

    def _enter(self, state: ArmState, cause: str) -> None:
        self.state, self.cause, self._resumes = state, cause, False
