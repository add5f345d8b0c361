"""What ``visavis doctor URL`` looks at: a server that runs, here or elsewhere."""

import time
from collections.abc import Iterator

from visavis.cli.checks import Problem, Section
from visavis.errors import ServerError

_KEY_CODES = ("unauthorized", "forbidden")
_PATIENCE_S = 10.0


def run_remote_checks(url: str, key: str | None) -> Iterator[Section]:
    """Return a section for each check, made when it is asked for.

    Raises:
        InvalidOption: this is no URL of a server.
    """
    from visavis.client import Client  # noqa: PLC0415  # --help does without

    with Client(url, key, timeout_s=_PATIENCE_S, retries=0) as client:
        start = time.perf_counter()
        try:
            ready = client.health()
        except ServerError as error:
            yield Section("server", {"url": url}, (Problem(str(error), "check the address, and whether it runs"),))
            return
        milliseconds = round(1000 * (time.perf_counter() - start), 1)
        starting = Problem(f"{url} takes no calls", "wait while it starts or stops; its log may say more")
        yield Section("server", {"url": url, "ready": ready, "answer_ms": milliseconds}, () if ready else (starting,))
        try:
            packs = client.models()
        except ServerError as error:
            remedy = "name a key that it knows: --key" if error.code in _KEY_CODES else "see the server's log"
            yield Section("models", {}, (Problem(str(error), remedy),))
            return
        (pack,) = (pack for pack in packs if pack.default)
        yield Section("models", {"pack": pack.name, "dimension": pack.dimension, "threshold": pack.threshold})
