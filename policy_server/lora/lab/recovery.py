"""What comes after û: the coefficients c by linear regression, and the limit of every linearised student.

Both draw fresh samples in the reduced coordinates: Wx, ⟨u, x⟩ and ⟨û, x⟩ given the overlap, exact in law.
"""

from dataclasses import dataclass

import numpy as np

from policy_server.lora.lab.activations import ACTIVATIONS, Array
from policy_server.lora.lab.cells import Cell
from policy_server.lora.lab.draws import Purpose, generator
from policy_server.lora.lab.dynamics import Doubles
from policy_server.lora.lab.teachers import Teachers, answers, draw_teachers, through_rows

SAMPLES = 8000
_HELD_OUT = 2000


@dataclass(frozen=True)
class Recovery:
    """Per instance (I,): share of the signs of c that the regression finds, and the mean squared error on fresh samples of the student
    with the ĉ it began with, with the recovered one, and of the regression itself."""

    correct: Doubles
    loss_before: Doubles
    loss_after: Doubles
    loss_of_regression: Doubles


def recover_coefficients(cell: Cell, overlap: Doubles, seed: int) -> Recovery:
    """Regress the teacher's outputs on sigma(⟨(w_i ± (ξ/√k) û)/√(1 + ξ²/k), x⟩); c_i has the sign of the larger
    weight (arXiv 2411.15385). Where û found -u, it is -c that is right. ``overlap`` (I,) is ⟨u, û⟩."""
    settings = cell.settings
    teachers = draw_teachers(seed, len(overlap), cell.neurons, settings.rows, settings.coefficients)
    drawn = _draw(teachers, seed, SAMPLES + _HELD_OUT)
    activation = ACTIVATIONS[settings.activation]
    wanted = answers(teachers, activation, cell.strength, settings.normalise, drawn.projected, drawn.along)
    seen = overlap * drawn.along + np.sqrt(1 - overlap**2) * drawn.aside
    tilt = cell.strength / np.sqrt(cell.neurons)
    length = np.sqrt(1 + tilt**2) if settings.normalise else 1.0
    sides = [activation.value((drawn.projected + sign * tilt * seen[..., None]) / length) for sign in (1, -1)]
    features = np.concatenate(sides, axis=-1)
    rows = [
        _recover(teachers, index, features[:, index], wanted[:, index], overlap[index])
        for index in range(teachers.instances)
    ]
    return Recovery(*(np.array(column) for column in zip(*rows, strict=True)))


def _recover(
    teachers: Teachers, index: int, features: Doubles, wanted: Doubles, overlap: float
) -> tuple[float, float, float, float]:
    """The four numbers of ``Recovery`` for one instance; features (samples, 2k), first all with +."""
    k, second = teachers.neurons, teachers.second_layer[index]
    weights = np.linalg.lstsq(features[:SAMPLES], wanted[:SAMPLES], rcond=None)[0]
    found = np.where(np.abs(weights[:k]) >= np.abs(weights[k:]), 1.0, -1.0)
    correct = float((found == np.sign(overlap * teachers.coefficients[index])).mean())
    fresh, truth = features[SAMPLES:], wanted[SAMPLES:]

    def loss(signs: Doubles) -> float:
        outputs = np.where(signs > 0, fresh[:, :k], fresh[:, k:]) @ second
        return float(((outputs - truth) ** 2).mean())

    return correct, loss(teachers.guess[index]), loss(found), float(((fresh @ weights - truth) ** 2).mean())


def linearised_limit(cell: Cell, instances: int, seed: int) -> Doubles:
    """Mean squared error (I,) of the best student that is linear in its perturbation: regression of f* - f on all sigma'(⟨w_i, x⟩)⟨u, x⟩,
    with u known. No ĉ and no û does better."""
    settings = cell.settings
    teachers = draw_teachers(seed, instances, cell.neurons, settings.rows, settings.coefficients)
    drawn = _draw(teachers, seed, SAMPLES + _HELD_OUT)
    activation = ACTIVATIONS[settings.activation]
    wanted = answers(teachers, activation, cell.strength, settings.normalise, drawn.projected, drawn.along)
    value, slope = activation.with_slope(drawn.projected)
    missing = wanted - np.vecdot(value, teachers.second_layer)
    losses = []
    for index in range(instances):
        features = slope[:, index] * drawn.along[:, index, None]
        weights = np.linalg.lstsq(features[:SAMPLES], missing[:SAMPLES, index], rcond=None)[0]
        losses.append(((features[SAMPLES:] @ weights - missing[SAMPLES:, index]) ** 2).mean())
    return np.array(losses)


@dataclass(frozen=True)
class _Drawn:
    projected: Array
    along: Doubles
    aside: Doubles


def _draw(teachers: Teachers, seed: int, count: int) -> _Drawn:
    k = teachers.neurons
    source = generator(seed, Purpose.RECOVERY, k)
    drawn = source.standard_normal((teachers.instances, count, k + 2)).swapaxes(0, 1)
    return _Drawn(through_rows(teachers, drawn[..., :k]), drawn[..., k], drawn[..., k + 1])
