"""Every tick's embedding, computed once and kept beside the dataset, so that a long-context head trains without pictures."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from policy_server.model.encoder import ObservationEncoder
from policy_server.runtime.errors import PolicyError
from policy_server.runtime.whole_file import write_whole
from policy_server.training.episodes import Episodes
from policy_server.training.frames import locked
from policy_server.training.prefetch import Prefetcher

PROGRESS_FILE = "progress.json"

_TICKS_AT_ONCE = 256
_BLOCKS_PER_SAVE = 16


class EmbeddingError(PolicyError):
    """An embedding does not fit into float16."""


def write_embeddings(
    file: Path,
    encoder: ObservationEncoder,
    episodes: Episodes,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Write float16 (N, E), one row per tick in the order of ``episodes``; returns False when it was asked to stop before the end.

    The file appears under its name only when it is whole. Until then rows lie in ``<file>.partial``, and ``progress.json`` says how
    many of them are on disk: started again with the same encoder and episodes, it goes on there.

    Raises:
        EmbeddingError: an embedding is not finite in float16.
    """
    total = len(episodes.stamps_ns)
    with locked(file.parent):
        if not file.exists():
            return _write(file, encoder, episodes, on_progress, should_stop)
    on_progress(total, total)
    return True


def _write(
    file: Path,
    encoder: ObservationEncoder,
    episodes: Episodes,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> bool:
    total = len(episodes.stamps_ns)
    partial, progress = file.with_name(f"{file.name}.partial"), file.with_name(PROGRESS_FILE)
    rows, done = _open_partial(partial, progress, (total, encoder.embedding_dim))
    blocks = [np.arange(start, min(start + _TICKS_AT_ONCE, total)) for start in range(done, total, _TICKS_AT_ONCE)]
    for count, (block, embeddings) in enumerate(_encoded(encoder, episodes, blocks), 1):
        rows[block] = _as_float16(embeddings, int(block[0]))
        done = int(block[-1]) + 1
        on_progress(done, total)
        stopping = done < total and should_stop()
        if stopping or count % _BLOCKS_PER_SAVE == 0:
            rows.flush()
            write_whole(progress, json.dumps({"ticks": done}))
        if stopping:
            return False
    rows.flush()
    os.replace(partial, file)
    progress.unlink(missing_ok=True)
    return True


def encode_ticks(encoder: ObservationEncoder, episodes: Episodes, ticks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Embeddings of some ticks, float32 (len(ticks), E), as the robot computes them: without augmentation and in float32."""
    blocks = [ticks[start : start + _TICKS_AT_ONCE] for start in range(0, len(ticks), _TICKS_AT_ONCE)]
    return np.concatenate([embeddings for _, embeddings in _encoded(encoder, episodes, blocks)])


def _encoded(
    encoder: ObservationEncoder, episodes: Episodes, blocks: list[NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Blocks of ticks and their embeddings; pictures are read ahead."""
    device = next(encoder.parameters()).device
    was_training = encoder.training
    encoder.eval()

    def read(number: int) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(frames[blocks[number]]) for name, frames in episodes.images.items()}

    try:
        with Prefetcher(read, range(len(blocks))) as batches:
            for number, images in batches:
                with torch.no_grad():  # not around the yield: it would hold for the caller, too
                    embeddings = encoder({name: pictures.to(device) for name, pictures in images.items()})
                yield blocks[number], embeddings.float().cpu().numpy()
    finally:
        encoder.train(was_training)


def _open_partial(partial: Path, progress: Path, shape: tuple[int, int]) -> tuple[np.memmap, int]:
    """The rows written so far and how many they are; begun anew when there are none, or they cannot be read or have another shape."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    if partial.exists() and progress.exists():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # cut off by a power failure: begun anew
            done = int(json.loads(progress.read_text(encoding="utf-8"))["ticks"])
            rows = np.lib.format.open_memmap(partial, mode="r+")
            if rows.shape == shape and rows.dtype == np.float16:
                return rows, done
    progress.unlink(missing_ok=True)
    return np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape), 0


def _as_float16(embeddings: NDArray[np.float32], tick: int) -> NDArray[np.float16]:
    largest = float(np.abs(embeddings).max())
    if not largest < float(np.finfo(np.float16).max):
        raise EmbeddingError(
            f"embeddings from tick {tick} on reach {largest}, float16 holds no more than 65504: train the encoder again, "
            "with a lower learning rate"
        )
    return embeddings.astype(np.float16)
