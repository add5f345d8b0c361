"""The tables of a PostgreSQL store, and how older ones become newer ones.

All are in the schema ``visavis``. Samples are in a partition per gallery, which is dropped with it; statements name the
partition itself, so that one gallery's locks are no other's. What is written in a gallery is written under a lock on
its row.
"""

from collections.abc import Callable

from psycopg import errors, sql

from visavis.errors import StoreForeign, StoreOutdated
from visavis.galleries.postgres.connection import Connection, know_vectors

_MIGRATING = 0x76697376_0001  # advisory locks are known by a number, which a database's users share
_LOGGING = 0x76697376_0002

LARGEST_DIMENSION = 16_000  # that pgvector stores
_LARGEST_INLINE = 1900  # numbers; a row that is not moved out of its page fills one at most

# Each brings the schema from the version of its place to the next. They are never changed, only added to.
_MIGRATIONS = (
    f"""
    CREATE TABLE visavis.meta (
        version integer NOT NULL
    );
    INSERT INTO visavis.meta VALUES (0);

    CREATE TABLE visavis.galleries (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        space text NOT NULL,
        dimension integer NOT NULL,
        metric text NOT NULL,
        policy json NOT NULL,
        created_at timestamptz NOT NULL,
        subjects bigint NOT NULL DEFAULT 0,
        samples bigint NOT NULL DEFAULT 0
    );

    CREATE SEQUENCE visavis.subject_numbers;
    CREATE TABLE visavis.subjects (
        gallery bigint NOT NULL,
        number bigint NOT NULL,
        id text COLLATE "C" NOT NULL,
        name text,
        metadata json NOT NULL, -- which comes back as it was given; jsonb would change numbers and the order of keys
        consent text,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        expires_at timestamptz,
        version bigint NOT NULL,
        samples bigint NOT NULL,
        PRIMARY KEY (gallery, number),
        UNIQUE (gallery, id)
    );
    CREATE INDEX subjects_by_expiry ON visavis.subjects (gallery, expires_at) WHERE expires_at IS NOT NULL;

    CREATE SEQUENCE visavis.sample_ids;
    CREATE TABLE visavis.samples (
        gallery bigint NOT NULL,
        id bigint NOT NULL,
        subject bigint NOT NULL,
        embedding vector NOT NULL,
        face_px double precision,
        sharpness double precision,
        score double precision,
        source text,
        kept text NOT NULL,
        picture bytea,
        key text COLLATE "C",
        fingerprint text NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (gallery, id)
    ) PARTITION BY LIST (gallery);
    ALTER TABLE visavis.samples ALTER picture SET STORAGE EXTERNAL; -- it is compressed already
    CREATE INDEX samples_by_subject ON visavis.samples (gallery, subject, id);
    CREATE UNIQUE INDEX samples_by_key ON visavis.samples (gallery, key) WHERE key IS NOT NULL;

    CREATE SEQUENCE visavis.log_numbers;
    CREATE TABLE visavis.log (
        number bigint PRIMARY KEY,
        at timestamptz NOT NULL,
        actor text NOT NULL,
        action text NOT NULL,
        gallery text COLLATE "C" NOT NULL,
        subjects bigint[] NOT NULL,
        count bigint NOT NULL
    );
    CREATE INDEX log_by_gallery ON visavis.log (gallery, number);

    -- Whoever reads the log takes the same lock alone. It then sees all numbers up to the last, and misses none whose
    -- transaction ended after that of a greater one.
    CREATE FUNCTION visavis.number_entry() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_catalog.pg_advisory_xact_lock_shared({_LOGGING});
        NEW.number := pg_catalog.nextval('visavis.log_numbers');
        RETURN NEW;
    END $$;
    CREATE TRIGGER log_is_numbered BEFORE INSERT ON visavis.log
        FOR EACH ROW EXECUTE FUNCTION visavis.number_entry();
    CREATE FUNCTION visavis.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the log only grows';
    END $$;
    CREATE TRIGGER log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON visavis.log
        FOR EACH STATEMENT EXECUTE FUNCTION visavis.refuse_change();
    """,  # noqa: S608  # of constants
    """
    -- Older versions cannot read that policies leave limits to the pack either.
    ALTER TABLE visavis.samples ADD COLUMN yaw double precision, ADD COLUMN pitch double precision;
    """,
    """
    -- Older versions cannot read what policies tell of candidates, and of searches that cannot be logged.
    """,
    """
    ALTER TABLE visavis.samples ADD COLUMN validity double precision, ADD COLUMN occluded double precision;
    """,
    """
    -- IDs and names are in their normal form, NFC, to which the store brings them.
    """,
    """
    -- The owner of a counter-sample is the negative of the subject that it is not.
    ALTER TABLE visavis.subjects ADD COLUMN ignored boolean NOT NULL DEFAULT false;
    """,
    """
    ALTER TABLE visavis.samples ADD COLUMN metadata json; -- NULL where there is none
    -- The names of galleries may have capitals, but none differs from another by case alone.
    CREATE UNIQUE INDEX galleries_by_name ON visavis.galleries (lower(name));
    """,
)

VERSION = len(_MIGRATIONS)


def is_current(connection: Connection, url: str) -> bool:
    """Tell whether a database has today's tables; False where it has none, or older ones.

    Raises:
        StoreForeign: it has a schema of this name that is somebody else's.
        StoreOutdated: a newer version of visavis wrote it, or it lacks pgvector.
    """
    version = _version(connection, url)
    if version > VERSION:
        raise StoreOutdated(
            f"{url} was written by a newer version of visavis (schema {version}; this one knows {VERSION}): upgrade"
        )
    if version < VERSION:
        return False
    know_vectors(connection, url)
    return True


def migrate(connection: Connection, url: str, finish: Callable[[], None]) -> None:
    """Bring a database to today's schema, as one transaction; ``finish`` does in today's tables what SQL cannot.

    Raises:
        StoreForeign: its text is not UTF-8; see also ``is_current``.
        StoreOutdated: pgvector is not there, and cannot be created; see also ``is_current``.
    """
    connection.execute("BEGIN")
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
    if not is_current(connection, url):  # another process may have been faster
        version = _version(connection, url)
        if version == 0:
            _check_encoding(connection, url)
            _make_extension(connection, url)
            if not _exists(connection, "to_regnamespace('visavis')"):
                connection.execute("CREATE SCHEMA visavis")
        know_vectors(connection, url)
        for migration in _MIGRATIONS[version:]:
            connection.execute(migration.encode())
        finish()
        connection.execute("UPDATE visavis.meta SET version = %s", (VERSION,))
    connection.execute("COMMIT")


def lock_log(connection: Connection) -> None:
    """Let those finish who are writing to the log; to the end of the transaction others wait."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOGGING,))


def partition_of(gallery: int) -> sql.Identifier:
    """Return the table of a gallery's samples."""
    return sql.Identifier("visavis", f"samples_{gallery}")


def make_partition(connection: Connection, gallery: int, dimension: int) -> None:
    """Make the table of a gallery's samples.

    It is attached, not made as a part: that would wait for whoever is writing in any gallery.
    """
    table, number = partition_of(gallery), sql.Literal(gallery)
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE visavis.samples INCLUDING ALL)").format(table))
    check = sql.SQL("ALTER TABLE {} ADD CHECK (vector_dims(embedding) = {})")
    connection.execute(check.format(table, sql.Literal(dimension)))
    if dimension <= _LARGEST_INLINE:
        connection.execute(sql.SQL("ALTER TABLE {} ALTER embedding SET STORAGE PLAIN").format(table))
    attach = sql.SQL("ALTER TABLE visavis.samples ATTACH PARTITION {} FOR VALUES IN ({})")
    connection.execute(attach.format(table, number))


def drop_partition(connection: Connection, gallery: int) -> None:
    """Drop the table of a gallery's samples.

    This alone waits for all who are writing in any gallery, while others wait for it; hence not for long.
    """
    connection.execute("SET LOCAL lock_timeout = '2s'")
    connection.execute(sql.SQL("DROP TABLE {}").format(partition_of(gallery)))


def _version(connection: Connection, url: str) -> int:
    """Return the version of the schema; 0 where there is none."""
    if not _exists(connection, "to_regclass('visavis.meta')"):
        if _exists(connection, "(SELECT min(relname) FROM pg_class WHERE relnamespace = to_regnamespace('visavis'))"):
            raise StoreForeign(f"{url} has a schema visavis of something else; name another database")
        return 0
    row = connection.execute("SELECT version FROM visavis.meta").fetchone()
    if row is None:
        raise StoreForeign(
            f"{url} has a schema visavis without its version; restore a backup, or name another database"
        )
    return int(row[0])


def _exists(connection: Connection, what: str) -> bool:
    row = connection.execute(f"SELECT {what} IS NOT NULL".encode()).fetchone()
    return row is not None and bool(row[0])


def _check_encoding(connection: Connection, url: str) -> None:
    row = connection.execute("SHOW server_encoding").fetchone()
    if row is None or row[0] != "UTF8":
        raise StoreForeign(f"{url} does not hold text in UTF-8; name a database that does")


def _make_extension(connection: Connection, url: str) -> None:
    if _exists(connection, "(SELECT oid FROM pg_extension WHERE extname = 'vector')"):
        return
    if not _exists(connection, "(SELECT name FROM pg_available_extensions WHERE name = 'vector')"):
        raise StoreOutdated(f"the server of {url} lacks pgvector: install it there; see github.com/pgvector/pgvector")
    try:
        connection.execute("CREATE EXTENSION vector")
    except errors.InsufficientPrivilege:
        raise StoreOutdated(
            f"{url} lacks pgvector, and its user may not create it: let a superuser run CREATE EXTENSION vector there"
        ) from None
