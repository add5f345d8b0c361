"""``visavis gallery import`` of dumps of CompreFace's database: made here, and by pg_dump."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import PIL.Image
import pytest
from command_line import Shell
from hypothesis import given
from hypothesis import strategies as st
from postgres_server import PostgresServer, running_server

from visavis.cli.commands.gallery import compreface
from visavis.errors import InvalidOption
from visavis.service.enroller import Enrolment

A, B, DEMO = (str(UUID(int=number)) for number in (0xA, 0xB, 2))
HEAD = "--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\nDROP DATABASE everything;\n\n"
SERVICES = [("0", DEMO, "Demo"), ("1", A, "door"), ("2", B, "shop")]
TABLES = """
CREATE TABLE model (id bigint, api_key varchar(36), name varchar(255), guid varchar(36), app_id bigint, type char(1));
CREATE TABLE subject (id uuid PRIMARY KEY, api_key varchar(36), subject_name varchar(255));
CREATE TABLE img (id uuid PRIMARY KEY, content bytea NOT NULL);
CREATE TABLE embedding (
    id uuid PRIMARY KEY, subject_id uuid REFERENCES subject, embedding float8[] NOT NULL,
    calculator varchar(255) NOT NULL, img_id uuid REFERENCES img);
"""


def copied(table: str, columns: str, *rows: tuple[str, ...], quoted: bool = False) -> str:
    name = f'public."{table}"' if quoted else f"public.{table}"
    lines = "".join("\t".join(row) + "\n" for row in rows)
    return f"COPY {name} ({columns}) FROM stdin;\n{lines}\\.\n\n\n"


def uuid(number: int) -> str:
    return str(UUID(int=number))


def small(portrait: Path) -> bytes:
    buffer = io.BytesIO()
    with PIL.Image.open(portrait) as image:
        image.convert("RGB").resize((256, 256 * image.height // image.width)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def subjects(shell: Shell) -> list[str]:
    """Return whose the samples of the gallery are."""
    return [line["subject"] for line in map(json.loads, shell("gallery", "export", "team").out.splitlines()[1:])]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(capsys, monkeypatch, tmp_path, {})


@pytest.fixture
def dump(astronaut: Path, hopper: Path) -> str:
    """A dump in pg_dump's order: whose an image is stands before it, and who that is after it."""
    embedding = ("{0.1,0.2}", "facenet.Calculator@20180402-114759")
    other = ("{0.1,0.2}", "insightface.Calculator@arcface")
    return (
        HEAD
        + copied(
            *("embedding", "id, subject_id, embedding, calculator, img_id"),
            (uuid(101), uuid(11), *embedding, uuid(1)),
            (uuid(102), uuid(11), *other, uuid(1)),  # of the same image
            (uuid(103), uuid(12), *embedding, uuid(2)),
            (uuid(104), uuid(12), *embedding, "\\N"),
            (uuid(105), uuid(12), *embedding, uuid(3)),
            (uuid(106), uuid(13), *embedding, uuid(4)),
            (uuid(107), uuid(14), *embedding, "\\N"),
            (uuid(108), uuid(12), *embedding, uuid(5)),
        )
        + copied(
            *("img", "id, content"),
            (uuid(1), "\\\\x" + small(astronaut).hex()),
            (uuid(2), "\\\\x" + small(hopper).hex()),
            (uuid(3), "\\\\x" + b"no image".hex()),
            (uuid(4), "\\\\x" + small(hopper).hex()),
            (uuid(5), "\\\\377\\\\330"),
        )
        + copied("model", "id, api_key, name", *SERVICES)
        + copied(
            *("subject", "id, api_key, subject_name"),
            (uuid(11), A, "Eileen\\tCollins \\\\ é"),
            (uuid(12), A, "Grace"),
            (uuid(13), B, "Somebody else"),
            (uuid(14), DEMO, "A film star"),
            quoted=True,
        )
        + "-- PostgreSQL database dump complete\n"
    )


def test_the_images_of_one_service_are_enrolled(shell: Shell, dump: str) -> None:
    Path("dump.sql").write_text(dump)
    outcome = shell("gallery", "import", "team", "dump.sql")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--service says whose collection is meant, by a name; those there are: 'door', 'shop'" in outcome.err
    outcome = shell("gallery", "import", "team", "dump.sql", "--service", "door", "--json")
    refused = {"invalid_option": 3, "unsupported_format": 1}
    # The name with a tab is none that a subject may have.
    assert json.loads(outcome.out) == {"enrolled": 1, "subjects": 1, "already_there": 0, "refused": refused}
    assert outcome.code == 1
    assert "facenet.Calculator@20180402-114759, which no pack here has, and its image" in outcome.err
    assert "not of at most 20,000,000 bytes, written as \\x" in outcome.err
    Path("dump.sql.gz").write_bytes(gzip.compress(dump.replace("Eileen\\tCollins", "Eileen Collins").encode()))
    outcome = shell("gallery", "import", "team", "dump.sql.gz", "--service", "door", "--json")
    refused["invalid_option"] -= 1
    assert json.loads(outcome.out) == {"enrolled": 1, "subjects": 1, "already_there": 1, "refused": refused}
    assert subjects(shell) == ["Grace", "Eileen Collins \\ é"]
    line = json.loads(shell("gallery", "export", "team").out.splitlines()[1])
    assert (line["source"], line["sample_metadata"]) == ("CompreFace", {"compreface_image_id": uuid(103)})


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"PGDMP\1\2", "make the dump with pg_dump --format=plain"),
        (HEAD.encode(), "holds no rows of CompreFace's table subject"),
        (HEAD.encode() + b"INSERT INTO public.subject VALUES ('1', '2', 'Grace');\n", "without --inserts"),
        (HEAD.encode() + b"COPY public.subject (id, api_key", "holds no rows"),
        (HEAD.encode() + b"COPY public.subject (id) FROM stdin;\n\\N\t\t\n\xff", "those there are: ''"),
        (gzip.compress(HEAD.encode() * 1000)[:-20], "damaged or cut off"),
        (
            HEAD.encode() + b"COPY public.subject (id) FROM stdin;\n1\n2\n3\n4\n",
            "more than 3 rows of the table subject",
        ),
    ],
)
def test_what_is_no_such_dump(shell: Shell, monkeypatch: pytest.MonkeyPatch, data: bytes, error: str) -> None:
    monkeypatch.setattr(compreface, "_MOST_ROWS", 3)
    Path("dump.sql").write_bytes(data)
    outcome = shell("gallery", "import", "team", "dump.sql", "--service", "door")
    assert outcome.code == 2
    assert error in outcome.err
    assert "Traceback" not in outcome.err


def test_a_line_that_is_too_long_is_no_image(
    shell: Shell, dump: str, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compreface, "_LONGEST_LINE", len(small(astronaut)))
    monkeypatch.setattr(compreface, "_PIECE", 1000)
    Path("dump.sql").write_text(dump)
    outcome = shell("gallery", "import", "team", "dump.sql", "--service", "shop", "--json")
    assert json.loads(outcome.out)["refused"] == {"invalid_option": 1}


@pytest.mark.thorough
def test_images_are_read_one_by_one(tmp_path: Path) -> None:
    path, megabyte, count = tmp_path / "dump.sql", "ab" * 2**20, 40
    examples = copied(
        "embedding", "id, subject_id, calculator, img_id", *((uuid(n), uuid(11), "", uuid(n)) for n in range(count))
    )
    with path.open("w") as file:
        file.write(HEAD + examples + "COPY public.img (id, content) FROM stdin;\n")
        file.writelines(f"{uuid(n)}\t\\\\x{megabyte}\n" for n in range(count))
        file.write("\\.\n" + copied("subject", "id, api_key, subject_name", (uuid(11), A, "Grace")))
    tracemalloc.start()
    dump = compreface.survey(str(path))
    sizes = [
        len(each.image)
        for _, each in compreface.enrolments_of(str(path), dump, {uuid(11): "Grace"})
        if isinstance(each, Enrolment) and isinstance(each.image, bytes)
    ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes == [2**20] * count
    assert peak < 12 * 2**20


@pytest.mark.thorough
@given(
    at=st.floats(0, 1), length=st.integers(0, 300), data=st.binary(max_size=40) | st.sampled_from([b"\t", b"\n", b"\\"])
)
def test_hostile_dumps(tmp_path_factory: pytest.TempPathFactory, at: float, length: int, data: bytes) -> None:
    rows = [(uuid(n), uuid(11), "facenet", uuid(n)) for n in range(3)]
    good = (
        HEAD
        + copied("embedding", "id, subject_id, calculator, img_id", *rows)
        + copied("img", "id, content", *((uuid(n), "\\\\x0102") for n in range(3)))
        + copied("model", "id, api_key, name", *SERVICES)
        + copied("subject", "id, api_key, subject_name", (uuid(11), A, "Grace"), (uuid(12), B, "Ada"))
    ).encode()
    place = int(at * len(good))
    path = tmp_path_factory.mktemp("hostile") / "dump.sql"
    path.write_bytes(good[:place] + data + good[place + length :])
    with suppress(InvalidOption):
        dump = compreface.survey(str(path))
        compreface.key_of(dump, "door", str(path))
        wanted = {id_: name for id_, (_, name) in dump.subjects.items()}
        assert len(list(compreface.enrolments_of(str(path), dump, wanted))) <= len(rows)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.mark.thorough
@pytest.mark.parametrize("options", [(), ("--clean", "--create"), ("--quote-all-identifiers",)])
def test_a_dump_of_pg_dump(shell: Shell, server: PostgresServer, astronaut: Path, options: tuple[str, ...]) -> None:
    with server.database() as url:
        server.execute(TABLES, url)
        name = "Eileen \\ \u00e9 ''Collins''"
        for row in (
            f"model VALUES (1, '{A}', 'door', '{A}', 1, 'R')",
            f"subject VALUES ('{uuid(11)}', '{A}', '{name}')",
            f"img VALUES ('{uuid(1)}', decode('{small(astronaut).hex()}', 'hex'))",
            f"embedding VALUES ('{uuid(101)}', '{uuid(11)}', '{{0.1}}', 'facenet', '{uuid(1)}')",
        ):
            server.execute(f"INSERT INTO {row}", url)
        Path("dump.sql").write_text(server.run("pg_dump", url, *options))
    outcome = shell("gallery", "import", "team", "dump.sql", "--json")
    assert (outcome.code, json.loads(outcome.out)["enrolled"]) == (0, 1), outcome.err
    assert subjects(shell) == [name.replace("''", "'")]
