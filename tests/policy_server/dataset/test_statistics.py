import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from policy_server.dataset.statistics import STATISTICS_FILE, Moments, episode_statistics, merge, moments_of
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import list_episodes, write_episode
from tests.policy_server.dataset.recorded import arrays, flip_last_byte, write_dataset

ROWS = any_array(np.float32, (12, 3), elements=st.floats(-1e3, 1e3, width=32))


def statistics(dataset: Path) -> dict[str, Moments]:
    def fail(name: str, error: DatasetError) -> None:
        raise error

    found = episode_statistics(dataset, list_episodes(dataset), fail)
    return {name: part.joints for name, part in found.items()}


@given(rows=ROWS)
def test_moments_are_those_of_numpy(rows: np.ndarray) -> None:
    moments = moments_of(rows)
    exact = rows.astype(np.float64)
    assert moments.count == len(rows)
    np.testing.assert_array_equal(moments.minimum, exact.min(axis=0))
    np.testing.assert_array_equal(moments.maximum, exact.max(axis=0))
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0))
    np.testing.assert_allclose(moments.std, exact.std(axis=0))


@given(rows=ROWS, cuts=st.sets(st.integers(1, 11), max_size=5))
def test_however_rows_are_split_their_moments_add_up_to_the_same(rows: np.ndarray, cuts: set[int]) -> None:
    merged = merge([moments_of(part) for part in np.split(rows, sorted(cuts))])
    whole = moments_of(rows)
    assert (merged.count, merged.minimum, merged.maximum) == (whole.count, whole.minimum, whole.maximum)
    np.testing.assert_allclose(merged.mean, whole.mean, atol=1e-9)
    np.testing.assert_allclose(merged.std, whole.std, atol=1e-6)


def test_an_episode_whose_checksums_are_known_is_not_read_again(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    before = statistics(dataset)
    cache = dataset / STATISTICS_FILE
    values = json.loads(cache.read_text())
    values["episodes"]["episode_1000001"]["joints"]["count"] = 999
    cache.write_text(json.dumps(values))
    after = statistics(dataset)
    assert after["episode_1000001"].count == 999
    assert after["episode_1000000"] == before["episode_1000000"]


def test_an_episode_that_was_written_anew_is_read_again(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    before = statistics(dataset)
    moved = dataclasses.replace(arrays(7, 0), joints=arrays(7, 0).joints + np.float32(1))
    write_episode(dataset, "episode_1000000", moved, seed=0, success=True, reason="")
    after = statistics(dataset)
    np.testing.assert_allclose(after["episode_1000000"].mean, np.add(before["episode_1000000"].mean, 1), atol=1e-6)
    assert after["episode_1000001"] == before["episode_1000001"]


@pytest.mark.parametrize("content", ["", "{", '{"schema": 1, "episodes": 3}', '{"schema": 99, "episodes": {}}'])
def test_a_cache_that_cannot_be_used_is_made_again(tmp_path: Path, content: str) -> None:
    dataset = write_dataset(tmp_path)
    before = statistics(dataset)
    (dataset / STATISTICS_FILE).write_text(content)
    assert statistics(dataset) == before


def test_a_damaged_episode_is_told_of_and_left_out(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    flip_last_byte(dataset / "episode_1000001" / "actions.npy")
    damaged: dict[str, str] = {}
    found = episode_statistics(dataset, list_episodes(dataset), lambda name, error: damaged.update({name: str(error)}))
    assert list(found) == ["episode_1000000", "episode_1000002"]
    assert list(damaged) == ["episode_1000001"] and "actions.npy" in damaged["episode_1000001"]
