import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from policy_server.model.encoder import EncoderConfig, ObservationEncoder
from policy_server.training.encoder_objectives import (
    DynamicsConfig,
    DynamicsObjective,
    PictureDecoder,
    ReconstructionConfig,
    ReconstructionObjective,
    SequenceModel,
    covariance_term,
    encode_windows,
    variance_term,
)
from tests.small_policy import small_spec

SIZES = {"front": (16, 16), "wrist": (24, 24)}
DYNAMICS = DynamicsConfig(window=3, latent_dim=2, width=16, layers=1, heads=2, target_decay=0.9)


def small_encoder() -> ObservationEncoder:
    torch.manual_seed(0)
    return ObservationEncoder(small_spec().cameras, EncoderConfig((8, 8), 6))


def pictures(windows: int, ticks: int, seed: int = 0) -> dict[str, Tensor]:
    generator = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(generator.integers(0, 256, (windows, ticks, *size, 3), dtype=np.uint8))
        for name, size in SIZES.items()
    }


def grey(value: float) -> dict[str, Tensor]:
    return {name: torch.full((*size, 3), value) for name, size in SIZES.items()}


def losses_while_learning(objective: DynamicsObjective | ReconstructionObjective, ticks: int) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    images, losses = pictures(4, ticks), []
    for _ in range(25):
        loss = objective.loss(images, images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
        losses.append(loss.item())
    return losses


def test_dynamics_can_be_learned() -> None:
    losses = losses_while_learning(DynamicsObjective(small_encoder(), DYNAMICS), DYNAMICS.window)
    assert losses[-1] < 0.7 * losses[0]


def test_pictures_can_be_given_back() -> None:
    objective = ReconstructionObjective(small_encoder(), grey(127.5), ReconstructionConfig((8, 8)))
    losses = losses_while_learning(objective, 1)
    assert losses[-1] < 0.95 * losses[0]  # noise pictures: only what six numbers can hold


def test_the_target_encoder_learns_nothing_by_itself_and_follows_the_encoder() -> None:
    objective = DynamicsObjective(small_encoder(), DYNAMICS)
    images = pictures(2, DYNAMICS.window)
    objective.loss(images, images).backward()
    assert all(parameter.grad is None for parameter in objective.target.parameters())
    assert all(parameter.grad is not None for parameter in objective.encoder.parameters())
    before = [parameter.clone() for parameter in objective.target.parameters()]
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.add_(1.0)
    objective.after_step()
    for old, new in zip(before, objective.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)


def test_a_causal_model_does_not_look_ahead() -> None:
    torch.manual_seed(0)
    causal = SequenceModel(4, 4, 5, 16, 2, 2, causal=True)
    seeing_all = SequenceModel(4, 4, 5, 16, 2, 2, causal=False)
    x = torch.randn(1, 5, 4)
    changed = x.clone()
    changed[:, 3:] += 1
    torch.testing.assert_close(causal(x)[:, :3], causal(changed)[:, :3])
    assert not torch.allclose(causal(x)[:, 3:], causal(changed)[:, 3:])
    assert not torch.allclose(seeing_all(x)[:, :3], seeing_all(changed)[:, :3])


@given(st.integers(0, 1000), st.floats(-5, 5))
def test_the_covariance_term_is_blind_to_a_shift_and_sees_a_column_said_twice(seed: int, shift: float) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((64, 3))).float()
    term = covariance_term(x)
    torch.testing.assert_close(covariance_term(x + shift), term, rtol=1e-3, atol=1e-5)
    assert covariance_term(torch.cat([x, x[:, :1]], dim=1)) > term + 0.1 * x[:, 0].var() ** 2 / 4


def test_columns_that_have_nothing_in_common_cost_nothing() -> None:
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert covariance_term(x).item() == 0.0


def test_columns_that_fade_cost_and_lively_ones_do_not() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((500, 3))).float()
    assert variance_term(3 * x).item() == 0.0
    assert variance_term(0.1 * x).item() > 0.8
    assert variance_term(torch.ones(500, 3)).item() > 0.98


def test_the_mean_picture_is_the_decoder_s_zero() -> None:
    objective = ReconstructionObjective(small_encoder(), grey(51.0), ReconstructionConfig((8, 8)))
    with torch.no_grad():
        for decoder in objective.decoders.values():
            for parameter in decoder.parameters():
                parameter.zero_()
    same = {name: torch.full((2, 1, *size, 3), 51, dtype=torch.uint8) for name, size in SIZES.items()}
    assert objective.loss(same, same).item() == 0.0


def test_a_small_lamp_counts_beside_a_large_table() -> None:
    """A lamp of 4 of 256 pixels: missing it costs far more than its share of the pixels."""
    encoder = small_encoder()
    losses = {}
    for weight in (0.0, 20.0):
        objective = ReconstructionObjective(encoder, grey(0.0), ReconstructionConfig((8, 8), weight))
        with torch.no_grad():
            for decoder in objective.decoders.values():
                for parameter in decoder.parameters():
                    parameter.zero_()
        lit = {name: torch.zeros(1, 1, *size, 3, dtype=torch.uint8) for name, size in SIZES.items()}
        lit["front"][..., 4:6, 4:6, :] = 255
        losses[weight] = objective.loss(lit, lit).item()
    assert losses[20.0] > 10 * losses[0.0]


def test_the_encoder_sees_the_augmented_pictures_and_gives_back_the_clean_ones() -> None:
    objective = ReconstructionObjective(small_encoder(), grey(127.5), ReconstructionConfig((8, 8)))
    clean, other = pictures(2, 1), pictures(2, 1, seed=1)
    loss = objective.loss(clean, clean)
    assert objective.loss(other, clean) != loss
    assert objective.loss(clean, other) != loss


def test_a_picture_of_any_size_is_given_back_in_its_size() -> None:
    assert PictureDecoder(6, 21, 30, (8, 4)).forward(torch.zeros(2, 6)).shape == (2, 3, 21, 30)


def test_windows_are_encoded_picture_by_picture() -> None:
    encoder, images = small_encoder(), pictures(2, 3)
    embeddings = encode_windows(encoder, images)
    assert embeddings.shape == (2, 3, 12)
    alone = encoder({name: picture[1, 2:3] for name, picture in images.items()})
    torch.testing.assert_close(embeddings[1, 2], alone[0], rtol=1e-4, atol=1e-5)
