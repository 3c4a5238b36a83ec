"""Adapt a policy to a changed task: ``python -m policy_server.finetune config/finetune/reach_cued.yaml``."""

import argparse
import dataclasses
import json
import sys

from safetensors.torch import save
from tqdm import tqdm

from policy_server.export.placing import check_place
from policy_server.export.writing import write_bundle
from policy_server.lora.finetuning import (
    FinetuneConfig,
    as_begun,
    check_same_senses,
    read_base,
    takes_cached_embeddings,
    training_of,
)
from policy_server.lora.targets import choose_layers
from policy_server.lora.tuned import check_is_base, make_adapter, read_tuned
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime import configuration
from policy_server.runtime.adapter import write_adapter
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.command import EXIT_INTERRUPTED, run_command, stoppable
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import read_dataset_info
from policy_server.runtime.whole_file import write_whole
from policy_server.train import load_shown, say, train
from policy_server.training.checkpoint import choose_checkpoint
from policy_server.training.configuration import EncoderTraining, TrainingConfig, policy_spec
from policy_server.training.distributed import World, join_world
from policy_server.training.embedding_cache import write_embeddings
from policy_server.training.encoder_facts import WEIGHTS_FILE
from policy_server.training.rows import embedding_file

FACTS_FILE = "finetune.json"


def main() -> int:
    arguments = _parse()
    config = configuration.load(FinetuneConfig, arguments.config, arguments.overrides)
    with join_world() as world:
        return finetune(config, world)


def finetune(config: FinetuneConfig, world: World) -> int:
    """Train, then write the adapter and the bundle that are asked for; returns the command's exit status."""
    base = read_base(config)
    training, started = as_begun(training_of(config, base), base)
    spec = policy_spec(training, read_dataset_info(training.dataset))
    check_same_senses(base.spec, spec)
    policy = DiffusionPolicy(spec, training.model)
    trained, total = _sizes(policy, training)
    if config.method == "lora" and config.adapter is not None and config.base_bundle is not None:
        check_is_base(started, training, load_bundle(config.base_bundle))  # before minutes are spent
    if config.bundle is not None:
        check_place(config.bundle)
    if takes_cached_embeddings(training, _adapts_encoder(policy, training)):
        policy.load_state_dict(started)
        cached = _write_embeddings(training, spec, policy, world)
        if cached is None:
            return EXIT_INTERRUPTED
        training = cached
    say(world, f"{config.method}: {trained:,} of {total:,} parameters are trained ({trained / total:.2%})")
    if status := train(training, world):
        return status
    if world.is_first:
        _write_facts(config, training, trained, total)
        _write_results(config, world)
    return 0


def _sizes(policy: DiffusionPolicy, training: TrainingConfig) -> tuple[int, int]:
    """How many parameters are trained, and how many the policy has."""
    total = sum(parameter.numel() for parameter in policy.parameters())
    lora = training.lora
    if not lora.rank:
        kept = 0 if training.encoder.mode == "end_to_end" else sum(p.numel() for p in policy.encoder.parameters())
        return total - kept, total
    return sum(layer.parameters(lora.rank) for layer in choose_layers(policy, lora.targets)), total


def _adapts_encoder(policy: DiffusionPolicy, training: TrainingConfig) -> bool:
    return bool(training.lora.rank) and any(
        layer.role == "encoder" for layer in choose_layers(policy, training.lora.targets)
    )


def _write_embeddings(
    training: TrainingConfig, spec: PolicySpec, base: DiffusionPolicy, world: World
) -> TrainingConfig | None:
    """``training`` on embeddings that the base's encoder has written once; None when it was stopped meanwhile."""
    weights = training.output / WEIGHTS_FILE
    stopped = False
    if world.is_first:
        weights.parent.mkdir(parents=True, exist_ok=True)
        # Of a run that goes on, ``base`` is what lies under its adapter: the same file is written again.
        write_whole(weights, save({name: value.contiguous() for name, value in base.encoder.state_dict().items()}))
        episodes = load_shown(training, spec, World())
        file = embedding_file(training.dataset, spec, training.model.encoder, weights, episodes)
        encoder = base.encoder.to(world.device)
        with stoppable() as stop, tqdm(total=len(episodes.stamps_ns), desc="writing embeddings", unit="tick") as bar:
            stopped = not write_embeddings(file, encoder, episodes, lambda done, _: bar.update(done - bar.n), stop)
    if world.any(stopped):
        return None
    world.wait()
    return dataclasses.replace(training, encoder=EncoderTraining("cached", weights))


def _write_results(config: FinetuneConfig, world: World) -> None:
    """The adapter's file and the merged bundle, where they are asked for."""
    if config.method == "lora" and config.adapter is not None and config.base_bundle is not None:
        adapter = make_adapter(read_tuned(config.output), load_bundle(config.base_bundle), config.output.name)
        write_adapter(config.adapter, adapter)
        say(world, f"adapter '{adapter.name}' for the bundle {adapter.base_hash} is in {config.adapter}")
    if config.bundle is not None:
        checkpoint = choose_checkpoint(config.output)
        policy = DiffusionPolicy(checkpoint.spec, checkpoint.config.model)
        policy.load_state_dict(checkpoint.average)
        facts = {"steps": checkpoint.step, "config": configuration.to_plain(checkpoint.config)}
        write_bundle(policy, checkpoint.spec, config.bundle, facts)
        say(world, f"bundle of the {config.method} policy is in {config.bundle}")
    say(world, f"run and {FACTS_FILE} are in {config.output}")


def _write_facts(config: FinetuneConfig, training: TrainingConfig, trained: int, total: int) -> None:
    facts = {
        "method": config.method,
        "base": str(config.base),
        "dataset": str(config.dataset),
        "demonstrations": config.demonstrations,
        "seed": config.seed,
        "rank": training.lora.rank,
        "targets": list(training.lora.targets) if training.lora.rank else [],
        "steps": training.steps,
        "trained_parameters": trained,
        "parameters": total,
        "trained_fraction": trained / total,
    }
    write_whole(config.output / FACTS_FILE, json.dumps(facts, indent=1) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.finetune",
        description="Adapt a trained policy to a changed task with few demonstrations: by an adapter, by training all of it, or, as a "
        "control, by training the same networks from nothing. Started again with the same configuration it goes on where it stopped.",
        epilog="example: python -m policy_server.finetune config/finetune/reach_cued.yaml demonstrations=20 lora.rank=4 "
        "output=runs/finetune/rank_4",
    )
    parser.add_argument("config", help="fine-tuning configuration (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of the file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
