"""Trajectories on their way from the graph's callbacks to the thread that moves the world."""

import threading

from ros_nodes.messages import JointTargets


class TrajectoryInbox:
    """The newest trajectory per controller, with waiting for a given stamp."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._newest: dict[str, JointTargets] = {}

    def clear(self) -> None:
        with self._condition:
            self._newest.clear()

    def put(self, controller: str, targets: JointTargets) -> None:
        """Called from the executor's thread."""
        with self._condition:
            self._newest[controller] = targets
            self._condition.notify_all()

    def take(self) -> dict[str, JointTargets]:
        """What has arrived since the last take; at most one per controller."""
        with self._condition:
            newest, self._newest = self._newest, {}
            return newest

    def take_stamped(self, controllers: tuple[str, ...], stamp_ns: int, timeout_s: float) -> dict[str, JointTargets]:
        """Wait until every controller's newest trajectory is stamped ``stamp_ns`` or later, then take all; {} on timeout."""

        def answered() -> bool:
            return all(name in self._newest and self._newest[name].stamp_ns >= stamp_ns for name in controllers)

        with self._condition:
            if not self._condition.wait_for(answered, timeout_s):
                return {}
            newest, self._newest = self._newest, {}
            return newest
