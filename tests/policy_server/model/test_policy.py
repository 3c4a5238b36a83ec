import pytest
import torch

from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.model.transformer import TransformerConfig
from policy_server.model.unet import UnetConfig
from policy_server.model.unet_film import ContextLengthError
from policy_server.runtime.errors import ConfigurationError
from tests.small_networks import (
    BACKBONES,
    network_config,
    network_spec,
    random_context,
    random_noise,
    random_policy,
)

SPEC = network_spec()
LENGTH = SPEC.history.length


def policy(backbone: str, **changes: object) -> DiffusionPolicy:
    return random_policy(SPEC, network_config(backbone, **changes))


FILM = policy("unet_film")


def prediction(
    model: DiffusionPolicy, context: torch.Tensor, visible: torch.Tensor | None = None, batch: int = 1
) -> torch.Tensor:
    """One denoising step, without the anchor that relative actions are measured from."""
    with torch.no_grad():
        return model.predict(random_noise(SPEC, batch), torch.tensor([50.0]), model.project(context, visible))


@torch.no_grad()
def film_loss(weights: torch.Tensor | None, chunk: torch.Tensor | None = None) -> torch.Tensor:
    actions = random_noise(SPEC, 2, seed=3) if chunk is None else chunk
    return FILM.loss(random_context(SPEC, 2), actions, torch.Generator().manual_seed(0), weights=weights)


@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_remembered_row_can_change_the_chunk(backbone: str, cameras: bool) -> None:
    spec = network_spec(cameras=cameras)
    model, noise = random_policy(spec, network_config(backbone)), random_noise(spec)
    reference = model.sample(random_context(spec), noise)
    for row in range(LENGTH):
        changed = random_context(spec)
        changed[0, row, 1] += 3.0
        assert (model.sample(changed, noise) - reference).abs().max() > 1e-5, f"row {row} is not read"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_order_of_the_past_matters(backbone: str) -> None:
    model, rows = policy(backbone), random_context(SPEC)
    swapped = rows.clone()
    swapped[0, [0, 1], 1:] = rows[0, [1, 0], 1:]
    assert (model.sample(swapped, random_noise(SPEC)) - model.sample(rows, random_noise(SPEC))).abs().max() > 1e-5


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_age_of_a_row_matters(backbone: str) -> None:
    model, rows = policy(backbone), random_context(SPEC)
    older = rows.clone()
    older[0, 1, 0] += 0.03
    assert (model.sample(older, random_noise(SPEC)) - model.sample(rows, random_noise(SPEC))).abs().max() > 1e-5


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_hidden_row_cannot_change_the_prediction_and_a_visible_one_can(backbone: str) -> None:
    model, rows = policy(backbone), random_context(SPEC)
    visible = torch.tensor([[True, False, True, True]])
    reference = prediction(model, rows, visible)
    for row in range(LENGTH):
        changed = rows.clone()
        changed[0, row, 1:] += 3.0
        same = torch.equal(prediction(model, changed, visible), reference)
        assert same != visible[0, row].item(), f"row {row}"


@pytest.mark.parametrize("shown", range(1, LENGTH + 1))
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_shorter_context_is_one_whose_oldest_rows_are_hidden(backbone: str, shown: int) -> None:
    model, rows = policy(backbone), random_context(SPEC, 2)
    visible = (torch.arange(LENGTH) >= LENGTH - shown).expand(2, -1)
    hidden = prediction(model, rows, visible, batch=2)
    torch.testing.assert_close(prediction(model, rows[:, -shown:], batch=2), hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_hiding_nothing_is_the_same_as_no_mask(backbone: str) -> None:
    model, rows = policy(backbone), random_context(SPEC)
    assert torch.equal(prediction(model, rows, torch.ones(1, LENGTH, dtype=torch.bool)), prediction(model, rows))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_samples_of_a_batch_do_not_mix(backbone: str) -> None:
    model, contexts, noise = policy(backbone), random_context(SPEC, 3), random_noise(SPEC, 3)
    together = model.sample(contexts, noise)
    for i in range(3):
        alone = model.sample(contexts[i : i + 1], noise[i : i + 1])[0]
        torch.testing.assert_close(alone, together[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_one_context_serves_many_candidates(backbone: str) -> None:
    model, context, noise = policy(backbone), random_context(SPEC), random_noise(SPEC, 5)
    repeated = model.sample(context.expand(5, -1, -1), noise)
    torch.testing.assert_close(model.sample(context, noise), repeated, rtol=1e-4, atol=1e-5)
    assert (repeated[0] - repeated[1]).abs().max() > 1e-3


@pytest.mark.parametrize("backbone", BACKBONES)
def test_relative_actions_move_with_the_newest_joints(backbone: str) -> None:
    model = policy(backbone, actions="relative")
    model.scaling.state_std.fill_(1e9)  # blinds the network to the states, so that only the anchor is left
    rows, joints = random_context(SPEC), slice(1, 1 + len(SPEC.proprioception_joints))
    moved = rows.clone()
    moved[0, -1, joints] += 0.5
    expected = model.sample(rows, random_noise(SPEC)) + 0.5
    torch.testing.assert_close(model.sample(moved, random_noise(SPEC)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("actions", ["relative", "absolute"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_loss_is_reproducible_from_its_generator(backbone: str, actions: str) -> None:
    model, chunk = policy(backbone, actions=actions), torch.zeros(2, 8, 8)
    losses = [model.loss(random_context(SPEC, 2), chunk, torch.Generator().manual_seed(5)).item() for _ in range(2)]
    assert losses[0] == losses[1] > 0


def test_the_weighted_loss_is_the_weighted_mean_of_the_rows_losses() -> None:
    per_row = torch.stack([17 * film_loss(1 + row.reshape(2, 8)) - 16 * film_loss(None) for row in torch.eye(16)])
    for seed in range(5):
        weights = torch.rand((2, 8), generator=torch.Generator().manual_seed(seed)) + 0.1
        expected = (per_row * weights.flatten()).sum() / weights.sum()
        torch.testing.assert_close(film_loss(weights), expected, rtol=1e-4, atol=1e-5)


def test_a_row_without_weight_is_neither_learned_nor_told() -> None:
    weights = torch.tensor([0.0, 1, 1, 0, 1, 1, 1, 1])
    chunk = random_noise(SPEC, 2, seed=3)
    for row in range(8):
        other = chunk.clone()
        other[:, row] += 0.5
        assert (film_loss(weights, other) == film_loss(weights, chunk)) == (weights[row] == 0), f"row {row}"


def test_weights_per_chunk_row_hold_for_every_sample_of_the_batch() -> None:
    rows = torch.tensor([0.0, 1, 1, 0, 0, 2, 1, 1])
    assert film_loss(rows) == film_loss(rows.expand(2, -1))
    assert film_loss(None).item() == pytest.approx(film_loss(torch.ones(8)).item()) != film_loss(rows).item()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_learns_what_only_the_oldest_row_says(backbone: str) -> None:
    """Half of the chunks go up and half go down, and only the oldest observation tells which."""
    spec = network_spec(context_length=6)
    model = random_policy(spec, network_config(backbone, actions="absolute", unet=UnetConfig((16,), 3, 2))).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    context = random_context(spec, 32)
    side = torch.where(torch.arange(32) % 2 == 0, 1.0, -1.0)
    context[:, 0, -1] = side
    chunk = (0.5 * side)[:, None, None].expand(-1, 8, 8)
    future = torch.tensor([0.0] * 2 + [1.0] * 6)
    generator = torch.Generator().manual_seed(0)
    for _ in range(120):
        optimizer.zero_grad()
        model.loss(context, chunk, generator, weights=future).backward()
        optimizer.step()
    with torch.no_grad():
        sampled = model.eval().sample(context, random_noise(spec, 32))[:, spec.action.past_steps :]
    assert (sampled.mean((1, 2)).sign() == side).all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_weight_gets_a_finite_gradient_in_bfloat16_too(backbone: str) -> None:
    model, visible = policy(backbone), torch.ones(2, LENGTH, dtype=torch.bool)
    visible[0, :-1] = False
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(random_context(SPEC, 2), random_noise(SPEC, 2), visible=visible)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_policy_without_cameras_has_no_encoder_weights() -> None:
    model = policy("unet_attention")
    assert model.encoder.embedding_dim == 0
    assert not list(model.encoder.parameters())


def test_states_are_scaled_joints_first_then_features() -> None:
    model = policy("unet_attention")
    states = torch.zeros(10, 11)
    states[::2] = 1e-5
    model.scaling.fit(states, torch.zeros_like(model.scaling.action_middle).expand(2, -1, -1))
    assert model.scaling.state_std.tolist() == pytest.approx([1e-2] * 8 + [1e-3] * 3)


def test_unet_film_refuses_more_rows_than_it_has_slots() -> None:
    with pytest.raises(ContextLengthError, match="5 rows"):
        policy("unet_film").project(random_context(network_spec(context_length=5)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(unet=UnetConfig((16, 12))), r"model.unet.widths \[16, 12\]"),
        (ModelConfig(unet=UnetConfig(())), "model.unet.widths"),
        (ModelConfig(unet=UnetConfig((16, 24), heads=16)), "model.unet.heads 16"),
        (ModelConfig(unet=UnetConfig((16, 16), kernel=4)), "model.unet.kernel 4"),
        (ModelConfig(unet=UnetConfig((16,) * 5)), "chunk of 8 steps: must be a multiple of 16"),
        (ModelConfig("transformer", transformer=TransformerConfig(18, 2, 4)), "model.transformer width 18"),
        (ModelConfig("transformer", transformer=TransformerConfig(16, 0, 4)), "layers 0"),
        (ModelConfig(encoder=EncoderConfig((8, 12))), "model.encoder.widths"),
        (ModelConfig(encoder=EncoderConfig(embedding_dim=1)), "model.encoder.embedding_dim 1"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused_by_name(config: ModelConfig, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DiffusionPolicy(SPEC, config)


def test_a_chunk_of_any_length_suits_the_transformer_and_heads_do_not_concern_film() -> None:
    DiffusionPolicy(SPEC, network_config("transformer", unet=UnetConfig((16,) * 5)))
    DiffusionPolicy(SPEC, network_config("unet_film", unet=UnetConfig((24,), heads=5)))


@pytest.mark.parametrize("hides", [True, False])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_memory_that_holds_the_step_predicts_and_learns_the_same(backbone: str, hides: bool) -> None:
    model, contexts, noise = policy(backbone), random_context(SPEC, 3), random_noise(SPEC, 3)
    visible = torch.tensor([[True, False, True, True]] * 3) if hides else None
    steps, parameters = torch.tensor([3.0, 50.0, 99.0]), list(model.denoiser.parameters())
    apart = model.predict(noise, steps, model.project(contexts, visible))
    together = model.predict_once(noise, steps, contexts, visible)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
    gradients = (torch.autograd.grad(each.square().sum(), parameters) for each in (together, apart))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.detach().abs().max()) + 1e-6)
