"""Settings that are right in simulation and wrong on an arm: the shipped workspace, and motion without a command."""

from pathlib import Path

from policy_server.runtime.errors import PolicyError
from policy_server.runtime.resources import resource
from ros_nodes.doctor.files import parameters_of
from ros_nodes.doctor.finding import Finding, fail, ok, skip, warn
from ros_nodes.franka.settings import GuardSettings, load_guard_settings


def check_safety(guard: GuardSettings, nodes_file: Path) -> list[Finding]:
    """``guard``: the settings that the arm is to run with."""
    return [_workspace(guard), *_arming(nodes_file)]


def _workspace(guard: GuardSettings) -> Finding:
    name, box = "workspace", guard.workspace
    shipped = load_guard_settings(resource("config/arm.yaml")).workspace
    if box == shipped:
        mend = "draw it for this cell in an arm file of its own, before the arm moves (docs/hardware.md, step 9)"
        return warn(name, "the shipped one, wide and without a table", mend)
    sides = " x ".join(f"{high - low:.2f}" for low, high in zip(box.box_min_m, box.box_max_m, strict=True))
    floor_m = box.table_height_m + box.table_clearance_m
    return ok(name, f"box of {sides} m, nothing below {floor_m:.3f} m")


def _arming(nodes_file: Path) -> list[Finding]:
    try:
        values = parameters_of(nodes_file, "arm_node")
    except PolicyError:
        return [skip("arming", "the nodes file does not read, see above")]
    by_itself = [name for name in ("auto_arm", "auto_resume") if values.get(name)]
    if by_itself:
        mend = f"remove it from {nodes_file}: it is for simulation, the arm would move without a command"
        arming = fail("arming", f"{' and '.join(by_itself)} is on", mend)
    else:
        arming = ok("arming", "by command only")
    return [
        arming,
        ok("dead-man", "on" if values.get("dead_man") else "off, which is for arms whose operator holds a stop"),
    ]
