"""``visavis doctor``: checks of the installation, or of a running server."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.app import command
from visavis.cli.lazy import checks, client, installation, results, stores
from visavis.cli.options import JsonObject, ModelOptions, PackName, StoreOptions
from visavis.cli.terminal import counted, printable, readable, write
from visavis.errors import ServerError
from visavis.options import DEFAULT_PACK, Loading, Option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visavis.cli.terminal import Facts

_KEY_CODES = ("unauthorized", "key_expired", "forbidden")
_ANSWER_WITHIN_S = 10.0
_CHECKED_WITHIN_S = 120.0
EXAMPLES = """\b
Exit codes:
  0  no problems
  1  problems, listed at the end with what to do about each
"""


@command(EXAMPLES)
def doctor(
    server: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="Check a server that runs there, in place of this installation."),
    ] = None,
    *,
    key: Annotated[str | None, Option("The API key for that server, if it wants one.", metavar="KEY")] = None,
    as_json: JsonObject = False,
    pack: PackName = DEFAULT_PACK,
    how: Loading,
    store: StoreOptions,
) -> int:
    """Check the installation: runtime, models, cache, galleries and an inference; list problems and their remedies.

    With a URL, check the server there instead: whether it answers, takes calls, and what it works with; with a key for
    everything, also what it finds when it checks itself.
    """
    models = ModelOptions(pack, loading=how)
    report: dict[str, object] = {}
    problems: list[results.Trouble] = []
    for check in _check_server(server, key) if server else checks.check_all(_setup(models, store)):
        report[check.name.replace("-", "_")] = check.facts
        problems += check.problems
        if not as_json:
            write(readable(check.name, check.facts) + "\n")
    if as_json:
        report["problems"] = [each.to_dict() for each in problems]
        write(json.dumps(report, indent=2))
    else:
        lines = [f"  {printable(each.problem)}\n    -> {printable(each.remedy)}" for each in problems]
        write("\n".join([f"{counted(len(problems), 'problem')}:", *lines]) if problems else "No problems found.")
    return int(bool(problems))


def _setup(models: ModelOptions, store: StoreOptions) -> checks.Setup:
    return checks.Setup(
        pack=models.pack,
        runtime=models.spec,
        models_dir=models.folder,
        cache_dir=Path(models.loading["cache_dir"] or installation.default_cache_dir()),
        load=models.load,
        galleries=partial(stores.open_galleries, store),
    )


def _check_server(url: str, key: str | None) -> Iterator[results.Check]:
    with client.Client(url, key, timeout_s=_ANSWER_WITHIN_S, retries=0) as server:
        start = time.perf_counter()
        try:
            ready = server.health()
        except ServerError as error:
            yield _check("server", {"url": url}, str(error), "check the address, and whether it runs")
            return
        facts: Facts = {"url": url, "ready": ready, "answer_ms": round(1000 * (time.perf_counter() - start), 1)}
        starting = "" if ready else f"{url} takes no calls"
        yield _check("server", facts, starting, "wait while it starts or stops; its log may say more")
        with suppress(ServerError), client.Client(url, key, timeout_s=_CHECKED_WITHIN_S, retries=0) as patient:
            yield from patient.doctor()  # where the key may ask for that
            return
        try:
            (pack,) = (pack for pack in server.models() if pack.default)
        except ServerError as error:
            remedy = "name a key that it knows: --key" if error.code in _KEY_CODES else "see the server's log"
            yield _check("models", {}, str(error), remedy)
        else:
            yield _check("models", {"pack": pack.name, "dimension": pack.dimension, "threshold": pack.threshold})


def _check(name: str, facts: Facts, problem: str = "", remedy: str = "") -> results.Check:
    troubles = (results.Trouble(problem=problem, remedy=remedy),) if problem else ()
    return results.Check(name=name, facts=facts, problems=troubles)
