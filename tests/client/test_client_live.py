"""The galleries of the two clients against a server that listens, and beside the library on the same store."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from serving import listening

from visavis import AsyncClient, Client, Comparison, Face, Recognizer, VisavisError, errors
from visavis.config import Settings
from visavis.galleries.records import NEVER, Details
from visavis.galleries.store import Store, open_store
from visavis.options import Policy
from visavis.service.enroller import Enrolment
from visavis.service.galleries import Galleries
from visavis.service.results import Enrolled
from visavis.types import Faces, Quality

ADMIN = "a" * 24
READER = "r" * 24
ENROLLER = "e" * 24
TOMORROW = datetime(2999, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
DETAILS = Details(name="Eileen Collins", metadata={"é": [1, {"b": None}]}, consent="signed", expires_at=TOMORROW)
STRANGE_ID = "a b%2F?#&;=+é日本😀\\..%"


class Served(NamedTuple):
    """A server, and the store that it uses."""

    url: str
    store: Store
    galleries: Galleries


@pytest.fixture(scope="module")
def served(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    url = f"sqlite:///{folder / 'galleries.db'}"
    settings = Settings(
        port=0,
        auth="on",
        keys=(("admin", ADMIN), ("read", READER), ("enrol", ENROLLER)),
        keys_file=folder / "keys.sqlite",
        store=url,
        workers=2,
        max_body_bytes=1_500_000,
    )
    with listening(settings, recognizer) as server:
        store = open_store(url)
        yield Served(f"http://127.0.0.1:{server.port}", store, Galleries(store, recognizer))
        store.close()


class Side:
    """One of the two clients, called in the same way."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url

    def do(self, act: Callable[[Any], Any], key: str = ADMIN) -> Any:  # noqa: ANN401  # whatever the method returns
        """Make a client, act with it, and close it; what is iterated over comes as a list."""
        if self.kind == "sync":
            with Client(self.url, key) as client:
                result = act(client)
                return list(result) if isinstance(result, Iterator) else result

        async def do() -> object:
            async with AsyncClient(self.url, key) as client:
                result = act(client)
                if isinstance(result, AsyncIterator):
                    return [found async for found in result]
                return await result if inspect.isawaitable(result) else result

        return asyncio.run(do())


# The synchronous client is made of the other, and compared with what it is made of: most tests need no second side.
BOTH = pytest.mark.parametrize("side", ["sync", "async"], indirect=True)


@pytest.fixture
def side(request: pytest.FixtureRequest, served: Served) -> Side:
    return Side(getattr(request, "param", "async"), served.url)


class Asked:
    """A gallery of the server, made for one test."""

    def __init__(self, side: Side, name: str) -> None:
        self.side = side
        self.name = name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self.side.do(
            lambda client: getattr(client.gallery(self.name), method)(*arguments, **options)
        )


@pytest.fixture
def people(side: Side, request: pytest.FixtureRequest) -> Iterator[Asked]:
    name = f"{side.kind}-{abs(hash(request.node.name))}"
    side.do(lambda client: client.create_gallery(name, policy=Policy(keep="chips", threshold=0.6, margin=0.0)))
    yield Asked(side, name)
    side.do(lambda client: client.gallery(name).forget())


def plain(result: Any) -> Any:  # noqa: ANN401  # anything with arrays in it
    """Return what can be compared, with numbers as precise as they are."""
    if hasattr(result, "to_dict"):
        return plain(result.to_dict())
    if isinstance(result, dict):
        return {name: plain(value) for name, value in result.items()}
    if isinstance(result, list | tuple):
        return [plain(value) for value in result]
    return pytest.approx(result, abs=1e-4) if isinstance(result, float) else result


def embeddings(recognizer: Recognizer, count: int) -> NDArray[np.float32]:
    """Return strangers to each other."""
    dimension = recognizer.pack.space.dimension
    rows = np.random.default_rng(1).normal(size=(count, dimension))
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


@BOTH
def test_what_waits_for_review(side: Side, people: Asked, astronaut: Path, hopper: Path) -> None:
    def queue(method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever the method returns
        return side.do(lambda client: getattr(client.gallery(people.name).review, method)(*arguments, **options))

    assert queue("groups") == []
    people.set_policy(Policy(review_days=1, keep="chips"))
    people.identify_many([astronaut, hopper])
    groups = queue("groups", tolerance=0.1, min_quality=0.01)
    (first, second) = (group.faces[0] for group in groups)
    assert first.unknown == "empty_gallery"
    assert queue("picture", first.number).startswith(b"\x89PNG")
    done, refused = queue("name", [first.number, 10**6], "ada", details=Details(name="Ada"))
    assert (done.subject.name, done.subject.samples) == ("Ada", 1)
    assert isinstance(refused, errors.SampleNotFound)
    with pytest.raises(errors.SampleNotFound):
        queue("ignore", [first.number])
    assert queue("discard", [second.number]).subjects == (second.number,)
    with pytest.raises(errors.SampleNotFound):
        queue("picture", second.number)


@BOTH
def test_a_gallery_from_its_beginning_to_its_end(side: Side, served: Served) -> None:
    name = f"life-{side.kind}"
    policy = Policy(threshold=0.5, keep="chips", retention_days=9.5)
    assert side.do(lambda client: client.create_gallery(name, policy=policy)).name == name
    made = Asked(side, name).record()
    assert made == served.store.gallery(name)
    assert side.do(lambda client: client.get_or_create_gallery(name, policy=Policy())).name == name
    assert made.policy == policy
    assert made in side.do(lambda client: client.galleries())
    with pytest.raises(errors.GalleryExists):
        side.do(lambda client: client.create_gallery(name))
    asked = Asked(side, name)
    assert asked.record() == made
    changed = asked.set_policy(Policy(margin=0.125))
    assert changed.policy == served.store.gallery(name).policy == Policy(margin=0.125)
    receipt = asked.forget()
    assert (receipt.gallery, receipt.gallery_number, receipt.subject) == (name, made.number, None)
    assert receipt.actor.startswith("key ")
    for call in (asked.record, asked.forget, asked.subjects, asked.audit, asked.export):
        with pytest.raises(errors.GalleryNotFound):
            call()
    assert [entry.action for entry in asked.entries()] == ["create", "policy", "forget"]


def test_results_equal_the_librarys(
    people: Asked, served: Served, astronaut: Path, hopper: Path, astronaut_again: bytes
) -> None:
    own = served.galleries.open(people.name)
    enrolled = people.enrol(astronaut, STRANGE_ID, details=DETAILS, source="door", faces="largest")
    assert isinstance(enrolled, Enrolled)
    assert enrolled.subject == own.subject(STRANGE_ID) == people.subject(STRANGE_ID)
    assert (enrolled.repeated, enrolled.conflict, enrolled.subject.samples) == (False, None, 1)
    assert (enrolled.subject.metadata, enrolled.subject.expires_at) == (DETAILS.metadata, TOMORROW)
    assert enrolled.face is not None
    assert enrolled.face.quality is not None
    hers = people.enrol(hopper)
    assert len(hers.subject.id) > 8
    choices: list[dict[str, Any]] = [{}, {"limit": 1, "threshold": 0.1}, {"faces": "largest", "min_face": 0.2}]
    for options in choices:
        (found,), (theirs,) = (gallery.identify(astronaut_again, **options) for gallery in (people, own))
        assert found.to_dict() == plain(theirs)
    for subject in (STRANGE_ID, hers.subject.id):
        assert people.verify(astronaut_again, subject).to_dict() == plain(own.verify(astronaut_again, subject))
    (found,) = people.identify(astronaut_again)
    assert found.match.subject == STRANGE_ID
    many = people.identify_many([astronaut_again, b"no image", "nowhere.jpg", hopper.read_bytes()])
    assert [type(one) for one in many] == [Faces, errors.UnsupportedFormat, errors.ImageNotFound, Faces]
    assert many[3][0].match.subject == hers.subject.id
    (sample,) = people.samples(STRANGE_ID)
    (stored,) = own.samples(STRANGE_ID)
    assert (sample.id, sample.subject, sample.quality, sample.source, sample.picture, sample.created_at) == (
        *(stored.id, stored.subject, stored.quality, "door", "chips", stored.created_at),
    )
    assert people.picture(STRANGE_ID, sample.id) == own.picture(STRANGE_ID, sample.id)
    assert people.audit() == own.audit()
    assert people.rules() == own.rules()
    assert people.export_subject(STRANGE_ID)["id"] == STRANGE_ID


def test_embeddings(people: Asked, served: Served, recognizer: Recognizer) -> None:
    own = served.galleries.open(people.name)
    rows = embeddings(recognizer, 250)
    enrolled = people.enrol_embedding(rows[0], "ada", quality=Quality(100.0, 0.5, 1.0), source="old system", key="k 1")
    again = people.enrol_embedding(rows[0], "ada", quality=Quality(100.0, 0.5, 1.0), source="old system", key="k 1")
    assert (again.repeated, again.sample) == (True, enrolled.sample)
    (stored,) = own.samples("ada")
    np.testing.assert_array_equal(stored.embedding, rows[0])
    assert (stored.quality, stored.source) == (Quality(100.0, 0.5, 1.0), "old system")
    found = people.identify_embeddings(rows, limit=2)
    assert [plain(one) for one in own.identify_embeddings(rows, limit=2)] == [one.to_dict() for one in found]
    assert [bool(one) for one in found[:2]] == [True, False]
    assert people.verify_embedding(rows[0], "ada").same
    assert not people.verify_embedding(rows[1], "ada", threshold=0.01).same


def raised(gallery: Any, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> type | None:  # noqa: ANN401  # of either kind
    try:
        getattr(gallery, method)(*arguments, **options)
    except VisavisError as error:
        return type(error)
    return None


def test_refusals_are_the_librarys(people: Asked, served: Served, astronaut_again: bytes, tmp_path: Path) -> None:
    own = served.galleries.open(people.name)
    path = tmp_path / "astronaut.jpg"
    path.write_bytes(astronaut_again)
    people.enrol(path, "eileen")
    grey = np.full((64, 64, 3), 128, np.uint8)
    cases: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("enrol", (grey, "x"), {}),
        ("enrol", (path, "x"), {}),
        ("enrol", (b"", "x"), {}),
        ("enrol", (path, "x"), {"min_face": 5}),
        ("enrol", (path, "x"), {"faces": "nonsense"}),
        ("enrol", (path, ".."), {}),
        ("enrol_embedding", ([1.0], "x"), {}),
        ("enrol_embedding", ([0.0] * 128, "x"), {}),
        ("identify", (grey,), {"faces": "only"}),
        ("identify", (path,), {"limit": 0}),
        ("identify", (path,), {"threshold": -1.0}),
        ("identify_embeddings", ([[1.0]],), {}),
        ("verify", (grey, "eileen"), {}),
        ("verify", (path, "nobody"), {}),
        ("verify", (path, "a/b"), {}),
        ("verify_embedding", ([1.0], "eileen"), {}),
        ("subject", ("nobody",), {}),
        ("samples", ("nobody",), {}),
        ("update", ("nobody", Details(name="x")), {}),
        ("update", ("eileen", Details(name="x")), {"version": 99}),
        ("picture", ("eileen", 99999), {}),
        ("picture", ("nobody", 1), {}),
        ("forget_sample", ("eileen", 99999), {}),
        ("forget_sample", ("nobody", 1), {}),
        ("forget_subject", ("nobody",), {}),
        ("forget_subject", ("eileen",), {"version": 99}),
        ("export_subject", ("nobody",), {}),
    ]
    for method, arguments, options in cases:
        theirs, remote = (raised(gallery, method, arguments, options) for gallery in (own, people))
        assert theirs is not None, (method, arguments, options)
        assert (method, arguments, options, remote) == (method, arguments, options, theirs)
    with pytest.raises(errors.SubjectConflict, match=r"astronaut\.jpg: this face already is subject 'eileen'"):
        people.enrol(path, "x")
    found = people.enrol(path, "x", allow_conflict=True)
    assert found.conflict.subject == "eileen"


@BOTH
def test_what_is_tried_again_is_enrolled_once(people: Asked, astronaut_again: bytes) -> None:
    first = people.enrol(astronaut_again, key="upload 1")
    second = people.enrol(astronaut_again, key="upload 1")
    assert (second.repeated, second.sample, second.subject) == (True, first.sample, first.subject)
    with pytest.raises(errors.KeyReused):
        people.enrol(astronaut_again, "somebody else", key="upload 1", allow_conflict=True)
    assert people.record().samples == 1


def test_update_and_versions(people: Asked, recognizer: Recognizer) -> None:
    row = embeddings(recognizer, 1)[0]
    first = people.enrol_embedding(row, "ada", details=DETAILS).subject
    second = people.update("ada", Details(name="Ada"), version=first)
    assert (second.name, second.consent, second.version) == ("Ada", "signed", first.version + 1)
    for stale in (first, first.version):
        with pytest.raises(errors.VersionMismatch):
            people.update("ada", Details(name="x"), version=stale)
        with pytest.raises(errors.VersionMismatch):
            people.forget_subject("ada", version=stale)
    third = people.update("ada", Details(name="", metadata={}, consent="", expires_at=NEVER), version=second.version)
    assert (third.name, third.metadata, third.consent, third.expires_at) == (None, {}, None, None)
    receipt = people.forget_subject("ada", version=third)
    assert (receipt.subject, receipt.subjects, receipt.samples) == ("ada", (first.number,), 1)
    anew = people.enrol_embedding(row, "ada").subject
    assert anew.number != first.number
    with pytest.raises(errors.VersionMismatch):
        people.forget_subject("ada", version=first)
    (sample,) = people.samples("ada")
    assert people.forget_sample("ada", sample.id).samples == 1
    assert people.samples("ada") == ()
    assert people.forget_subject("ada").samples == 0


@pytest.mark.thorough
@BOTH
def test_many_go_in_and_out(people: Asked, side: Side, recognizer: Recognizer) -> None:
    rows = embeddings(recognizer, 1203)
    people.set_policy(Policy(allow_children=True))  # for which some of these are taken
    enrolments = [
        Enrolment(embedding=row, subject=f"subject {number}", source=f"{number}", details=Details(name=f"{number}"))
        for number, row in enumerate(rows)
    ]
    found = people.enrol_many(enrolments, allow_conflict=True)
    assert [one.subject.name for one in found] == [each.details.name for each in enrolments]
    assert [one.id for one in people.subjects()] == [each.subject for each in enrolments]
    lines = people.export()
    assert len(lines) == len(rows) + 1
    name = f"copy-{people.name}"
    side.do(lambda client: client.create_gallery(name, policy=Policy(allow_children=True)))
    copy = Asked(side, name)
    keyed = [lines[0], *({**line, "key": line["subject"]} for line in lines[1:])]
    first, second = copy.import_lines(keyed), copy.import_lines(keyed)
    assert [(one.subject.id, one.repeated) for one in first] == [(each.subject, False) for each in enrolments]
    assert [(one.subject.id, one.repeated) for one in second] == [(each.subject, True) for each in enrolments]
    assert len(found) == copy.record().samples == copy.record().subjects
    again = copy.export()
    assert [line["embedding"] for line in again[1:]] == [line["embedding"] for line in lines[1:]]
    with pytest.raises(errors.SpaceMismatch):
        copy.import_lines([{**lines[0], "space": {**lines[0]["space"], "id": "another"}}, *lines[1:]])
    assert {entry.action for entry in copy.entries()} == {"create", "enrol", "export"}
    copy.forget()


def test_many_images(people: Asked, astronaut: Path, hopper: Path) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (800, 800, 3), np.uint8)  # more than a line may have
    enrolments = [
        Enrolment(image=astronaut, subject="eileen", key="1"),
        Enrolment(image="nowhere.jpg", subject="x"),
        Enrolment(image=grey, subject="x"),
        Enrolment(image=noise, subject="x"),
        Enrolment(image=hopper, subject="grace", details=DETAILS),
        Enrolment(image=hopper.read_bytes(), subject="x"),
        Enrolment(image="http://127.0.0.1:1/x.jpg", subject="x"),
    ]
    found = people.enrol_many(enrolments)
    assert [getattr(one, "code", None) or one.subject.id for one in found] == [
        *("eileen", "image_not_found", "no_face", "image_too_large", "grace", "conflict", "fetch_refused")
    ]
    assert str(found[2]).startswith("<array>: ")
    assert found[4].subject.consent == "signed"
    assert found[0].face.box_xyxy.shape == (4,)


def test_an_export_of_nobody(people: Asked, recognizer: Recognizer) -> None:
    assert [set(line) >= {"visavis_export"} for line in people.export()] == [True]
    enrolled = people.enrol_embedding(embeddings(recognizer, 1)[0], "ada", details=DETAILS)
    people.forget_sample("ada", enrolled.sample)
    lines = people.export(pictures=True)
    assert [line.get("subject") for line in lines] == [None, "ada"]
    assert people.import_lines(lines) == []


@BOTH
def test_scopes(people: Asked, side: Side, recognizer: Recognizer) -> None:
    row = embeddings(recognizer, 1)[0]

    def code(act: Callable[[Any], Any], key: str) -> str | None:
        try:
            side.do(lambda client: act(client.gallery(people.name)), key)
        except VisavisError as error:
            return error.code
        return None

    acts: list[tuple[Callable[[Any], Any], str | None, str | None]] = [
        (lambda gallery: gallery.record(), None, None),
        (lambda gallery: gallery.enrol_embedding(row, "ada"), "forbidden", None),
        (lambda gallery: gallery.enrol_many([Enrolment(embedding=row, subject="ada")]), "forbidden", None),
        (lambda gallery: gallery.subject("ada"), None, None),
        (lambda gallery: gallery.update("ada", Details(name="x")), "forbidden", None),
        (lambda gallery: gallery.export(), "forbidden", "forbidden"),
        (lambda gallery: gallery.audit(), "forbidden", "forbidden"),
        (lambda gallery: gallery.forget(), "forbidden", "forbidden"),
    ]
    for act, reading, enrolling in acts:
        assert (code(act, ENROLLER), code(act, READER)) == (enrolling, reading)


def test_a_log_of_everything(people: Asked, side: Side) -> None:
    entries = side.do(lambda client: client.entries())
    assert [entry.number for entry in entries] == sorted(entry.number for entry in entries)
    assert entries[-1] == people.entries()[-1]
    assert abs(entries[-1].at - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_faces_come_with_quality(side: Side, recognizer: Recognizer, astronaut_again: bytes) -> None:
    for method in ("detect", "embed"):
        (face,) = side.do(methodcaller(method, astronaut_again, quality=True))
        (own,) = getattr(recognizer, method)(astronaut_again, quality=True)
        assert face.quality.to_dict() == plain(own.quality)


@BOTH
def test_embeddings_are_compared_as_by_the_library(side: Side, recognizer: Recognizer) -> None:
    a, b = embeddings(recognizer, 2) * 1.4
    face = Face(np.zeros(4, np.float32), 1.0, np.zeros((5, 2), np.float32), b)
    for options in ({}, {"fmr": "strict"}, {"threshold": 9.0}):
        found = side.do(methodcaller("compare", a, face, **options))
        assert plain(found) == plain(recognizer.compare(a, face, **options))
    pairs = [(a, a), (a, np.ones(3)), (a, np.zeros(128)), (a, "x"), (a.tolist(), b)]
    found = side.do(methodcaller("compare_many", pairs))
    own = list(recognizer.compare_many(pairs))
    assert [plain(each) if isinstance(each, Comparison) else each.code for each in found] == [
        plain(each) if isinstance(each, Comparison) else each.code for each in own
    ]
    assert len(side.do(methodcaller("compare_many", [(a, b)] * 101))) == 101
    assert side.do(methodcaller("compare_many", [])) == []
    for wrong, options in ((np.ones(3), {}), (replace(face, embedding=None), {})):
        with pytest.raises(errors.InvalidEmbedding):
            side.do(methodcaller("compare", a, wrong, **options))
    with pytest.raises(errors.SpaceMismatch):
        side.do(methodcaller("compare", a, a, space="another"))
    with pytest.raises(errors.InvalidOption):
        side.do(methodcaller("compare", a, a, fmr=2.0))


def test_many_calls_at_once(served: Served, recognizer: Recognizer) -> None:
    rows = embeddings(recognizer, 40)

    async def enrol_all() -> list[Enrolled]:
        async with AsyncClient(served.url, ADMIN, retries=50) as client:
            gallery = client.gallery("at-once")
            return await asyncio.gather(*(gallery.enrol_embedding(row, f"{number}") for number, row in enumerate(rows)))

    with Client(served.url, ADMIN) as client:
        client.create_gallery("at-once")
        enrolled = asyncio.run(enrol_all())
        assert [one.subject.id for one in enrolled] == [f"{number}" for number in range(len(rows))]
        assert {one.id for one in client.gallery("at-once").subjects()} == {one.subject.id for one in enrolled}
        client.gallery("at-once").forget()


def test_what_is_shown_to_people(side: Side, served: Served, astronaut: Path, astronaut_again: bytes) -> None:
    name = f"shown-{side.kind}"
    side.do(lambda client: client.create_gallery(name, policy=Policy(keep="chips")))
    asked, own = Asked(side, name), served.galleries.open(name)
    for subject, image in (("eileen", astronaut), ("again", astronaut_again)):
        asked.enrol(image, subject, details=Details(name=f"{subject} C."), allow_conflict=True)
    assert [found.id for found in asked.search_subjects("EIL")] == ["eileen"]
    assert asked.similar("again") == own.similar("again")
    assert [candidate.subject for candidate in asked.similar("again")] == ["eileen"]
    assert asked.best_picture("eileen") == own.best_picture("eileen")
    size_wh, jpeg = side.do(lambda client: client.preview(astronaut, side=100))
    assert (size_wh, jpeg[:2]) == ((512, 512), b"\xff\xd8")
    checks = {check.name: check for check in side.do(lambda client: client.doctor())}
    assert (checks["self-test"].facts["faces"], checks["self-test"].problems) == (0, ())
    with pytest.raises(errors.ServerError, match="admin"):
        side.do(lambda client: client.doctor(), READER)
    told = side.do(lambda client: client.access(), READER)
    assert (told.scope, told.galleries) == ("read", ())
    (face,) = side.do(lambda client: client.detect(astronaut, chips=True))
    assert face.chip == served.galleries.eyes.detect(astronaut, chips=True)[0].chip  # type: ignore[attr-defined]  # a Recognizer
