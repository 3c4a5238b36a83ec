"""Names of the graph's topics, relative to the namespace of the node that uses them."""

JOINT_STATES = "joint_states"
POLICY_CONTEXT = "policy/context"
ACTION_CHUNK = "policy/action_chunk"
DEAD_MAN = "dead_man"
TIMING = "policy/timing"
DIAGNOSTICS = "/diagnostics"
ARM_TRAJECTORY = "fr3_arm_controller/joint_trajectory"
GRIPPER_TRAJECTORY = "gripper_controller/joint_trajectory"


def camera_image(camera: str) -> str:
    """Topic of a camera's frames."""
    return f"camera/{camera}/image_raw"
