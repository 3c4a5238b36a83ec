"""A task as it is set up: its cameras, their pictures' sizes, the rate of policy ticks, and what is shifted."""

from dataclasses import dataclass, replace
from pathlib import Path

from policy_server.runtime import configuration
from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from sim_bridge.renderer import CameraView
from sim_bridge.shift import AS_BUILT, Shift, load_shift
from sim_bridge.tasks.registry import task_by_name
from sim_bridge.tasks.task import TICK_HZ, Task


@dataclass(frozen=True)
class TaskConfig:
    """``config/tasks/<task>.yaml``. ``video`` is the view for people; no policy sees it. ``shift``: what is not as it is built."""

    task: str
    rate_hz: float
    cameras: tuple[CameraView, ...]
    video: CameraView
    shift: Shift = AS_BUILT

    @property
    def period_ns(self) -> int:
        return round(NS_PER_S / self.rate_hz)

    def new_task(self) -> Task:
        """An instance of the task, with the shift. Raises ShiftError."""
        return task_by_name(self.task, self.shift)


def load_task_config(name: str, file: Path | str | None = None, shift: str = "") -> TaskConfig:
    """The configuration of the task of that name, from ``config/tasks`` or from another ``file``, under a ``shift`` of that name.

    Raises UnknownTaskError, ConfigurationError, ShiftError.
    """
    task_by_name(name)
    config = configuration.load(TaskConfig, file or resource(f"config/tasks/{name}.yaml"))
    if config.task != name:
        raise ConfigurationError(
            f"'{file}' configures task '{config.task}', not '{name}': choose the other file or task"
        )
    if config.rate_hz != TICK_HZ:
        raise ConfigurationError(
            f"'{name}' asks for {config.rate_hz} Hz; tasks run at {TICK_HZ} Hz: set rate_hz to that"
        )
    config = replace(config, shift=load_shift(shift, name))
    config.new_task()  # refuses what the task does not have
    return config
