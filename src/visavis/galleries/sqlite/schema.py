"""The tables of a SQLite store, and how older ones become newer ones.

When SQLite balances its trees it moves cells, and leaves a copy in the unused middle of a page, where deleting the
row later does not reach it, with ``secure_delete`` neither (test_forgotten_bytes.py looks for such copies). So
cells that hold what is personal are never moved: their rows are added at the end of a table, never made longer and
never deleted, but nulled when they are forgotten, which overwrites them; and no index holds more than numbers and keyed
hashes. The stubs that remain are removed by a compaction, which writes the whole file anew.
"""

import logging
import shutil
import sqlite3
from contextlib import suppress

from visavis.galleries.sqlite.cells import embedding_with_checksum, place_of_gallery, with_checksum
from visavis.galleries.sqlite.file import Schema, SqliteFile

SCHEMA = Schema(
    migrations=(
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
        """
    -- What is stored in plain gets a checksum. That makes rows longer where they lie, which leaves copies: the next
    -- forgetting writes the file anew. What is encrypted is left to who has the key.
    ALTER TABLE galleries ADD COLUMN seal BLOB; -- of the columns before subjects; NULL where the key is awaited
    CREATE TABLE new_keys (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        gallery INTEGER,
        wrapped BLOB
    );
    UPDATE galleries SET seal = checked(x'', place_of_gallery(
        number, name, space, dimension, metric, policy, encrypted, created_at
    )) WHERE NOT encrypted AND number NOT IN (SELECT number FROM keys);
    UPDATE details SET content = checked(content, 'details of subject ' || subjects.number) FROM subjects
    WHERE subjects.details = details.number
        AND subjects.gallery IN (SELECT number FROM galleries WHERE seal IS NOT NULL);
    UPDATE pictures SET data = checked(data, 'picture of sample ' || sample)
    WHERE sample IN (
        SELECT id FROM samples WHERE gallery IN (SELECT number FROM galleries WHERE seal IS NOT NULL)
    );
    UPDATE samples SET
        embedding = checked_embedding(embedding, id, subject),
        about = checked(about, 'about a sample of subject ' || subject)
    WHERE gallery IN (SELECT number FROM galleries WHERE seal IS NOT NULL);
    UPDATE store SET stubs = stubs + (1 << 40) WHERE EXISTS (SELECT 1 FROM samples);
    """,
        """
    -- Samples know validity and occlusion, and policies limits to them. No table changes for that either.
    """,
        """
    -- IDs and names are in their normal form, NFC; what is encrypted is left to who has the key.
    ALTER TABLE galleries ADD COLUMN spelled INTEGER NOT NULL DEFAULT 1; -- in that form
    UPDATE galleries SET spelled = 0;
    """,
        """
    -- Subjects may be ignored, and the owner of a counter-sample is the negative of whom it is not. No table changes.
    """,
        """
    -- Samples may have metadata, in what is told about them, and the names of galleries capitals. No table changes.
    """,
    ),
    application_id=0x76697376,
    functions=(
        ("checked", 2, with_checksum),
        ("checked_embedding", 3, embedding_with_checksum),
        ("place_of_gallery", 8, place_of_gallery),
    ),
)  # "visv"


DUE_COMPACTION = "UPDATE store SET stubs = stubs + (1 << 40)"
"""Lets the next forgetting write the file anew, whatever it holds."""
_log = logging.getLogger("visavis.galleries")
_STUBS_KEPT = 10_000
_STUBS = (
    "DELETE FROM samples WHERE gallery IS NULL",
    "DELETE FROM details WHERE content IS NULL",
    "DELETE FROM pictures WHERE data IS NULL",
)
_MOVED = 1 << 40  # so many "stubs" mean that there are copies of rows, until the file is written anew
_LARGEST_IN_MEMORY = 256_000_000  # bytes; a larger file is written anew by way of a temporary one


def compact(file: SqliteFile) -> bool:
    """Write the file anew where it has more stubs of what was forgotten than rows that live.

    Its cost is that of the file, and that of each row that was forgotten since the last time is the same share of
    it. Where the disk has no room for it, it waits. But removing the stubs moves rows, and copies of them stay behind
    until the file is written anew: where that fails, or the process is killed, the count of stubs says so, and the next
    forgetting tries again.

    Returns:
        False where there are such copies, and nothing that is forgotten is surely overwritten.
    """
    with file.maintaining() as connection:
        stubs: int
        (stubs,) = connection.execute("SELECT stubs FROM store").fetchone()
        (alive,) = connection.execute("SELECT coalesce(sum(samples), 0) FROM galleries").fetchone()
        if stubs <= max(_STUBS_KEPT, alive):
            return True
        moved, size = stubs >= _MOVED, file.path.stat().st_size
        if shutil.disk_usage(file.path.parent).free < 2 * size:
            return not moved  # it can wait
        try:
            connection.execute("BEGIN IMMEDIATE")
            for stub in _STUBS:
                connection.execute(stub)
            connection.execute("UPDATE store SET stubs = ?", (_MOVED,))
            connection.execute("COMMIT")
            moved = True
            connection.execute(f"PRAGMA temp_store = {'FILE' if size > _LARGEST_IN_MEMORY else 'MEMORY'}")
            connection.execute("VACUUM")
            connection.execute("UPDATE store SET stubs = 0")
        except sqlite3.OperationalError as error:  # no room, or others are reading
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            _log.warning("%s was not compacted: %s", file.path.name, error)
            return not moved
        finally:
            connection.execute("PRAGMA temp_store = MEMORY")
        return True
