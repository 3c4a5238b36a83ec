import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from policy_server.export.parity import Parity, ParityError, check_parity
from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.engine import Denoiser
from tests.small_policy import small_config, small_spec

pytestmark = pytest.mark.slow


def random_policy(spec, **changes: object) -> DiffusionPolicy:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = DiffusionPolicy(spec, dataclasses.replace(small_config(Path(), Path()).model, **changes))
    model.scaling.fit(torch.randn(50, 8), torch.randn(50, 8))
    return model


@pytest.mark.parametrize(("prediction", "actions"), [("clean", "relative"), ("noise", "absolute")])
def test_the_bundle_answers_what_torch_answers(tmp_path: Path, prediction: str, actions: str) -> None:
    spec = small_spec()
    parity = write_bundle(
        random_policy(spec, prediction=prediction, actions=actions), spec, tmp_path / "bundle", {"steps": 0}
    )
    assert max(parity.embedding, parity.chunk) <= 1e-4
    assert load_bundle(tmp_path / "bundle").spec == spec


def test_one_graph_serves_any_context_length_and_batch(tmp_path: Path) -> None:
    spec = small_spec()
    policy = random_policy(spec)
    write_bundle(policy, spec, tmp_path / "bundle", {})
    session = Denoiser(load_bundle(tmp_path / "bundle"))._session
    generator = np.random.default_rng(0)
    for batch, length in ((1, 2), (1, 33), (5, 4)):
        context = generator.standard_normal((batch, length, spec.row_width)).astype(np.float32)
        noise = generator.standard_normal((batch, spec.action.horizon, 8)).astype(np.float32)
        answer = session.run(["actions"], {"context": context, "noise": noise})[0]
        with torch.no_grad():
            expected = policy.sample(torch.from_numpy(context), torch.from_numpy(noise)).numpy()
        np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_a_bundle_that_differs_from_torch_is_refused() -> None:
    check_parity(Parity(1e-5, 9e-5))
    with pytest.raises(ParityError, match="do not use this bundle"):
        check_parity(Parity(1e-6, 2e-4))
