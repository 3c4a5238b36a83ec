import pytest

from sim_bridge.check_experts import ExpertEpisode, run_expert
from sim_bridge.study.result import COMPLETED, outcome_strings
from sim_bridge.tasks.registry import TASKS, task_by_name
from sim_bridge.world import World

MEMORY_TASKS = [name for name in TASKS if task_by_name(name).memory != "none"]


@pytest.mark.parametrize("task", MEMORY_TASKS)
def test_an_expert_that_guesses_completes_the_manipulation_right_or_wrong(task: str) -> None:
    world = World(task_by_name(task), [])
    ends = [run_expert(ExpertEpisode(task, seed, knows=False), world) for seed in range(3)]
    results = [{"success": end.success, "reason": end.reason} for end in ends]
    outcomes, completed = outcome_strings(task, results)
    assert completed == "111", [end.reason for end in ends]
    assert outcomes == "".join(str(int(end.success)) for end in ends)


@pytest.mark.parametrize("task", MEMORY_TASKS)
def test_an_arm_that_does_nothing_completes_nothing(task: str) -> None:
    assert outcome_strings(task, [{"success": False, "reason": "time is up"}]) == ("0", "0")


def test_tasks_without_memory_state_no_completion() -> None:
    assert set(COMPLETED) == set(MEMORY_TASKS)
    assert outcome_strings("push_to_goal", [{"success": True, "reason": "the disc lies in the goal"}]) == ("1", "")
