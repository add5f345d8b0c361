"""How much a test does in every run, and how much in the thorough one."""

from typing import TypeVar

import pytest
from hypothesis import settings

T = TypeVar("T")

settings.register_profile("quick", derandomize=True, deadline=None, database=None, max_examples=50)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=500)
settings.load_profile("quick")  # until --hypothesis-profile names another

# Of tests that do more in the thorough run; property tests have a mark of their own.
scaled = pytest.mark.scaled


def effort(quick: T, thorough: T) -> T:
    """Return what belongs to this run."""
    return thorough if settings.get_current_profile_name() == "thorough" else quick
