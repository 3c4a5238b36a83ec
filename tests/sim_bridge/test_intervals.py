import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sim_bridge.intervals import success_rate


@given(st.integers(1, 400), st.data())
def test_the_interval_is_wilsons(episodes: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, episodes))
    expected = binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
    low, high = success_rate(successes, episodes).interval
    assert low == pytest.approx(expected.low, abs=1e-9) and high == pytest.approx(expected.high, abs=1e-9)


@pytest.mark.parametrize(("successes", "episodes"), [(1, 0), (-1, 5), (6, 5)])
def test_counts_that_cannot_be_are_refused(successes: int, episodes: int) -> None:
    with pytest.raises(ValueError, match="episodes"):
        success_rate(successes, episodes)
