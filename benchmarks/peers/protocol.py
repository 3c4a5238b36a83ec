"""How a peer speaks with ``bench_tick.py``: it is told the sizes as arguments and says ``ready``. Then, again and again, a line with a
context length comes in, and a line with the milliseconds of one tick at that length goes out.

Peers run in environments of their own: this imports nothing but the standard library.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping


def parse(description: str) -> argparse.Namespace:
    """The sizes: ``contexts``, ``cameras``, ``pixels`` (edge of a picture), ``steps`` (of denoising), ``threads``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--contexts", type=int, nargs="+", required=True)
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def answer(ticks: Mapping[int, Callable[[], None]]) -> None:
    """Make the tick of every context length that is asked for, until nobody asks any more."""
    print("ready", flush=True)
    for line in sys.stdin:
        tick = ticks[int(line)]
        begun_s = time.perf_counter()
        tick()
        print(1e3 * (time.perf_counter() - begun_s), flush=True)
