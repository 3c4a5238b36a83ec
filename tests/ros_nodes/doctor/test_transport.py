"""The DDS profile that is in force, its shared memory, and what it binds."""

from pathlib import Path

import pytest

from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.transport import check_transport

PICTURE_BYTES = 640 * 480 * 3
PROFILE = """<?xml version="1.0"?><dds xmlns="http://www.eprosima.com"><profiles><transport_descriptors>
<transport_descriptor><transport_id>a</transport_id><type>SHM</type>{segment}</transport_descriptor>
<transport_descriptor><transport_id>b</transport_id><type>UDPv4</type>{addresses}</transport_descriptor>
</transport_descriptors><participant><rtps><useBuiltinTransports>{builtin}</useBuiltinTransports></rtps></participant>
</profiles></dds>"""
LOOPBACK = "<interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>"


@pytest.fixture
def chosen_variable(monkeypatch: pytest.MonkeyPatch) -> str:
    """The variable that this installation's Fast DDS reads, whichever it is."""
    monkeypatch.setattr("ros_nodes.environment.uses_wheels", lambda: False)
    return "FASTDDS_DEFAULT_PROFILES_FILE"


def found(environment: dict[str, str], folder: Path, picture_bytes: int = PICTURE_BYTES) -> dict[str, Finding]:
    environment = {"ROS_DISTRO": "kilted", **environment}
    return {finding.name: finding for finding in check_transport(environment, picture_bytes, folder)}


def profile(folder: Path, segment: str = "", addresses: str = LOOPBACK, builtin: str = "false") -> str:
    file = folder / "profile.xml"
    file.write_text(PROFILE.format(segment=segment, addresses=addresses, builtin=builtin), encoding="utf-8")
    return str(file)


def test_our_own_profile_passes(tmp_path: Path) -> None:
    findings = found({}, tmp_path)
    assert findings["DDS profile"].level == Level.OK
    assert findings["shared-memory segment"].level == Level.OK
    assert findings["network interfaces of DDS"].found == "127.0.0.1 alone"


@pytest.mark.parametrize(
    ("segment", "level"),
    [
        ("", Level.FAIL),  # Fast DDS's default of 512 KiB
        (f"<segment_size>{PICTURE_BYTES - 1}</segment_size>", Level.FAIL),
        (f"<segment_size>{PICTURE_BYTES}</segment_size>", Level.WARN),
        (f"<segment_size>{4 * PICTURE_BYTES}</segment_size>", Level.OK),
    ],
)
def test_pictures_must_fit_into_the_segment(tmp_path: Path, chosen_variable: str, segment: str, level: Level) -> None:
    finding = found({chosen_variable: profile(tmp_path, segment)}, tmp_path)["shared-memory segment"]
    assert finding.level == level and ("<segment_size>" in finding.mend) == (level != Level.OK)


@pytest.mark.parametrize(
    ("addresses", "builtin"), [("", "false"), (LOOPBACK, "true"), (LOOPBACK.replace("127.0.0.1", "10.0.0.5"), "false")]
)
def test_dds_on_a_network_is_told(tmp_path: Path, chosen_variable: str, addresses: str, builtin: str) -> None:
    environment = {chosen_variable: profile(tmp_path, addresses=addresses, builtin=builtin)}
    assert found(environment, tmp_path)["network interfaces of DDS"].level == Level.WARN


def test_the_variable_of_another_fast_dds_fails_since_nobody_reads_it(tmp_path: Path, chosen_variable: str) -> None:
    findings = found({"FASTRTPS_DEFAULT_PROFILES_FILE": profile(tmp_path)}, tmp_path)
    assert findings["DDS profile"].level == Level.FAIL and chosen_variable in findings["DDS profile"].mend
    assert "shared-memory segment" not in findings


def test_a_profile_that_is_not_there_or_not_xml_fails(tmp_path: Path, chosen_variable: str) -> None:
    assert found({chosen_variable: str(tmp_path / "none.xml")}, tmp_path)["DDS profile"].level == Level.FAIL
    broken = tmp_path / "broken.xml"
    broken.write_text("<dds>", encoding="utf-8")
    assert found({chosen_variable: str(broken)}, tmp_path)["DDS profile's content"].level == Level.FAIL


def test_another_middleware_needs_no_profile(tmp_path: Path) -> None:
    assert found({"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}, tmp_path)["DDS profile"].level == Level.SKIP


def test_no_shared_memory_fails(tmp_path: Path) -> None:
    assert found({}, tmp_path / "shm")["shared memory"].level == Level.FAIL
