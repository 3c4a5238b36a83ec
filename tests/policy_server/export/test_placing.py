from pathlib import Path

import pytest

from policy_server.export.placing import placed
from policy_server.runtime.errors import ConfigurationError


def write_old_bundle(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("manifest.yaml", "encoder.onnx", "denoiser.onnx"):
        (folder / name).write_text("old")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("before", ["absent", "empty", "a bundle"])
def test_a_bundle_takes_the_place_of_nothing_or_of_a_bundle(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "bundles" / "mine"
    if before == "a bundle":
        write_old_bundle(folder)
    elif before == "empty":
        folder.mkdir(parents=True)
    with placed(folder) as partial:
        (partial / "denoiser.onnx").write_text("new")
        assert contents(folder).get("denoiser.onnx") == ("old" if before == "a bundle" else None)
    assert contents(tmp_path) == {"bundles/mine/denoiser.onnx": "new"}


@pytest.mark.parametrize("other", ["checkpoint.pt", "reach_cued/manifest.yaml", "denoiser.onnx/weights"])
def test_a_folder_that_holds_anything_else_is_left_alone(tmp_path: Path, other: str) -> None:
    folder = tmp_path / "run"
    (folder / other).parent.mkdir(parents=True)
    (folder / other).write_text("weeks of work")
    began = False
    with pytest.raises(ConfigurationError, match=r"run' holds more than a bundle .*name a folder"), placed(folder):
        began = True
    assert not began
    assert contents(tmp_path) == {f"run/{other}": "weeks of work"}


def test_what_comes_into_the_folder_meanwhile_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def write() -> None:
        with placed(folder) as partial:
            (partial / "denoiser.onnx").write_text("new")
            folder.mkdir()
            (folder / "notes.txt").write_text("mine")

    with pytest.raises(ConfigurationError, match="holds more than a bundle"):
        write()
    assert contents(tmp_path) == {"run/notes.txt": "mine"}


def test_a_partial_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"run\.partial' holds more"), placed(tmp_path / "run"):
        pass
    assert contents(tmp_path) == {"run.partial/notes.txt": "mine"}


@pytest.mark.parametrize("name", [".", "..", "x/.."])
def test_a_folder_without_a_name_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no folder of the bundle's own: name one"), placed(Path(name)):
        pass


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file' is a file: name a folder"), placed(tmp_path / "file"):
        pass


def test_the_bundle_that_it_is_made_from_stays(tmp_path: Path) -> None:
    source = write_old_bundle(tmp_path / "source")
    (tmp_path / "link").symlink_to(source)
    for folder in (source, tmp_path / "x" / ".." / "source", tmp_path / "link"):
        with pytest.raises(ConfigurationError, match="the bundle that this one is"), placed(folder, source=source):
            pass
    assert set(contents(source).values()) == {"old"}


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_of_one_that_fails_nothing_is_left_and_the_old_one_stays(tmp_path: Path, failure: type[BaseException]) -> None:
    folder = write_old_bundle(tmp_path / "mine")

    def write() -> None:
        with placed(folder) as partial:
            (partial / "denoiser.onnx").write_text("half of it")
            raise failure

    with pytest.raises(failure):
        write()
    assert list(tmp_path.iterdir()) == [folder]
    assert set(contents(folder).values()) == {"old"}
