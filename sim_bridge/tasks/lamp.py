"""A lamp on the table that shows the robot a cue: flat, bright, and without a trace once it is dark."""

import numpy as np

from sim_bridge.gl_backend import mujoco
from sim_bridge.simulation import Simulation

RADIUS_M = 0.06
DARK = (0.05, 0.05, 0.06)
WHITE = (1.0, 1.0, 1.0)
GEOM = "lamp"


def add_lamp(spec: mujoco.MjSpec, position_m: tuple[float, float]) -> None:
    spec.add_material(name="lamp", rgba=[1, 1, 1, 1], emission=0.3, specular=0, shininess=0)
    body = spec.worldbody.add_body(name="lamp", pos=[*position_m, 0.0])
    body.add_geom(
        name=GEOM, type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[RADIUS_M, 0.012, 0], pos=[0, 0, 0.012], material="lamp"
    )


def show(simulation: Simulation, colour: tuple[float, float, float]) -> None:
    """Sets the lamp's colour (RGB, 0..1)."""
    simulation.model.geom_rgba[simulation.geom_id(GEOM)] = np.array([*colour, 1.0], np.float32)
