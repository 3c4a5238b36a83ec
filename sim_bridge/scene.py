"""What every task shares: the arm on its table, the light, the cameras."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim_bridge.fr3 import fr3_spec
from sim_bridge.gl_backend import mujoco
from sim_bridge.renderer import CameraView, frame_buffer_size
from sim_bridge.shift import AS_BUILT, CameraPose, Shift, ShiftError

TABLE_HALF_SIZE_M = (0.55, 0.60, 0.02)
TABLE_CENTRE_M = (0.30, 0.0, -0.02)
TABLE_RGBA = (0.42, 0.40, 0.38, 1.0)
FLOOR_M = -0.70
FLOOR_RGBA = (0.62, 0.66, 0.70, 1.0)
HIDDEN_GROUP = 4
"""Geoms and sites of this group are not drawn."""
ROOM_CAMERAS = {
    "front": CameraPose((1.06, 0.0, 0.80), (0.475, 0.0, 0.075)),
    "video": CameraPose((1.25, -0.85, 0.80), (0.36, 0.0, 0.20)),
}
"""Cameras that stand in the room, base frame."""
FIELD_OF_VIEW_DEG = {"front": 38.0, "video": 45.0}


def base_spec(views: Sequence[CameraView], shift: Shift = AS_BUILT) -> mujoco.MjSpec:
    """Arm, table, light and the cameras ``front``, ``wrist`` and ``video``; the table top is the plane z = 0.

    A shift of the table moves the arm, the cameras of the room and the floor instead, so that tasks place their objects alike.
    Raises ShiftError when a camera that does not stand in the room is to be moved.
    """
    spec = fr3_spec()
    spec.body("fr3_link0").pos[2] -= shift.table_m
    _tune_rendering(spec, views)
    spec.worldbody.add_light(
        name="lamp_above", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0.5, 0, 2], dir=[-0.3, 0.25, -1],
        castshadow=False, diffuse=[0.5, 0.5, 0.5], specular=[0, 0, 0],
    )  # fmt: skip
    _add_table(spec, FLOOR_M - shift.table_m)
    for name, pose in _room_cameras(shift).items():
        eye_m, target_m = ((x, y, z - shift.table_m) for x, y, z in (pose.eye_m, pose.target_m))
        _add_camera(spec.worldbody, name, eye_m, target_m, FIELD_OF_VIEW_DEG[name])
    hand = spec.body("fr3_hand")
    _add_camera(hand, "wrist", (0.09, 0.0, 0.0), (0.0, 0.0, 0.16), fovy_deg=70, up=(1.0, 0.0, 0.0))
    return spec


def _room_cameras(shift: Shift) -> dict[str, CameraPose]:
    for name in shift.cameras:
        if name not in ROOM_CAMERAS:
            raise ShiftError(
                f"shift '{shift.name}' moves camera '{name}'; only {' and '.join(ROOM_CAMERAS)} can be moved"
            )
    return {**ROOM_CAMERAS, **shift.cameras}


def _add_table(spec: mujoco.MjSpec, floor_m: float) -> None:
    """A slab and a floor to look at; a plane to touch, since contacts with a plane are exact and cheap."""
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=TABLE_HALF_SIZE_M, pos=TABLE_CENTRE_M, rgba=TABLE_RGBA,
        contype=0, conaffinity=0,
    )  # fmt: skip
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[30, 30, 1], pos=[0, 0, floor_m], rgba=FLOOR_RGBA,
        contype=0, conaffinity=0,
    )  # fmt: skip
    spec.worldbody.add_geom(name="table_top", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 1], group=HIDDEN_GROUP)


def _tune_rendering(spec: mujoco.MjSpec, views: Sequence[CameraView]) -> None:
    """Few polygons and no multisampling: on a CPU these decide the frame rate."""
    quality = spec.visual.quality
    quality.offsamples, quality.shadowsize, quality.numslices, quality.numstacks, quality.numquads = 0, 0, 12, 6, 1
    height, width = frame_buffer_size(views)
    spec.visual.global_.offheight, spec.visual.global_.offwidth = height, width
    # Fixed, so that the clipping planes do not depend on a task's objects.
    spec.stat.extent, spec.stat.center = 1.5, [0.4, 0.0, 0.2]
    spec.visual.headlight.ambient = [0.45, 0.45, 0.45]
    spec.visual.headlight.diffuse = [0.25, 0.25, 0.25]
    spec.visual.headlight.specular = [0, 0, 0]


def _add_camera(
    body: mujoco.MjsBody,
    name: str,
    eye_m: tuple[float, float, float],
    target_m: tuple[float, float, float],
    fovy_deg: float,
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> None:
    body.add_camera(name=name, pos=eye_m, quat=_looking_quaternion(eye_m, target_m, up), fovy=fovy_deg)


def _looking_quaternion(eye_m: Sequence[float], target_m: Sequence[float], up: Sequence[float]) -> NDArray[np.float64]:
    """Orientation of a camera (it looks along its own -z, its y is up) in the parent's frame, w first."""
    back = np.subtract(eye_m, target_m)
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.column_stack([right, np.cross(back, right), back]).ravel())
    return quaternion
