"""What a trained encoder leaves behind: its weights, and how much of the task's features can be read off its embedding."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from policy_server.model.encoder import EncoderConfig, ObservationEncoder
from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError, DatasetError, PolicyError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.whole_file import write_whole
from policy_server.training.embedding_cache import encode_ticks
from policy_server.training.episodes import Episodes
from policy_server.training.probe import Probe, probe_features

WEIGHTS_FILE = "encoder.safetensors"
FACTS_FILE = "encoder.json"

_PROBED_TICKS = 10_000  # at most so many to fit the probe to, and so many to score it on
_LEAST_STD = 0.05  # embeddings are layer-normalised to unit size


class CollapsedEncoderError(PolicyError):
    """The encoder gives nearly the same embedding for every picture."""


@dataclass(frozen=True)
class EncoderFacts:
    """``encoder.json``. ``episodes``: fingerprint of those it was trained on; ``untrained``: the probe before any training."""

    objective: str
    steps: int
    episodes: str
    trained: Probe
    untrained: Probe


def write_encoder(folder: Path, encoder: ObservationEncoder, facts: EncoderFacts) -> None:
    """Weights first, then the facts: where these are, the encoder is done.

    Raises:
        CollapsedEncoderError: nothing is written.
    """
    if not facts.trained.embedding_std >= _LEAST_STD:
        raise CollapsedEncoderError(
            f"encoder.objective={facts.objective}: the embedding hardly changes between pictures (standard deviation "
            f"{facts.trained.embedding_std:.3f}, wanted {_LEAST_STD}): raise encoder.dynamics.covariance_weight, "
            "lower encoder.learning_rate, or choose another objective"
        )
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, save(weights))
    write_whole(folder / FACTS_FILE, (json.dumps(asdict(facts), indent=1) + "\n").encode())


def read_facts(folder: Path) -> EncoderFacts | None:
    """None when the encoder is not done."""
    file = folder / FACTS_FILE
    if not file.exists() or not (folder / WEIGHTS_FILE).exists():
        return None
    return configuration.build(EncoderFacts, json.loads(file.read_text(encoding="utf-8")), str(file))


def read_encoder(folder: Path, spec: PolicySpec, config: EncoderConfig) -> ObservationEncoder:
    """The trained encoder. Raises ConfigurationError when it is of another form."""
    encoder = ObservationEncoder(spec.cameras, config)
    try:
        encoder.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ConfigurationError(
            f"'{folder / WEIGHTS_FILE}' is of another encoder ({reason}): choose another output or delete it"
        ) from None
    return encoder


def probe_encoder(encoder: ObservationEncoder, spec: PolicySpec, episodes: Episodes, fitted: int) -> Probe:
    """Fit the probe on the first ``fitted`` of ``episodes``, score it on the others.

    Args:
        spec: names the features; ``episodes`` were loaded with it, so that their states end with the features.

    Raises:
        DatasetError: all that were held out are damaged.
    """
    if fitted >= len(episodes):
        raise DatasetError(
            f"no whole episode beyond the first {fitted} is left to probe the encoder on: collect the damaged ones again, or raise "
            "encoder.held_out"
        )
    border, end = int(episodes.starts[fitted]), int(episodes.starts[-1])
    parts = []
    for ticks in (_spread(0, border), _spread(border, end)):
        features = episodes.states[ticks][:, len(spec.proprioception_joints) :]
        parts.append((encode_ticks(encoder, episodes, ticks), features))
    return probe_features(spec.features, parts[0], parts[1])


def probe_table(facts: EncoderFacts) -> str:
    """R² of every feature, before and after training, as text."""
    lines = [f"{'feature':<24} R² untrained    R² trained"]
    for name, after in facts.trained.r2.items():
        before = facts.untrained.r2[name]
        lines.append(f"{name:<24} {_shown(before):>12} {_shown(after):>13}")
    return "\n".join(lines)


def _shown(r2: float | None) -> str:
    return "constant" if r2 is None else f"{r2:.3f}"


def _spread(start: int, end: int) -> NDArray[np.int64]:
    """Ticks from ``start`` to before ``end``, evenly spread when there are more than needed."""
    return np.linspace(start, end - 1, min(end - start, _PROBED_TICKS)).astype(np.int64)
