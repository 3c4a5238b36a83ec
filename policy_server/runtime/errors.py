"""Errors a user meets at run time. Each message names the thing, the value and the mend."""


class PolicyError(Exception):
    """Base of every error that is the user's to mend; commands print it as one line and exit with status 2."""


class ConfigurationError(PolicyError):
    """A configuration file or override holds an unknown key or a value that does not fit."""


class BundleError(PolicyError):
    """A policy bundle is missing, truncated, altered, or made for other cameras or joints."""


class ProviderError(PolicyError):
    """The ONNX Runtime execution provider that was asked for is not the one that runs."""


class ObservationError(PolicyError):
    """An observation cannot be used: missing, of another size or encoding, not finite."""


class StampError(ObservationError):
    """A stamp went backwards, repeated, or left a gap longer than the history can bridge."""


class StaleInputError(ObservationError):
    """A camera or the joint states stopped arriving."""


class DatasetError(PolicyError):
    """A dataset or one of its episodes is missing, damaged, or of another schema."""
