"""What PostgreSQL and its driver report, as errors of ours.

Their own messages are not passed on: they may quote statements, values and, where a URL cannot be parsed, its password.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from visavis.errors import (
    InvalidOption,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    VisavisError,
)

_BUSY = "is too busy, or others hold what is needed; try again"
_STOPPED = "stops, starts or does not answer; try again"
_TEXT = "cannot hold this text: NUL characters and lone surrogates have no place in PostgreSQL"
_FOREIGN = "has other tables than visavis makes; restore a backup, or name another database"
_FULL = "has no room left: nothing was stored; make room and try again"

# By SQLSTATE, or else by its class, which is its first two characters.
# Source: PostgreSQL documentation, appendix A, "PostgreSQL Error Codes".
_KINDS: dict[str, tuple[type[VisavisError], str]] = {
    "08": (StoreUnavailable, _STOPPED),
    "22": (InvalidOption, "cannot hold a value that was to be stored"),
    "22021": (InvalidOption, _TEXT),
    "22P05": (InvalidOption, _TEXT),
    "25": (StoreUnavailable, _BUSY),
    "25006": (StoreReadOnly, "is read-only: a replica, or made so; write to its primary"),
    "25P03": (StoreUnavailable, "did not hear from visavis in the middle of a change, and made none; try again"),
    "28": (StoreUnavailable, "does not let this user in"),
    "3D": (StoreUnavailable, "does not exist"),
    "3F": (StoreForeign, _FOREIGN),
    "40": (StoreUnavailable, _BUSY),
    "42": (StoreForeign, _FOREIGN),
    "42501": (StoreReadOnly, "does not permit this to its user, who should own the schema visavis"),
    "53": (StoreUnavailable, _BUSY),
    "53100": (StoreFull, _FULL),
    "53400": (StoreFull, _FULL),
    "54": (InvalidOption, "cannot hold a value of this size"),
    "55": (StoreUnavailable, _BUSY),
    "57": (StoreUnavailable, _STOPPED),
    "57014": (StoreUnavailable, "took too long to answer; try again, or open the store with more patience"),
    "58": (StoreDamaged, "cannot read or write its files; see the log of its server"),
    "XX": (StoreDamaged, "is damaged; see the log of its server, and restore a backup"),
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise what goes wrong with the database as an error of ours.

    Args:
        place: the database, without its password.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translation(error, place) from None
    except UnicodeEncodeError:
        raise InvalidOption(f"{place} {_TEXT}") from None


def _translation(error: psycopg.Error, place: str) -> VisavisError:
    state = error.sqlstate
    if state is None:
        return _without_state(error, place)
    kind, words = _KINDS.get(state) or _KINDS.get(state[:2]) or (StoreDamaged, "is not as visavis made it")
    return kind(f"{place} {words} (SQLSTATE {state})")


def _without_state(error: psycopg.Error, place: str) -> VisavisError:
    """Return the error for what the driver itself reports."""
    if isinstance(error, psycopg.DataError):
        return InvalidOption(f"{place} {_TEXT}")
    return StoreUnavailable(f"{place} cannot be reached, or does not let this user in")
