"""Pulling from a server that is good, and from one that is bad in every way that is known."""

import errno
import hashlib
import importlib.util
import json
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import make_certificate
from model_server import (
    Answer,
    ModelServer,
    chunked,
    compressed,
    cut_after,
    ignoring_ranges,
    model_server,
    noise,
    redirect,
    send,
    stall_after,
    status,
    without_length,
)
from tiny_packs import file_of, pack_of, sha256, some_bytes, some_hdf5

import visavis
from visavis.downloads.folder import ModelsFolder
from visavis.downloads.licences import Restriction
from visavis.downloads.pull import Lacking, Pulled, pull
from visavis.downloads.transfer import RetryPolicy, Source
from visavis.errors import InvalidOption, LicenceNotAccepted, ModelCorrupt, ModelMissing, PullFailed
from visavis.models.catalogue import DLIB, PACKS
from visavis.models.installation import read_source
from visavis.models.packs import Pack

FIRST, SECOND, THIRD = some_bytes(300_000), some_hdf5(70_000, 1), some_bytes(900, 2)
TINY = pack_of("tiny", file_of("first.onnx", FIRST), file_of("second.onnx", SECOND))
UNPUBLISHED = pack_of("old", file_of("first.onnx", FIRST), file_of("second.h5", SECOND, published=False))
HURRY = RetryPolicy(connect_s=5.0, stall_s=5.0, pauses_s=(0.0, 0.0, 0.0), most_asked_s=0.0)
IMPATIENT = replace(HURRY, stall_s=0.2)
NOBODY = 65534


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        running.files = {"first.onnx": FIRST, "second.onnx": SECOND, "second.h5": SECOND, "third.onnx": THIRD}
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> ModelsFolder:
    return ModelsFolder(tmp_path / "new" / "models")


def source_of(server: ModelServer, retry: RetryPolicy = HURRY) -> Source:
    return Source(mirror=server.url, retry=retry)


def get(pack: Pack, folder: ModelsFolder, server: ModelServer, retry: RetryPolicy = HURRY) -> tuple[Pulled, ...]:
    return pull([pack], folder, source_of(server, retry))


def names_in(folder: ModelsFolder) -> set[str]:
    return {path.name for path in (folder.path / "files").glob("*")}


def assert_only_whole_files(folder: ModelsFolder, pack: Pack = TINY) -> None:
    """What is in its place is right; of the rest there is nothing there."""
    for name in names_in(folder):
        content = {file.name: file for file in pack.files}[name]
        assert sha256((folder.path / "files" / name).read_bytes()) == content.sha256


def assert_complete(folder: ModelsFolder) -> None:
    assert names_in(folder) == {"first.onnx", "second.onnx"}
    assert_only_whole_files(folder)
    assert list((folder.path / "partial").iterdir()) == []


def ranges_asked(server: ModelServer, name: str = "first.onnx") -> list[str | None]:
    return [headers.get("Range") for path, headers in server.requests if path.endswith(name)]


# --- well


def test_no_packs(folder: ModelsFolder, server: ModelServer) -> None:
    assert pull([], folder, source_of(server)) == ()
    assert not folder.path.exists()


def test_what_comes_with_a_package_is_not_pulled(folder: ModelsFolder, server: ModelServer) -> None:
    assert get(DLIB, folder, server) == ()
    assert not folder.path.exists()
    detector = DLIB.part("detector")
    missing = replace(detector, files=(replace(detector.files[0], package="no_such_package", requirement="this-one"),))
    with pytest.raises(ModelMissing, match="pip install this-one"):
        get(replace(DLIB, parts=(missing, *DLIB.parts[1:])), folder, server)


def test_a_pull(folder: ModelsFolder, server: ModelServer) -> None:
    assert folder.installed(TINY) == "no"
    first, second = get(TINY, folder, server)
    assert (first.name, first.size, first.sha256) == ("first.onnx", len(FIRST), sha256(FIRST))
    assert (first.pinned, first.is_new, second.is_new) == (False, True, True)
    assert_complete(folder)
    assert folder.installed(TINY) == "yes"
    assert read_source(TINY.files[1], folder.path) == SECOND
    path, headers = server.requests[0]
    assert path == "/first.onnx"
    assert headers["User-Agent"] == f"visavis/{visavis.__version__}"
    assert headers["Accept-Encoding"] == "identity"


def test_a_second_pull_asks_nobody(folder: ModelsFolder, server: ModelServer) -> None:
    get(TINY, folder, server)
    server.requests.clear()
    assert [file.is_new for file in get(TINY, folder, server)] == [False, False]
    assert server.requests == []


def test_a_damaged_file_is_fetched_again(folder: ModelsFolder, server: ModelServer) -> None:
    get(TINY, folder, server)
    (folder.path / "files" / "second.onnx").write_bytes(SECOND[:-1] + b"x")
    assert [file.is_new for file in get(TINY, folder, server)] == [False, True]
    assert_complete(folder)


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be replaced elsewhere")
def test_a_file_takes_its_place_in_one_step(folder: ModelsFolder, server: ModelServer) -> None:
    get(TINY, folder, server)
    path = folder.path / "files" / "second.onnx"
    path.write_bytes(b"damaged")
    with path.open("rb") as reader:
        get(TINY, folder, server)
        assert reader.read() == b"damaged"  # who reads the old file goes on reading it, and sees no half of the new one
    assert_complete(folder)


def test_progress_is_reported(folder: ModelsFolder, server: ModelServer) -> None:
    reports: list[tuple[str, int, int | None]] = []
    pull([TINY], folder, source_of(server), report=lambda *report: reports.append(report))
    assert reports[-1] == ("second.onnx", len(SECOND), len(SECOND))
    there = [at for name, at, _ in reports if name == "first.onnx"]
    assert there == sorted(there)
    assert there[-1] == len(FIRST)


@pytest.mark.parametrize(
    ("optional", "expected"),
    [
        pytest.param([], set(), id="none"),
        pytest.param(None, {"third.onnx"}, id="all that are as free"),
        pytest.param(["pose"], {"third.onnx"}, id="by role"),
    ],
)
def test_optional_parts(
    folder: ModelsFolder, server: ModelServer, optional: list[str] | None, expected: set[str]
) -> None:
    pack = pack_of("more", *TINY.files, optional=(file_of("third.onnx", THIRD),))
    pull([pack], folder, source_of(server), optional=optional)  # type: ignore[arg-type]  # roles are strings
    assert names_in(folder) == {"first.onnx", "second.onnx"} | expected


def test_an_optional_part_that_there_is_not(folder: ModelsFolder, server: ModelServer) -> None:
    with pytest.raises(InvalidOption, match="no optional part 'liveness'; it has: none"):
        pull([TINY], folder, source_of(server), optional=["liveness"])
    assert not folder.path.exists()


TWO_OPTIONAL = pack_of(
    "more", *TINY.files, live=(file_of("fourth.onnx", FIRST[:50]),), optional=(file_of("third.onnx", THIRD),)
)


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        pytest.param({"third.onnx": THIRD, "fourth.onnx": FIRST[:50]}, {}, id="all is there"),
        pytest.param({"third.onnx": THIRD}, {"liveness": "could not be fetched"}, id="one is not"),
        pytest.param({"fourth.onnx": FIRST[:50], "third.onnx": bytes(900)}, {"pose": "is not the"}, id="one is wrong"),
        pytest.param({}, {"liveness": "could not be fetched", "pose": "could not be fetched"}, id="none is there"),
    ],
)
def test_an_optional_part_that_cannot_be_had_stops_nothing(
    folder: ModelsFolder, server: ModelServer, there: dict[str, bytes], lacking: dict[str, str]
) -> None:
    server.files = {"first.onnx": FIRST, "second.onnx": SECOND, **there}
    told: list[Lacking] = []
    pulled = pull([TWO_OPTIONAL], folder, source_of(server), on_lacking=told.append)
    assert [path for path, _ in server.requests][:2] == ["/first.onnx", "/second.onnx"]
    assert [each.role for each in told] == list(lacking)
    for each in told:
        assert (each.pack, lacking[each.role] in str(each.error)) == ("more", True)
    absent = {name for each in told for name in each.names}
    assert {file.name for file in pulled} == names_in(folder) == {"first.onnx", "second.onnx", *there} - absent
    assert folder.installed(TWO_OPTIONAL) == "yes"


def test_without_who_is_told_an_optional_part_that_cannot_be_had_is_an_error_at_the_end(
    folder: ModelsFolder, server: ModelServer
) -> None:
    with pytest.raises(PullFailed, match=r"fourth\.onnx could not be fetched"):
        get(TWO_OPTIONAL, folder, server)
    assert names_in(folder) == {"first.onnx", "second.onnx", "third.onnx"}


def test_a_part_of_two_files_of_which_one_can_be_had(folder: ModelsFolder, server: ModelServer) -> None:
    pack = pack_of("two", *TINY.files, optional=(file_of("third.onnx", THIRD), file_of("none.onnx", b"x")))
    told: list[Lacking] = []
    pulled = pull([pack], folder, source_of(server), on_lacking=told.append)
    assert [(each.role, each.names) for each in told] == [("pose", ("none.onnx",))]
    assert [file.name for file in pulled] == ["first.onnx", "second.onnx", "third.onnx"]


def test_a_needed_file_that_cannot_be_had_is_an_error(folder: ModelsFolder, server: ModelServer) -> None:
    server.answers.extend([status(404)])
    told: list[Lacking] = []
    with pytest.raises(PullFailed, match=r"first\.onnx could not be fetched"):
        pull([TWO_OPTIONAL], folder, source_of(server), on_lacking=told.append)
    assert (told, len(server.requests)) == ([], 1)


# --- badly, and yet in the end well

THE_REST = {"Content-Range": "bytes 100000-299999/300000"}


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        pytest.param([cut_after(100_000)], [None, "bytes=100000-"], id="cut"),
        pytest.param(
            [cut_after(100_000), cut_after(100_000)], [None, "bytes=100000-", "bytes=200000-"], id="cut twice"
        ),
        pytest.param([cut_after(0)], [None, None], id="cut at once"),
        pytest.param([cut_after(100_000), ignoring_ranges], [None, "bytes=100000-"], id="no ranges"),
        pytest.param([cut_after(100_000), status(416)], [None, "bytes=100000-", None], id="416"),
        pytest.param(
            [cut_after(100_000), send(FIRST[:9], {"Content-Range": "bytes 0-8/300000"}, code=206)],
            [None, "bytes=100000-", None],
            id="another range",
        ),
        pytest.param(
            [cut_after(100_000), send(FIRST[100_000:], {"Content-Range": "nonsense"}, code=206)],
            [None, "bytes=100000-", None],
            id="a range without sense",
        ),
        pytest.param(
            [cut_after(100_000), send(FIRST[100_000:], {"Content-Range": f"bytes {'9' * 5000}-9/10"}, code=206)],
            [None, "bytes=100000-", None],
            id="a range of thousands of digits",
        ),
        pytest.param(
            [cut_after(100_000), send(bytes(200_000), THE_REST, code=206)],
            [None, "bytes=100000-", None],
            id="the rest of another file",
        ),
        pytest.param([status(500), status(503, {"Retry-After": "7"})], [None, None, None], id="500, 503"),
        pytest.param([status(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})], [None, None], id="429"),
        pytest.param([redirect("/elsewhere/first.onnx")], [None, None], id="redirect"),
        pytest.param([without_length()], [None], id="no length"),
        pytest.param([without_length(FIRST[:100_000])], [None, "bytes=100000-"], id="no length, cut"),
        pytest.param([chunked], [None], id="chunks"),
    ],
)  # fmt: skip
def test_a_bad_line_gets_there_in_the_end(
    folder: ModelsFolder, server: ModelServer, answers: list[Answer], asked: list[str | None]
) -> None:
    server.answers.extend(answers)
    get(TINY, folder, server)
    assert_complete(folder)
    assert ranges_asked(server) == asked


def test_a_server_that_stalls(folder: ModelsFolder, server: ModelServer) -> None:
    released = threading.Event()
    server.answers.append(stall_after(100_000, released))
    get(TINY, folder, server, IMPATIENT)
    released.set()
    assert_complete(folder)
    assert ranges_asked(server) == [None, "bytes=100000-"]


def test_what_an_earlier_pull_left_is_gone_on_with(
    folder: ModelsFolder, server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers.extend([cut_after(50_000)] * 4)
    with pytest.raises(PullFailed, match=r"the connection .*what came is kept; or fetch it by other means"):
        get(TINY, folder, server)
    assert names_in(folder) == set()
    server.requests.clear()
    with caplog.at_level(logging.INFO, "visavis"):
        get(TINY, folder, server)
    assert "first.onnx: going on after the 200,000 bytes that are here" in caplog.messages
    assert ranges_asked(server) == ["bytes=200000-"]
    assert_complete(folder)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        pytest.param("first.onnx", True, id="a hash is known"),
        pytest.param("second.h5", False, id="none is: the next pull starts anew"),
    ],
)
def test_a_pull_that_is_interrupted(
    folder: ModelsFolder, server: ModelServer, caplog: pytest.LogCaptureFixture, name: str, *, kept: bool
) -> None:
    def interrupt(coming: str, there: int, _total: int | None) -> None:
        if coming == name and there:
            raise KeyboardInterrupt

    with caplog.at_level(logging.INFO, "visavis"), pytest.raises(KeyboardInterrupt):
        pull([UNPUBLISHED], folder, source_of(server), report=interrupt)
    size = (folder.path / "partial" / f"{name}.part").stat().st_size
    said = f"{name}: the {size:,} bytes that came are kept, and the next pull goes on after them"
    assert (said in caplog.messages) == kept
    assert any("are kept" in message for message in caplog.messages) == kept
    get(UNPUBLISHED, folder, server)
    assert names_in(folder) == {"first.onnx", "second.h5"}


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"x" * 1000, id="garbage"),
        pytest.param(b"x" * len(FIRST), id="garbage of the right size"),
        pytest.param(FIRST + b"x", id="too much"),
        pytest.param(FIRST, id="all"),
    ],
)
def test_whatever_an_earlier_pull_left(folder: ModelsFolder, server: ModelServer, left: bytes) -> None:
    part = folder.path / "partial" / "first.onnx.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    get(TINY, folder, server)
    assert_complete(folder)


def test_a_try_that_brings_much_does_not_count_as_failed(folder: ModelsFolder, server: ModelServer) -> None:
    large = some_bytes(8_000_000)
    server.files["large.onnx"] = large
    server.answers.extend([cut_after(1_100_000)] * 6)
    get(pack_of("large", file_of("large.onnx", large)), folder, server)
    assert (folder.path / "files" / "large.onnx").read_bytes() == large
    assert len(server.requests) == 7


# --- badly, and told


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        pytest.param([status(403)], r"the server refuses it \(status 403\)", id="403"),
        pytest.param([status(404)], r"does not have it \(status 404\): fetch it by other means", id="404"),
        pytest.param([status(204)], "status 204", id="no content"),
        pytest.param([status(304)], "status 304", id="not modified"),
        pytest.param([status(500)] * 4, "status 500. Try again later; or fetch", id="500 for good"),
        pytest.param([redirect("/first.onnx")] * 11, "more than 10 redirects", id="redirects in a circle"),
        pytest.param([redirect("ftp://127.0.0.1/first.onnx")], "it leads .*to ftp:", id="to ftp"),
        pytest.param([redirect("file:///etc/passwd")], "it leads .*to file:", id="to a file"),
        pytest.param([redirect("http://[::1")] * 4, "Invalid URL in location header", id="to no URL"),
        pytest.param([redirect(f"http://{'a' * 70}/")], "leads to no address", id="to a name that is too long"),
        pytest.param([redirect("http://xn--a/")], "leads to no address", id="to a name that is none"),
        pytest.param([redirect("javascript:alert(1)")], "leads to no address", id="to a script"),
        pytest.param([send(FIRST + b"x")], "another file of that name, 300,001 bytes instead of 300,000", id="longer"),
        pytest.param([send(FIRST[:-1])], "another file of that name, 299,999 bytes instead", id="shorter"),
        pytest.param([without_length(FIRST + b"x")], "more than 300,000 bytes came", id="longer than anybody says"),
        pytest.param([compressed], "compresses it though it was asked not to", id="gzip"),
        pytest.param(
            [cut_after(9), send(b"", {"Content-Range": "bytes 9-9/10"}, code=206)], "9 bytes instead", id="shrunk"
        ),
    ],
)  # fmt: skip
def test_a_pull_that_fails(folder: ModelsFolder, server: ModelServer, answers: list[Answer], message: str) -> None:
    server.answers.extend(answers)
    with pytest.raises(PullFailed, match=message):
        get(TINY, folder, server)
    assert names_in(folder) == set()
    server.answers.clear()
    get(TINY, folder, server)
    assert_complete(folder)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(bytes(len(FIRST)), "its SHA-256 is [0-9a-f]{64} instead of [0-9a-f]{64}$", id="zeros"),
        pytest.param(b"<!DOCTYPE html>".ljust(len(FIRST)), r"\(it is a web page: does a proxy", id="web page"),
        pytest.param(b"version https://git-lfs".ljust(len(FIRST)), "it is the pointer of Git LFS", id="Git LFS"),
    ],
)
def test_wrong_bytes(folder: ModelsFolder, server: ModelServer, body: bytes, message: str) -> None:
    server.answers.append(send(body))
    with pytest.raises(ModelCorrupt, match=message):
        get(TINY, folder, server)
    assert names_in(folder) == set()
    assert list((folder.path / "partial").iterdir()) == []
    assert len(server.requests) == 1


def test_a_file_that_is_larger_than_any_model(folder: ModelsFolder, server: ModelServer) -> None:
    server.answers.append(send(b"x" * 1000, length=3_000_000_000))
    with pytest.raises(PullFailed, match="3,000,000,000 bytes, more than any model"):
        get(pack_of("old", file_of("first.h5", FIRST, published=False)), folder, server)


def test_more_than_the_disk_has_room_for(folder: ModelsFolder, server: ModelServer) -> None:
    endless = replace(file_of("first.onnx", FIRST), size=1 << 60)
    server.files["first.onnx"] = FIRST
    folder.path.mkdir(parents=True)
    with pytest.raises(PullFailed, match=r"1,152,921,504,606,846,976 bytes are needed in .*, and [\d,]+ are free"):
        folder.check_room(endless.size or 0)


def test_nobody_answers(folder: ModelsFolder) -> None:
    with pytest.raises(PullFailed, match="the connection failed"):
        pull([TINY], folder, Source(mirror="http://127.0.0.1:9", retry=HURRY))
    assert names_in(folder) == set()


def test_a_server_that_speaks_something_else(folder: ModelsFolder, server: ModelServer) -> None:
    server.answers.extend([noise] * 4)
    with pytest.raises(PullFailed, match="the connection failed"):
        get(TINY, folder, server)


def test_secrets_in_a_url_are_not_shown(
    folder: ModelsFolder, server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers.append(redirect("ftp://example.com/x?signature=secret"))
    mirror = server.url.replace("//", "//user:secret@")
    with caplog.at_level(logging.DEBUG, "visavis"), pytest.raises(PullFailed) as raised:
        pull([TINY], folder, Source(mirror=mirror, retry=HURRY))
    assert "secret" not in f"{raised.value} {caplog.text}"
    assert server.requests[0][1]["Authorization"].startswith("Basic ")


def test_what_may_hold_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Source(mirror="https://me:secret@models.example.com", proxy="http://me:secret@proxy"))


# --- mirrors and proxies


def test_who_named_a_mirror_is_not_told_to_name_one(folder: ModelsFolder, server: ModelServer) -> None:
    server.files.clear()
    with pytest.raises(PullFailed, match=r"or do without the mirror$"):
        get(TINY, folder, server)
    assert "name a --mirror" in Source().way_out


@pytest.mark.parametrize("mirror", ["models.example.com", "ftp://a/b", "http://", "http://a/?x=1", "http://[", "/x"])
def test_a_mirror_that_is_none(mirror: str) -> None:
    with pytest.raises(InvalidOption, match="the mirror must be a URL"):
        Source(mirror=mirror)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_in_a_folder(folder: ModelsFolder, server: ModelServer, slash: str) -> None:
    pull([TINY], folder, Source(mirror=f"{server.url}/a/b{slash}", retry=HURRY))
    assert [path for path, _ in server.requests] == ["/a/b/first.onnx", "/a/b/second.onnx"]


def test_a_proxy(folder: ModelsFolder, server: ModelServer) -> None:
    mirror = "http://models.example.com/x"
    pull([TINY], folder, Source(mirror=mirror, proxy=server.url, retry=HURRY))
    assert [path for path, _ in server.requests] == [f"{mirror}/first.onnx", f"{mirror}/second.onnx"]
    assert_complete(folder)


def test_a_proxy_of_the_environment(folder: ModelsFolder, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    pull([TINY], folder, Source(mirror="http://models.example.com", retry=HURRY))
    assert_complete(folder)


def test_a_proxy_that_refuses(folder: ModelsFolder, server: ModelServer) -> None:
    with pytest.raises(PullFailed, match="the proxy refuses"):  # it has no CONNECT
        pull([TINY], folder, Source(proxy=server.url, retry=HURRY))


@pytest.mark.parametrize("proxy", ["ftp://user:secret@x", "http://[", "secret", "http://x:secret"])
def test_a_proxy_that_is_none(folder: ModelsFolder, proxy: str) -> None:
    with pytest.raises(InvalidOption, match="the proxy must be a URL") as raised:
        pull([TINY], folder, Source(proxy=proxy))
    assert "secret" not in str(raised.value)


def test_a_proxy_of_a_kind_that_is_not_there(folder: ModelsFolder) -> None:
    if importlib.util.find_spec("socksio"):
        pytest.skip("it is there")
    with pytest.raises(InvalidOption, match="pip install socksio"):
        pull([TINY], folder, Source(proxy="socks5://127.0.0.1:1"))


@pytest.mark.parametrize(("name", "value"), [("HTTPS_PROXY", "nonsense://x"), ("SSL_CERT_FILE", "/no/such/file")])
def test_variables_without_sense(folder: ModelsFolder, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidOption, match=name):
        pull([TINY], folder, Source(mirror="http://127.0.0.1:9"))


def test_several_threads_fetch_it_once(folder: ModelsFolder, server: ModelServer) -> None:
    with ThreadPoolExecutor(4) as pool:
        pulled = list(pool.map(lambda _: get(TINY, folder, server), range(4)))
    assert sum(file.is_new for files in pulled for file in files) == 2
    assert len(server.requests) == 2
    assert_complete(folder)


# --- certificates


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A server with a certificate that is trusted."""
    context = make_certificate(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with model_server(context) as running:
        running.files = {"first.onnx": FIRST, "second.onnx": SECOND}
        yield running


def test_https(folder: ModelsFolder, secure: ModelServer) -> None:
    secure.answers.append(redirect(f"{secure.url}/elsewhere/first.onnx"))
    get(TINY, folder, secure)
    assert_complete(folder)


def test_https_never_leads_to_http(folder: ModelsFolder, secure: ModelServer, server: ModelServer) -> None:
    secure.answers.append(redirect(f"{server.url}/first.onnx"))
    with pytest.raises(PullFailed, match="it leads from https to http://127"):
        get(TINY, folder, secure)
    assert server.requests == []


def test_http_may_lead_to_https(folder: ModelsFolder, secure: ModelServer, server: ModelServer) -> None:
    server.answers.append(redirect(f"{secure.url}/first.onnx"))
    get(TINY, folder, server)
    assert_complete(folder)


def test_no_password_is_sent_to_another_host(folder: ModelsFolder, server: ModelServer) -> None:
    with model_server() as other:
        other.files = server.files
        server.answers.append(redirect(f"{other.url}/first.onnx"))
        pull([TINY], folder, Source(mirror=server.url.replace("//", "//user:secret@"), retry=HURRY))
        (_, headers), *_ = other.requests
    assert server.requests[0][1]["Authorization"].startswith("Basic ")
    assert "Authorization" not in headers
    assert_complete(folder)


def test_the_body_of_a_redirect_is_not_read(folder: ModelsFolder, server: ModelServer) -> None:
    server.answers.append(send(b"x" * 100_000, {"Location": "/first.onnx"}, length=1 << 50, code=302))
    get(TINY, folder, server)
    assert_complete(folder)


def test_a_certificate_that_is_not_trusted(
    folder: ModelsFolder, secure: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(PullFailed, match=r"certificate is not trusted.*SSL_CERT_FILE"):
        get(TINY, folder, secure)


def test_official_addresses_lead_from_https_to_https_only(folder: ModelsFolder) -> None:
    """Told of every file, whose certificates cannot be had for a server of ours."""
    for pack in PACKS.values():
        for file in (*pack.files, *pack.optional_files):
            url = file.archive.url if file.archive else file.url
            assert bool(file.package) or url.startswith("https://"), file.name
    assert not folder.path.exists()


# --- files without a published hash


def test_a_file_without_a_hash_is_pinned(folder: ModelsFolder, server: ModelServer) -> None:
    _, second = get(UNPUBLISHED, folder, server)
    assert (second.sha256, second.pinned) == (sha256(SECOND), True)
    assert json.loads((folder.path / "pins.json").read_text()) == {"second.h5": sha256(SECOND)}
    assert folder.installed(UNPUBLISHED) == "yes"
    server.requests.clear()
    assert [file.is_new for file in get(UNPUBLISHED, folder, server)] == [False, False]
    assert server.requests == []


def test_other_bytes_than_the_pinned_ones_are_refused(folder: ModelsFolder, server: ModelServer) -> None:
    get(UNPUBLISHED, folder, server)
    (folder.path / "files" / "second.h5").unlink()
    server.files["second.h5"] = other = some_hdf5(70_000, 7)
    with pytest.raises(ModelCorrupt) as raised:
        get(UNPUBLISHED, folder, server)
    for hash_ in (sha256(SECOND), sha256(other)):
        assert hash_ in str(raised.value)
    assert "visavis models remove PACK --unpin" in str(raised.value)
    assert names_in(folder) == {"first.onnx"}
    server.files["second.h5"] = SECOND
    get(UNPUBLISHED, folder, server)
    assert names_in(folder) == {"first.onnx", "second.h5"}


def test_a_file_that_somebody_put_there_is_not_trusted(folder: ModelsFolder, server: ModelServer) -> None:
    (folder.path / "files").mkdir(parents=True)
    (folder.path / "files" / "second.h5").write_bytes(b"anything")
    get(UNPUBLISHED, folder, server)
    assert (folder.path / "files" / "second.h5").read_bytes() == SECOND


def test_what_nothing_would_tell_from_garbage_is_not_gone_on_with(folder: ModelsFolder, server: ModelServer) -> None:
    part = folder.path / "partial" / "second.h5.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1000))
    get(UNPUBLISHED, folder, server)
    assert ranges_asked(server, "second.h5") == [None]
    assert (folder.path / "files" / "second.h5").read_bytes() == SECOND


def test_what_nothing_would_tell_from_garbage_comes_anew_after_a_cut(folder: ModelsFolder, server: ModelServer) -> None:
    pack = pack_of("old", file_of("second.h5", SECOND, published=False))
    server.answers.append(cut_after(1000))
    get(pack, folder, server)
    assert ranges_asked(server, "second.h5") == [None, None]
    assert (folder.path / "files" / "second.h5").read_bytes() == SECOND


def test_a_file_that_changed_between_is_whole(folder: ModelsFolder, server: ModelServer) -> None:
    pack = pack_of("old", file_of("second.h5", SECOND, published=False))
    server.answers.append(send(SECOND[:1000], length=len(SECOND)))
    server.files["second.h5"] = some_hdf5(80_000, 9)
    get(pack, folder, server)
    assert (folder.path / "files" / "second.h5").read_bytes() == server.files["second.h5"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(without_length(), "does not say how long it is", id="no length"),
        pytest.param(send(b"hello", {"Content-Type": "text/html; charset=utf-8"}), "a web page came", id="web page"),
    ],
)
def test_what_is_not_pinned(folder: ModelsFolder, server: ModelServer, answer: Answer, message: str) -> None:
    server.answers.append(answer)
    with pytest.raises(PullFailed, match=message):
        get(pack_of("old", file_of("second.h5", SECOND, published=False)), folder, server)
    assert not (folder.path / "pins.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(some_bytes(70_000), id="garbage"),
        pytest.param(b"\x89HDF", id="a part of the signature"),
        pytest.param(bytes(100) + SECOND, id="the signature elsewhere"),
    ],
)
def test_what_is_no_hdf5_file_is_not_pinned(folder: ModelsFolder, server: ModelServer, content: bytes) -> None:
    server.files["second.h5"] = content
    with pytest.raises(ModelCorrupt, match=r"second\.h5 is not the second\.h5 that visavis knows: it is no HDF5 file$"):
        get(UNPUBLISHED, folder, server)
    assert folder.pins() == {}
    assert names_in(folder) == {"first.onnx"}
    assert list((folder.path / "partial").iterdir()) == []


@pytest.mark.parametrize("before", [0, 512, 1024, 2048])
def test_an_hdf5_file_after_a_block_of_somebody_else(folder: ModelsFolder, server: ModelServer, before: int) -> None:
    server.files["second.h5"] = content = bytes(before) + SECOND
    get(UNPUBLISHED, folder, server)
    assert folder.pins() == {"second.h5": sha256(content)}


def test_a_file_of_which_sha384_is_published(folder: ModelsFolder, server: ModelServer) -> None:
    digest = hashlib.sha384(SECOND).hexdigest()
    file = replace(file_of("second.onnx", SECOND), sha256=None, sha384=digest)
    (pulled,) = get(pack_of("intel", file), folder, server)
    assert (pulled.sha256, pulled.pinned) == (sha256(SECOND), True)
    server.files["second.onnx"] = bytes(len(SECOND))
    (folder.path / "files" / "second.onnx").unlink()
    with pytest.raises(ModelCorrupt, match=f"its SHA-384 is [0-9a-f]+ instead of {digest}"):
        get(pack_of("intel", file), folder, server)


def test_a_file_of_which_sha384_is_published_and_whose_pin_is_lost(folder: ModelsFolder, server: ModelServer) -> None:
    file = replace(file_of("second.onnx", SECOND), sha256=None, sha384=hashlib.sha384(SECOND).hexdigest())
    pack = pack_of("intel", file_of("first.onnx", FIRST), file)
    get(pack, folder, server)
    (folder.path / "pins.json").unlink()
    assert folder.installed(pack) == "partly"
    assert [file.pinned for file in get(pack, folder, server)] == [False, True]
    assert folder.installed(pack) == "yes"


@pytest.mark.parametrize("pins", ["", "[]", "{", "null", "\0"])
def test_damaged_pins(folder: ModelsFolder, server: ModelServer, pins: str) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "pins.json").write_text(pins)
    with pytest.raises(ModelCorrupt, match=r"pins\.json cannot be read"):
        get(UNPUBLISHED, folder, server)


# --- licences

RESTRICTED = pack_of("research", file_of("first.onnx", FIRST, licence="research only"), commercial=False)


def test_a_licence_that_nobody_accepted(folder: ModelsFolder, server: ModelServer) -> None:
    with pytest.raises(LicenceNotAccepted, match=r"its licence is research only: see https://models.*--accept-licence"):
        get(RESTRICTED, folder, server)
    assert server.requests == []
    assert not folder.path.exists()


def test_a_licence_is_asked_for_once(folder: ModelsFolder, server: ModelServer) -> None:
    asked: list[Restriction] = []

    def accept(restriction: Restriction) -> bool:
        asked.append(restriction)
        return True

    pull([RESTRICTED], folder, source_of(server), accept=accept)
    pull([RESTRICTED], folder, source_of(server), accept=accept)
    assert [restriction.pack for restriction in asked] == ["research"]
    record = json.loads((folder.path / "licences.json").read_text())["research"]
    assert (record["licences"], record["visavis"]) == (["research only"], visavis.__version__)
    assert record["accepted_at"].endswith("+00:00")
    get(RESTRICTED, folder, server)


def test_another_licence_is_asked_for_again(folder: ModelsFolder, server: ModelServer) -> None:
    pull([RESTRICTED], folder, source_of(server), accept=lambda _: True)
    other = pack_of("research", file_of("first.onnx", FIRST, licence="stricter"), commercial=False)
    with pytest.raises(LicenceNotAccepted, match="stricter"):
        get(other, folder, server)
    pull([other], folder, source_of(server), accept=lambda _: True)
    get(RESTRICTED, folder, server)
    assert json.loads((folder.path / "licences.json").read_text())["research"]["licences"] == [
        "research only",
        "stricter",
    ]


def test_an_optional_part_that_is_less_free(folder: ModelsFolder, server: ModelServer) -> None:
    pack = pack_of("mixed", *TINY.files, optional=(file_of("third.onnx", THIRD),), optional_commercial=False)
    get(pack, folder, server)
    assert names_in(folder) == {"first.onnx", "second.onnx"}
    with pytest.raises(LicenceNotAccepted):
        pull([pack], folder, source_of(server), optional=["pose"])
    pull([pack], folder, source_of(server), optional=["pose"], accept=lambda _: True)
    assert names_in(folder) == {"first.onnx", "second.onnx", "third.onnx"}


@pytest.mark.parametrize("text", ["", "[]", '{"research": 1}', '{"research": {}}', '{"research": {"licences": 1}}'])
def test_a_damaged_record_of_licences(folder: ModelsFolder, server: ModelServer, text: str) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "licences.json").write_text(text)
    with pytest.raises(ModelCorrupt, match=r"licences\.json cannot be read .* accept the licences again"):
        pull([RESTRICTED], folder, source_of(server), accept=lambda _: True)


# --- folders that cannot be written


@contextmanager
def without_privileges() -> Iterator[None]:
    """Be somebody whom permissions bind, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_read_only_folder(server: ModelServer) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = ModelsFolder(Path(name))
        get(TINY, folder, server)
        pack = pack_of("more", *TINY.files, file_of("third.onnx", THIRD))
        for path in (folder.path, folder.path / "files", folder.path / "partial"):
            path.chmod(0o555)
        (folder.path / ".lock").chmod(0o444)
        try:
            with without_privileges():
                assert [file.is_new for file in get(TINY, folder, server)] == [False, False]
                with pytest.raises(PullFailed, match="Permission denied; --models-dir"):
                    get(pack, folder, server)
        finally:
            for path in (folder.path, folder.path / "files", folder.path / "partial"):
                path.chmod(0o755)
        assert_complete(folder)


def test_a_folder_that_is_a_file(tmp_path: Path, server: ModelServer) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PullFailed, match=r"File exists|Not a directory"):
        get(TINY, ModelsFolder(tmp_path / "file"), server)
    assert (tmp_path / "file").read_bytes() == b""


def test_a_file_that_is_a_folder(folder: ModelsFolder, server: ModelServer) -> None:
    (folder.path / "files" / "first.onnx" / "x").mkdir(parents=True)
    with pytest.raises(PullFailed, match=os.strerror(errno.EISDIR)):
        get(TINY, folder, server)
