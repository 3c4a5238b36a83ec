"""Look at datasets and exchange them: ``python -m policy_server.dataset describe data/reach_cued``."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from policy_server.dataset.description import DESCRIPTION_FILE, Description, describe, lines
from policy_server.dataset.lerobot.exporting import ExportOptions, export_lerobot
from policy_server.dataset.lerobot.importing import ImportOptions, ImportPlan, import_lerobot, plan_import
from policy_server.dataset.lerobot.layout import ACTION, STATE
from policy_server.dataset.lerobot.mapping import JointOptions, parse_joints, parse_scale
from policy_server.dataset.pictures import draw
from policy_server.dataset.statistics import write_json
from policy_server.dataset.verification import all_episodes, delete, find_damage
from policy_server.dataset.video import CODECS
from policy_server.runtime import configuration
from policy_server.runtime.command import EXIT_ERROR, run_command
from policy_server.runtime.errors import DatasetError


def main() -> int:
    arguments = _parser().parse_args()
    return int(arguments.run(arguments))


def run_describe(arguments: argparse.Namespace) -> int:
    dataset: Path = arguments.dataset
    with _Bar("reading", "episode") as bar:
        description = describe(dataset, bar.show)
    print("\n".join(lines(description)))
    write_json(dataset / DESCRIPTION_FILE, configuration.to_plain(description))
    folder = arguments.output or dataset / "description"
    draw(dataset, description, folder)
    _name_damage(description)
    print(f"numbers are in {dataset / DESCRIPTION_FILE}, pictures in {folder}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    dataset: Path = arguments.dataset
    names = all_episodes(dataset)
    with _Bar("verifying", "episode") as bar:
        damaged = find_damage(dataset, names, bar.show)
    for fault in damaged.values():
        print(f"damaged: {fault}", file=sys.stderr)
    if damaged and arguments.delete_damaged:
        delete(dataset, list(damaged))
        print(f"{len(damaged)} damaged of {len(names)} episodes were deleted from {dataset}")
        return 0
    print(f"{len(names) - len(damaged)} of {len(names)} episodes in {dataset} are whole")
    return EXIT_ERROR if damaged else 0


def run_import(arguments: argparse.Namespace) -> int:
    joints = JointOptions(
        parse_joints(arguments.joints), tuple(map(parse_scale, arguments.scale)), arguments.angle_unit
    )
    options = ImportOptions(
        arguments.task,
        arguments.rate_hz,
        tuple(arguments.state or [STATE]),
        tuple(arguments.action or [ACTION]),
        joints,
        arguments.cameras,
    )
    plan = plan_import(arguments.lerobot, options)
    print("\n".join(_plan_lines(plan)))
    output = arguments.output or Path("data") / plan.info.task
    with _Bar("importing", "episode") as bar:
        on_damage = bar.name if arguments.skip_damaged else None
        damaged = import_lerobot(arguments.lerobot, output, plan, on_damage, bar.show)
    print(
        f"{len(plan.entries) - damaged} episodes of {plan.info.task} are in {output} ({damaged} damaged were left out)"
    )
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    options = ExportOptions(arguments.codec, arguments.crf, arguments.key_every, arguments.instruction)
    with _Bar("exporting", "episode") as bar:
        on_damage = bar.name if arguments.skip_damaged else None
        episodes = export_lerobot(arguments.dataset, arguments.output, options, on_damage, bar.show)
    print(f"{episodes} episodes as a LeRobot v3 dataset are in {arguments.output}")
    return 0


class _Bar:
    """A progress bar that learns its total with the first report."""

    def __init__(self, what: str, unit: str) -> None:
        self._bar = tqdm(desc=what, unit=unit)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def name(self, error: DatasetError) -> None:
        self._bar.write(f"left out: {error}", file=sys.stderr)


def _name_damage(description: Description) -> None:
    for name in description.half_written:
        print(f"not counted: episode '{name}' is half-written", file=sys.stderr)
    for fault in description.damaged.values():
        print(f"not counted: {fault}", file=sys.stderr)


def _plan_lines(plan: ImportPlan) -> list[str]:
    info = plan.info
    cameras = [f"{key} → {camera.name} {camera.width}x{camera.height}" for key, camera in plan.cameras.items()]
    return [
        f"episodes  {len(plan.entries)} at {plan.source.rate_hz:g} Hz, imported at {info.rate_hz:g} Hz",
        f"joints    {', '.join(info.proprioception_joints)}",
        f"actions   {', '.join(info.action_joints)}",
        f"features  {', '.join(info.features) or 'none'}",
        f"cameras   {', '.join(cameras) or 'none'}",
        f"left out  {', '.join(plan.left_out) or 'nothing'}",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.dataset",
        description="Describe, verify, import and export datasets of demonstrations.",
        epilog="example: python -m policy_server.dataset describe data/reach_cued",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_describe(commands)
    _add_verify(commands)
    _add_import(commands)
    _add_export(commands)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str, example: str
) -> argparse.ArgumentParser:
    epilog = f"example: python -m policy_server.dataset {name} {example}"
    return commands.add_parser(name, help=text, description=text, epilog=epilog)


def _add_describe(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _add(commands, "describe", "Print, write and draw what a dataset holds.", "data/reach_cued")
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("--output", type=Path, help="folder for the pictures (default <dataset>/description)")
    parser.set_defaults(run=run_describe)


def _add_verify(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Read every byte of a dataset and name what is damaged; status 2 if anything is."
    parser = _add(commands, "verify", text, "data/reach_cued --delete-damaged")
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument(
        "--delete-damaged",
        action="store_true",
        help="delete damaged and half-written episodes after naming each; not while something writes into the dataset",
    )
    parser.set_defaults(run=run_verify)


def _add_import(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Import a LeRobot v3 dataset. Started again, it goes on where it stopped."
    example = "downloads/pick_cube --joints fr3 --scale fr3_finger_joint1=0.04 --cameras top=front@96x96 --rate-hz 10"
    parser = _add(commands, "import-lerobot", text, example)
    parser.add_argument("lerobot", type=Path, help="folder of the LeRobot dataset: the one with meta/ in it")
    parser.add_argument("--output", type=Path, help="dataset folder (default data/<task>)")
    parser.add_argument("--task", help="name of our task (default the dataset's only one)")
    parser.add_argument(
        "--rate-hz", type=float, help="ticks per second; must divide the dataset's (default the dataset's)"
    )
    parser.add_argument(
        "--joints",
        default="",
        help="theirs=ours,theirs=ours,… in our order, or fr3 for a Franka arm (default: all, by their own names)",
    )
    parser.add_argument("--angle-unit", choices=("rad", "deg"), default="rad", help="of their joints (default rad)")
    parser.add_argument(
        "--scale",
        action="append",
        default=[],
        metavar="NAME=FACTOR[,OFFSET]",
        help="our number is factor * theirs + offset; for grippers (0.04 turns an opening from 0 to 1 into m)",
    )
    parser.add_argument("--cameras", help="theirs[=ours][@WIDTHxHEIGHT],… (default: all RGB cameras; '' for none)")
    parser.add_argument("--state", action="append", metavar="FEATURE", help=f"joints; repeatable (default {STATE})")
    parser.add_argument("--action", action="append", metavar="FEATURE", help=f"targets; repeatable (default {ACTION})")
    _add_skip(parser)
    parser.set_defaults(run=run_import)


def _add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Export a dataset as a LeRobot v3 dataset. An interrupted export starts anew."
    parser = _add(commands, "export-lerobot", text, "data/reach_cued --output exports/reach_cued")
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("--output", type=Path, required=True, help="folder of the LeRobot dataset; must not exist")
    parser.add_argument(
        "--codec", choices=tuple(CODECS), default=ExportOptions.codec, help="of the videos (default h264)"
    )
    defaults = ", ".join(f"{name} {crf}" for name, (_, crf, _) in CODECS.items())
    parser.add_argument("--crf", type=int, help=f"quality: smaller is better and larger (default {defaults})")
    parser.add_argument(
        "--key-every", type=int, default=ExportOptions.key_every, help="frames from key frame to key frame (default 2)"
    )
    parser.add_argument("--instruction", help="text of the task (default its name)")
    _add_skip(parser)
    parser.set_defaults(run=run_export)


def _add_skip(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip-damaged", action="store_true", help="name damaged episodes and leave them out")


if __name__ == "__main__":
    sys.exit(run_command(main))
