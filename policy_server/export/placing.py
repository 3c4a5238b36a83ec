"""Where a bundle is written: beside its place until it is whole, and never over anything but a bundle."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from policy_server.runtime.bundle import DENOISER_FILE, ENCODER_FILE, MANIFEST_FILE
from policy_server.runtime.errors import ConfigurationError

_FILES = {MANIFEST_FILE, ENCODER_FILE, DENOISER_FILE}


@contextmanager
def placed(folder: Path, *, source: Path | None = None) -> Iterator[Path]:
    """An empty folder to write a bundle into, which is put in the place of ``folder`` at the end and removed when anything fails.

    ``source``: the bundle that it is made from, which stays.

    Raises:
        ConfigurationError: before anything is written, as ``check_place`` does.
    """
    check_place(folder, source=source)
    place = folder.resolve()
    partial = place.with_name(f"{place.name}.partial")
    _check_replaceable(partial, partial)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        _check_replaceable(place, folder)  # an export takes minutes, in which somebody may have written there
        if place.exists():
            shutil.rmtree(place)
        os.replace(partial, place)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_place(folder: Path, *, source: Path | None = None) -> None:
    """Whether a bundle may be put there: the folder is absent, empty, or holds a bundle and nothing else.

    Raises:
        ConfigurationError: it may not, or the folder is the one of the bundle that it is made from.
    """
    if folder.name in ("", ".."):
        raise ConfigurationError(
            f"output '{folder}' is no folder of the bundle's own: name one, for example runs/bundles/mine"
        )
    if source is not None and folder.resolve() == source.resolve():
        raise ConfigurationError(
            f"output '{folder}' is the bundle that this one is made from: name another folder, for example {folder}_new"
        )
    _check_replaceable(folder.resolve(), folder)


def _check_replaceable(place: Path, name: Path) -> None:
    if not place.exists():
        return
    if not place.is_dir():
        raise ConfigurationError(f"output '{name}' is a file: name a folder for the bundle")
    foreign = sorted(entry.name for entry in place.iterdir() if entry.name not in _FILES or not entry.is_file())
    if foreign:
        raise ConfigurationError(
            f"output '{name}' holds more than a bundle ({', '.join(foreign[:3])}{', ...' if foreign[3:] else ''}) and would be "
            "replaced as a whole: name a folder that is not there yet, or delete this one"
        )
