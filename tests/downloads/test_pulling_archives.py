"""Archives, good and hostile: what is taken out of them is a file of the catalogue, or nothing."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from model_server import ModelServer, cut_after, model_server
from tiny_packs import file_of, in_archive, pack_of, sha256, some_bytes

from visavis.downloads.folder import ModelsFolder
from visavis.downloads.pull import extract, pull
from visavis.downloads.transfer import RetryPolicy, Source
from visavis.errors import ModelCorrupt, PullFailed
from visavis.models.packs import Archive, ModelFile, Pack

FIRST, SECOND = some_bytes(100_000), some_bytes(40_000, 1)
URL = "https://models.example.com/releases/download/v1/both.zip"
HURRY = RetryPolicy(pauses_s=(0.0,))


def zip_of(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


BOTH = zip_of(("both/first.onnx", FIRST), ("both/second.onnx", SECOND), ("both/other.onnx", b"x"))


def pack_in(content: bytes, *, published: bool = True) -> Pack:
    archive = Archive(URL, len(content) if published else None, sha256(content) if published else None)
    files = (file_of("first.onnx", FIRST), file_of("second.onnx", SECOND, published=published))
    return pack_of("zipped", *(in_archive(file, archive, f"both/{file.name}") for file in files))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        running.files = {"both.zip": BOTH}
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> ModelsFolder:
    return ModelsFolder(tmp_path / "models")


def get(pack: Pack, folder: ModelsFolder, server: ModelServer) -> None:
    pull([pack], folder, Source(mirror=server.url, retry=HURRY))


def files_in(folder: ModelsFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder.path / "files").glob("*")}


# --- pulled


@pytest.mark.parametrize("published", [True, False])
def test_an_archive_is_fetched_once_for_all_its_files(
    folder: ModelsFolder, server: ModelServer, *, published: bool
) -> None:
    get(pack_in(BOTH, published=published), folder, server)
    assert [path for path, _ in server.requests] == ["/both.zip"]
    assert files_in(folder) == {"first.onnx": FIRST, "second.onnx": SECOND}
    assert list((folder.path / "partial").iterdir()) == []


def test_only_what_is_missing_is_taken_out(folder: ModelsFolder, server: ModelServer) -> None:
    get(pack_in(BOTH), folder, server)
    (folder.path / "files" / "second.onnx").unlink()
    before = (folder.path / "files" / "first.onnx").stat().st_mtime_ns
    get(pack_in(BOTH), folder, server)
    assert files_in(folder) == {"first.onnx": FIRST, "second.onnx": SECOND}
    assert (folder.path / "files" / "first.onnx").stat().st_mtime_ns == before


def test_an_archive_is_gone_on_with(folder: ModelsFolder, server: ModelServer) -> None:
    server.answers.extend([cut_after(20_000)] * 2)
    with pytest.raises(PullFailed):
        get(pack_in(BOTH), folder, server)
    server.requests.clear()
    get(pack_in(BOTH), folder, server)
    assert server.requests[0][1]["Range"] == "bytes=40000-"
    assert files_in(folder) == {"first.onnx": FIRST, "second.onnx": SECOND}


def test_another_archive_than_the_catalogues(folder: ModelsFolder, server: ModelServer) -> None:
    server.files["both.zip"] = bytes(len(BOTH))
    with pytest.raises(ModelCorrupt, match=r"is not the both\.zip that visavis knows: its SHA-256"):
        get(pack_in(BOTH), folder, server)
    assert list((folder.path / "partial").iterdir()) == []


def test_a_member_that_is_another_file(folder: ModelsFolder, server: ModelServer) -> None:
    content = zip_of(("both/first.onnx", FIRST), ("both/second.onnx", bytes(len(SECOND))))
    server.files["both.zip"] = content
    pack = pack_in(content)
    with pytest.raises(ModelCorrupt, match=r"both/second\.onnx in both\.zip is not the second\.onnx .* its SHA-256"):
        get(pack, folder, server)
    assert files_in(folder) == {"first.onnx": FIRST}
    assert list((folder.path / "partial").iterdir()) == []


def test_what_is_no_archive(folder: ModelsFolder, server: ModelServer) -> None:
    server.files["both.zip"] = b"a page that says sorry"
    with pytest.raises(ModelCorrupt, match=r"^both\.zip is not a zip archive that can be read, or is damaged"):
        get(pack_in(b"", published=False), folder, server)
    assert files_in(folder) == {}
    assert list((folder.path / "partial").iterdir()) == []


# --- taken out

FILE = in_archive(file_of("first.onnx", FIRST), Archive(URL), "both/first.onnx")
UNKNOWN = replace(FILE, size=None, sha256=None)


def take(content: bytes, tmp_path: Path, file: ModelFile = FILE) -> bytes:
    archive = tmp_path / "both.zip.part"
    archive.write_bytes(content)
    target = tmp_path / "out" / "first.onnx.part"
    target.parent.mkdir(exist_ok=True)
    before = set(tmp_path.rglob("*"))
    try:
        extract(archive, file, target)
        return target.read_bytes()
    finally:
        assert set(tmp_path.rglob("*")) <= before | {target}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_method(tmp_path: Path, method: int) -> None:
    assert take(zip_of(("both/first.onnx", FIRST), method=method), tmp_path) == FIRST


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_no_publisher_uses(tmp_path: Path, method: int) -> None:
    with pytest.raises(ModelCorrupt, match="another method"):
        take(zip_of(("both/first.onnx", FIRST), method=method), tmp_path)


@pytest.mark.parametrize(
    "name", ["first.onnx", "other/first.onnx", "../../first.onnx", "/etc/first.onnx", "C:\\..\\/first.onnx"]
)
def test_wherever_a_member_says_it_belongs(tmp_path: Path, name: str) -> None:
    assert take(zip_of((name, FIRST), ("other", b"")), tmp_path) == FIRST


def test_the_exact_name_wins(tmp_path: Path) -> None:
    assert take(zip_of(("x/first.onnx", bytes(9)), ("both/first.onnx", FIRST)), tmp_path) == FIRST


def link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo("both/first.onnx")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


def twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return zip_of(("both/first.onnx", FIRST), ("both/first.onnx", FIRST))


def changed(content: bytes, old: bytes, new: bytes, *, last: bool = False) -> bytes:
    """Return the content with one place changed: the first of its kind, or the last."""
    at = content.rindex(old) if last else content.index(old)
    return content[:at] + new + content[at + len(old) :]


def encrypted() -> bytes:
    content = bytearray(zip_of(("both/first.onnx", FIRST)))
    central = content.index(b"PK\x01\x02")
    for at in (6, central + 8):
        content[at] |= 0x1
    return bytes(content)


def with_sizes(size: int) -> bytes:
    """An archive whose member says that it has another size."""
    content = bytearray(zip_of(("both/first.onnx", FIRST)))
    central = content.index(b"PK\x01\x02")
    for at in (22, central + 24):
        content[at : at + 4] = struct.pack("<I", size)
    return bytes(content)


GOOD = zip_of(("both/first.onnx", FIRST), method=zipfile.ZIP_STORED)
STORED = b"PK\x01\x02\x14\x03\x14\0\0\0\0\0"
HOSTILE: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty file", lambda: b"", "not a zip archive"),
    ("empty archive", zip_of, "holds no both/first.onnx"),
    ("other members", lambda: zip_of(("both/second.onnx", SECOND)), "holds no both/first.onnx"),
    ("a folder", lambda: zip_of(("both/first.onnx/", b"")), "holds no both/first.onnx"),
    ("the same name twice", twice, "more than one"),
    ("the same last part twice", lambda: zip_of(("a/first.onnx", FIRST), ("b/first.onnx", FIRST)), "more than one"),
    ("a link", link, "is a link"),
    ("encrypted", encrypted, "is encrypted"),
    ("another size", lambda: zip_of(("both/first.onnx", FIRST[:-1])), "99,999 bytes instead of 100,000"),
    ("says more than it holds", lambda: with_sizes(100_001), "100,001 bytes instead of 100,000"),
    ("truncated", lambda: GOOD[:-30], "not a zip archive"),
    ("cut in front", lambda: GOOD[50_000:], "damaged"),
    ("a bit turned", lambda: changed(GOOD, FIRST[500:510], b"0123456789"), "Bad CRC"),
    ("another name in front", lambda: changed(GOOD, b"both/first.onnx", b"both/worst.onnx"), "damaged"),
    ("an unknown method", lambda: changed(GOOD, STORED, STORED[:-2] + b"\x63\0"), "another method"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
def test_hostile_archives(tmp_path: Path, content: Callable[[], bytes], message: str) -> None:
    with pytest.raises(ModelCorrupt, match=message):
        take(content(), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(lambda: with_sizes(99_000), "Bad CRC|larger than|Error -3|damaged", id="holds more than it says"),
        pytest.param(lambda: with_sizes(101_000), "Bad CRC|smaller than|damaged", id="holds less than it says"),
        pytest.param(lambda: with_sizes(0xFFFF_FFF0), "would grow", id="says that it holds 4 GB"),
        pytest.param(
            lambda: zip_of(("both/first.onnx", bytes(50_000_000))), r"would grow from [\d,]+ to 50,000,000", id="bomb"
        ),
    ],
)
def test_hostile_archives_of_files_whose_size_nobody_knows(
    tmp_path: Path, content: Callable[[], bytes], message: str
) -> None:
    with pytest.raises(ModelCorrupt, match=message):
        take(content(), tmp_path, UNKNOWN)


@pytest.mark.parametrize("seed", range(60))
def test_archives_that_are_damaged_anywhere(tmp_path: Path, seed: int) -> None:
    """Either what comes out is right, or it is told; nothing else happens, and no other error."""
    noise = some_bytes(12, seed)
    content = bytearray(zip_of(("both/first.onnx", FIRST), ("both/x", b"y" * 300)))
    tail = len(content) - content.index(b"PK\x01\x02")
    at = noise[0] * tail // 256 + (len(content) - tail if seed % 2 else 0)
    content[at : at + 1 + noise[1] % 4] = noise[2 : 3 + noise[1] % 4]
    try:
        taken = take(bytes(content), tmp_path)
    except ModelCorrupt:
        return
    assert taken == FIRST
