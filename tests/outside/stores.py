"""What stores and the file of keys look like to other programs: tables, indexes, and what is in the rows."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from postgres_server import PostgresServer

from outside import record
from visavis import Details, Policy, open_store

NOON = datetime(2024, 5, 17, 12, 0, 0, 123456, tzinfo=timezone.utc)
_HEADS = ("application_id", "user_version", "journal_mode", "encoding")
_ROWS = ("galleries", "subjects", "details", "samples", "pictures", "log", "removals")
_COLUMNS = """
    SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default, is_identity, collation_name
    FROM information_schema.columns WHERE table_schema = 'visavis' ORDER BY table_name, ordinal_position
"""
_OTHERS = {
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'visavis'",
    "constraints": """
        SELECT conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'visavis'::regnamespace AND contype <> 'n'
    """,
    "triggers": """
        SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'visavis'::regnamespace AND NOT tgisinternal
    """,
    "functions": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'visavis'::regnamespace",
    "sequences": "SELECT sequencename FROM pg_sequences WHERE schemaname = 'visavis'",
    "storage": """
        SELECT attrelid::regclass::text || ' ' || attname || ' ' || attstorage::text || ' '
        || format_type(atttypid, atttypmod)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE c.relnamespace = 'visavis'::regnamespace AND attname = 'embedding' AND c.relkind IN ('r', 'p')
    """,
}
_POSTGRES_ROWS = ("meta", "galleries", "subjects", "samples", "log")


def fill(url: str) -> None:
    """Put a gallery of two subjects into a store; one of them with all that can be known."""
    origin = record("Origin", actor="tests", at=NOON)
    quality = record("Quality", face_px=28.0, sharpness=0.25, score=0.9, yaw=-12.5, pitch=3.25)
    details = Details(
        name="Ada Lovelace", metadata={"b": 1, "a": [None, "é"]}, consent="form 7", expires_at=NOON.replace(year=2222)
    )
    about = {"quality": quality, "source": "door/1.jpg", "picture": b"png", "key": "k1", "fingerprint": "f1"}
    vector = np.array([1, 0.5, 0, -2], np.float32)
    with closing(open_store(url)) as store:
        space = record("EmbeddingSpace", id="a1b2", dimension=4, metric="cosine")
        store.create("people", space, Policy(threshold=0.5, keep="images"), origin)
        store.enrol(
            "people",
            [
                record("NewSample", subject="ada", embedding=vector, details=details, **about),
                record("NewSample", subject="bob", embedding=-vector),
            ],
            origin,
        )


def sqlite(path: Path, rows: tuple[str, ...] = _ROWS) -> str:
    """Return what is in a SQLite file: statements without comments, and rows without what is random."""
    with closing(sqlite3.connect(path)) as connection:
        lines = [f"{name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]}" for name in _HEADS]
        lines.append(f"permissions = {path.stat().st_mode & 0o777:o}")
        statements = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name")
        lines += ["", *(_statement(sql) for (sql,) in statements)]
        for table in rows:
            cursor = connection.execute(f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608  # a constant
            lines += ["", f"{table}:", *_cells([column[0] for column in cursor.description], cursor.fetchall())]
    return "\n".join(lines)


def postgres(server: PostgresServer, url: str) -> str:
    """Return what is in a database, once it has indexes for approximate search too."""
    with closing(open_store(f"{url}&search=hnsw")) as store:
        assert store.galleries()
    url = f"{url}&options=-c%20TimeZone%3DUTC"
    lines = ["columns:", *(f"  {' '.join(map(str, row))}" for row in server.execute(_COLUMNS, url))]
    for name, statement in _OTHERS.items():
        told = sorted(" ".join(row[0].split()) for row in server.execute(statement, url))
        lines += ["", f"{name}:", *(f"  {one}" for one in told)]
    for table in _POSTGRES_ROWS:
        of_table = f"FROM information_schema.columns WHERE table_schema = 'visavis' AND table_name = '{table}'"
        names = [row[0] for row in server.execute(f"SELECT column_name {of_table} ORDER BY ordinal_position", url)]
        select = ", ".join(f"{name}::text" for name in names)
        lines += [
            "",
            f"{table}:",
            *_cells(names, server.execute(f"SELECT {select} FROM visavis.{table}", url)),  # noqa: S608
        ]
    return "\n".join(lines)


def _statement(sql: str) -> str:
    return " ".join(re.sub(r"--[^\n]*", "", sql).split()).replace("( ", "(").replace(" )", ")")


def _cells(names: list[str], rows: list[tuple[object, ...]]) -> Iterator[str]:
    for row in sorted(rows, key=str):
        yield "  " + ", ".join(f"{name}={_cell(name, value)}" for name, value in zip(names, row, strict=True))


def _cell(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>" if "hash" in name or name == "fingerprint" else value.hex()
    return repr(json.dumps(json.loads(str(value)), sort_keys=True) if name == "policy" else value)
