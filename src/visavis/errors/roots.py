"""The root of all errors, and the branches below it."""


class VisavisError(Exception):
    """Root of the tree: catch it to catch everything that visavis raises on purpose."""

    code: str = "error"


class InputError(VisavisError):
    """Something that the caller passed cannot be used; passing something else helps."""


class SetupError(VisavisError):
    """The installation cannot do what was asked; mending it helps, another input does not."""


class StateError(VisavisError):
    """What is stored forbids what was asked; another request, or the same one later, may be possible."""
