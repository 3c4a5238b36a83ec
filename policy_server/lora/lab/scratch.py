"""The same teachers learned from random weights: one correlational neuron, and the whole first layer."""

from collections.abc import Mapping, Sequence

import numpy as np

from policy_server.lora.lab.activations import ACTIVATIONS, Array
from policy_server.lora.lab.draws import Purpose, draw_samples, draw_squared_radius, generator
from policy_server.lora.lab.dynamics import BatchSettings, Doubles, Run, State, step_sizes
from policy_server.lora.lab.fine_tuning import Problem, pose
from policy_server.lora.lab.teachers import row_lengths


def teacher_rows(problem: Problem) -> Doubles:
    """Perturbed rows, length 1 (R, I, k, k + 1), in an orthonormal basis of span(W) with u appended."""
    teachers, k = problem.teachers, problem.neurons
    rows = []
    for run in problem.runs:
        strength = run.cell.strength
        tilt = strength * teachers.coefficients[..., None]
        base = np.broadcast_to(np.eye(k), (teachers.instances, k, k))
        lengths = row_lengths(teachers.coefficients, strength, True)[..., None]
        rows.append(np.concatenate([base, tilt], axis=-1) / lengths)
    return np.stack(rows)


class CorrelationalNeuron:
    """û ← normalise(û + 2η y sigma'(⟨û, x⟩)(I - ûûᵀ)x): a single neuron that follows its correlation with the teacher's output y.

    Its coordinates in the k + 1 directions that the teacher sees, ``inside`` (R, I, k + 1), are all of its state: exact in law, for the
    reason given in ``directions``. The overlap is the length of that part: the teacher's neurons are not orthogonal to each other, so
    a single neuron ends between them, but inside their span.
    """

    def __init__(self, runs: Sequence[Run], batch: BatchSettings) -> None:
        self._problem = pose(runs, batch)
        self._activation = ACTIVATIONS[runs[0].cell.settings.activation]
        self._factor = 2 * step_sizes(runs)
        k = self._problem.neurons
        first = generator(batch.seed, Purpose.START, k).standard_normal((batch.instances, k + 1))
        starts = []
        for run in runs:
            source = generator(batch.seed, Purpose.START, k, run.cell.dimension)
            others = 2 * source.standard_gamma((run.cell.dimension - k - 1) / 2, batch.instances)
            starts.append(first / np.sqrt((first**2).sum(-1) + others)[:, None])
        self._inside = np.stack(starts)

    def advance(self, block: int, steps: int) -> Doubles:
        batch, k = self._problem.batch, self._problem.neurons
        samples = draw_samples(batch.seed, block, steps, batch.instances, k, batch.precision)
        wanted = self._problem.answers(samples.hidden, samples.along)
        inputs = np.concatenate([samples.hidden, samples.along[..., None]], axis=-1).astype(np.float64)
        within = np.vecdot(inputs, inputs) + samples.aside**2
        rest = {
            d: draw_squared_radius(batch.seed, block, steps, batch.instances, d, d - k - 2) + within
            for d in sorted({run.cell.dimension for run in self._problem.runs})
        }
        squared_length = np.stack([rest[run.cell.dimension] for run in self._problem.runs], axis=1)
        losses = np.zeros(wanted.shape[1:])
        for step in range(steps):
            losses += self._step(inputs[step], samples.aside[step], squared_length[step], wanted[step])
        return losses

    def _step(self, inputs: Doubles, aside: Doubles, squared_length: Doubles, wanted: Doubles) -> Doubles:
        outside = np.sqrt(np.maximum(1 - np.vecdot(self._inside, self._inside), 0))
        seen = np.vecdot(self._inside, inputs) + outside * aside
        value, slope = self._activation.with_slope(seen)
        weight = -self._factor * wanted * slope
        moved = self._inside - weight[..., None] * (inputs - seen[..., None] * self._inside)
        self._inside = moved / np.sqrt(1 + weight * weight * (squared_length - seen * seen))[..., None]
        error: Doubles = value / np.sqrt(self._problem.neurons) - wanted
        return error * error

    def overlap(self) -> Doubles:
        overlap: Doubles = np.sqrt(np.minimum(np.vecdot(self._inside, self._inside), 1))
        return overlap

    def state(self) -> State:
        return {"inside": self._inside}

    def restore(self, state: Mapping[str, Array]) -> None:
        self._inside = state["inside"]


class ScratchNetwork:
    """All k rows of the first layer from random unit vectors, by online gradient descent; λ is given to it. Runs of one dimension.

    ``weights`` (R, I, k, d), in a basis whose first k + 1 vectors the teacher sees. The overlap is the root mean square, over the
    teacher's neurons, of the cosine with the nearest row.
    """

    def __init__(self, runs: Sequence[Run], batch: BatchSettings) -> None:
        self._problem = pose(runs, batch)
        self._activation = ACTIVATIONS[runs[0].cell.settings.activation]
        self._factor = 2 * step_sizes(runs)
        self._rows = teacher_rows(self._problem)
        self._dtype = np.dtype(batch.precision)
        self._second_layer = self._problem.teachers.second_layer.astype(self._dtype)
        k, d = self._problem.neurons, runs[0].cell.dimension
        drawn = generator(batch.seed, Purpose.WEIGHTS, k, d).standard_normal((batch.instances, k, d))
        drawn /= np.linalg.norm(drawn, axis=-1, keepdims=True)
        self._weights = np.stack([drawn.astype(self._dtype) for _ in runs])

    def advance(self, block: int, steps: int) -> Doubles:
        batch, k = self._problem.batch, self._problem.neurons
        d = self._weights.shape[-1]
        source = generator(batch.seed, Purpose.COORDINATES, block, k, d)
        x = source.standard_normal((batch.instances, steps, d), dtype=self._dtype.type).swapaxes(0, 1)
        wanted = self._problem.answers(x[..., :k], x[..., k])
        losses = np.zeros(wanted.shape[1:])
        for step in range(steps):
            value, slope = self._activation.with_slope(np.matvec(self._weights, x[step]))
            error = np.vecdot(value, self._second_layer) - wanted[step]
            losses += error * error
            weight = (self._factor * error).astype(self._dtype)[..., None] * self._second_layer * slope
            self._weights -= weight[..., None] * x[step][:, None]
        return losses

    def overlap(self) -> Doubles:
        seen = self._rows.shape[-1]
        unit = self._weights[..., :seen] / np.linalg.norm(self._weights, axis=-1, keepdims=True)
        nearest = np.abs(np.einsum("riad,ribd->riab", self._rows, unit)).max(axis=-1)
        overlap: Doubles = np.sqrt((nearest**2).mean(axis=-1))
        return overlap

    def state(self) -> State:
        return {"weights": self._weights}

    def restore(self, state: Mapping[str, Array]) -> None:
        self._weights = state["weights"].copy()
