"""The slot between a callback and a worker never loses the newest value."""

import threading

from ros_nodes.latest import Latest


def test_the_newest_value_wins_and_is_taken_once() -> None:
    slot: Latest[int] = Latest()
    assert slot.take() is None
    assert not slot.put(1)
    assert slot.put(2)
    assert slot and slot.take() == 2
    assert not slot and slot.take() is None


def test_a_value_put_back_does_not_replace_a_newer_one() -> None:
    slot: Latest[int] = Latest()
    slot.put_back(1)
    slot.put(2)
    slot.put_back(1)
    assert slot.take() == 2


def test_the_last_value_arrives_under_contention() -> None:
    slot: Latest[int] = Latest()
    taken: list[int] = []
    ended = threading.Event()

    def consume() -> None:
        while not (ended.is_set() and not slot):
            if (value := slot.take()) is not None:
                taken.append(value)

    consumer = threading.Thread(target=consume)
    consumer.start()
    for value in range(1, 5000):
        slot.put(value)
    ended.set()
    consumer.join()
    assert taken[-1] == 4999
    assert taken == sorted(set(taken))
