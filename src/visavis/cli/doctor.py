"""``visavis doctor``: is all well, and what is in force?"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from visavis.cli.checks import Problem, Section, run_checks
from visavis.cli.messages import printable, reporting, results_stream
from visavis.cli.options import (
    DEFAULT_PACK,
    CacheDirOption,
    ModelOptions,
    ModelsDirOption,
    PackOption,
    PrecisionOption,
    QuietOption,
    RuntimeOption,
    ThreadsOption,
    VerboseOption,
)
from visavis.cli.remote import run_remote_checks
from visavis.cli.report import readable

EXAMPLES = """\b
Exit codes:
  0  no problems
  1  problems, listed at the end with what to do about each
"""


def doctor(  # noqa: PLR0913  # a command's options are independent
    url: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="Check a server that runs there, in place of this installation."),
    ] = None,
    *,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The API key for that server, if it wants one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    pack: PackOption = DEFAULT_PACK,
    runtime: RuntimeOption = "openvino",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
    cache_dir: CacheDirOption = None,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Check the installation: runtime, models, cache and a real inference; list problems and their remedies.

    With a URL, check the server there instead: whether it answers, takes calls, and what it works with.
    """
    with reporting(quiet=quiet, verbose=verbose):
        stream = results_stream()
        sections: list[Section] = []
        options = ModelOptions(pack, runtime, precision, threads, cache_dir, models_dir=models_dir)
        for section in run_remote_checks(url, key) if url else run_checks(options):
            sections.append(section)
            if not as_json:
                stream.write(readable(section.title, section.facts) + "\n\n")
                stream.flush()
        problems = [problem for section in sections for problem in section.problems]
        stream.write(_as_json(sections, problems) if as_json else _listed(problems))
        stream.flush()
        if problems:
            raise typer.Exit(1)


def _as_json(sections: list[Section], problems: list[Problem]) -> str:
    report: dict[str, object] = {section.title.replace("-", "_"): dict(section.facts) for section in sections}
    return json.dumps({**report, "problems": [asdict(problem) for problem in problems]}, indent=2) + "\n"


def _listed(problems: list[Problem]) -> str:
    if not problems:
        return "No problems found.\n"
    lines = [f"  {printable(problem.problem)}\n    -> {printable(problem.remedy)}\n" for problem in problems]
    return "".join([f"{len(problems)} problem{'' if len(problems) == 1 else 's'}:\n", *lines])
