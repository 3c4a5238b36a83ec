import threading

import pytest

from policy_server.training.prefetch import Prefetcher


def prefetch_threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_steps_come_in_order() -> None:
    with Prefetcher(lambda step: step**2, range(5, 40)) as ahead:
        assert list(ahead) == [(step, step**2) for step in range(5, 40)]


def test_no_more_is_prepared_than_was_asked_for() -> None:
    made: list[int] = []
    taken = threading.Semaphore(0)

    def make(step: int) -> int:
        made.append(step)
        taken.release()
        return step

    with Prefetcher(make, range(1000), ahead=2) as ahead:
        for _ in range(3):
            taken.acquire(timeout=10)
        assert next(iter(ahead)) == (0, 0)
        taken.acquire(timeout=10)
        assert len(made) <= 5


def test_an_error_comes_where_its_step_would_have_come() -> None:
    def make(step: int) -> int:
        if step == 3:
            raise ValueError("torn")
        return step

    with Prefetcher(make, range(10)) as ahead:
        steps = iter(ahead)
        assert [next(steps)[0] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="torn"):
            next(steps)


def test_leaving_early_ends_the_thread() -> None:
    with Prefetcher(lambda step: step, range(10**9)) as ahead:
        next(iter(ahead))
        assert prefetch_threads() == 1
    assert prefetch_threads() == 0
