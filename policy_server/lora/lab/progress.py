"""A bar over the steps of all groups, with the time that is left at most."""

import time
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

from policy_server.lora.lab.cells import Group

_SHOW_EVERY_S = 0.5


class Progress:
    """Groups count by what their steps cost, so that the rate stays about the same; one that ends early makes a jump."""

    def __init__(self, groups: Sequence[Group], instances: int) -> None:
        self._costs = [_step_cost(group, instances) for group in groups]
        total = sum(cost * group.steps for cost, group in zip(self._costs, groups, strict=True))
        form = "{percentage:3.0f}%|{bar:24}| {elapsed} done, at most {remaining} left{postfix}"
        self._bar = tqdm(total=total, bar_format=form)
        self._before, self._shown_s = 0.0, -_SHOW_EVERY_S

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def show(self, index: int, group: Group, steps: int) -> None:
        if steps < group.steps and time.monotonic() - self._shown_s < _SHOW_EVERY_S:
            return
        self._shown_s = time.monotonic()
        self._bar.set_postfix_str(f", {group.name.rpartition('-')[0]} at step {steps}", refresh=False)
        self._bar.update(self._before + self._costs[index] * steps - self._bar.n)

    def finish(self, index: int, group: Group) -> None:
        self.show(index, group, group.steps)
        self._before += self._costs[index] * group.steps


def _step_cost(group: Group, instances: int) -> float:
    """About microseconds: what every step costs, and what a neuron of an instance costs."""
    width = group.cells[0].dimension if group.settings.student == "scratch" or group.settings.method == "plain" else 1
    runs = sum(len(cell.sides) for cell in group.cells)
    return 20 + 0.004 * runs * instances * group.neurons * (1 + width / 8)
