"""Look at every byte of a dataset: which episodes are damaged or half-written."""

import shutil
from collections.abc import Callable
from pathlib import Path

from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import check_episode, list_episodes, list_partial, read_dataset_info


def all_episodes(dataset: Path) -> list[str]:
    """Every episode's name, the half-written ones too, so that they are noticed; sorted. Raises DatasetError without a dataset."""
    read_dataset_info(dataset)
    return sorted({*list_episodes(dataset), *list_partial(dataset)})


def find_damage(
    dataset: Path, names: list[str], on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, str]:
    """Check the episodes ``names`` against schema, lengths, checksums, finite numbers and ascending stamps.

    Returns:
        name → what is wrong with it, of the damaged and half-written ones.
    """
    half_written = set(list_partial(dataset))
    found: dict[str, str] = {}
    for done, name in enumerate(names, 1):
        try:
            if name in half_written:
                raise DatasetError(
                    f"episode '{name}' of '{dataset}': half-written: delete its folder and collect it again"
                )
            check_episode(dataset, name)
        except DatasetError as error:
            found[name] = str(error)
        on_progress(done, len(names))
    return found


def delete(dataset: Path, names: list[str]) -> None:
    """Remove the folders of these episodes. Raises DatasetError when one cannot be removed."""
    for name in names:
        try:
            shutil.rmtree(dataset / name)
        except OSError as error:
            raise DatasetError(f"cannot delete '{dataset / name}' ({error}): make it writable") from None
