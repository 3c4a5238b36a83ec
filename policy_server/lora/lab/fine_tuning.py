"""Online gradient descent on the rank-one perturbation (the algorithm of arXiv 2411.15385), for many runs at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from policy_server.lora.lab.activations import ACTIVATIONS, Array
from policy_server.lora.lab.directions import Direction, PlainDirection, ReducedDirection
from policy_server.lora.lab.draws import Purpose, draw_samples, draw_squared_radius, generator
from policy_server.lora.lab.dynamics import BatchSettings, Doubles, Run, State, per_run, step_sizes
from policy_server.lora.lab.students import LinearisedStudent, NetworkStudent, Student
from policy_server.lora.lab.teachers import Teachers, answers, draw_teachers, through_rows


@dataclass(frozen=True)
class Problem:
    """The teachers of a batch, and its settings; all runs of it have the same."""

    runs: tuple[Run, ...]
    batch: BatchSettings
    teachers: Teachers

    @property
    def neurons(self) -> int:
        return self.teachers.neurons

    def answers(self, projected: Array, along: Array) -> Doubles:
        """Teachers' outputs (N, R, I) on Wx (N, I, k) and ⟨u, x⟩ (N, I); each strength is computed once."""
        settings = self.runs[0].cell.settings
        strengths = sorted({run.cell.strength for run in self.runs})
        activation = ACTIVATIONS[settings.activation]
        each = np.stack(
            [answers(self.teachers, activation, xi, settings.normalise, projected, along) for xi in strengths], axis=1
        )
        return each[:, [strengths.index(run.cell.strength) for run in self.runs]]


def pose(runs: Sequence[Run], batch: BatchSettings) -> Problem:
    cell = runs[0].cell
    rows, coefficients = cell.settings.rows, cell.settings.coefficients
    return Problem(tuple(runs), batch, draw_teachers(batch.seed, batch.instances, cell.neurons, rows, coefficients))


class FineTuning:
    """A dynamics (see ``Dynamics``): the direction on the sphere, and ĉ frozen or learned with it."""

    def __init__(self, problem: Problem, samples: "ReducedSamples | PlainSamples") -> None:
        self._problem, self._samples = problem, samples
        settings = problem.runs[0].cell.settings
        self._learns_coefficients = settings.student in ("joint", "linearised_joint")
        self._factor = 2 * step_sizes(problem.runs)
        self._coefficient_factor = self._factor * per_run(
            problem.runs, [run.cell.settings.coefficient_rate for run in problem.runs]
        )
        shape = (len(problem.runs), *problem.teachers.guess.shape)
        self._start(np.broadcast_to(problem.teachers.guess, shape))

    def _start(self, guess: Array) -> None:
        settings, dtype = self._problem.runs[0].cell.settings, np.dtype(self._problem.batch.precision)
        second = self._problem.teachers.second_layer.astype(dtype)
        strength = per_run(self._problem.runs, [run.cell.strength for run in self._problem.runs], 2).astype(dtype)
        activation = ACTIVATIONS[settings.activation]
        self._student: Student
        if settings.student.startswith("linearised"):
            self._student = LinearisedStudent(activation, second, guess.astype(dtype), strength)
        else:
            self._student = NetworkStudent(activation, second, guess.astype(dtype), strength, settings.normalise)

    def advance(self, block: int, steps: int) -> Doubles:
        projected, wanted, direction = self._samples.give(block, steps)
        losses = np.zeros(wanted.shape[1:])
        for step in range(steps):
            seen = direction.seen(step)
            output, steepness = self._student.respond(projected[step], seen)
            error = output - wanted[step]
            losses += error * error
            if self._learns_coefficients:
                self._student.learn(self._coefficient_factor * error)
            direction.move(step, seen, self._factor * error * steepness)
        return losses

    def overlap(self) -> Doubles:
        return self._samples.direction.overlap

    def state(self) -> State:
        state = self._samples.state()
        if self._learns_coefficients:
            state["guess"] = self._student.guess
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        self._samples.restore(state)
        if self._learns_coefficients:
            self._start(state["guess"])


class ReducedSamples:
    """Draws the few numbers of each sample that the dynamics depends on; see ``directions``."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.direction = ReducedDirection(self._starts())

    def _starts(self) -> Doubles:
        """⟨u, ±u₀⟩ (R, I), u₀ uniform on the unit sphere of span(W)^⊥; cells that differ in d share the first coordinate."""
        batch, k = self._problem.batch, self._problem.neurons
        first = generator(batch.seed, Purpose.START, k).standard_normal(batch.instances)
        starts = []
        for run in self._problem.runs:
            d = run.cell.dimension
            source = generator(batch.seed, Purpose.START, k, d)
            others = 2 * source.standard_gamma((d - k - 1) / 2, batch.instances)
            starts.append(run.side * first / np.sqrt(first**2 + others))
        return np.stack(starts)

    def give(self, block: int, steps: int) -> tuple[Array, Doubles, Direction]:
        """Wx (N, I, k), the teachers' outputs (N, R, I), and the direction with the block's samples."""
        problem, batch = self._problem, self._problem.batch
        samples = draw_samples(batch.seed, block, steps, batch.instances, problem.neurons, batch.precision)
        projected = through_rows(problem.teachers, samples.hidden)
        rest = {
            d: draw_squared_radius(batch.seed, block, steps, batch.instances, d, d - problem.neurons - 2)
            for d in sorted({run.cell.dimension for run in problem.runs})
        }
        self.direction.give(
            samples.along, samples.aside, np.stack([rest[run.cell.dimension] for run in problem.runs], axis=1)
        )
        return projected, problem.answers(projected, samples.along), self.direction

    def state(self) -> State:
        return {"overlap": self.direction.overlap}

    def restore(self, state: Mapping[str, Array]) -> None:
        self.direction = ReducedDirection(state["overlap"])


class PlainSamples:
    """Draws all d coordinates, with u, û and an explicit W; runs of one dimension."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        batch, k, d = problem.batch, problem.neurons, problem.runs[0].cell.dimension
        source = generator(batch.seed, Purpose.START, k, d, 1)
        frames = np.linalg.qr(source.standard_normal((batch.instances, d, k + 1)))[0].swapaxes(1, 2)
        self._basis, self._target = frames[:, :k], frames[:, k]
        start = self._off_rows(source.standard_normal((batch.instances, d)))
        start /= np.linalg.norm(start, axis=-1, keepdims=True)
        self.direction = PlainDirection(np.stack([run.side * start for run in problem.runs]), self._target)

    def _off_rows(self, x: Doubles) -> Doubles:
        """Π⊥x for x (…, I, d)."""
        return x - np.vecmat(np.matvec(self._basis, x), self._basis)

    def give(self, block: int, steps: int) -> tuple[Array, Doubles, Direction]:
        problem, batch = self._problem, self._problem.batch
        d = self._target.shape[-1]
        source = generator(batch.seed, Purpose.COORDINATES, block, problem.neurons, d)
        x = source.standard_normal((batch.instances, steps, d)).swapaxes(0, 1)
        hidden = np.matvec(self._basis, x).astype(batch.precision)
        projected = through_rows(problem.teachers, hidden)
        self.direction.give(self._off_rows(x))
        return projected, problem.answers(projected, np.vecdot(self._target, x)), self.direction

    def state(self) -> State:
        return {"vector": self.direction.vector}

    def restore(self, state: Mapping[str, Array]) -> None:
        self.direction = PlainDirection(state["vector"], self._target)


def fine_tuning(runs: Sequence[Run], batch: BatchSettings) -> FineTuning:
    problem = pose(runs, batch)
    reduced = runs[0].cell.settings.method == "reduced"
    return FineTuning(problem, ReducedSamples(problem) if reduced else PlainSamples(problem))
