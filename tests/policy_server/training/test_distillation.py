import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.model.diffusion import Diffusion
from policy_server.model.policy import DiffusionPolicy
from policy_server.training.configuration import (
    DistillationConfig,
    EncoderTraining,
    HistoryConfig,
    MuonSettings,
    OptimizerConfig,
    TrainingConfig,
)
from policy_server.training.distillation import distillation_loss, draw_steps, visited_steps
from policy_server.training.policy_loss import PolicyLoss
from policy_server.training.rows import context_rows
from policy_server.training.teacher import Teacher
from tests.policy_server.training.forked_road import (
    MOVING,
    RIGHT_RAD,
    forked_config,
    forked_context,
    sampler_of,
    train,
    write_forked_dataset,
)
from tests.policy_server.training.student_runs import FEATURES_ONLY, student_of, trained_teacher, trainer
from tests.policy_server.training.test_processes import (
    TOGETHER,
    TRAIN,
    curve,
    finished,
    start,
    wait_for,
    weights,
    written,
)
from tests.small_networks import network_config, network_spec, random_context, random_policy


def as_teacher(policy: DiffusionPolicy) -> Teacher:
    return Teacher(policy.requires_grad_(False), "", "clean")


def ones(policy: DiffusionPolicy) -> torch.Tensor:
    return torch.ones(len(policy.scaling.action_middle))


@settings(max_examples=25)
@given(training_steps=st.integers(3, 200), most=st.integers(1, 3))
def test_a_student_learns_at_the_steps_that_its_samplers_pass(training_steps: int, most: int) -> None:
    visited = visited_steps(training_steps, most)
    assert [len(steps) for steps in visited] == list(range(1, most + 1))
    for steps in visited:
        sampler = Diffusion(training_steps, len(steps), "clean")
        assert steps == sampler.sampling_steps.tolist()
        assert steps[0] == training_steps - 1, "every sampler begins at the noisiest step"


def test_every_sampler_and_each_of_its_steps_is_as_likely_as_another() -> None:
    drawn = draw_steps([[99], [99, 49], [99, 66, 32]], 60_000, torch.Generator().manual_seed(0))
    shares = {step: float((drawn == step).float().mean()) for step in (99, 49, 66, 32)}
    expected = {99: 1 / 3 + 1 / 6 + 1 / 9, 49: 1 / 6, 66: 1 / 9, 32: 1 / 9}
    assert shares == pytest.approx(expected, abs=0.01)


def test_the_teacher_answers_what_its_sampler_answers() -> None:
    spec = network_spec(sampling_steps=5)
    policy = random_policy(spec, network_config("unet_attention"))
    context = random_context(spec, 3)
    noise = torch.randn(3, spec.action.horizon, len(spec.action.joints), generator=torch.Generator().manual_seed(4))
    weights = ones(policy).expand(3, -1)
    with torch.no_grad():
        sampled = policy.sample(context, noise)
    answer = as_teacher(policy).answer(context, noise, None, weights)
    torch.testing.assert_close(policy.scaling.unscale_actions(answer) + policy.anchor(context), sampled)


def test_rows_that_are_not_learned_stay_noise_for_the_teacher() -> None:
    spec = network_spec(sampling_steps=4)
    policy = random_policy(spec, network_config("unet_attention"))
    weights = ones(policy)[None].clone()
    weights[:, :2] = 0
    noise = torch.randn(1, spec.action.horizon, len(spec.action.joints), generator=torch.Generator().manual_seed(4))
    shown: list[torch.Tensor] = []
    policy.denoiser.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].clone()))
    as_teacher(policy).answer(random_context(spec), noise, None, weights)
    assert len(shown) == 4
    for noisy in shown:
        torch.testing.assert_close(noisy[:, :2], noise[:, :2], rtol=0, atol=0)
    assert not torch.equal(shown[-1][:, 2:], noise[:, 2:])


def loss_of(student: DiffusionPolicy, teacher: Teacher, context: torch.Tensor, most: int, seed: int = 0) -> float:
    drawn = torch.Generator().manual_seed(seed)
    visited = visited_steps(100, most)
    with torch.no_grad():
        return float(
            distillation_loss(student, teacher, context, context, visited, drawn, visible=None, weights=ones(student))
        )


def test_a_one_step_teacher_has_nothing_to_teach_its_own_one_step_student() -> None:
    spec = network_spec(sampling_steps=1)
    config = network_config("unet_attention")
    policy = random_policy(spec, config)
    with torch.no_grad():  # small enough that its answers are not clipped
        for value in policy.denoiser.unet.parameters():
            value.mul_(0.5)
    context = random_context(spec, 4)
    assert loss_of(policy, as_teacher(policy), context, most=1) < 1e-9
    assert loss_of(random_policy(spec, config, seed=3), as_teacher(policy), context, most=1) > 1e-3


def test_a_hidden_row_of_the_chunk_counts_nothing() -> None:
    spec = network_spec(sampling_steps=3)
    teacher = as_teacher(random_policy(spec, network_config("unet_attention")))
    student = random_policy(spec, network_config("unet_attention"), seed=3)
    weights = ones(student)
    weights[0] = 0

    def loss_with(bias: float) -> float:
        row = torch.zeros_like(student.scaling.action_middle)
        row[0] = bias
        handle = student.denoiser.register_forward_hook(lambda _, inputs, output: output + row)
        context, drawn = random_context(spec, 2), torch.Generator().manual_seed(1)
        with torch.no_grad():
            loss = distillation_loss(
                student, teacher, context, context, visited_steps(100, 2), drawn, visible=None, weights=weights
            )
        handle.remove()
        return float(loss)

    assert loss_with(0.0) == loss_with(7.0)


def losses_of(config: TrainingConfig, stop_after: int | None = None) -> list[float]:
    """Of the steps until stopped, going on where the run was left."""
    run = trainer(config)
    run.resume()
    losses: list[float] = []
    run.run(
        lambda step, result: losses.append(result.loss),
        should_stop=lambda: stop_after is not None and len(losses) == stop_after,
    )
    return losses


SETTINGS: dict[str, dict[str, object]] = {
    "history": {"history": HistoryConfig("progressive", 1, 0.8, dropout=0.3)},
    "muon, accumulated": {
        "optimizer": OptimizerConfig("muon", 2e-3, warmup_steps=5, muon=MuonSettings(recipe="fixed_five")),
        "accumulate": 2,
    },
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=() if name == "history" else pytest.mark.slow)
        for name, changes in SETTINGS.items()
    ],
)
def test_a_resumed_student_repeats_the_loss_curve_of_an_unbroken_one(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    config = student_of(trained_teacher(tmp_path, **FEATURES_ONLY), steps=4, **changes)
    unbroken = losses_of(dataclasses.replace(config, output=tmp_path / "whole"))
    begun = losses_of(config, stop_after=2)
    assert begun + losses_of(config) == unbroken and len(begun) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_student_that_is_killed_has_the_loss_curve_of_an_unbroken_one(tmp_path: Path) -> None:
    teacher = trained_teacher(tmp_path)
    unbroken = student_of(teacher, output=tmp_path / "unbroken", steps=30, checkpoint_every=7)
    killed = dataclasses.replace(unbroken, output=tmp_path / "killed")
    finished(start(*TRAIN, written(unbroken)))
    process = start(*TRAIN, written(killed))
    wait_for(killed.output / "checkpoint.pt", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert "from step 0 " not in finished(start(*TRAIN, written(killed)))
    assert curve(killed.output) == curve(unbroken.output) and len(curve(killed.output)) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_teach_what_one_teaches_with_twice_the_batches(tmp_path: Path) -> None:
    teacher = trained_teacher(tmp_path)
    file = written(student_of(teacher, steps=10, checkpoint_every=100))
    alone, together = tmp_path / "alone", tmp_path / "together"
    finished(start(*TRAIN, file, f"output={alone}", "accumulate=2"))
    finished(start(*TOGETHER, *TRAIN, file, f"output={together}"))
    for one, two in zip(curve(alone), curve(together), strict=True):
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-3)
    ours = weights(together)
    for name, value in weights(alone).items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("encoder", ["end_to_end", "frozen"])
def test_the_teacher_sees_through_its_own_encoder(tmp_path: Path, encoder: str) -> None:
    teacher = trained_teacher(tmp_path)
    run = trainer(student_of(teacher, encoder=EncoderTraining(encoder)))  # type: ignore[arg-type]
    assert run.teacher is not None
    with torch.no_grad():
        for value in run.model.encoder.parameters():
            value.add_(0.1 if encoder == "end_to_end" else 0.0)
    loss = PolicyLoss(run.model, run.config, encoder == "end_to_end", run.teacher)
    batch = run.reader.read(0, 0)
    with torch.no_grad():
        own = context_rows(batch, run.model.encode(batch.images))
        theirs = context_rows(batch, run.teacher.policy.encode(batch.images))
        seen = loss._seen_by_teacher(run.teacher, batch, batch.images, own)
    torch.testing.assert_close(seen, theirs)
    assert torch.equal(own, theirs) == (encoder == "frozen")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_step_of_a_student_comes_nearer_to_ten_of_its_teacher_than_the_teacher_s_own(tmp_path: Path) -> None:
    """Where there are two good answers, one step of the teacher goes between them, and the student's takes the teacher's side."""
    dataset = write_forked_dataset(tmp_path / "data")
    taught_by = train(forked_config(dataset, tmp_path / "teacher"))
    distill = DistillationConfig(tmp_path / "teacher", teacher_steps=5, student_steps=1)
    train(forked_config(dataset, tmp_path / "student", distill=distill, sampling_steps=1))
    context = forked_context(taught_by.spec)
    noise = torch.randn(256, 8, 8, generator=torch.Generator().manual_seed(0))

    def answers(run: str, steps: int) -> torch.Tensor:
        """Of every noise the mean of the moving joint's rows; -1 is left, 1 is right."""
        with torch.no_grad():
            return sampler_of(tmp_path / run, steps).sample(context, noise)[..., MOVING].mean(1) / RIGHT_RAD

    def between(answered: torch.Tensor) -> float:
        return float((answered.abs() < 2 / 3).float().mean())

    walked, one, student = answers("teacher", 10), answers("teacher", 1), answers("student", 1)
    assert 0.25 < (walked > 0).float().mean() < 0.75, "the teacher knows both answers"
    assert between(walked) < 0.1 and between(one) > 0.4, "the teacher needs more than one step"
    assert between(student) < 0.2
    assert ((student > 0) == (walked > 0)).float().mean() > 0.95
    assert (student - walked).square().mean() < 0.4 * (one - walked).square().mean()
