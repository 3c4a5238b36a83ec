"""The loss on episodes that were not trained on, with draws that are the same for every run: what a comparison compares."""

import numpy as np
import torch

from policy_server.comparison.configuration import ValidationLossConfig
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.checkpoint import Checkpoint
from policy_server.training.episodes import Episodes
from policy_server.training.history import chunk_weights
from policy_server.training.rows import context_rows, read_batch
from policy_server.training.windows import gather_windows, lay_out


@torch.no_grad()
def validation_loss(
    policy: DiffusionPolicy, spec: PolicySpec, episodes: Episodes, first: int, settings: ValidationLossConfig
) -> float:
    """Mean over windows and draws; ``episodes`` from number ``first`` on are those that were not trained on.

    Ticks, noise and diffusion steps depend on the settings and the episodes alone. The whole context is shown.
    """
    ticks = np.linspace(episodes.starts[first], len(episodes.stamps_ns) - 1, settings.windows).astype(np.int64)
    timeline_ns = lay_out(episodes, spec)
    action = spec.action
    weights = chunk_weights(action.past_steps, action.future_steps, spec.history.offsets_ticks[0])
    total = 0.0
    for number, begin in enumerate(range(0, len(ticks), settings.batch)):
        newest = ticks[begin : begin + settings.batch]
        batch = read_batch(episodes, gather_windows(episodes, timeline_ns, spec, newest), weights)
        context = context_rows(batch, policy.encode(batch.images).float() if batch.images else None)
        for draw in range(settings.draws):
            loss = policy.loss(context, batch.actions, _generator(settings.seed, number, draw), weights=batch.weights)
            total += len(newest) * float(loss)
    return total / (settings.draws * len(ticks))


def averaged_policy(checkpoint: Checkpoint) -> DiffusionPolicy:
    """The networks with the moving average of their weights, as they would be exported."""
    policy = DiffusionPolicy(checkpoint.spec, checkpoint.config.model)
    policy.load_state_dict(checkpoint.average)
    return policy.eval()


def _generator(*numbers: int) -> torch.Generator:
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
