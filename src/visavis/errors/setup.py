"""What is wrong with the installation."""

from visavis.errors.roots import SetupError


class ModelMissing(SetupError, FileNotFoundError):
    """A weights file that the pack needs is not installed."""

    code = "model_missing"


class ModelCorrupt(SetupError, ValueError):
    """A weights file is not what it should be: foreign, truncated or changed."""

    code = "model_corrupt"


class RuntimeMissing(SetupError, ImportError):
    """The inference runtime asked for is not installed."""

    code = "runtime_missing"


class RuntimeFailed(SetupError, RuntimeError):
    """The inference runtime could not load or run a model."""

    code = "runtime_failed"


class KeysUnusable(SetupError, OSError):
    """The file of API keys cannot be opened or written, or is something else."""

    code = "keys_unusable"


class LicenceNotAccepted(SetupError, PermissionError):
    """The pack's licence restricts its use, and nobody has accepted it here."""

    code = "licence_not_accepted"


class PullFailed(SetupError, ConnectionError):
    """A model could not be fetched, or not be kept; nothing half-written remains in its place."""

    code = "pull_failed"
