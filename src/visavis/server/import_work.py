"""What workers do with a batch of lines: understand them, and enrol what they hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from visavis.errors import SetupError, VisavisError
from visavis.galleries.checks import check_embedding
from visavis.galleries.records import Gallery
from visavis.models.recognizer import Recognizer
from visavis.server.gallery_requests import ImportQuery
from visavis.server.inputs import Source, check, load, read_json, source_of
from visavis.server.ndjson import Line
from visavis.server.observability import Tally
from visavis.server.problems import Problem, from_library
from visavis.server.schemas import Image, Strict
from visavis.server.work import Job, to_json
from visavis.service.decisions import check_space
from visavis.service.enroller import Enrolment
from visavis.service.gallery import OpenGallery
from visavis.service.results import Enrolled
from visavis.service.transfer import enrolment_from_line, has_face, is_header, space_of_header

_MOST_IMAGES = 16
_MOST_LINES = 500


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of some lines.

    Attributes:
        consumed: how many they were.
        body: their results, a line each.
        counts: enrolled, repeated, failed.
        tally: for the metrics.
        end: why no further line is to be read, if so.
    """

    consumed: int
    body: bytes
    counts: Counter[str]
    tally: Tally
    end: Problem | None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """What to enrol as soon as its image is there, which is at this place among those of the batch."""

    line: Mapping[str, Any]
    source: int


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A line that was read: its number, and what to enrol, or why nothing can be."""

    number: int
    wanted: Enrolment | _Waiting | VisavisError | Problem


class _WithImage(Strict):
    """The part of a line that is checked as in other requests."""

    image: Image


class Importer:
    """Enrols lines into a gallery. Any number of threads may share one."""

    def __init__(self, gallery: OpenGallery, query: ImportQuery) -> None:
        self._gallery = gallery
        self._query = query

    def parse(self, lines: Sequence[Line]) -> Job[Imported]:
        """Understand the first lines: as many as should be worked on at a time.

        Raises:
            GalleryNotFound: it was forgotten meanwhile.
        """
        batch = _Batch(self._gallery.record)
        consumed = 0
        while consumed < len(lines) and not batch.is_full:
            batch.add(lines[consumed])
            consumed += 1
        return Job(tuple(batch.sources), partial(self._enrol, batch, consumed))

    def _enrol(
        self,
        batch: "_Batch",
        consumed: int,
        recognizer: Recognizer,  # noqa: ARG002  # which the gallery has
        sources: Sequence[Source],
    ) -> Imported:
        """Enrol, and say for each line what became of it.

        Raises:
            SetupError: the store cannot be used.
            SpaceMismatch: the gallery is not for the server's models.
        """
        wanted = [_with_image(entry.wanted, sources) for entry in batch.entries]
        good = [each for each in wanted if not isinstance(each, Problem)]
        query = self._query
        results = self._gallery.enrol_many(
            good, faces=query.faces, min_face=query.min_face, allow_conflict=query.allow_conflict
        )
        outcomes = [each if isinstance(each, Problem) else next(results) for each in wanted]
        counts: Counter[str] = Counter()
        body = bytearray()
        for entry, outcome in zip(batch.entries, outcomes, strict=True):
            counts[_count_of(outcome)] += 1
            body += to_json({"line": entry.number, **_told(outcome)}) + b"\n"
        found = sum(isinstance(outcome, Enrolled) and outcome.face is not None for outcome in outcomes)
        tally = Tally(len(sources), found, enrolled=counts["enrolled"])
        return Imported(consumed, bytes(body), counts, tally, batch.end)


class _Batch:
    """Lines as they are read, until there are enough.

    Attributes:
        entries: one for each line that has a result.
        sources: the images of those that have one.
        end: why no further line is to be read, if so.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.entries: list[_Entry] = []
        self.sources: list[Source] = []
        self.end: Problem | None = None
        self._gallery = gallery

    @property
    def is_full(self) -> bool:
        """Whether no further line is to be added."""
        return self.end is not None or len(self.sources) >= _MOST_IMAGES or len(self.entries) >= _MOST_LINES

    def add(self, line: Line) -> None:
        """Read a line."""
        try:
            value = read_json(line.data, "the line")
            if is_header(value):
                self._check_header(line.number, value)
            elif isinstance(value, dict) and value.get("image") is not None:
                self._add_image(line.number, value)
            elif has_face(value):
                self.entries.append(_Entry(line.number, self._packed(enrolment_from_line(value))))
        except (Problem, VisavisError) as error:
            self.entries.append(_Entry(line.number, error))

    def _check_header(self, number: int, value: Mapping[str, Any]) -> None:
        try:
            check_space(self._gallery, space_of_header(value))
        except VisavisError as error:
            self.end = Problem(error.code, f"line {number}: {error}")

    def _add_image(self, number: int, value: dict[str, Any]) -> None:
        source = source_of(check(_WithImage, {"image": value.pop("image")}).image)
        self.entries.append(_Entry(number, _Waiting(value, len(self.sources))))
        self.sources.append(source)

    def _packed(self, enrolment: Enrolment) -> Enrolment:
        """Pack the numbers at once: as JSON they take much room."""
        return replace(enrolment, embedding=check_embedding(enrolment.embedding, self._gallery.space.dimension))


def _with_image(
    wanted: Enrolment | _Waiting | VisavisError | Problem, sources: Sequence[Source]
) -> Enrolment | VisavisError | Problem:
    if not isinstance(wanted, _Waiting):
        return wanted
    try:
        return enrolment_from_line(wanted.line, image=load(sources[wanted.source]))
    except VisavisError as error:
        return error


def _count_of(outcome: Enrolled | VisavisError | Problem) -> str:
    if not isinstance(outcome, Enrolled):
        return "failed"
    return "repeated" if outcome.repeated else "enrolled"


def _told(outcome: Enrolled | VisavisError | Problem) -> dict[str, Any]:
    """Return what is said of a line.

    Raises:
        SetupError: it is a fault of the server's, which is the whole import's.
    """
    if isinstance(outcome, Enrolled):
        return outcome.to_dict()
    if isinstance(outcome, SetupError):
        raise outcome
    problem = outcome if isinstance(outcome, Problem) else from_library(outcome)
    error = {"code": problem.code, "detail": problem.detail}
    return {"error": error if problem.field is None else {**error, "field": problem.field}}
