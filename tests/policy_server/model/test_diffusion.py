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
