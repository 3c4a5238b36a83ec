"""Coefficient families of the odd quintic x -> a x + b x^3 + c x^5, one triple per Newton-Schulz step."""

from typing import Literal

from policy_server.runtime.errors import ConfigurationError

Coefficients = tuple[float, float, float]
PolynomialFamily = Literal["jordan", "polar_express", "cubic", "custom"]

# Keller Jordan's quintic: steepest at zero, and does not converge to one: singular values end in about [0.7, 1.2].
JORDAN: Coefficients = (3.4445, -4.7750, 2.0315)

# The classical Newton-Schulz iteration, x (3 - x^2) / 2: safe and slow.
CUBIC: Coefficients = (1.5, -0.5, 0.0)

# Polar Express (arXiv 2505.16932): each step the best quintic for what the steps before it leave of [1e-3, 1].
POLAR_EXPRESS: tuple[Coefficients, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115952949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)

# Rounding may push a singular value above the interval for which a step was made: each step is fed x / 1.01 instead.
SAFETY_FACTOR = 1.01


def polynomial_coefficients(
    family: PolynomialFamily, steps: int, custom: tuple[Coefficients, ...] = ()
) -> tuple[Coefficients, ...]:
    """(a, b, c) of each of ``steps`` steps.

    Polar Express beyond its table, and ``custom`` beyond the given triples, repeat the last triple.

    Raises:
        ConfigurationError: ``custom`` without triples.
    """
    if family == "jordan":
        return (JORDAN,) * steps
    if family == "cubic":
        return (CUBIC,) * steps
    if family == "custom" and not custom:
        raise ConfigurationError("coefficients: empty for the family 'custom': give one (a, b, c) per step")
    table = custom if family == "custom" else _polar_express_with_safety()
    return tuple(table[min(step, len(table) - 1)] for step in range(steps))


def _polar_express_with_safety() -> tuple[Coefficients, ...]:
    safe = [(a / SAFETY_FACTOR, b / SAFETY_FACTOR**3, c / SAFETY_FACTOR**5) for a, b, c in POLAR_EXPRESS[:-1]]
    return (*safe, POLAR_EXPRESS[-1])
