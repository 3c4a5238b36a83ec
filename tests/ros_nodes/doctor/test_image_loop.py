"""The image loop: two real processes, with our profile and with one whose shared memory is too small."""

import os
from pathlib import Path

import pytest

from ros_nodes.doctor.finding import Level
from ros_nodes.doctor.image_loop import LoopResult, LoopSpec, judge_loop, run_loop
from ros_nodes.environment import graph_environment

SPEC = LoopSpec(640, 480, 30.0, 2.0, 0)
TOO_SMALL = """<?xml version="1.0"?><dds xmlns="http://www.eprosima.com"><profiles><transport_descriptors>
<transport_descriptor><transport_id>s</transport_id><type>SHM</type><segment_size>262144</segment_size></transport_descriptor>
<transport_descriptor><transport_id>u</transport_id><type>UDPv4</type><sendBufferSize>9216</sendBufferSize>
<receiveBufferSize>9216</receiveBufferSize><interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList></transport_descriptor>
</transport_descriptors><participant profile_name="p" is_default_profile="true"><rtps><userTransports>
<transport_id>s</transport_id><transport_id>u</transport_id></userTransports>
<useBuiltinTransports>false</useBuiltinTransports></rtps></participant></profiles></dds>"""


@pytest.mark.parametrize(
    ("result", "level"),
    [
        (LoopResult(60, 60, 4.0, 6.0), Level.OK),
        (LoopResult(60, 59, 4.0, 6.0), Level.WARN),
        (LoopResult(60, 2, 4.0, 6.0), Level.FAIL),
        (LoopResult(60, 60, 4.0, 80.0), Level.WARN),
        (LoopResult(0, 0), Level.FAIL),
        (LoopResult(0, 0, error="no sender was found"), Level.FAIL),
    ],
)
def test_losses_and_latency_are_judged(result: LoopResult, level: Level) -> None:
    (finding,) = judge_loop(SPEC, result)
    assert finding.level == level and bool(finding.mend) == (level != Level.OK)


@pytest.mark.ros
def test_pictures_pass_between_two_processes(domain_id: int) -> None:
    spec = LoopSpec(320, 240, 30.0, 1.0, domain_id)
    result = run_loop(spec, os.environ, graph_environment(domain_id))
    assert result.error == "" and result.sent == 30 and result.received >= 20
    assert 0.0 < result.p50_ms <= result.p99_ms


@pytest.mark.ros
def test_shared_memory_smaller_than_a_picture_is_found_out(domain_id: int, tmp_path: Path) -> None:
    profile = tmp_path / "small.xml"
    profile.write_text(TOO_SMALL, encoding="utf-8")
    unset = {name: value for name, value in os.environ.items() if not name.endswith("PROFILES_FILE")}
    (variable,) = [name for name in graph_environment(domain_id, unset) if name.endswith("PROFILES_FILE")]
    spec = LoopSpec(640, 480, 30.0, 1.0, domain_id)
    result = run_loop(spec, unset, {**graph_environment(domain_id, unset), variable: str(profile)})
    assert judge_loop(spec, result)[0].level == Level.FAIL


@pytest.mark.ros
def test_a_domain_that_cannot_be_joined_is_told_in_one_line() -> None:
    result = run_loop(LoopSpec(32, 32, 30.0, 0.5, 9999), os.environ, {})
    assert result.error and result.error.isprintable()
