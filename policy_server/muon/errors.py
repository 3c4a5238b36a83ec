"""Errors of the Muon optimizer; each message names the parameter or setting, its value and the mend."""

from policy_server.runtime.errors import PolicyError


class MuonParameterError(PolicyError):
    """A parameter cannot be trained as its group says: not a matrix, sparse, complex, without a name, or given twice."""


class NonFiniteGradientError(PolicyError):
    """A gradient holds NaN or infinity; nothing of that step was kept."""


class SpectrumError(PolicyError):
    """A spectrum log is missing, damaged, or holds nothing about a layer that a recipe needs."""
