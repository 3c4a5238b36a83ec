"""The plan of faults."""

from itertools import islice, pairwise

from sim_bridge.soak.faults import FaultKind, plan


def test_the_same_seed_gives_the_same_faults() -> None:
    first, second, other = (list(islice(plan(seed, 10.0), 20)) for seed in (3, 3, 4))
    assert first == second
    assert first != other


def test_every_kind_strikes_before_any_strikes_again() -> None:
    faults = list(islice(plan(0, 10.0), 3 * len(FaultKind)))
    for begin in range(0, len(faults), len(FaultKind)):
        assert {fault.kind for fault in faults[begin : begin + len(FaultKind)]} == set(FaultKind)


def test_faults_come_in_order_and_about_as_often_as_asked() -> None:
    times_s = [fault.at_s for fault in islice(plan(0, 10.0), 50)]
    gaps_s = [after - before for before, after in pairwise(times_s)]
    assert min(gaps_s) >= 8.0
    assert max(gaps_s) <= 12.0
