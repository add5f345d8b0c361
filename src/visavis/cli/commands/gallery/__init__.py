"""``visavis gallery``: galleries, but for enrolment and identification."""

from visavis.cli.app import Group

GALLERY = Group(
    help="Make, look into, check, copy and forget galleries.",
    epilog="""\b
Examples:
  visavis gallery list
  visavis gallery show staff
  visavis gallery audit staff
  visavis gallery export staff -o staff.jsonl.gz
  visavis gallery forget staff ada-lovelace

\b
Encrypted galleries: openssl rand -hex 32 > visavis.key makes a key, and VISAVIS_GALLERY_KEY_FILE=visavis.key or
--key-file names it. New galleries are encrypted then. Keep the key away from the store: without it, all is lost.
""",
    commands={
        "list": ("gallery.records:list_", "List the galleries."),
        "show": ("gallery.records:show", "Show a gallery, or one of its subjects."),
        "create": ("gallery.records:create", "Make a gallery."),
        "policy": ("gallery.records:policy", "Show or change how a gallery works."),
        "audit": ("gallery.audit:audit", "Find what should be mended."),
        "review": ("gallery.review:review", "Say whose the faces are that were nobody's."),
        "check": ("gallery.records:check", "Find what is damaged."),
        "rekey": ("gallery.records:rekey", "Change the key of a gallery, or of all."),
        "merge": ("gallery.records:merge", "Make two subjects one."),
        "move": ("gallery.records:move", "Give samples to another subject."),
        "split": ("gallery.records:split", "Give samples to a new subject."),
        "ignore": ("gallery.records:ignore", "Tell nobody when a face is a subject."),
        "rename": ("gallery.records:rename", "Give a subject another ID."),
        "export": ("gallery.files:export", "Write a gallery to a file."),
        "import": ("gallery.files:import_", "Read a gallery from a file."),
        "backup": ("gallery.files:backup", "Copy the whole store to a file."),
        "log": ("gallery.records:log", "Show who did what."),
        "forget": ("gallery.records:forget", "Forget a sample, a subject, or a gallery."),
    },
)
