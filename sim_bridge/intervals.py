"""Success rates with their uncertainty."""

import math
from dataclasses import dataclass

_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Rate:
    """Successes of a number of episodes and the 95 % Wilson score interval of the rate."""

    successes: int
    episodes: int
    interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.interval)
        return f"{self.successes}/{self.episodes} = {100 * self.successes / self.episodes:.1f} % (95 % interval {low:.1f} to {high:.1f} %)"


def success_rate(successes: int, episodes: int) -> Rate:
    """Wilson score interval (Wilson 1927), which stays inside [0, 1] and is honest for few episodes."""
    if not 0 <= successes <= episodes or episodes == 0:
        raise ValueError(f"{successes} successes of {episodes} episodes")
    share, z2 = successes / episodes, _Z_95**2
    centre = (share + z2 / (2 * episodes)) / (1 + z2 / episodes)
    half = _Z_95 * math.sqrt(share * (1 - share) / episodes + z2 / (4 * episodes**2)) / (1 + z2 / episodes)
    return Rate(successes, episodes, (max(0.0, centre - half), min(1.0, centre + half)))
