"""Evaluate a bundle: ``python -m sim_bridge.evaluate --bundle bundles/reach_cued --task reach_cued --episodes 100``."""

import argparse
import dataclasses
import json
import multiprocessing
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from policy_server.runtime.actor import Schedule, schedule_of
from policy_server.runtime.adapter import read_adapter
from policy_server.runtime.adapter_inputs import check_adapter
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from policy_server.runtime.configuration import to_plain
from policy_server.runtime.continuation import check_continuation
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.asynchronous import EXECUTIONS, AsynchronousConfig
from sim_bridge.episode import EngineConfig, EpisodeResult, PolicyEpisodes, check_bundle_fits, world_for
from sim_bridge.intervals import success_rate
from sim_bridge.shift import add_shift_option
from sim_bridge.smoothness import describe_seams
from sim_bridge.task_config import TaskConfig, load_task_config


@dataclass(frozen=True)
class EvaluateConfig:
    """An evaluation on seeds ``seed`` to ``seed + episodes - 1``; the same seeds make two bundles comparable in pairs.

    ``shift``: name of one, or empty.
    """

    bundle: Path
    task: str
    episodes: int
    seed: int
    workers: int
    engine: EngineConfig
    shift: str = ""

    @property
    def task_config(self) -> TaskConfig:
        """The task with its shift. Raises as ``load_task_config``."""
        return load_task_config(self.task, shift=self.shift)

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.episodes)

    def schedule(self, bundle: Bundle) -> Schedule:
        """How often and of how many candidates the bundle is sampled; raises as ``schedule_of``, as ``check_adapter`` for an adapter
        that does not fit, and as ``check_continuation`` for a delay or warm start that the bundle's chunks do not allow."""
        if self.engine.asynchronous is not None:
            check_continuation(bundle.spec, self.engine.asynchronous.continuation(bundle.spec.period_ns))
        if self.engine.adapter is not None:
            check_adapter(read_adapter(self.engine.adapter), bundle)
        return schedule_of(bundle.spec, self.engine.replan_every_ticks, self.engine.candidates)


def evaluate(config: EvaluateConfig) -> Iterator[EpisodeResult]:
    """Run the episodes in lockstep in this process or in several; results come in the order of the seeds."""
    bundle = load_bundle(config.bundle)
    check_bundle_fits(bundle, config.task_config)
    # Refused here, before a pool of workers would fail again and again.
    config.schedule(bundle)
    late = config.engine.asynchronous
    if late is not None and late.continuation(bundle.spec.period_ns).reads_the_plan:
        Denoiser(bundle, provider=config.engine.provider).check_inpaintable()
    if config.workers == 1:
        _start_worker(config)
        yield from map(_run_one, config.seeds)
        return
    with multiprocessing.get_context("spawn").Pool(config.workers, _start_worker, (config,)) as pool:
        yield from pool.imap(_run_one, config.seeds)


def evaluate_through_graph(config: EvaluateConfig) -> Iterator[EpisodeResult]:
    """The same episodes through the ROS 2 nodes, in lockstep.

    Raises:
        ConfigurationError: also for an injected delay, which the nodes do not have.
    """
    if config.engine.asynchronous is not None:
        raise ConfigurationError(
            "--execution, --delay-ms and --warm-start inject a delay into one process; the graph has its own: leave out --graph"
        )
    from ros_nodes.graph import SimOptions
    from sim_bridge.graph_run import run_graph

    schedule, file = config.schedule(load_bundle(config.bundle)), config.engine.adapter
    with tempfile.TemporaryDirectory() as folder:
        options = SimOptions(
            bundle=str(config.bundle),
            task=config.task,
            episodes=config.episodes,
            seed=config.seed,
            clock="lockstep",
            output_dir=folder,
            provider=config.engine.provider,
            threads=config.engine.threads,
            replan_every_ticks=schedule.replan_every_ticks,
            candidates=schedule.candidates,
            shift=config.shift,
            adapters=str(file.absolute()) if file else "",
            adapter=read_adapter(file).name if file else "",
        )
        yield from run_graph(options).results


class _Worker:
    def __init__(self, config: EvaluateConfig) -> None:
        task = config.task_config
        bundle = load_bundle(config.bundle)
        self.world = world_for(bundle, task)
        guard = load_guard_settings(resource("config/arm.yaml"))
        self.episodes = PolicyEpisodes(bundle, task, guard, config.engine)


_worker: _Worker | None = None


def _start_worker(config: EvaluateConfig) -> None:
    global _worker
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    _worker = _Worker(config)


def _run_one(seed: int) -> EpisodeResult:
    assert _worker is not None
    return _worker.episodes.run(_worker.world, seed)


def main() -> int:
    arguments = _parse()
    if arguments.episodes < 1:
        raise ConfigurationError(f"--episodes {arguments.episodes}: ask for at least 1")
    engine = EngineConfig(
        arguments.provider,
        replan_every_ticks=arguments.replan_every_ticks,
        candidates=arguments.candidates,
        adapter=arguments.adapter,
        asynchronous=_asynchronous(arguments),
    )
    config = EvaluateConfig(
        arguments.bundle,
        arguments.task,
        arguments.episodes,
        arguments.seed,
        arguments.workers,
        engine,
        arguments.shift,
    )
    run = evaluate_through_graph if arguments.graph else evaluate
    results: list[EpisodeResult] = []
    with tqdm(total=config.episodes, desc=" ".join(filter(None, (config.task, config.shift))), unit="episode") as bar:
        for result in run(config):
            results.append(result)
            bar.set_postfix(success=f"{sum(r.success for r in results)}/{len(results)}", refresh=False)
            bar.update()
    rate = success_rate(sum(result.success for result in results), len(results))
    print(f"{config.task}{f', {config.shift}' if config.shift else ''}: {rate}")
    motions = [result.smoothness for result in results if result.smoothness is not None]
    if motions:
        print(describe_seams(motions))
    if arguments.json:
        _write_json(arguments.json, config, results)
        print(f"results are in {arguments.json}")
    return 0


def _asynchronous(arguments: argparse.Namespace) -> AsynchronousConfig | None:
    """The injected delay, or None where none of its options is given."""
    if arguments.execution is None and arguments.delay_ms is None and arguments.warm_start is None:
        return None
    return AsynchronousConfig(arguments.execution or "latest", arguments.delay_ms or 0, arguments.warm_start or 0)


def _write_json(file: Path, config: EvaluateConfig, results: list[EpisodeResult]) -> None:
    rate = success_rate(sum(result.success for result in results), len(results))
    bundle = load_bundle(config.bundle)
    content = {
        "bundle": str(config.bundle),
        "bundle_hash": bundle.hash,
        "adapter": str(config.engine.adapter or ""),
        "task": config.task,
        "shift": to_plain(config.task_config.shift) if config.shift else {},
        "seed": config.seed,
        **dataclasses.asdict(config.schedule(bundle)),
        "asynchronous": to_plain(config.engine.asynchronous),
        **dataclasses.asdict(rate),
        "results": [dataclasses.asdict(result) for result in results],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _add_asynchronous_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--execution",
        choices=EXECUTIONS,
        help="what the arm does while the next chunk is sampled: rest, go on until it comes, or go on while it is sampled as a "
        "continuation (default latest; docs/asynchronous.md)",
    )
    parser.add_argument(
        "--delay-ms",
        type=int,
        help="simulated time from an observation to the chunk that answers it, whole policy ticks (default 0)",
    )
    parser.add_argument(
        "--warm-start", type=int, help="sampling steps left out by starting from the standing chunk (default 0)"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sim_bridge.evaluate",
        description="Success rate of a bundle on a task, with its 95 % Wilson interval.",
        epilog="example: python -m sim_bridge.evaluate --bundle bundles/reach_cued --task reach_cued --json out.json",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--task", required=True, help="task name, as in config/tasks")
    add_shift_option(parser)
    parser.add_argument("--episodes", type=int, default=100, help="number of episodes, one per seed (default 100)")
    parser.add_argument(
        "--seed", type=int, default=0, help="first seed (default 0; training uses seeds from 1000000 on)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2); results do not depend on it")
    parser.add_argument("--graph", action="store_true", help="through the ROS 2 nodes instead of in one process")
    parser.add_argument(
        "--provider", default="cpu", choices=("cpu", "cuda", "tensorrt"), help="where the networks run (default cpu)"
    )
    parser.add_argument(
        "--replan-every-ticks", type=int, help="ticks between two samples (default: as the bundle says)"
    )
    parser.add_argument(
        "--candidates",
        type=int,
        help="chunks drawn per sample, of which the one that agrees best with the executed past is taken (default: as the "
        "bundle says)",
    )
    parser.add_argument("--adapter", type=Path, help="adapter file to act with (default: the base policy)")
    _add_asynchronous_options(parser)
    parser.add_argument("--json", type=Path, help="write successes, episodes, interval and every episode's result here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
