"""Runs episodes through the real ROS 2 graph: starts the processes, shows the episodes, reads what they left."""

from dataclasses import dataclass
from pathlib import Path

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import PolicyError
from ros_nodes.bundle_checks import check_topics_carry
from ros_nodes.graph import SimOptions, sim_graph
from ros_nodes.start import EXIT_INTERRUPTED, run
from sim_bridge.episode import EpisodeResult
from sim_bridge.graph_output import shown_and_logged
from sim_bridge.run_files import read_results


class GraphRunError(PolicyError):
    """The graph ended before its last episode."""


@dataclass(frozen=True)
class GraphRun:
    """Results of a run, in the order of the seeds, and the folder with everything else."""

    results: list[EpisodeResult]
    folder: Path


def run_graph(options: SimOptions, *, show: bool = True) -> GraphRun:
    """Run the simulated graph to its end. Its output goes to ``graph.log``; episodes and warnings are shown.

    Raises:
        BundleError: the bundle is damaged, or reads what no topic carries.
        GraphRunError: a node died; names it and its last words.
        KeyboardInterrupt: the run was ended by SIGINT or SIGTERM; what was done is on disk.
    """
    check_topics_carry(load_bundle(options.bundle))
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with shown_and_logged(folder / "graph.log", show=show) as on_line:
        outcome = run(sim_graph(options), on_line)
    if outcome.status == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if outcome.status != 0:
        raise GraphRunError(f"{outcome.reason} (all output: {folder / 'graph.log'})")
    return GraphRun(read_results(folder), folder)
