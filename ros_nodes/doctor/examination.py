"""What the checks share: the settings, this machine, and the costly looks that are taken once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.errors import PolicyError
from ros_nodes import environment
from ros_nodes.camera.settings import CameraSettings, load_cameras
from ros_nodes.doctor.files import check_arm_file
from ros_nodes.doctor.finding import Finding, Level, fail_with, skip
from ros_nodes.doctor.graph_view import GraphView
from ros_nodes.doctor.image_loop import LoopSpec
from ros_nodes.doctor.ros_installation import RosInstallation, check_ros, find_installation
from ros_nodes.doctor.settings import DoctorSettings
from ros_nodes.doctor.system import System
from ros_nodes.franka.settings import GuardSettings


@dataclass(frozen=True)
class Examination:
    """What the checks look at. Costly parts are made once, when the first check asks for them.

    Attributes:
        settings: what is asked for.
        user_environment: the variables of the shell, before anything here changed them.
        system: /proc and /sys.
    """

    settings: DoctorSettings
    user_environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    system: System = field(default_factory=System)

    @cached_property
    def installation(self) -> RosInstallation:
        return find_installation()

    @cached_property
    def cameras(self) -> tuple[CameraSettings, ...] | Finding:
        """The configured cameras, or why they cannot be read."""
        try:
            return load_cameras(self.settings.file("cameras"))
        except PolicyError as error:
            return fail_with("cameras file", error)

    @cached_property
    def bundle(self) -> Bundle | Finding:
        """The bundle, or why there is none."""
        if not self.settings.bundle:
            return skip("bundle", "none was given", "bundle=/path/to/bundle")
        try:
            return load_bundle(self.settings.bundle)
        except PolicyError as error:
            return fail_with("bundle", error)

    @cached_property
    def arm_file(self) -> tuple[Finding, GuardSettings | None]:
        return check_arm_file(self.settings.file("arm"), self.settings.robot or None)

    @cached_property
    def view(self) -> GraphView | None:
        """The robot's domain; None where ROS cannot be used."""
        usable = self.installation.importable and all(
            finding.level != Level.FAIL
            for finding in check_ros(self.user_environment, self.installation, self.settings.domain_id)
        )
        if not usable:
            return None
        environment.prepare_process()
        from ros_nodes.doctor.listen import listen

        names = [] if isinstance(self.cameras, Finding) else [camera.name for camera in self.cameras]
        return listen(self.settings, names)

    @property
    def loop_spec(self) -> LoopSpec:
        """The image loop, as large as the largest camera where that is larger than what was asked for."""
        chosen = self.settings
        sizes = [(chosen.image_width, chosen.image_height)]
        if not isinstance(self.cameras, Finding):
            sizes += [(camera.width, camera.height) for camera in self.cameras]
        width, height = max(sizes, key=lambda size: size[0] * size[1])
        return LoopSpec(width, height, chosen.image_rate_hz, chosen.image_s, chosen.domain_id)
