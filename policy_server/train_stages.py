"""Train a policy in stages: ``python -m policy_server.train_stages config/training/stages_reach_cued.yaml``."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from policy_server.model.encoder import ObservationEncoder
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime import configuration
from policy_server.runtime.command import EXIT_INTERRUPTED, run_command, stoppable
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import read_dataset_info
from policy_server.train import load_shown, say, show, train
from policy_server.training.checkpoint import load_checkpoint
from policy_server.training.configuration import policy_spec
from policy_server.training.distributed import World, join_world
from policy_server.training.embedding_cache import write_embeddings
from policy_server.training.encoder_facts import (
    WEIGHTS_FILE,
    EncoderFacts,
    probe_encoder,
    probe_table,
    read_encoder,
    read_facts,
    write_encoder,
)
from policy_server.training.encoder_pretraining import Pretraining
from policy_server.training.episodes import Episodes
from policy_server.training.rows import embedding_file
from policy_server.training.stages import (
    StagesConfig,
    check_stages,
    claim_output,
    encoder_folder,
    finetuning,
    fitted_episodes,
    head,
    short_policy,
)


def main() -> int:
    arguments = _parse()
    config = configuration.load(StagesConfig, arguments.config, arguments.overrides)
    check_stages(config)
    with join_world() as world:
        return train_stages(config, world)


def train_stages(config: StagesConfig, world: World) -> int:
    """Every stage in turn, those that are done apart; returns the command's exit status."""
    policy_spec(head(config), read_dataset_info(config.training.dataset))  # refuses what does not fit before any work
    if world.is_first:
        claim_output(config)
    stages: list[tuple[str, Callable[[], int]]] = [
        ("encoder", lambda: _train_encoder(config, world)),
        ("embeddings", lambda: _write_embeddings(config, world)),
        ("head", lambda: train(head(config), world)),
    ]
    if config.finetune_steps:
        stages.append(("finetuning", lambda: train(finetuning(config), world)))
    for number, (name, run) in enumerate(stages, 1):
        say(world, f"stage {number} of {len(stages)}: {name}")
        if status := run():
            say(world, f"stopped in stage {name}; the same command goes on there")
            return status
    say(
        world,
        f"the policy is in {config.training.output}: python -m policy_server.export {config.training.output} --output …",
    )
    return 0


def _train_encoder(config: StagesConfig, world: World) -> int:
    folder = encoder_folder(config)
    fitted = dataclasses.replace(config.training, episodes=fitted_episodes(config))
    spec = policy_spec(fitted, read_dataset_info(fitted.dataset))
    episodes = load_shown(fitted, spec, world)
    facts = read_facts(folder)
    if facts is not None and facts.episodes != episodes.fingerprint:
        raise ConfigurationError(
            f"'{folder}' holds an encoder of other episodes than those now in '{fitted.dataset}': choose another output or delete it"
        )
    if facts is None:
        if config.encoder.objective == "short_policy":
            if status := train(short_policy(config), world):
                return status
        elif world.any(world.is_first and _pretrain(config, spec, episodes)):
            return EXIT_INTERRUPTED
        if world.is_first:
            facts = _finish_encoder(config, spec, episodes, world)
    world.wait()
    if facts is not None:
        say(world, probe_table(facts))
        say(world, f"encoder's weights and facts are in {folder}")
    return 0


def _pretrain(config: StagesConfig, spec: PolicySpec, episodes: Episodes) -> bool:
    """Train on pictures alone; returns whether it was stopped."""
    pretraining = Pretraining(config.encoder, config.training, spec, episodes, encoder_folder(config))
    pretraining.resume()
    steps = config.encoder.steps
    with stoppable() as stopped, tqdm(total=steps, initial=pretraining.step, desc=config.encoder.objective) as bar:
        pretraining.run(lambda step, result: show(bar, result), stopped)
        return pretraining.step < steps


def _finish_encoder(config: StagesConfig, spec: PolicySpec, episodes: Episodes, world: World) -> EncoderFacts:
    """Probe the trained encoder and an untrained one, and put weights and facts into the encoder's folder."""
    training = config.training
    features = read_dataset_info(training.dataset).features
    seeing_features = dataclasses.replace(spec, features=features)
    everything = load_shown(training, seeing_features, World())
    trained = _trained_encoder(config, spec, episodes).to(world.device)
    torch.manual_seed(training.seed)
    untrained = ObservationEncoder(spec.cameras, training.model.encoder).to(world.device)
    facts = EncoderFacts(
        config.encoder.objective,
        config.encoder.steps,
        episodes.fingerprint,
        trained=probe_encoder(trained, seeing_features, everything, len(episodes)),
        untrained=probe_encoder(untrained, seeing_features, everything, len(episodes)),
    )
    write_encoder(encoder_folder(config), trained, facts)
    return facts


def _trained_encoder(config: StagesConfig, spec: PolicySpec, episodes: Episodes) -> ObservationEncoder:
    """The encoder as its stage left it: of the pretraining, or the averaged one of the short policy."""
    folder = encoder_folder(config)
    if config.encoder.objective != "short_policy":
        pretraining = Pretraining(config.encoder, config.training, spec, episodes, folder)
        pretraining.resume()
        return pretraining.encoder
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None  # its training has just ended
    policy = DiffusionPolicy(checkpoint.spec, checkpoint.config.model)
    policy.load_state_dict(checkpoint.average)
    return policy.encoder


def _write_embeddings(config: StagesConfig, world: World) -> int:
    """Every tick's embedding beside the dataset; the first process writes."""
    training = head(config)
    spec = policy_spec(training, read_dataset_info(training.dataset))
    stopped = world.is_first and not _write_missing(config, world, load_shown(training, spec, World()))
    return EXIT_INTERRUPTED if world.any(stopped) else 0


def _write_missing(config: StagesConfig, world: World, episodes: Episodes) -> bool:
    """Returns whether all are there."""
    training, folder = head(config), encoder_folder(config)
    spec = policy_spec(training, read_dataset_info(training.dataset))
    encoder = read_encoder(folder, spec, training.model.encoder).to(world.device)
    file = embedding_file(training.dataset, spec, training.model.encoder, folder / WEIGHTS_FILE, episodes)
    with stoppable() as stopped, _ticks_bar() as advance:
        whole = write_embeddings(file, encoder, episodes, advance, stopped)
    if whole:
        tqdm.write(f"embeddings are in {file}")
    return whole


@contextmanager
def _ticks_bar() -> Iterator[Callable[[int, int], None]]:
    with tqdm(desc="writing embeddings", unit="tick") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.train_stages",
        description="Train an encoder, write every tick's embedding, train a long-context policy on embeddings; then, with "
        "finetune_steps, all of it together. Started again with the same configuration it goes on where it stopped.",
        epilog="example: python -m policy_server.train_stages config/training/stages_reach_cued.yaml encoder.objective=dynamics "
        "training.output=runs/train/reach_cued_dynamics",
    )
    parser.add_argument("config", help="configuration of the stages (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of the file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
