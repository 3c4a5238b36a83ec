"""A task as it is set up: its cameras, their pictures' sizes, and the rate of policy ticks."""

from dataclasses import dataclass

from policy_server.runtime import configuration
from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.resources import resource
from sim_bridge.renderer import CameraView
from sim_bridge.tasks.registry import task_by_name


@dataclass(frozen=True)
class TaskConfig:
    """``config/tasks/<task>.yaml``. ``video`` is the view for people; no policy sees it."""

    task: str
    rate_hz: float
    cameras: tuple[CameraView, ...]
    video: CameraView

    @property
    def period_ns(self) -> int:
        return round(NS_PER_S / self.rate_hz)


def load_task_config(name: str) -> TaskConfig:
    """The configuration of the task of that name. Raises UnknownTaskError, ConfigurationError."""
    task_by_name(name)
    return configuration.load(TaskConfig, resource(f"config/tasks/{name}.yaml"))
