import numpy as np
import pytest

from policy_server.training.probe import probe_features


def data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (rows, 5); features: a linear map of them, noise, and a constant."""
    generator = np.random.default_rng(seed)
    embeddings = generator.standard_normal((rows, 5)).astype(np.float32)
    linear = embeddings @ np.array([1.0, -2.0, 0.5, 0.0, 3.0], np.float32) + 4
    features = np.stack([linear, generator.standard_normal(rows), np.full(rows, 0.3)], axis=1)
    return embeddings, features.astype(np.float32)


def test_what_is_in_the_embedding_is_found_and_what_is_not_is_not() -> None:
    probe = probe_features(("linear", "noise", "constant"), data(500, 0), data(200, 1))
    assert probe.r2["linear"] == pytest.approx(1.0, abs=1e-3)
    noise = probe.r2["noise"]
    assert noise is not None and noise < 0.05
    assert probe.r2["constant"] is None
    assert probe.ticks == 200


def test_the_score_is_that_of_the_held_out_ticks() -> None:
    """With more columns than ticks anything can be fitted; nothing of it holds elsewhere."""
    generator = np.random.default_rng(0)
    fitted = (generator.standard_normal((20, 64)), generator.standard_normal((20, 1)))
    held_out = (generator.standard_normal((200, 64)), generator.standard_normal((200, 1)))
    r2 = probe_features(("noise",), fitted, held_out).r2["noise"]
    assert r2 is not None and r2 < 0.1


def test_a_column_that_never_moves_harms_nothing() -> None:
    embeddings, features = data(500, 0)
    other, expected = data(200, 1)
    embeddings[:, 3] = other[:, 3] = 1.0
    r2 = probe_features(("linear",), (embeddings, features[:, :1]), (other, expected[:, :1])).r2["linear"]
    assert r2 == pytest.approx(1.0, abs=1e-3)


def test_one_embedding_for_all_has_no_spread() -> None:
    embeddings, features = data(50, 0)
    flat = np.full_like(embeddings, 0.7)
    names = ("linear", "noise", "constant")
    assert probe_features(names, (flat, features), (flat, features)).embedding_std == pytest.approx(0.0, abs=1e-6)
    assert probe_features(names, (embeddings, features), (embeddings, features)).embedding_std > 0.8


def test_a_dataset_without_features_still_shows_the_spread() -> None:
    embeddings, _ = data(50, 0)
    none = np.empty((50, 0), np.float32)
    probe = probe_features((), (embeddings, none), (embeddings, none))
    assert probe.r2 == {} and probe.embedding_std > 0.8
