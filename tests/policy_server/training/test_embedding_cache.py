import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policy_server.model.encoder import EncoderConfig, ObservationEncoder
from policy_server.training import embedding_cache
from policy_server.training.embedding_cache import EmbeddingError, encode_ticks, write_embeddings
from policy_server.training.episodes import Episodes, load_episodes
from tests.small_policy import small_spec, write_small_dataset


@pytest.fixture
def episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Episodes:
    monkeypatch.setattr(embedding_cache, "_TICKS_AT_ONCE", 5)
    monkeypatch.setattr(embedding_cache, "_BLOCKS_PER_SAVE", 2)
    return load_episodes(write_small_dataset(tmp_path / "data"), small_spec())


@pytest.fixture
def encoder() -> ObservationEncoder:
    torch.manual_seed(0)
    return ObservationEncoder(small_spec().cameras, EncoderConfig((8, 8), 6))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "embeddings.npy"


def test_every_tick_has_the_embedding_of_its_pictures(
    episodes: Episodes, encoder: ObservationEncoder, file: Path
) -> None:
    assert write_embeddings(file, encoder, episodes)
    written = np.load(file, mmap_mode="r")
    assert written.dtype == np.float16 and written.shape == (46, 12)
    for tick in (0, 14, 15, 45):
        images = {name: torch.from_numpy(frames[np.array([tick])]) for name, frames in episodes.images.items()}
        with torch.no_grad():
            expected = encoder(images)[0].numpy()
        np.testing.assert_allclose(written[tick], expected, atol=2e-3)
    np.testing.assert_array_equal(encode_ticks(encoder, episodes, np.arange(46)).astype(np.float16), written)


def test_a_writer_that_was_stopped_goes_on_where_it_was(
    episodes: Episodes, encoder: ObservationEncoder, file: Path
) -> None:
    write_embeddings(file, encoder, episodes)
    unbroken = np.load(file)
    file.unlink()
    seen: list[int] = []
    assert not write_embeddings(file, encoder, episodes, lambda done, _: seen.append(done), lambda: len(seen) == 3)
    assert seen == [5, 10, 15] and not file.exists()
    assert write_embeddings(file, encoder, episodes, lambda done, _: seen.append(done))
    assert seen == [5, 10, 15, 20, 25, 30, 35, 40, 45, 46]
    np.testing.assert_array_equal(np.load(file), unbroken)
    assert sorted(entry.name for entry in file.parent.iterdir()) == ["embeddings.npy", "lock"]


def test_rows_that_were_never_said_to_be_on_disk_are_written_again(
    episodes: Episodes, encoder: ObservationEncoder, file: Path
) -> None:
    """As after kill -9: the last saved progress is behind, and what lies beyond may be torn."""
    seen: list[int] = []
    write_embeddings(file, encoder, episodes, lambda done, _: seen.append(done), lambda: len(seen) == 4)
    (file.parent / "progress.json").write_text(json.dumps({"ticks": 10}))
    torn = np.lib.format.open_memmap(file.with_name("embeddings.npy.partial"), mode="r+")
    torn[10:] = np.nan
    torn.flush()
    assert write_embeddings(file, encoder, episodes)
    written = np.load(file)
    np.testing.assert_array_equal(written, encode_ticks(encoder, episodes, np.arange(46)).astype(np.float16))


@pytest.mark.parametrize("torn", ["progress.json", "embeddings.npy.partial"])
def test_a_beginning_that_cannot_be_read_is_begun_anew(
    episodes: Episodes, encoder: ObservationEncoder, file: Path, torn: str
) -> None:
    seen: list[int] = []
    write_embeddings(file, encoder, episodes, lambda done, _: seen.append(done), lambda: len(seen) == 4)
    (file.parent / torn).write_bytes(b"")
    assert write_embeddings(file, encoder, episodes)
    np.testing.assert_array_equal(np.load(file), encode_ticks(encoder, episodes, np.arange(46)).astype(np.float16))


def test_what_is_whole_is_not_computed_again(episodes: Episodes, encoder: ObservationEncoder, file: Path) -> None:
    write_embeddings(file, encoder, episodes)
    before = file.stat().st_mtime_ns
    reports: list[tuple[int, int]] = []
    assert write_embeddings(file, encoder, episodes, lambda done, total: reports.append((done, total)))
    assert file.stat().st_mtime_ns == before and reports == [(46, 46)]


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_an_embedding_that_float16_cannot_hold_is_refused(
    episodes: Episodes, encoder: ObservationEncoder, file: Path, value: float
) -> None:
    with torch.no_grad():
        encoder.encoders[0].normalise.weight.fill_(value)
    with pytest.raises(EmbeddingError, match="float16"):
        write_embeddings(file, encoder, episodes)
    assert not file.exists()


def test_encoding_leaves_gradients_and_the_encoder_s_mode_as_they_were(
    episodes: Episodes, encoder: ObservationEncoder
) -> None:
    encoder.train()
    encode_ticks(encoder, episodes, np.arange(3))
    assert encoder.training and torch.is_grad_enabled()
