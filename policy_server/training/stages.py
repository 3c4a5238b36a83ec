"""The three-stage recipe: an encoder, every tick's embedding, a long-context head on embeddings; then, if wanted, all together.

This is what each stage is; ``policy_server.train_stages`` runs them. The recipe is that of past-token prediction
(arXiv 2505.09561), with the choice of what the encoder learns first.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.recording import list_episodes, list_partial
from policy_server.runtime.whole_file import write_whole
from policy_server.training.configuration import (
    AugmentationConfig,
    ContextConfig,
    EncoderTraining,
    HistoryConfig,
    TrainingConfig,
    ValidationConfig,
)
from policy_server.training.encoder_facts import WEIGHTS_FILE
from policy_server.training.encoder_pretraining import PretrainingConfig
from policy_server.training.trainer import what_is_learned

STAGES_FILE = "stages.yaml"
STAGES_FOLDER = "stages"


@dataclass(frozen=True)
class StagesConfig:
    """``training``: the long-context policy; its ``output`` becomes an ordinary run folder, with the earlier stages in ``stages/``.

    ``training.encoder`` is the stages' to set. ``training.augmentation`` changes pictures, so it acts where pictures are looked at:
    on the encoder and the last stage. ``finetune_steps``: after the head, so many steps with the encoder trained along, end to end,
    at ``finetune_learning_rate``.
    """

    training: TrainingConfig
    encoder: PretrainingConfig = field(default_factory=PretrainingConfig)
    finetune_steps: int = 0
    finetune_learning_rate: float = 1e-4


def check_stages(config: StagesConfig) -> None:
    """Raises ConfigurationError for settings that the stages cannot follow."""
    training, encoder = config.training, config.encoder
    refusals = (
        (training.features, "training.features=true has no encoder to train first: use python -m policy_server.train"),
        (training.encoder != EncoderTraining(), "training.encoder: leave it out, the stages set it"),
        (training.start_from is not None, "training.start_from: leave it out, the stages set it"),
        (config.finetune_steps < 0, f"finetune_steps={config.finetune_steps}: give 0 or more"),
        (not 0 < encoder.held_out < 1, f"encoder.held_out={encoder.held_out}: give a share between 0 and 1"),
        (encoder.steps < 1, f"encoder.steps={encoder.steps}: give 1 or more"),
        (
            encoder.objective == "short_policy" and not 1 <= encoder.short_context < training.context.length,
            f"encoder.short_context={encoder.short_context}: give 1 to training.context.length - 1",
        ),
        (
            encoder.objective == "dynamics" and not 2 <= encoder.dynamics.window <= encoder.batch_ticks // 2,
            f"encoder.dynamics.window={encoder.dynamics.window}: give 2 to half of encoder.batch_ticks",
        ),
    )
    for refused, reason in refusals:
        if refused:
            raise ConfigurationError(reason)


def encoder_folder(config: StagesConfig) -> Path:
    """Where the encoder's training and its weights are."""
    return config.training.output / STAGES_FOLDER / "encoder"


def short_policy(config: StagesConfig) -> TrainingConfig:
    """The policy whose encoder is taken: it sees ``short_context`` looks and is trained end to end."""
    return dataclasses.replace(
        config.training,
        output=encoder_folder(config),
        episodes=fitted_episodes(config),
        steps=config.encoder.steps,
        checkpoint_every=config.encoder.checkpoint_every,
        context=ContextConfig(config.encoder.short_context, config.training.context.stride_ticks),
        history=HistoryConfig(),
        validation=ValidationConfig(),
    )


def head(config: StagesConfig) -> TrainingConfig:
    """The long-context policy on embeddings that were written once."""
    weights = encoder_folder(config) / WEIGHTS_FILE
    cached = dataclasses.replace(
        config.training, encoder=EncoderTraining("cached", weights), augmentation=AugmentationConfig()
    )
    if not config.finetune_steps:
        return cached
    output = config.training.output / STAGES_FOLDER / "head"
    return dataclasses.replace(cached, output=output, validation=ValidationConfig())


def finetuning(config: StagesConfig) -> TrainingConfig:
    """The head with its encoder, trained end to end from where the head ended."""
    optimizer = config.training.optimizer
    return dataclasses.replace(
        config.training,
        steps=config.finetune_steps,
        start_from=head(config).output,
        optimizer=dataclasses.replace(optimizer, learning_rate=config.finetune_learning_rate),
    )


def fitted_episodes(config: StagesConfig) -> int:
    """How many episodes, the first of the dataset, the encoder is trained on; the others are held out.

    Raises ConfigurationError when none would be left.
    """
    names = {*list_episodes(config.training.dataset), *list_partial(config.training.dataset)}
    total = config.training.episodes or len(names)
    held_out = max(1, round(config.encoder.held_out * total))
    if held_out >= total:
        raise ConfigurationError(
            f"'{config.training.dataset}' has {total} episodes: with encoder.held_out={config.encoder.held_out} none is left to "
            "train the encoder on; collect more"
        )
    return total - held_out


def claim_output(config: StagesConfig) -> None:
    """Note in the output folder what these stages are.

    Raises:
        ConfigurationError: the folder holds stages of another configuration, or a run that was not trained in stages.
    """
    output, file = config.training.output, config.training.output / STAGES_FILE
    if not file.exists():
        if (output / "checkpoint.pt").exists():
            raise ConfigurationError(f"'{output}' holds a run that was not trained in stages: choose another output")
        write_whole(file, yaml.safe_dump(configuration.to_plain(config), sort_keys=False))
        return
    if _what_is_learned(configuration.load(StagesConfig, file)) != _what_is_learned(config):
        raise ConfigurationError(
            f"'{output}' holds stages of another configuration: choose another output or delete it"
        )


def _what_is_learned(config: StagesConfig) -> StagesConfig:
    """The configuration without what may differ between the parts of one run. Later stages build on earlier ones, so none may
    become longer afterwards."""
    training = dataclasses.replace(what_is_learned(config.training), steps=config.training.steps)
    return dataclasses.replace(
        config, training=training, encoder=dataclasses.replace(config.encoder, checkpoint_every=1)
    )
