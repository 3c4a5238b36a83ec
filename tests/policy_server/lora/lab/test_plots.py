from typing import Any

import pytest

from policy_server.lora.lab.plots import varied
from tests.policy_server.lora.lab.small_lab import cells_of


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, []),
        ({"dimensions": (40, 80)}, ["dimension"]),
        ({"neurons": (5, 7, 11)}, ["neurons"]),
        ({"neurons": (5, 7), "strength_unit": "one"}, ["neurons", "strength"]),
        ({"dimensions": (40, 80), "scales": (0.1, 0.2)}, ["dimension", "scale"]),
    ],
    ids=str,
)
def test_what_is_varied_is_what_was_listed(values: dict[str, Any], names: list[str]) -> None:
    assert varied(cells_of(**values)) == names
