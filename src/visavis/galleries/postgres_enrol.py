"""Enrolment into a gallery of a PostgreSQL store: a batch in a handful of round trips, however large it is."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import NamedTuple

from visavis.errors import KeyReused, VisavisError
from visavis.galleries.checks import check_samples
from visavis.galleries.postgres_changes import Change
from visavis.galleries.postgres_look import Use
from visavis.galleries.postgres_rows import Row, changed, in_utc
from visavis.galleries.records import NewSample, Stored, Subject
from visavis.types import FloatArray, Quality

_NUMBERS = """
SELECT ARRAY(SELECT nextval('visavis.sample_ids') FROM generate_series(1, %(count)s)),
       ARRAY(SELECT nextval('visavis.subject_numbers') FROM generate_series(1, %(count)s))"""
_COPY = """
COPY {samples} (gallery, id, subject, embedding, face_px, sharpness, score, yaw, pitch, source, kept, picture, key,
    fingerprint, created_at) FROM STDIN (FORMAT BINARY)"""
_NO_QUALITY = (None,) * len(fields(Quality))
_TYPES = (
    *("int8", "int8", "int8", "vector", "float8", "float8", "float8", "float8", "float8"),
    *("text", "text", "bytea", "text", "text", "timestamptz"),
)


def enrol(change: Change, samples: Sequence[NewSample]) -> tuple[Stored | VisavisError, ...]:
    """Store samples, and return what became of each."""
    vectors = check_samples(samples, change.gallery.space.dimension)
    batch = _Batch(change, samples)
    outcomes = [batch.add(sample, vector) for sample, vector in zip(samples, vectors, strict=True)]
    batch.write()
    return tuple(
        Stored(subject=batch.subjects[outcome.subject], sample=outcome.sample, repeated=outcome.repeated)
        if isinstance(outcome, _Outcome)
        else outcome
        for outcome in outcomes
    )


class _Outcome(NamedTuple):
    subject: str
    sample: int
    repeated: bool


class _Batch:
    """Samples on their way: what the gallery knew of their subjects and keys, and what it is to know."""

    def __init__(self, change: Change, samples: Sequence[NewSample]) -> None:
        self._change = change
        self._at = in_utc(change.origin.at)
        self.subjects = change.find({sample.subject for sample in samples})
        self._uses = change.uses({sample.key for sample in samples if sample.key is not None})
        numbers = change.connection.execute(_NUMBERS, {"count": len(samples)}).fetchone() or ((), ())
        self._sample_ids, self._subject_numbers = map(iter, numbers)
        self._known = len(self.subjects)
        self._rows: list[Row] = []
        self._touched: set[str] = set()

    def add(self, sample: NewSample, vector: FloatArray) -> _Outcome | VisavisError:
        """Add a sample, or find that its key is in use."""
        use = None if sample.key is None else self._uses.get(sample.key)
        if use is not None:
            if (use.subject, use.fingerprint) != (sample.subject, sample.fingerprint):
                return KeyReused("this idempotency key was used for another enrolment; take a new one")
            return _Outcome(use.subject, use.sample, repeated=True)
        subject = self.subjects.get(sample.subject) or self._new_subject(sample.subject)
        self.subjects[subject.id] = changed(subject, sample.details, self._at, samples=1)
        self._touched.add(subject.id)
        id_ = next(self._sample_ids)
        self._rows.append(self._row(sample, vector, id_, subject.number))
        if sample.key is not None:
            self._uses[sample.key] = Use(subject.id, sample.fingerprint, id_)
        return _Outcome(subject.id, id_, repeated=False)

    def write(self) -> None:
        """Write what was added."""
        if not self._rows:
            return
        change = self._change
        touched = [self.subjects[id_] for id_ in self._touched]
        change.write_subjects(touched)
        with change.connection.cursor() as cursor, cursor.copy(change.naming(_COPY)) as copy:
            copy.set_types(_TYPES)
            for row in self._rows:
                copy.write_row(row)
        change.count(subjects=len(self.subjects) - self._known, samples=len(self._rows))
        change.log("enrol", sorted(subject.number for subject in touched), len(self._rows))

    def _new_subject(self, id_: str) -> Subject:
        return Subject(
            id=id_,
            number=next(self._subject_numbers),
            name=None,
            metadata={},
            consent=None,
            created_at=self._at,
            updated_at=self._at,
            expires_at=None,
            version=0,
            samples=0,
        )

    def _row(self, sample: NewSample, vector: FloatArray, id_: int, subject: int) -> Row:
        quality, keep = sample.quality, self._change.gallery.policy.keep
        numbers = _NO_QUALITY if quality is None else astuple(quality)
        kept, picture = ("nothing", None) if sample.picture is None or keep == "nothing" else (keep, sample.picture)
        return (
            *(self._change.gallery.number, id_, subject, vector, *numbers, sample.source),
            *(kept, picture, sample.key, sample.fingerprint, self._at),
        )
