"""How the franky backend drives an arm."""

from dataclasses import dataclass, field

from policy_server.runtime.clock import NS_PER_MS
from ros_nodes.franka.backends.lead import LeadSettings


@dataclass(frozen=True)
class FrankySettings:
    """Settings of one arm behind libfranka.

    Attributes:
        address: the robot's IP address or host name.
        hand: whether a Franka Hand is mounted; without one the gripper counts as closed.
        require_realtime: refuse to start without a real-time kernel; false is for the loopback robot and for a first look.
        lead: how the arm is led to its set-points. The lookahead is shorter than the guard's own, behind which the set-points
            brake.
        lead_period_ns: the arm is led anew at least so often; shorter than the lookahead.
        read_period_ns: time between two readings.
        stop_s: longest time that a stop may take before the connection is given up.
        recover_s: longest time for the arm to be idle and at rest after its errors were acknowledged.
        acceleration_share, jerk_share: of the robot's limits, for franky's own planning from one velocity to the next. Not
            below what the guard plans with, or the arm could not stop where the guard has it stop.
        contact_torque_nm, contact_force_n: external torque per joint and force at the hand above which the robot stops
            by itself with a reflex.
        grasp_below_m: a width below this means "hold": the hand closes until it meets something and keeps its force.
        hand_speed_m_s, hand_force_n: how the hand moves, and how firmly it holds.
    """

    address: str
    hand: bool = True
    require_realtime: bool = True
    lead: LeadSettings = field(
        default_factory=lambda: LeadSettings(
            lookahead_ns=30 * NS_PER_MS, correction_s=0.1, catch_up_share=0.3, velocity_share=0.9
        )
    )
    lead_period_ns: int = 20 * NS_PER_MS
    read_period_ns: int = 10 * NS_PER_MS
    stop_s: float = 3.0
    recover_s: float = 5.0
    acceleration_share: float = 0.8
    jerk_share: float = 0.2
    contact_torque_nm: float = 20.0
    contact_force_n: float = 30.0
    grasp_below_m: float = 0.01
    hand_speed_m_s: float = 0.1
    hand_force_n: float = 20.0
