"""Attack the guard: ``python -m ros_nodes.franka.fuzz --chunks 1000000 --json guard_fuzz.json``.

Streams of randomised and adversarial chunks go through the guard; an independent judge looks at every set-point. A run is
many short streams, one seed each, so it can be stopped and goes on where it was.
"""

import argparse
import dataclasses
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime import configuration
from policy_server.runtime.clock import NS_PER_S, ns_to_seconds
from policy_server.runtime.command import run_command, stoppable
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from policy_server.runtime.whole_file import write_whole
from ros_nodes.franka.adversary import Adversary
from ros_nodes.franka.blending import Rule
from ros_nodes.franka.guard import ChunkRefused, Guard
from ros_nodes.franka.judge import JudgedLimits, read_judged_limits, stated_violations, violations
from ros_nodes.franka.set_points import SetPoints
from ros_nodes.franka.settings import GuardSettings, load_guard_settings

CHUNKS_PER_STREAM = 250
ROBOTS = ("fr3", "fer")
_PERIODS_MS = (10, 10, 5, 10, 10, 2, 10, 10, 1)
_SAVE_EVERY_S = 10.0
_EXAMPLES = 20


@dataclass
class Tally:
    """What was seen so far; it is what the JSON file holds.

    Attributes:
        streams: finished ones; the next one's seed.
        chunks: sent to the guard, repeated ones included.
        set_points: judged.
        bad_streams: streams with a violation.
        late_rests: streams in which the arm moved later than ``rest_within_s`` after the last valid step.
        longest_rest_s: longest time from the last valid step to rest.
        wall_s: spent, over all sittings.
        violations: examples, with the stream's seed.
        counters: the guard's, summed.
    """

    streams: int = 0
    chunks: int = 0
    set_points: int = 0
    bad_streams: int = 0
    late_rests: int = 0
    longest_rest_s: float = 0.0
    wall_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Flight:
    """One stream's motion.

    Attributes:
        points: every set-point given out, up to 2 s after the last chunk.
        valid_until_ns: at each of them, until when what was accepted before counts as valid, int64 (n,).
        period_ns: distance of the set-points.
        start: where it began, float64 (joints,).
    """

    points: SetPoints
    valid_until_ns: NDArray[np.int64]
    period_ns: int
    start: NDArray[np.float64]


def main() -> int:
    arguments = _parse()
    arm_file = arguments.arm_file or resource("config/arm.yaml")
    tally = _resumed(arguments.json)
    began_s, saved_s, chunks_before = time.monotonic(), time.monotonic(), tally.chunks
    wall_before_s = tally.wall_s
    with stoppable() as stopped:
        while tally.chunks < arguments.chunks and not stopped():
            attack_once(tally, tally.streams, arm_file)
            now_s = time.monotonic()
            tally.wall_s = wall_before_s + now_s - began_s
            if now_s - saved_s > _SAVE_EVERY_S or tally.chunks >= arguments.chunks:
                saved_s = now_s
                _save(tally, arguments.json)
                _show(tally, arguments.chunks, (tally.chunks - chunks_before) / (now_s - began_s))
    _save(tally, arguments.json)
    finished = tally.chunks >= arguments.chunks
    found = f"{tally.bad_streams} of {tally.streams} streams with violations, {tally.late_rests} with a late rest"
    print(f"\n{tally.chunks} chunks, {tally.set_points} set-points: {found}; longest rest {tally.longest_rest_s:.3f} s")
    for line in tally.violations:
        print(line)
    print(f"results are in {arguments.json}" + ("" if finished else "; the same command goes on from here"))
    return 0 if finished and not (tally.bad_streams or tally.late_rests) else 1


def attack_once(tally: Tally, seed: int, arm_file: Path | str, chunks: int = CHUNKS_PER_STREAM) -> None:
    """Fly one stream and add what was seen to the tally."""
    robot = ROBOTS[seed % len(ROBOTS)]
    settings = _varied(load_guard_settings(arm_file, robot), seed)
    guard = Guard(settings)
    flight = fly(guard, settings, seed, tally, chunks)
    limits = read_judged_limits(arm_file, robot)
    found = _judged(flight, limits)
    late_s = longest_rest_s(flight)
    tally.longest_rest_s = max(tally.longest_rest_s, late_s)
    if late_s > limits.rest_within_s + 1e-9:
        tally.late_rests += 1
        found.append(f"rests {late_s:.3f} s after the last valid step")
    tally.bad_streams += bool(found)
    tally.violations += [f"stream {seed} ({robot}): {line}" for line in found][: _EXAMPLES - len(tally.violations)]
    tally.set_points += len(flight.points)
    tally.streams = seed + 1
    for name, count in guard.counters.items():
        tally.counters[name] = tally.counters.get(name, 0) + count


def fly(guard: Guard, settings: GuardSettings, seed: int, tally: Tally, chunks: int) -> Flight:
    """The guard's motion under one adversary's stream of ``chunks`` chunks."""
    adversary = Adversary(seed, settings.limits)
    guard.latch(adversary.start, 0)
    parts, valid_until = [], []
    now_ns, valid_until_ns, sent = 0, 0, 0
    for attack in adversary.attacks():
        now_ns += attack.pause_ns
        # What happened in the pause was decided by what was accepted before it.
        parts.append(guard.advance(now_ns))
        valid_until.append(np.full(len(parts[-1]), valid_until_ns))
        if attack.halts:
            guard.halt("the adversary's operator")
            valid_until_ns = min(valid_until_ns, guard.time_ns)
        chunk = dataclasses.replace(attack.chunk, stamp_ns=now_ns + attack.chunk.stamp_ns)
        for _ in range(attack.repeats):
            sent += 1
            with suppress(ChunkRefused):
                guard.accept(chunk, now_ns, attack.bundle_hash)
                last_step_ns = chunk.stamp_ns + len(chunk.positions) * chunk.period_ns - settings.arm_latency_ns
                valid_until_ns = min(now_ns + settings.watchdog_ns, last_step_ns)
        parts.append(guard.advance(now_ns + attack.lead_ns))
        valid_until.append(np.full(len(parts[-1]), valid_until_ns))
        if sent >= chunks:
            break
    tally.chunks += sent
    parts.append(guard.advance(now_ns + 2 * NS_PER_S))
    valid_until.append(np.full(len(parts[-1]), valid_until_ns))
    return Flight(SetPoints.joined(parts), np.concatenate(valid_until), settings.set_point_period_ns, adversary.start)


def longest_rest_s(flight: Flight) -> float:
    """The longest time from a last valid step to rest: how much later the newest set-point lies that still moves."""
    moves = np.diff(flight.points.positions, axis=0, prepend=flight.start[None]).any(axis=1)
    late_ns = (flight.points.times_ns - flight.valid_until_ns)[moves]
    return max(0.0, ns_to_seconds(int(late_ns.max()))) if len(late_ns) else 0.0


def _judged(flight: Flight, limits: JudgedLimits) -> list[str]:
    points, period_s = flight.points, ns_to_seconds(flight.period_ns)
    found = [] if (np.diff(points.times_ns) == flight.period_ns).all() else ["set-points are off the grid"]
    found += violations(np.concatenate([flight.start[None], points.positions]), period_s, limits)
    return found + stated_violations(points.velocities, points.accelerations, period_s, limits)


def _varied(settings: GuardSettings, seed: int) -> GuardSettings:
    """Each rule of blending, and every rate from 100 to 1000 Hz, in turn."""
    rule = tuple(Rule)[seed % len(Rule)]
    period_ns = _PERIODS_MS[seed // len(Rule) % len(_PERIODS_MS)] * 1_000_000  # every rule meets every period
    blending = dataclasses.replace(settings.blending, rule=rule)
    return dataclasses.replace(settings, blending=blending, set_point_period_ns=period_ns)


def _resumed(path: Path) -> Tally:
    if not path.exists():
        return Tally()
    try:
        return configuration.build(Tally, json.loads(path.read_text(encoding="utf-8")), str(path))
    except json.JSONDecodeError:
        raise ConfigurationError(f"'{path}' is no result of this command: give another --json file") from None


def _save(tally: Tally, path: Path) -> None:
    write_whole(path, json.dumps(dataclasses.asdict(tally), indent=1) + "\n")


def _show(tally: Tally, chunks: int, chunks_per_s: float) -> None:
    left_s = max(0, chunks - tally.chunks) / max(chunks_per_s, 1e-9)
    line = f"{tally.chunks} of {chunks} chunks, {chunks_per_s:.0f} per s, {left_s / 60.0:.1f} min left"
    print(f"\r{line}, {tally.bad_streams} bad streams", end="", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ros_nodes.franka.fuzz",
        description="Send randomised and adversarial chunks through the guard and judge every set-point independently.",
        epilog="example: python -m ros_nodes.franka.fuzz --chunks 1000000 --json guard_fuzz.json",
    )
    parser.add_argument("--chunks", type=_count, default=10_000, help="how many in all (default 10000)")
    parser.add_argument(
        "--json", type=Path, default=Path("guard_fuzz.json"), help="where results go, and where a stopped run goes on"
    )
    parser.add_argument("--arm-file", default="", help="limits and settings (default: the package's config/arm.yaml)")
    return parser.parse_args()


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} chunks: give at least 1")
    return value


if __name__ == "__main__":
    sys.exit(run_command(main))
