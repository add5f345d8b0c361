"""The command ``visavis``: what it consists of. Its parts load what they need when they run."""

import os
from typing import Annotated

import typer

from visavis import __version__
from visavis.cli.commands import (
    calibrate,
    cluster,
    doctor,
    enrol,
    evaluate,
    faces,
    identify,
    keys,
    models,
    serve,
    verify,
)
from visavis.cli.commands.gallery import app as gallery
from visavis.cli.terminal import results_stream, say
from visavis.config import unknown_variables

_EXAMPLES = """\b
Examples:
  visavis verify passport.jpg selfie.jpg
  visavis detect photos/ --draw drawn/
  visavis embed photos/ -o faces.npz
  visavis enrol people/
  visavis identify party.jpg
  visavis serve
  visavis doctor

Every command explains itself: visavis verify --help. Results go to standard output, everything else to standard
error. Options that name an environment variable take their default from it.
"""

# Plain help and plain errors: they load in half the time and can be searched and piped.
app = typer.Typer(
    name="visavis",
    epilog=_EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("verify", epilog=verify.EXAMPLES)(verify.verify)
app.command("detect", epilog=faces.DETECT_EXAMPLES)(faces.detect)
app.command("embed", short_help="Find faces and turn each into an embedding.", epilog=faces.EMBED_EXAMPLES)(faces.embed)
app.command("enrol", short_help="Enrol people from photos into a gallery.", epilog=enrol.EXAMPLES)(enrol.enrol)
app.command("identify", short_help="Tell who of a gallery is on images.", epilog=identify.EXAMPLES)(identify.identify)
app.add_typer(gallery.app, name="gallery", short_help="Make, look into, check, copy and forget galleries.")
app.command("cluster", short_help="Group the unknown faces of images into people.", epilog=cluster.EXAMPLES)(
    cluster.cluster
)
app.command("calibrate", short_help="Find thresholds for error rates.", epilog=calibrate.EXAMPLES)(calibrate.calibrate)
app.command("evaluate", short_help="Measure how often a pack is right.", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("serve", short_help="Run the HTTP server.", epilog=serve.EXAMPLES)(serve.serve)
app.add_typer(keys.app, name="keys", short_help="Make, list and revoke the server's API keys.")
app.add_typer(models.app, name="models", short_help="List, show, pull, import, verify and remove packs of models.")
app.command("doctor", short_help="Check the installation.", epilog=doctor.EXAMPLES)(doctor.doctor)


def _print_version(value: bool) -> None:  # noqa: FBT001  # the form that typer calls
    if value:
        results_stream().write(f"visavis {__version__}\n")
        raise typer.Exit


@app.callback()
def _visavis(
    context: typer.Context,
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Face recognition: find faces, embed them, and tell whether two images show the same person."""
    if context.invoked_subcommand == "serve":
        return  # which says so itself, and does not start
    for name in unknown_variables(os.environ):
        say(f"visavis: {name} is no setting, and changes nothing: see docs/server.md for those that there are")
