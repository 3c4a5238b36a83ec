"""Which ROS 2, only one of them, which middleware, which domain."""

import pytest

from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.ros_installation import RosInstallation, check_neighbours, check_ros

WHEELS = RosInstallation("9.1.2", importable=True)
APT = RosInstallation(None, importable=True)


def found(environment: dict[str, str], installation: RosInstallation, domain_id: int = 0) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_ros(environment, installation, domain_id)}


def test_wheels_and_apt_are_told_apart() -> None:
    assert found({}, WHEELS)["ROS 2"].found == "kilted, wheels of rclpy 9.1.2"
    assert found({"ROS_DISTRO": "jazzy"}, APT)["ROS 2"].found == "jazzy, installed with apt"


def test_an_untested_distribution_warns_and_none_fails() -> None:
    assert found({"ROS_DISTRO": "humble"}, APT)["ROS 2"].level == Level.WARN
    assert found({}, RosInstallation("11.0.0", importable=True))["ROS 2"].level == Level.WARN
    assert found({}, RosInstallation(None, importable=False))["ROS 2"].level == Level.FAIL


def test_an_apt_ros_sourced_beside_the_wheels_fails() -> None:
    mixed = {"LD_LIBRARY_PATH": "/opt/ros/jazzy/lib:/x"}
    assert found(mixed, WHEELS)["one ROS 2 only"].level == Level.FAIL
    assert found(mixed, APT)["one ROS 2 only"].level == Level.OK


def test_two_apt_distributions_in_one_shell_fail() -> None:
    both = {"AMENT_PREFIX_PATH": "/opt/ros/jazzy:/opt/ros/kilted"}
    assert "jazzy and kilted" in found(both, APT)["one ROS 2 only"].found


@pytest.mark.parametrize(
    ("chosen", "installation", "level"),
    [
        ("rmw_fastrtps_cpp", WHEELS, Level.OK),
        ("rmw_cyclonedds_cpp", WHEELS, Level.FAIL),
        ("rmw_cyclonedds_cpp", APT, Level.WARN),
    ],
)
def test_another_middleware_is_told(chosen: str, installation: RosInstallation, level: Level) -> None:
    assert found({"RMW_IMPLEMENTATION": chosen}, installation)["middleware"].level == level


def test_a_domain_that_cannot_be_used_fails() -> None:
    finding = found({}, WHEELS, domain_id=200)["domain"]
    assert finding.level == Level.FAIL and "200" in finding.found and finding.mend == "choose one that is"


def test_a_discovery_range_that_overrules_the_profile_warns() -> None:
    assert found({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, WHEELS)["domain"].level == Level.WARN
    assert found({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, WHEELS)["domain"].level == Level.OK


def test_a_name_that_is_there_twice_fails() -> None:
    ours = ("arm_node",)
    assert check_neighbours(("arm_node", "camera", "arm_node"), ours).level == Level.FAIL
    assert check_neighbours(("camera", "arm_node"), ours).found == "our graph runs: arm_node"
    assert check_neighbours((), ours).found == "none yet"
