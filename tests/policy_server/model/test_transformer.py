import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_networks import network_config, network_spec, random_context, random_noise, random_policy

SPEC = network_spec(context_length=5)
PAST = SPEC.action.past_steps
POLICY = random_policy(SPEC, network_config("transformer", actions="absolute"))


def sampled(context: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return POLICY.sample(context, noise)[0]


@settings(max_examples=40)
@given(
    st.lists(st.floats(0, 8), min_size=5, max_size=5),
    st.integers(0, 4),
    st.floats(-5, 5).filter(lambda x: abs(x) > 0.1),
)
def test_an_action_never_depends_on_observations_after_it(ages_ticks: list[float], row: int, change: float) -> None:
    context, noise = random_context(SPEC), random_noise(SPEC)
    context[0, :, 0] = torch.tensor(ages_ticks) / SPEC.rate_hz
    changed = context.clone()
    changed[0, row, 1:] += change
    differs = (sampled(changed, noise) != sampled(context, noise)).any(dim=1)
    for k in range(SPEC.action.horizon):
        # An observation belongs to the tick that is at most half a period before it (runtime/windows.py).
        taken_after = context[0, row, 0] * SPEC.rate_hz + (k - PAST) < -0.5
        assert not (taken_after and differs[k]), f"action {k - PAST} ticks from now reads an observation after it"
    assert differs[PAST:].all(), "an action to come does not read the whole history"


def test_a_past_action_reads_the_observation_it_was_taken_at() -> None:
    context, noise = random_context(SPEC), random_noise(SPEC)
    for ticks in (1, 2):
        changed = context.clone()
        changed[0, -1 - ticks, 1:] += 1.0
        differs = (sampled(changed, noise) != sampled(context, noise)).any(dim=1)
        assert differs.tolist() == [k - PAST >= -ticks for k in range(SPEC.action.horizon)]


def test_an_action_never_depends_on_the_noise_of_later_ones() -> None:
    context, noise = random_context(SPEC), random_noise(SPEC)
    for row in range(SPEC.action.horizon):
        changed = noise.clone()
        changed[0, row] += 1.0
        differs = (sampled(context, changed) != sampled(context, noise)).any(dim=1)
        assert not differs[:row].any()
        assert differs[row:].all()
