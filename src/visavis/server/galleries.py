"""The galleries of a server: their store opened and checked, and those forgotten whose time is over."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import anyio.to_thread

from visavis.config import PREFIX, Settings, store_url
from visavis.errors import InvalidOption, VisavisError
from visavis.galleries.store import Store, open_store, read_keys
from visavis.service.enroller import Observer
from visavis.service.galleries import Galleries

_log = logging.getLogger("visavis.server")

_EVERY_S = 60.0
_ASKED_EVERY_S = 1.0
_ANSWER_WITHIN_S = 0.5
_HANGS_AFTER_S = 5.0  # one that is busy may take that long
_MOST_KEY_BYTES = 1000
_ACTOR = "server"  # who forgets those whose time is over, for the log


def gallery_store(settings: Settings) -> Store:
    """Return the store; nothing of it is read or made before it is needed.

    Raises:
        InvalidOption: there is no such kind of store, or the key is none; the message names the setting, not the key.
        DriverMissing: the library that speaks to it is not installed.
    """
    key = _key(settings)
    try:
        return open_store(store_url(settings.store), key=key)
    except InvalidOption as error:
        raise InvalidOption(f"{PREFIX}STORE: {error}") from None


def check_store(settings: Settings) -> str:
    """Refuse to serve with a store that cannot be used; return where it is: the absolute path of a file, or a URL.

    A SQLite file that is not there is made when it is needed.

    Raises:
        InvalidOption: a setting is out of its range.
        SetupError: the store is damaged, something else, newer, or cannot be reached.
    """
    with closing(gallery_store(settings)) as store:
        store.galleries()
    path = store.url.removeprefix("sqlite:///")
    return store.url if path == store.url else str(Path(path).absolute())


@asynccontextmanager
async def served_galleries(
    settings: Settings, eyes: Observer, count_expired: Callable[[int], None]
) -> AsyncIterator[Galleries]:
    """Give the galleries of a server, for as long as it runs; a ``SetupError`` where the store cannot be used."""
    store = gallery_store(settings)
    try:
        await anyio.to_thread.run_sync(store.galleries)  # one that cannot be used is found out now
        galleries = Galleries(store, eyes)
        expiring = asyncio.create_task(keep_expiring(galleries.acting_as(_ACTOR), count_expired))
        try:
            yield galleries
        finally:
            expiring.cancel()
            with suppress(asyncio.CancelledError):
                await expiring
    finally:
        await anyio.to_thread.run_sync(store.close)


class StoreCheck:
    """Tells whether a store can be used, and why not, by asking it at most once a second, with one thread at a time."""

    def __init__(self, ask: Callable[[], object]) -> None:
        """Take what asks the store, and raises where it cannot be used."""
        self._ask = ask
        self._asking: asyncio.Future[object] | None = None
        self._began = 0.0
        self._wrong: str | None = None

    async def wrong(self) -> str | None:
        """Return what was found wrong last, also that the store has not answered for long; one that hangs holds nobody.

        The log tells when that changes.
        """
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._began >= _ASKED_EVERY_S):
            self._began = now
            self._asking = asyncio.ensure_future(anyio.to_thread.run_sync(self._ask, abandon_on_cancel=True))
        await asyncio.wait([self._asking], timeout=_ANSWER_WITHIN_S)
        before = self._wrong
        if self._asking.done():
            error = self._asking.exception()
            self._wrong = None if error is None else f"the store cannot be used: {error}"
        elif now - self._began >= _HANGS_AFTER_S:
            self._wrong = "the store does not answer"
        if self._wrong != before:
            _log.warning("not ready: %s", self._wrong) if self._wrong else _log.info("ready: the store can be used")
        return self._wrong


async def keep_expiring(galleries: Galleries, count: Callable[[int], None], every_s: float = _EVERY_S) -> None:
    """Forget those whose time is over, now and every ``every_s``, until it is cancelled; count takes how many."""
    reported: set[type[Exception]] = set()
    while True:
        try:
            subjects = await anyio.to_thread.run_sync(galleries.expire)
        except Exception as error:  # noqa: BLE001  # whatever it is, the server goes on, and tries again
            known = isinstance(error, VisavisError)
            if type(error) not in reported:
                cause = error if known else ""
                _log.error("cannot forget those whose time is over: %s", cause, exc_info=None if known else error)
            reported.add(type(error))
        else:
            reported.clear()
            count(subjects)
            if subjects:
                _log.info("forgot subjects whose time was over", extra={"facts": {"subjects": subjects}})
        await asyncio.sleep(every_s)


def _key(settings: Settings) -> tuple[bytes, ...] | None:
    name, text, path = "GALLERY_KEY", settings.gallery_key, settings.gallery_key_file
    try:
        if path is not None:
            name = "GALLERY_KEY_FILE"
            with path.open("rb") as file:
                text = file.read(_MOST_KEY_BYTES).decode("ascii", "replace")
        return None if text is None else read_keys(text)
    except InvalidOption as error:
        raise InvalidOption(f"{PREFIX}{name}: {error}") from None
    except OSError as error:
        raise InvalidOption(f"{PREFIX}{name}: {path} cannot be read: {error.strerror or error}") from None
