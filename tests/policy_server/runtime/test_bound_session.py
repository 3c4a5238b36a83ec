"""Buffers that stay: they answer what a plain run answers, and no answer changes afterwards."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from policy_server.runtime.bound_session import BoundSession
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.session import open_session
from tests.synthetic_bundle import write_synthetic_bundle


@pytest.fixture
def session(tmp_path: Path) -> ort.InferenceSession:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "bundle", context_batch=1))
    return open_session(bundle.denoiser_path, "cpu", 1)


def inputs(candidates: int, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "context": generator.standard_normal((1, 4, 12)).astype(np.float32),
        "noise": generator.standard_normal((candidates, 8, 8)).astype(np.float32),
    }


def test_it_answers_what_a_plain_run_answers_whatever_the_shape(session: ort.InferenceSession) -> None:
    bound = BoundSession(session, "cpu")
    for candidates, seed in ((1, 0), (3, 1), (1, 2), (3, 3)):
        given = inputs(candidates, seed)
        np.testing.assert_array_equal(bound.run(given, given["noise"].shape), session.run(None, given)[0])


def test_a_later_call_does_not_change_an_earlier_answer(session: ort.InferenceSession) -> None:
    bound = BoundSession(session, "cpu")
    first = bound.run(inputs(1, 0), (1, 8, 8))
    kept = first.copy()
    bound.run(inputs(1, 1), (1, 8, 8))
    np.testing.assert_array_equal(first, kept)


def test_what_is_handed_in_is_not_changed_and_need_not_be_contiguous(session: ort.InferenceSession) -> None:
    bound = BoundSession(session, "cpu")
    given = inputs(2, 0)
    sliced = given | {"noise": np.repeat(given["noise"], 2, axis=2)[..., ::2]}
    assert not sliced["noise"].flags.c_contiguous
    np.testing.assert_array_equal(bound.run(sliced, (2, 8, 8)), bound.run(given, (2, 8, 8)))
    np.testing.assert_array_equal(given["noise"], inputs(2, 0)["noise"])
