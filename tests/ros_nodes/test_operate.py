"""The operator's command against a node that serves what arm_node serves."""

import threading
from collections.abc import Callable, Iterator

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from ros_nodes import operate, qos, topics
from ros_nodes.errors import GraphError
from ros_nodes.lifecycle import leave_domain

pytestmark = pytest.mark.ros


class StandInArm:
    """Obeys ``arm``, refuses ``recover``, and reports itself as arm_node does."""

    def __init__(self, domain_id: int) -> None:
        self.called: list[str] = []
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("arm_node", context=self._context)
        self._node.create_service(Trigger, "~/arm", self._answer("arm", True, "waiting for a chunk"))
        self._node.create_service(Trigger, "~/recover", self._answer("recover", False, "the arm is user stopped"))
        self._publisher = self._node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
        self._node.create_timer(0.2, self._report)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        del self._node, self._executor, self._publisher
        leave_domain()
        rclpy.shutdown(context=self._context)

    def _answer(self, name: str, success: bool, message: str) -> Callable[..., Trigger.Response]:
        def on_call(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            self.called.append(name)
            response.success, response.message = success, message
            return response

        return on_call

    def _report(self) -> None:
        status = DiagnosticStatus(
            name="arm_node: arm", hardware_id="arm_node", message="fault: stopped by the operator"
        )
        other = DiagnosticStatus(name="camera_node: state", hardware_id="camera_node", message="active")
        self._publisher.publish(DiagnosticArray(status=[status, other]))

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.1)


@pytest.fixture
def arm(domain_id: int) -> Iterator[StandInArm]:
    stand_in = StandInArm(domain_id)
    yield stand_in
    stand_in.close()


def test_commands_state_and_refusals_reach_the_operator(
    arm: StandInArm, domain_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operate.main(["arm", "--domain-id", str(domain_id)]) == 0
    assert operate.main(["recover", "--domain-id", str(domain_id)]) == 1
    assert operate.main(["state", "--domain-id", str(domain_id)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "arm: waiting for a chunk",
        "refused: the arm is user stopped",
        "arm: fault: stopped by the operator",
    ]
    assert arm.called.count("recover") == 1


def test_an_arm_that_is_not_there_is_told(domain_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "_ANSWER_S", 0.5)
    with pytest.raises(GraphError, match=r"arm_node/pause does not answer .*domain"):
        operate.main(["pause", "--domain-id", str(domain_id)])
