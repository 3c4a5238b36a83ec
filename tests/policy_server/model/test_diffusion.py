from collections.abc import Callable

import pytest
import torch

from policy_server.model.diffusion import Diffusion, squared_cosine_alphas
from policy_server.runtime.errors import ConfigurationError


def test_the_schedule_goes_from_clean_to_noise() -> None:
    alphas = squared_cosine_alphas(100)
    assert alphas[0] > 0.999 and alphas[-1] < 1e-4
    assert (alphas.diff() < 0).all()


@pytest.mark.parametrize("prediction", ["noise", "clean"])
@pytest.mark.parametrize("sampling_steps", [1, 3, 10, 100])
def test_a_perfect_prediction_leads_to_the_clean_chunk(prediction: str, sampling_steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand((2, 6, 3), generator=generator) * 1.8 - 0.9
    diffusion = Diffusion(100, sampling_steps, prediction)  # type: ignore[arg-type]

    def oracle(noisy: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        alpha = diffusion.alphas[step.long()]
        return clean if prediction == "clean" else (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    noise = torch.randn((2, 6, 3), generator=generator)
    torch.testing.assert_close(diffusion.sample(oracle, noise), clean, rtol=0, atol=2e-3)


def test_noising_mixes_chunk_and_noise_by_the_schedule() -> None:
    diffusion = Diffusion(100, 10)
    clean, noise = torch.ones(2, 4, 3), torch.zeros(2, 4, 3)
    noisy = diffusion.add_noise(clean, noise, torch.tensor([0, 99]))
    torch.testing.assert_close(noisy[0], diffusion.alphas[0].sqrt().expand(4, 3))
    assert noisy[1].abs().max() < 0.01


def test_sampling_ends_exactly_at_the_predicted_clean_chunk() -> None:
    diffusion = Diffusion(100, 10, "clean")
    target = torch.full((1, 4, 2), 0.3)
    assert torch.equal(diffusion.sample(lambda noisy, step: target, torch.randn(1, 4, 2)), target)


@pytest.mark.parametrize("sampling_steps", [1, 2, 3])
def test_few_steps_begin_with_noise_alone_and_end_at_the_clean_chunk(sampling_steps: int) -> None:
    for prediction in ("noise", "clean"):
        diffusion = Diffusion(100, sampling_steps, prediction)  # type: ignore[arg-type]
        assert diffusion.sampling_alphas[0] < 2e-3
        assert diffusion.sampling_previous[-1] == 1.0
        assert len(set(diffusion.sampling_steps.tolist())) == sampling_steps


@pytest.mark.parametrize("sampling_steps", [1, 2, 3, 10])
def test_rounding_errors_of_a_predicted_noise_stay_small(sampling_steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    noise, clean = torch.randn((1, 8, 4), generator=generator), torch.rand((1, 8, 4), generator=generator) - 0.5
    diffusion = Diffusion(100, sampling_steps, "noise")

    def sampled(error: float) -> torch.Tensor:
        def oracle(noisy: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
            alpha = diffusion.alphas[step.long()]
            return (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt() + error

        return diffusion.sample(oracle, noise)

    assert (sampled(1e-6) - sampled(0.0)).abs().max() < 5e-5


@pytest.mark.parametrize("sampling_steps", [0, 101])
def test_a_number_of_steps_that_was_not_trained_is_refused(sampling_steps: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{sampling_steps} sampling steps"):
        Diffusion(100, sampling_steps)


def pulled(predicted: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A network that predicts a mean of what it sees and of ``predicted``, so that held rows reach the others."""
    return lambda noisy, step: 0.5 * predicted + 0.5 * noisy.mean(dim=1, keepdim=True)


def test_a_row_that_is_held_whole_ends_at_the_plan_and_moves_the_others() -> None:
    diffusion = Diffusion(100, 5, "clean")
    noise, target = torch.randn((2, 4, 2), generator=torch.Generator().manual_seed(0)), torch.full((1, 4, 2), 0.3)
    held, weight = torch.full((1, 4, 2), -0.4), torch.tensor([1.0, 0.0, 0.0, 0.0])
    free = diffusion.sample(pulled(target), noise)
    answer = diffusion.sample(pulled(target), noise, held, weight)
    assert torch.equal(answer[:, 0], held[:, 0].expand(2, 2))
    assert (answer[:, 1:] < free[:, 1:]).all()


def test_a_share_of_a_row_that_is_held_is_a_mixture_at_the_end() -> None:
    diffusion = Diffusion(100, 5, "clean")
    target, held = torch.full((1, 4, 2), 0.5), torch.full((1, 4, 2), -0.5)
    weight = torch.tensor([1.0, 0.6, 0.2, 0.0])
    answer = diffusion.sample(lambda noisy, step: target, torch.randn(1, 4, 2), held, weight)
    torch.testing.assert_close(answer[0, :, 0], torch.tensor([-0.5, -0.1, 0.3, 0.5]))


@pytest.mark.parametrize("first_step", [1, 4])
def test_a_warm_start_begins_at_the_plan_with_the_noise_of_its_step(first_step: int) -> None:
    diffusion = Diffusion(100, 5, "clean")
    noise, held = torch.randn(1, 4, 2), torch.full((1, 4, 2), -0.4)
    seen: list[tuple[torch.Tensor, float]] = []

    def predict(noisy: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        seen.append((noisy, float(step)))
        return held

    diffusion.sample(predict, noise, held, first_step=first_step)
    assert [step for _, step in seen] == diffusion.sampling_steps[first_step:].tolist()
    expected = diffusion.add_noise(held, noise, torch.tensor([int(seen[0][1])]))
    torch.testing.assert_close(seen[0][0], expected)


def test_a_warm_start_from_nothing_or_beyond_the_last_step_is_refused() -> None:
    diffusion, noise = Diffusion(100, 5), torch.zeros(1, 4, 2)
    with pytest.raises(ValueError, match="first_step is 5: give 0 to 4"):
        diffusion.sample(pulled(noise), noise, noise, first_step=5)
    for arguments in ({"first_step": 1}, {"held_weight": torch.zeros(4)}):
        with pytest.raises(ValueError, match="give held"):
            diffusion.sample(pulled(noise), noise, **arguments)  # type: ignore[arg-type]
