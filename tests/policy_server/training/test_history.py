import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_server.training.configuration import HistoryConfig
from policy_server.training.draws import Purpose, numpy_generator
from policy_server.training.history import chunk_weights, draw_visible, shown_length

STEPS = 1000


def drawn(config: HistoryConfig, full: int, steps: range = range(STEPS)) -> np.ndarray:
    return np.array(
        [shown_length(config, full, step, STEPS, numpy_generator(Purpose.CONTEXT_LENGTH, 0, step)) for step in steps]
    )


def test_naive_training_always_shows_all() -> None:
    assert set(drawn(HistoryConfig("full"), 16)) == {16}


@given(
    curriculum=st.sampled_from(["progressive", "sprinkle"]),
    shortest=st.integers(1, 20),
    more=st.integers(0, 44),
    step=st.integers(0, STEPS - 1),
    ramp=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_a_shown_length_lies_between_the_shortest_and_the_full_one(
    curriculum: str, shortest: int, more: int, step: int, ramp: float, seed: int
) -> None:
    config = HistoryConfig(curriculum, shortest, ramp)  # type: ignore[arg-type]
    full = shortest + more
    assert shortest <= shown_length(config, full, step, STEPS, np.random.default_rng(seed)) <= full


def test_the_progressive_curriculum_adds_longer_contexts_one_by_one() -> None:
    config = HistoryConfig("progressive", 2, ramp=0.5)
    lengths = drawn(config, 16)
    assert set(lengths[:30]) == {2}
    longest = [lengths[start : start + 100].max() for start in range(0, 500, 100)]
    assert longest == sorted(longest) and 3 <= longest[0] <= 5 and longest[-1] >= 14
    assert set(lengths[500:]) == set(range(2, 17))


def test_without_a_ramp_every_length_is_drawn_from_the_start() -> None:
    assert set(drawn(HistoryConfig("progressive", 2, ramp=0.0), 8, range(200))) == set(range(2, 9))


def test_the_progressive_curriculum_prefers_its_longest_context_as_often_as_it_is_told() -> None:
    lengths = drawn(HistoryConfig("progressive", 2, ramp=0.5, longest_share=0.5), 16)
    assert abs((lengths[500:] == 16).mean() - (0.5 + 0.5 / 15)) < 0.07
    assert set(lengths[500:]) == set(range(2, 17))
    assert lengths[:250].max() < 10


def test_sprinkle_shows_the_full_context_as_often_as_it_is_told() -> None:
    lengths = drawn(HistoryConfig("sprinkle", 1, full_share=0.8), 8)
    assert abs((lengths == 8).mean() - 0.8) < 0.05
    assert set(lengths) == set(range(1, 9))


def test_a_length_depends_on_seed_and_step_alone() -> None:
    config = HistoryConfig("progressive", 1)
    assert drawn(config, 16, range(500, 520)).tolist() == drawn(config, 16)[500:520].tolist()


@given(dropout=st.floats(0, 1), windows=st.integers(1, 20), length=st.integers(1, 9), seed=st.integers(0, 5))
def test_a_struck_window_sees_its_newest_observation_alone(
    dropout: float, windows: int, length: int, seed: int
) -> None:
    visible = draw_visible(dropout, windows, length, np.random.default_rng(seed))
    if visible is None:
        return
    assert visible.shape == (windows, length) and visible[:, -1].all()
    assert set(visible[:, :-1].sum(1)) <= {0, length - 1} and not visible.all()


def test_dropout_strikes_the_share_it_is_told() -> None:
    visible = draw_visible(0.3, 10_000, 4, np.random.default_rng(0))
    assert visible is not None
    assert abs((~visible[:, 0]).mean() - 0.3) < 0.02
    assert draw_visible(0.0, 10_000, 4, np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("shown_ticks", "weights"),
    [(60, [1, 1, 1, 1, 1, 1]), (4, [1, 1, 1, 1, 1, 1]), (2, [0, 0, 1, 1, 1, 1]), (0, [0, 0, 0, 0, 1, 1])],
)
def test_past_actions_are_learned_only_as_far_back_as_observations_are_shown(
    shown_ticks: int, weights: list[int]
) -> None:
    assert chunk_weights(4, 2, shown_ticks).tolist() == weights


def test_a_window_without_a_past_learns_no_past_action() -> None:
    visible = np.array([[True, True, True], [False, False, True]])
    assert chunk_weights(2, 3, 8, visible).tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
