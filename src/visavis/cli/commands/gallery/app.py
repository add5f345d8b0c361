"""``visavis gallery``: what becomes of galleries besides enrolment and identification."""

import typer

from visavis.cli.commands.gallery import audit, files, records

EXAMPLES = """\b
Examples:
  visavis gallery list
  visavis gallery show staff
  visavis gallery audit staff
  visavis gallery export staff -o staff.jsonl.gz
  visavis gallery forget staff ada-lovelace

\b
Encrypted galleries: openssl rand -hex 32 > visavis.key makes a key, and VISAVIS_GALLERY_KEY_FILE=visavis.key or
--key-file names it. New galleries are encrypted then. Keep the key away from the store: without it, all is lost.
"""

app = typer.Typer(
    help="Make, look into, check, copy and forget galleries.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("list", short_help="List the galleries.")(records.list_)
app.command("show", short_help="Show a gallery, or one of its subjects.")(records.show)
app.command("create", short_help="Make a gallery.", epilog=records.POLICY_EXAMPLES)(records.create)
app.command("policy", short_help="Show or change how a gallery works.", epilog=records.POLICY_EXAMPLES)(records.policy)
app.command("audit", short_help="Find what should be mended.", epilog=audit.EXAMPLES)(audit.audit)
app.command("merge", short_help="Make two subjects one.", epilog=records.MERGE_EXAMPLES)(records.merge)
app.command("export", short_help="Write a gallery to a file.", epilog=files.EXPORT_EXAMPLES)(files.export)
app.command("import", short_help="Read a gallery from a file.", epilog=files.IMPORT_EXAMPLES)(files.import_)
app.command("backup", short_help="Copy the whole store to a file.")(files.backup)
app.command("log", short_help="Show who did what.")(records.log)
app.command("forget", short_help="Forget a sample, a subject, or a gallery.", epilog=records.FORGET_EXAMPLES)(
    records.forget
)
