import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from policy_server.dataset.lerobot.summaries import levels, summarise, summarise_levels

PICTURES = any_array(np.uint8, (4, 3, 5, 3))


HALF_BLACK = np.repeat(np.array([0, 0, 255, 255], np.uint8), 45).reshape(4, 3, 5, 3)


@given(images=PICTURES)
@example(images=HALF_BLACK)
def test_pictures_are_summarised_as_their_pixels_are(images: np.ndarray) -> None:
    summary = summarise_levels(*levels(images))
    pixels = images.reshape(-1, 3) / 255
    assert summary["count"] == [4]
    for key, expected in (
        ("min", pixels.min(0)),
        ("max", pixels.max(0)),
        ("mean", pixels.mean(0)),
        ("std", pixels.std(0)),
    ):
        np.testing.assert_allclose(np.array(summary[key]), expected.reshape(3, 1, 1), atol=1e-12)
    for key, q in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        exact = np.quantile(pixels, q, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(np.array(summary[key]).reshape(3), exact)


@given(first=PICTURES, second=PICTURES)
def test_the_levels_of_several_episodes_add_up(first: np.ndarray, second: np.ndarray) -> None:
    parts = [levels(images) for images in (first, second)]
    together = levels(np.concatenate([first, second]))
    np.testing.assert_array_equal(parts[0][0] + parts[1][0], together[0])
    assert parts[0][1] + parts[1][1] == together[1]


def test_of_a_long_episode_a_hundred_pictures_are_looked_at() -> None:
    images = np.zeros((1000, 2, 2, 3), np.uint8)
    images[-1] = 255
    counts, pictures = levels(images)
    assert pictures == 100
    assert counts[:, 255].tolist() == [4, 4, 4]


@given(values=any_array(np.float32, (6, 2), elements=st.floats(-10, 10, width=32)))
def test_numbers_are_summarised_per_column(values: np.ndarray) -> None:
    summary = summarise(values)
    exact = values.astype(np.float64)
    assert summary["count"] == [6]
    np.testing.assert_allclose(summary["std"], exact.std(axis=0))
    np.testing.assert_allclose(summary["q90"], np.quantile(exact, 0.9, axis=0))
    assert np.shape(summarise(np.arange(5))["mean"]) == (1,)
