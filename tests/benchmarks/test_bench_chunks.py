from types import ModuleType

import pytest
import torch

from tests.benchmarks.named_runs import module_of_benchmarks


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module_of_benchmarks(monkeypatch, "bench_chunks")


def forked(noises: int, seed: int) -> torch.Tensor:
    """Chunks (1, M, 3) that lie near -1 or near 1."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(2, (1, noises, 1), generator=generator) * 2.0 - 1
    return side + 0.05 * torch.randn(1, noises, 3, generator=generator)


def test_the_energy_distance_is_none_between_samples_of_one_distribution_and_grows_with_another(
    bench: ModuleType,
) -> None:
    same = float(bench.energy_distance(forked(400, 0), forked(400, 1)))
    between = float(bench.energy_distance(0.05 * torch.randn(1, 400, 3), forked(400, 1)))
    one_side = float(bench.energy_distance(forked(400, 0).abs(), forked(400, 1)))
    assert abs(same) < 0.03 and between > 1 and one_side > 1


def test_the_mean_of_two_answers_has_no_spread(bench: ModuleType) -> None:
    assert float(bench.spread(forked(100, 0))) > 0.9
    assert float(bench.spread(torch.zeros(1, 100, 3))) == 0


def test_figures_are_also_given_where_the_reference_has_a_choice(bench: ModuleType) -> None:
    decided = torch.full((9, 50, 3), 0.5) + 0.001 * torch.randn(9, 50, 3, generator=torch.Generator().manual_seed(0))
    reference = bench.Chunks("teacher:10", torch.cat([decided, forked(50, 1)]))
    mean = bench.Chunks("teacher:1", reference.scaled.mean(1, keepdim=True).expand(-1, 50, -1))
    row = bench.compare(mean, reference, reference.scaled)
    assert row["policy"] == "teacher:1"
    assert row["rms_undecided"] > 0.9 and row["rms"] == pytest.approx(row["rms_undecided"] / 10, rel=0.05)
    again = torch.cat([decided, forked(50, 2)])
    itself, of_mean = (bench.compare(each, reference, again) for each in (reference, mean))
    assert itself["rms"] == 0 and abs(itself["energy_undecided"]) < 0.1 < of_mean["energy_undecided"]
