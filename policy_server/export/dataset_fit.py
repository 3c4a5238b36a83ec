"""Was a dataset recorded as a bundle's policy observes?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import DatasetInfo, list_episodes, read_dataset_info


def check_dataset_fits(bundle: Bundle, dataset: Path) -> None:
    """Refuse a dataset over which the bundle's policy cannot be run.

    Raises:
        DatasetError: it cannot be read, has no whole episode, lacks a camera or has its pictures in another size, or has other joints,
            features or another rate than the policy.
    """
    spec, info = bundle.spec, read_dataset_info(dataset)
    for what, recorded, wanted in _compared(spec, info):
        if recorded != wanted:
            raise DatasetError(
                f"'{dataset}' has {what} {recorded}, bundle '{bundle.path}' wants {wanted}: give episodes of the bundle's task"
            )
    if not list_episodes(dataset):
        raise DatasetError(f"'{dataset}' has no whole episode: collect some, or name another dataset")


def _compared(spec: PolicySpec, info: DatasetInfo) -> Iterator[tuple[str, Any, Any]]:
    """What is compared, as it was recorded, as the policy wants it."""
    sizes = {camera.name: f"{camera.height} x {camera.width}" for camera in info.cameras}
    for camera in spec.cameras:
        recorded = sizes.get(camera.name, "no pictures")
        yield f"of camera '{camera.name}'", recorded, f"{camera.source_height} x {camera.source_width}"
    yield "joints", _listed(info.proprioception_joints), _listed(spec.proprioception_joints)
    if spec.features:
        yield "features", _listed(info.features), _listed(spec.features)
    yield "a rate in Hz of", info.rate_hz, spec.rate_hz


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
