"""The tables of a SQLite store, and how older ones become newer ones.

When SQLite balances its trees it moves cells, and leaves a copy in the unused middle of a page, where deleting the
row later does not reach it, with ``secure_delete`` neither (test_forgotten_bytes.py looks for such copies). So
cells that hold what is personal are never moved: their rows are added at the end of a table, never made longer and
never deleted, but nulled when they are forgotten, which overwrites them; and no index holds more than numbers and keyed
hashes. The stubs that remain are removed by a compaction, which writes the whole file anew.
"""

import sqlite3
import time
from pathlib import Path

from visavis.errors import StoreForeign, StoreOutdated

_POLL_S = 0.02
APPLICATION_ID = 0x76697376  # "visv": how a file is known as ours

# Each brings the schema from the version of its place to the next. They are never changed, only added to.
_MIGRATIONS = (
    """
    CREATE TABLE store (
        hash_key BLOB NOT NULL, -- of the keyed hashes by which IDs and keys are found
        stubs INTEGER NOT NULL DEFAULT 0 -- rows that were forgotten since the last compaction
    );
    CREATE TABLE galleries (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        space TEXT NOT NULL,
        dimension INTEGER NOT NULL,
        metric TEXT NOT NULL,
        policy TEXT NOT NULL,
        encrypted INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        subjects INTEGER NOT NULL DEFAULT 0,
        samples INTEGER NOT NULL DEFAULT 0,
        pruned INTEGER NOT NULL DEFAULT 0 -- removals up to this one are no longer told
    );
    CREATE TABLE subjects (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        gallery INTEGER NOT NULL,
        id_hash BLOB NOT NULL,
        details INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        expires_at INTEGER,
        version INTEGER NOT NULL,
        samples INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX subjects_by_id ON subjects (gallery, id_hash);
    CREATE INDEX subjects_by_gallery ON subjects (gallery);
    CREATE INDEX subjects_by_expiry ON subjects (gallery, expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE removals (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        gallery INTEGER NOT NULL,
        sample INTEGER NOT NULL
    );
    CREATE INDEX removals_by_gallery ON removals (gallery);

    -- What is personal is in the following tables alone.
    CREATE TABLE keys (
        number INTEGER PRIMARY KEY AUTOINCREMENT, -- as the gallery has it
        wrapped BLOB
    );
    CREATE TABLE details (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        content TEXT
    );
    CREATE TABLE samples (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        gallery INTEGER,
        subject INTEGER,
        embedding BLOB,
        about TEXT,
        picture TEXT,
        created_at INTEGER,
        key_hash BLOB,
        fingerprint BLOB
    );
    CREATE INDEX samples_by_gallery ON samples (gallery) WHERE gallery IS NOT NULL;
    CREATE INDEX samples_by_subject ON samples (subject) WHERE subject IS NOT NULL;
    CREATE UNIQUE INDEX samples_by_key ON samples (gallery, key_hash) WHERE key_hash IS NOT NULL;
    CREATE TABLE pictures (
        sample INTEGER PRIMARY KEY AUTOINCREMENT,
        data BLOB
    );

    CREATE TABLE log (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        gallery TEXT NOT NULL,
        subjects TEXT NOT NULL,
        count INTEGER NOT NULL
    );
    CREATE INDEX log_by_gallery ON log (gallery);
    CREATE TRIGGER log_is_not_changed BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
    CREATE TRIGGER log_is_not_shortened BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
    INSERT INTO store (hash_key) VALUES (randomblob(32));
    """,
    """
    -- Policies leave limits to the pack, and samples know yaw and pitch. No table changes for that, only the version:
    -- an older visavis cannot read it, and shall say so.
    """,
)
VERSION = len(_MIGRATIONS)


def is_current(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether a file has today's tables; False where it is new, or older.

    Raises:
        StoreForeign: it is somebody else's.
        StoreOutdated: a newer version of visavis wrote it.
    """
    # One statement, so that it reads one state: another process may make the tables between two.
    application, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreForeign(f"{path} is a SQLite file of something else; name another file")
    if version > VERSION:
        raise StoreOutdated(
            f"{path} was written by a newer version of visavis (schema {version}; this one knows {VERSION}): upgrade"
        )
    return bool(application == APPLICATION_ID and version == VERSION)


def switch_log_on(connection: sqlite3.Connection, patience_s: float) -> None:
    """Switch the write-ahead log on; while another process does the same SQLite refuses at once, without patience."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:  # noqa: PERF203  # it may fail each time
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file to today's schema, as one transaction.

    Raises:
        StoreForeign, StoreOutdated: see ``is_current``.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_current(connection, path):  # another process may have been faster
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for migration in _MIGRATIONS[version:]:
                for statement in _statements(migration):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """Return a script's statements one by one: run as a whole it would be a transaction of its own."""
    statements, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements
