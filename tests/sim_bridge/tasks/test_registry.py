"""Tasks by name."""

import pytest

from sim_bridge.task_config import load_task_config
from sim_bridge.tasks.registry import TASKS, UnknownTaskError, task_by_name


@pytest.mark.parametrize("name", TASKS)
def test_each_task_knows_its_name_and_has_its_cameras_configured(name):
    task = task_by_name(name)
    assert task.name == name
    assert 0 < task.chance <= 1 and (task.chance == 1) == (task.memory == "none")
    assert load_task_config(name).task == name


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(UnknownTaskError, match=r"'juggle'.*reach_cued.*grasp_and_return"):
        task_by_name("juggle")
