"""A study whose methods adapt the policy of another one to a shift, without any training."""

from typing import Any

from sim_bridge.study.configuration import StudyConfig
from tests.sim_bridge.study.synthetic_study import study

METHODS: dict[str, Any] = {
    "base": {},
    "unadapted": {"adapts": "base"},
    "lora_4": {"adapts": "base", "finetune": {"method": "lora", "lora": {"rank": 4}}},
    "full": {"adapts": "base", "finetune": {"method": "full", "training": {"steps": 20}}},
}
GRID: dict[str, Any] = {
    "task": ["reach_cued"],
    "shift": ["low_table"],
    "context_length": [8],
    "demonstrations": [5, 10],
    "method": ["lora_4"],
}


def adapting_study(**changes: Any) -> StudyConfig:
    values = {"methods": METHODS, "finetune": {"training": {"steps": 30}}, "grids": [GRID]}
    return study(**values | changes)
