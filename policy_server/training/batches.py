"""What each training step is given: how much of the past it shows, which windows, which of their actions are learned."""

import numpy as np

from policy_server.runtime.manifest import PolicySpec
from policy_server.training.configuration import TrainingConfig
from policy_server.training.draws import Purpose, numpy_generator
from policy_server.training.episodes import Episodes
from policy_server.training.history import chunk_weights, draw_visible, shown_length
from policy_server.training.rows import Batch, embedding_file, open_embeddings, read_batch
from policy_server.training.windows import draw_newest, gather_windows, lay_out


class BatchReader:
    """Reads batch ``number`` of a step; what it gives depends on the configuration's seed and these two numbers alone.

    Raises:
        ConfigurationError: embeddings are to be read that were not written.
    """

    def __init__(self, config: TrainingConfig, spec: PolicySpec, episodes: Episodes) -> None:
        self._config, self._spec, self._episodes = config, spec, episodes
        self._timeline_ns = lay_out(episodes, spec)
        self._embeddings = None
        if config.encoder.mode == "cached":
            assert config.encoder.weights is not None  # policy_spec has refused it otherwise
            file = embedding_file(config.dataset, spec, config.model.encoder, config.encoder.weights, episodes)
            self._embeddings = open_embeddings(file, spec, episodes)

    def context_length(self, step: int) -> int:
        """How many of the newest observations this step shows; the same for all of its batches."""
        generator = numpy_generator(Purpose.CONTEXT_LENGTH, self._config.seed, step)
        return shown_length(self._config.history, self._spec.history.length, step, self._config.steps, generator)

    def read(self, step: int, number: int) -> Batch:
        config, length = self._config, self.context_length(step)
        newest = draw_newest(
            self._episodes,
            config.batch_windows,
            config.windows_per_episode,
            config.context.stride_ticks,
            self._generator(Purpose.WINDOWS, step, number),
        )
        windows = gather_windows(self._episodes, self._timeline_ns, self._spec, newest, length)
        visible = draw_visible(
            config.history.dropout, len(newest), length, self._generator(Purpose.DROPOUT, step, number)
        )
        action = self._spec.action
        shown_ticks = self._spec.history.offsets_ticks[-length]
        weights = chunk_weights(action.past_steps, action.future_steps, shown_ticks, visible)
        return read_batch(self._episodes, windows, weights, visible, self._embeddings)

    def _generator(self, purpose: Purpose, step: int, number: int) -> np.random.Generator:
        return numpy_generator(purpose, self._config.seed, step, number)
