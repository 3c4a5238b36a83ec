"""Observations become context rows: age, embedding, state."""

from pathlib import Path

import numpy as np

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from tests.synthetic_bundle import JOINTS, write_synthetic_bundle

PERIOD_NS = 100_000_000


def memory_of(folder: Path, **settings: object) -> Memory:
    return Memory(load_bundle(write_synthetic_bundle(folder, context_length=3, **settings)), max_gap_ns=PERIOD_NS)


def test_a_row_holds_age_embedding_and_state(tmp_path: Path) -> None:
    memory = memory_of(tmp_path)
    picture = np.full((96, 96, 3), (255, 0, 51), np.uint8)
    state = np.linspace(-1, 1, len(JOINTS), dtype=np.float32)
    for tick in range(2):
        context = memory.observe(Observation(tick * PERIOD_NS, {"front": picture}, state))
    assert context.rows.dtype == np.float32
    np.testing.assert_allclose(context.rows[:, 0], [0.2, 0.1, 0.0])
    np.testing.assert_allclose(context.rows[:, 1:4], np.tile([1.0, 0.0, 0.2], (3, 1)), atol=1e-6)
    np.testing.assert_array_equal(context.rows[:, 4:], np.tile(state, (3, 1)))
    assert memory.last_network_ns > 0


def test_without_cameras_a_row_holds_age_and_state_bit_for_bit(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, cameras=(), features=("lamp_red", "goal_x_m"))
    states = np.random.default_rng(0).standard_normal((3, len(JOINTS) + 2)).astype(np.float32)
    for tick, state in enumerate(states):
        context = memory.observe(Observation(tick * PERIOD_NS, {}, state))
    assert context.rows.shape == (3, 1 + len(JOINTS) + 2) and context.rows.dtype == np.float32
    np.testing.assert_array_equal(context.rows[:, 1:], states)
    assert memory.last_network_ns == 0
