"""Clients of one gallery; ``_sync.py`` is made of this by ``tools/unasync.py``."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from typing_extensions import Unpack

from visavis.client import records, wire
from visavis.client.connection._async import AsyncConnection, chunks_of, loaded
from visavis.client.records import ServedSample, if_any, read, reader
from visavis.client.review._async import AsyncReviewClient
from visavis.client.wire import Sent, details_of, given, json_of, sample_segment, vectors
from visavis.errors import (
    GalleryNotFound,
    ImageTooLarge,
    InvalidOption,
    SubjectNotFound,
    VersionMismatch,
    VisavisError,
)
from visavis.galleries.records import (
    NO_DETAILS,
    Details,
    Gallery,
    LogEntry,
    Subject,
    check_subject_id,
    may_be_gallery,
)
from visavis.hints import Hinting
from visavis.options import (
    Enrol,
    EnrolEmbeddings,
    EnrolImage,
    Identify,
    IdentifyEmbeddings,
    Policy,
    Threshold,
    Verify,
    takes,
)
from visavis.service.enroller import Enrolment
from visavis.service.results import (
    AuditReport,
    Candidate,
    Enrolled,
    GalleryRules,
    Identification,
    Receipt,
    SubjectVerification,
)
from visavis.types import Faces, FloatArray, ImageSource, Quality

_Thing = TypeVar("_Thing")


class AsyncGalleryClient(Hinting):
    """Does with a gallery of a server what the library does with one opened here; made by ``AsyncClient.gallery``.

    Files are read, and images encoded, in a thread of their own. Arguments, results and errors are the library's own;
    what else the server may say is a ``ServerError``, as everywhere in the client. Every method may raise
    ``GalleryNotFound``.

    Enrolling is tried again when the connection breaks, and nothing is enrolled twice. Forgetting, and changing what
    must have a certain version, is not: a second try would find it done. It ends in ``ServerUnreachable`` then, and
    ``subject``, ``record`` or ``entries`` tell whether it was done.
    """

    def __init__(self, name: str, connection: AsyncConnection) -> None:
        if not may_be_gallery(name):
            raise GalleryNotFound("no gallery can have this name")
        self.name = name
        self._connection = connection
        self._path = f"v1/galleries/{name}"

    @property
    def review(self) -> AsyncReviewClient:
        """What asks about the faces that wait for review."""
        return AsyncReviewClient(self._path, self._connection)

    async def record(self) -> Gallery:
        """Return the gallery as it is now."""
        return await self._connection.ask(reader(Gallery), "GET", self._path)

    async def rules(self) -> GalleryRules:
        """Return the numbers in force: thresholds, their error rates, limits to the quality of faces."""
        return await self._connection.ask(reader(GalleryRules), "GET", f"{self._path}/rules")

    async def set_policy(self, policy: Policy) -> Gallery:
        """Replace the policy."""
        return await self._connection.ask(reader(Gallery), "PATCH", self._path, json_of({"policy": policy.to_dict()}))

    async def forget(self) -> Receipt:
        """Forget the gallery with all that it holds."""
        return await self._connection.ask(reader(Receipt), "DELETE", self._path, once=True)

    @takes(EnrolImage)
    async def enrol(  # noqa: PLR0913  # what is known of a face
        self,
        image: ImageSource,
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        source: str | None = None,
        sample_metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
        like: "ImageSource | None" = None,
        **options: Unpack[EnrolImage],
    ) -> Enrolled:
        """Enrol the face of an image.

        Args:
            image: that shows it.
            subject: whose face it is; None for a new subject with a random ID.
            details: of the subject.
            source: a label of where the image came from.
            sample_metadata: whatever else is to be known of the face, in 4,096 bytes of JSON.
            key: an idempotency key of up to 180 printable ASCII characters: under one key, one enrolment. Without one,
                tries of this call are one enrolment, and so the answer to a second try may be ``repeated``.
            like: an image of the person: where the other shows several faces, the one that is the same is enrolled.
            **options: see ``visavis.options.EnrolImage``.

        Raises:
            KeyReused: the key belongs to another enrolment.
            InputError: the image cannot be used, or is refused (NoFace, MultipleFaces, NotLive, FaceTooSmall,
                FaceBlurred, LowScore, ExtremePose, InvalidFace, FaceOccluded, ChildFace, ConsentMissing,
                SubjectConflict), or an argument is out of its range.
        """
        about = {"subject": subject, "source": source, "sample_metadata": sample_metadata}
        chosen = given({**about, **details_of(details), **options})
        sent = {name: await loaded(one) for name, one in (("images", image), ("like", like)) if one is not None}
        names = {name: one.name for name, one in sent.items()}
        return await self._enrol(wire.body_of(sent, chosen, wire.key_header(key)), names)

    @takes(EnrolEmbeddings)
    async def enrol_embedding(  # noqa: PLR0913  # what is known of a face
        self,
        embedding: FloatArray,
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        quality: Quality | None = None,
        source: str | None = None,
        sample_metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
        **options: Unpack[EnrolEmbeddings],
    ) -> Enrolled:
        """Enrol an embedding of the gallery's space; everything else as in ``enrol``."""
        about = {"subject": subject, "source": source, "sample_metadata": sample_metadata, **details_of(details)}
        chosen = given({**about, "qualities": quality and [quality.to_dict()], **options})
        body = {"embeddings": vectors([embedding]), **chosen}
        return await self._enrol(json_of(body, wire.key_header(key)), {})

    async def _enrol(self, request: Mapping[str, Any], names: Mapping[str, str]) -> Enrolled:
        response = await self._connection.call("POST", f"{self._path}/enrol", request)
        with wire.content(response, names) as plain:
            (result,) = plain["results"]
            refused = if_any(dict, result.get("error"))
            if refused is None:
                return read(Enrolled, {**result, "subject": plain["subject"]})
        raise wire.error_of(refused, response, names.get("images", ""))

    @takes(Enrol)
    def enrol_many(
        self, enrolments: Iterable[Enrolment | VisavisError], **options: Unpack[Enrol]
    ) -> AsyncIterator[Enrolled | VisavisError]:
        """Enrol many, and return for each, in order, what became of it, or the error that refused it.

        They are taken from the iterable, sent and stored together: up to 16 with images, 500 with embeddings, or what
        comes within a second. An error in the place of an enrolment is handed on.

        Raises (the iterator):
            VisavisError: not an enrolment failed but a whole call. What came before is enrolled.
        """
        return self._import(enrolments, wire.enrolment_line, options)

    @takes(Identify)
    async def identify(self, image: ImageSource, **options: Unpack[Identify]) -> Faces[Identification]:
        """Say who the faces of an image are; an empty tuple where there are none."""
        return await self._connection.ask_image(Identification, f"{self._path}/identify", image, options)

    @takes(Identify)
    def identify_many(
        self, images: Iterable[ImageSource], **options: Unpack[Identify]
    ) -> AsyncIterator[Faces[Identification] | VisavisError]:
        """Return for each image, in order, what ``identify`` returns, or the error that its image is.

        Images are taken from the iterable up to 16 at a time, and sent together.

        Raises (the iterator):
            VisavisError: not an image failed but a whole call.
        """
        return self._connection.ask_images(Identification, f"{self._path}/identify", images, options)

    @takes(IdentifyEmbeddings)
    async def identify_embeddings(
        self, embeddings: FloatArray, **options: Unpack[IdentifyEmbeddings]
    ) -> tuple[Identification, ...]:
        """Say whose embeddings (P, D) these are, with a key of scope probe; one answer for each, in order."""
        chosen, probes = given(options), vectors(embeddings)
        found: list[Identification] = []
        for start in range(0, len(probes), wire.MOST_PROBES):
            some = probes[start : start + wire.MOST_PROBES]
            body = json_of({"embeddings": some, **chosen})
            response = await self._connection.call("POST", f"{self._path}/identify", body)
            with wire.content(response) as plain:
                refused = [read(dict, result["error"]) for result in plain["results"] if "error" in result]
                if not refused:
                    pairs = zip(plain["results"], some, strict=True)
                    found += [read(tuple[Identification], result["faces"])[0] for result, _ in pairs]
            if refused:
                raise wire.error_of(refused[0], response)
        return tuple(found)

    @takes(Verify)
    async def verify(
        self, image: ImageSource, subject: str, *, sample: int | None = None, **options: Unpack[Verify]
    ) -> SubjectVerification:
        """Tell whether the face of an image is a subject; options as in ``OpenGallery.verify``.

        Raises:
            NotLive: a live face is required, and this one looks like none.
            NoFace, MultipleFaces: there is not the one face that is needed.
            SubjectNotFound, SampleNotFound: there is no such subject, or it has no samples.
        """
        path, chosen = self._subject(subject, "verify"), given({**options, "sample": sample})
        sent = await loaded(image)
        response = await self._connection.call("POST", path, wire.body_of({"image": sent}, chosen))
        with wire.content(response, {"image": sent.name}) as plain:
            return records.subject_verification(plain)

    @takes(Threshold)
    async def verify_embedding(
        self, embedding: FloatArray, subject: str, *, sample: int | None = None, **options: Unpack[Threshold]
    ) -> SubjectVerification:
        """Tell whether an embedding is a subject's, with a key of scope probe; everything else as in ``verify``."""
        (vector,) = vectors([embedding])
        body = json_of({"embedding": vector, **given({**options, "sample": sample})})
        path = self._subject(subject, "verify")
        return await self._connection.ask(records.subject_verification, "POST", path, body)

    def subjects(self) -> AsyncIterator[Subject]:
        """Return the subjects, in the order of their enrolment; asked for a page at a time."""
        return self._connection.pages(Subject, f"{self._path}/subjects", "subjects")

    async def search_subjects(self, text: str) -> AsyncIterator[Subject]:
        """Give the subjects whose ID or name contains a text, in whatever case."""
        asked: dict[str, Any] = {"text": text, "limit": 200}
        while True:
            found, cursor = await self._connection.ask(
                records.found_subjects, "POST", f"{self._path}/search", json_of(asked)
            )
            for each in found:
                yield each
            if cursor is None:
                return
            asked["cursor"] = cursor

    async def similar(self, subject: str) -> tuple[Candidate, ...]:
        """Return the subjects whose faces are nearest to this one's, nearest first."""
        return await self._connection.ask(records.candidates, "GET", self._subject(subject, "similar"))

    async def subject(self, subject: str) -> Subject:
        """Return the subject of that ID; ``SubjectNotFound`` where there is none."""
        return await self._connection.ask(reader(Subject), "GET", self._subject(subject))

    async def samples(self, subject: str) -> tuple[ServedSample, ...]:
        """Return a subject's samples, without their embeddings: those are in exports only."""
        return await self._connection.ask(records.samples, "GET", self._subject(subject))

    def all_samples(self) -> AsyncIterator[ServedSample]:
        """Return the samples of all subjects, in the order of their numbers; asked for a page at a time."""
        return self._connection.pages(ServedSample, f"{self._path}/samples", "samples")

    async def sample(self, sample: int) -> ServedSample:
        """Return a sample by its number alone; ``SampleNotFound`` where there is none."""
        return await self._connection.ask(reader(ServedSample), "GET", self._sample(sample))

    async def add_subject(self, subject: str, *, details: Details = NO_DETAILS) -> Subject:
        """Make a subject that has no samples yet; ``SubjectExists`` where there is one of that ID."""
        body = json_of({"id": subject, **details_of(details)})
        return await self._connection.ask(reader(Subject), "POST", f"{self._path}/subjects", body, once=True)

    async def update(
        self, subject: str, details: Details, *, new_id: str | None = None, version: int | Subject | None = None
    ) -> Subject:
        """Change what is known of a subject.

        Args:
            subject: its ID.
            details: that are to be changed.
            new_id: that it is to have.
            version: that it must still have; or the subject as it was read, which also tells it from one that was
                forgotten and enrolled anew under the same ID.

        Raises:
            SubjectNotFound: there is none of that ID.
            SubjectExists: the new ID is another subject's.
            VersionMismatch: it has changed.
        """
        path, plain = self._subject(subject), {**details_of(details), **given({"id": new_id})}
        condition = await self._condition(subject, version)
        body = json_of(plain, condition)
        once = bool(condition) or new_id is not None
        return await self._connection.ask(reader(Subject), "PATCH", path, body, once=once)

    async def rename(self, subject: str, new_id: str, *, version: int | Subject | None = None) -> Subject:
        """Give a subject another ID; arguments and errors as in ``update``."""
        return await self.update(subject, NO_DETAILS, new_id=new_id, version=version)

    async def picture(self, subject: str, sample: int) -> bytes:
        """Return what is stored of a sample's image, encoded.

        Raises:
            SubjectNotFound, SampleNotFound: there is no such sample, or nothing is stored of its image.
        """
        return await self._connection.picture(self._subject(subject, "samples", sample_segment(sample), "picture"))

    async def best_picture(self, subject: str) -> bytes:
        """Return the sharpest of what is stored of a subject's images; else as ``picture``."""
        return await self._connection.picture(self._subject(subject, "picture"))

    async def merge(self, subject: str, into: str) -> Subject:
        """Give all samples of one subject to another, forget the first, and return the other.

        Raises:
            SubjectNotFound: there is none of that ID.
            ConsentMissing: the policy wants a note of consent, and there is none of the other.
        """
        path = self._subject(subject, "merge")
        return await self._connection.ask(reader(Subject), "POST", path, json_of({"into": into}), once=True)

    async def move(self, subject: str, samples: Iterable[int], into: str) -> Subject:
        """Give samples of one subject to another, and return that; errors as in ``merge``, and ``SampleNotFound``."""
        path, body = self._subject(subject, "move"), json_of({"samples": list(samples), "into": into})
        return await self._connection.ask(reader(Subject), "POST", path, body, once=True)

    async def split(
        self, subject: str, samples: Iterable[int], *, into: str | None = None, details: Details = NO_DETAILS
    ) -> Subject:
        """Give samples of one subject to a new one, and return that.

        Args:
            subject: its ID.
            samples: their numbers.
            into: the ID that the new one is to have; None for a random one.
            details: of the new one. Unless they say when, it is forgotten when the first one is.

        Raises:
            SubjectExists: there is one of that ID.
            SampleNotFound: a sample is not the subject's.
            ConsentMissing: the policy wants a note of consent, and the details have none.
        """
        told = {"samples": list(samples), **given({"into": into}), **details_of(details)}
        return await self._connection.ask(
            reader(Subject), "POST", self._subject(subject, "split"), json_of(told), once=True
        )

    async def forget_sample(self, subject: str | None, sample: int) -> Receipt:
        """Forget a sample of a subject, or, with None, of whoever has it.

        Raises:
            SubjectNotFound, SampleNotFound: there is none any more.
        """
        path = self._sample(sample) if subject is None else self._subject(subject, "samples", sample_segment(sample))
        return await self._connection.ask(reader(Receipt), "DELETE", path, once=True)

    async def forget_subject(self, subject: str, *, version: int | Subject | None = None) -> Receipt:
        """Forget a subject with all samples; ``version`` and errors as in ``update``."""
        path, condition = self._subject(subject), await self._condition(subject, version)
        return await self._connection.ask(reader(Receipt), "DELETE", path, {"headers": condition}, once=True)

    async def export(self, *, pictures: bool = False) -> AsyncIterator[dict[str, Any]]:
        """Return the gallery as lines: a header, then one for each sample; read from the server as they are taken."""
        query = {"params": {"pictures": "true" if pictures else "false"}}
        response = await self._connection.call("GET", f"{self._path}/export", query, stream=True)
        async with aclosing(response):
            wire.check(response)
            if not response.headers.get("content-type", "").startswith(wire.NDJSON):
                raise wire.foreign(response)
            rest = bytearray()
            try:
                async for part in response.aiter_bytes():
                    *ended, begun = part.split(b"\n")
                    for piece in ended:
                        line = bytes(rest) + piece
                        rest.clear()
                        if line.strip():
                            yield records.export_line(line, response)
                    rest += begun
                    if len(rest) > wire.LONGEST_LINE:
                        raise wire.foreign(response, f"the server sent a line of more than {wire.LONGEST_LINE:,} bytes")
            except httpx.RequestError as error:
                raise self._connection.unreachable(error) from error
            if rest.strip():
                yield records.export_line(bytes(rest), response)

    async def export_subject(self, subject: str) -> dict[str, Any]:
        """Return all that is known of a subject, as a person may ask for it: embeddings, pictures and log included."""
        return await self._connection.ask(records.subject_export, "GET", self._subject(subject, "export"))

    def import_lines(
        self, lines: Iterable[Mapping[str, Any]], *, allow_conflict: bool = True
    ) -> AsyncIterator[Enrolled | VisavisError]:
        """Enrol what ``export`` returned; a result for each line that has a face, everything else as in ``enrol_many``.

        Lines that have a key may be imported again without being enrolled twice.

        Raises (the iterator):
            SpaceMismatch: the header tells of another embedding space than the gallery's.
        """
        return self._import(lines, wire.export_line, {"faces": "only", "allow_conflict": allow_conflict})

    async def audit(self) -> AuditReport:
        """Return what there is to mend: in a large gallery that takes longer than ``timeout_s`` may allow."""
        return await self._connection.ask(reader(AuditReport), "GET", f"{self._path}/audit")

    def entries(self, *, newest_first: bool = False) -> AsyncIterator[LogEntry]:
        """Return the gallery's log; asked for a page at a time."""
        return self._connection.pages(LogEntry, f"{self._path}/log", "entries", **wire.order(newest_first=newest_first))

    def _subject(self, subject: str, *below: str) -> str:
        try:
            segment = quote(check_subject_id(subject), safe="")
        except InvalidOption:  # such as "." and "..", which would lead elsewhere: to another call
            raise SubjectNotFound("no subject can have this ID") from None
        return "/".join([self._path, "subjects", segment, *below])

    def _sample(self, sample: int) -> str:
        return f"{self._path}/samples/{sample_segment(sample)}"

    async def _condition(self, subject: str, version: int | Subject | None) -> dict[str, str]:
        """Return the header that makes a call one to that version; a number is one of the subject that is there now."""
        if version is None:
            return {}
        if not isinstance(version, Subject):
            now = await self.subject(subject)
            if now.version != version:
                raise VersionMismatch(f"the subject has version {now.version}, not {version}")
            version = now
        return {"If-Match": f'"{version.number}-{version.version}"'}

    async def _import(
        self, things: Iterable[_Thing], load: Callable[[_Thing], Sent | VisavisError], options: Mapping[str, object]
    ) -> AsyncIterator[Enrolled | VisavisError]:
        """Send things as lines, and give for each that asks for an enrolment, in order, what became of it.

        A call is answered before the next is made: over HTTP/1.1 a client that still sends does not listen, and both
        sides might wait for each other. Each line has an idempotency key, so that what is lost can be sent again.
        """
        plain = given(options)
        query = {name: value if isinstance(value, str) else f"{value}".lower() for name, value in plain.items()}
        async with aclosing(chunks_of(things, load, wire.MOST_LINES, wire.MOST_LINE_BYTES)) as chunks:
            async for chunk in chunks:
                while chunk:
                    lines = dict(enumerate((entry for entry in chunk if isinstance(entry, Sent)), 1))
                    results, failure = await self._send(lines, query) if lines else ({}, None)
                    numbers, reached = iter(lines), 0
                    for entry in chunk:
                        if isinstance(entry, VisavisError):
                            yield entry
                        elif (number := next(numbers)) in results:
                            yield results[number]
                        elif entry.has_face:
                            break
                        reached += 1
                    if failure is not None:
                        raise failure
                    del chunk[:reached]

    async def _send(
        self, lines: Mapping[int, Sent], query: Mapping[str, str]
    ) -> tuple[dict[int, Enrolled | VisavisError], VisavisError | None]:
        body = b"".join(line.data + b"\n" for line in lines.values())
        request = {"params": query, "content": body, "headers": {"Content-Type": wire.NDJSON}}
        response = await self._connection.call("POST", f"{self._path}/import", request)
        try:
            wire.check(response)
        except ImageTooLarge as error:  # which is said of the whole
            if len(lines) == 1:
                ((number, line),) = lines.items()
                return {number: ImageTooLarge(f"{line.name}: {error}" if line.name else str(error))}, None
            return await self._send(dict(islice(lines.items(), len(lines) // 2)), query)
        with wire.trusting(response):
            return records.import_results(response, lines)
