"""Stands in for Python: ``-m policy_server.train`` or ``finetune``, the two commands that follow in a cell, and ``-m sim_bridge.collect``.

Nothing is trained. Every fourth demonstration fails, of stack all do.
What a cell's commands do is in the training configuration under ``fake``: ``fail``: the command that fails; ``hang``: the command that
runs until it is ended; ``interrupt``: the command that ends the first time as if someone had interrupted it.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import yaml

BUNDLE_VARIABLE = "STUDY_TEST_BUNDLE"
COMMANDS_FILE = "commands.txt"


def main() -> int:
    module, arguments = sys.argv[2], sys.argv[3:]
    if module == "sim_bridge.collect":
        return _collect(dict(zip(arguments[::2], arguments[1::2], strict=False)))
    stage = {"finetune": "train"}.get(command := module.rpartition(".")[2], command)
    folder = Path(arguments[arguments.index("--json") + 1] if stage == "evaluate" else arguments[0]).parent
    settings = yaml.safe_load((folder / "training.yaml").read_text()) if (folder / "training.yaml").exists() else {}
    fake = settings.get("fake", {})
    with (folder / COMMANDS_FILE).open("a") as stream:
        stream.write(f"{stage}\n")
    print(f"{stage}:   0%|    | 0/10 [00:00<?]\r{stage}:  40%|##  | 4/10 [00:04<00:06]", flush=True)
    if fake.get("hang") == stage:
        time.sleep(600)
    if fake.get("interrupt") == stage and (folder / COMMANDS_FILE).read_text().split().count(stage) == 1:
        return 130
    if fake.get("fail") == stage:
        print("error: the fault was asked for\nand a line after it", flush=True)
        return 2
    {"train": _train, "export": _export, "evaluate": _evaluate}[stage](folder, settings, arguments)
    return 0


def _collect(options: dict[str, str]) -> int:
    dataset = Path(options["--output"])
    dataset.mkdir(parents=True, exist_ok=True)
    with (dataset / COMMANDS_FILE).open("a") as stream:
        stream.write(f"{options['--episodes']}\n")
    for seed in range(int(options["--episodes"])):
        if seed % 4 != 3 and options["--task"] != "stack":
            (dataset / f"episode_{seed}").mkdir(exist_ok=True)
            (dataset / f"episode_{seed}/episode.yaml").touch()
    return 2 if options["--task"] == "shell_game" else 0


def _train(folder: Path, settings: dict, arguments: list[str]) -> None:
    output = Path(settings["output"])
    output.mkdir(exist_ok=True)
    if "base" in settings:
        assert (Path(settings["base"]) / "checkpoint.pt").exists()
        (output / "finetune.json").write_text(json.dumps({"trained_fraction": 0.25}))
    rows = "".join(f"{step},{1 / step:.6f},2.0\n" for step in range(10, settings.get("steps", 30) + 1, 10))
    (output / "loss.csv").write_text(f"step,loss,seconds\n{rows}")
    checkpoint = output / "checkpoint.pt"
    checkpoint.write_text(checkpoint.read_text() if checkpoint.exists() else "trained")


def _export(folder: Path, settings: dict, arguments: list[str]) -> None:
    shutil.copytree(os.environ[BUNDLE_VARIABLE], folder / "bundle")


def _evaluate(folder: Path, settings: dict, arguments: list[str]) -> None:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    seeds = range(int(options["--seed"]), int(options["--seed"]) + int(options["--episodes"]))
    hard = 4 if "--shift" in options else 2  # a shifted world is solved half as often
    results = [
        {"seed": seed, "success": seed % hard == 0, "reason": "reached the red cube", "ticks": 9} for seed in seeds
    ]
    Path(options["--json"]).write_text(json.dumps({"results": results}))


if __name__ == "__main__":
    sys.exit(main())
