"""Changes within a transaction: subjects and samples made, changed, given to another, erased, and spelled anew."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from visavis.errors import KeyReused, StoreDamaged, SubjectExists, SubjectNotFound
from visavis.galleries.records import (
    FIRST_NUMBER,
    NEVER,
    NO_DETAILS,
    NewSample,
    Origin,
    SampleRow,
    Stored,
    Subject,
    check_subject_id,
    in_utc,
    normal,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from visavis.errors import VisavisError
    from visavis.galleries.records import Details, Sample
    from visavis.galleries.store import Transaction
    from visavis.options import Keep
    from visavis.types import FloatArray

_SPELLED_AT_ONCE = 500  # subjects
_MOVED_AT_ONCE = 50  # samples, with their pictures


def new_subject(id_: str, number: int, at: datetime) -> Subject:
    """Return a subject of whom nothing is known, in the version before its first."""
    known: dict[str, Any] = {"name": None, "metadata": {}, "consent": None, "expires_at": None}
    return Subject(id=id_, number=number, **known, created_at=at, updated_at=at, version=0, samples=0)


def add_subject(transaction: Transaction, subject: str, details: Details, origin: Origin) -> Subject:
    """Make a subject without samples; SubjectExists where there is one of that ID."""
    id_, at = check_subject_id(subject), in_utc(origin.at)
    if transaction.find([id_]):
        raise SubjectExists(f"gallery {transaction.gallery.name!r} has a subject {id_!r} already")
    _, numbers = transaction.new_numbers(1)
    made = changed(new_subject(id_, next(numbers), at), details, at)
    transaction.put_subjects([(None, made)])
    transaction.count(subjects=1)
    transaction.log(origin, "enrol", [made.number])
    return made


def changed(subject: Subject, details: Details, at: datetime, *, samples: int = 0) -> Subject:
    """Return a subject's next version."""
    expires_at = subject.expires_at if details.expires_at is None else details.expires_at
    return replace(
        subject,
        name=subject.name if details.name is None else details.name or None,
        metadata=subject.metadata if details.metadata is None else json.loads(json.dumps(details.metadata)),
        consent=subject.consent if details.consent is None else details.consent or None,
        updated_at=at,
        expires_at=None if expires_at == NEVER else expires_at,
        ignored=subject.ignored if details.ignored is None else details.ignored,
        version=subject.version + 1,
        samples=subject.samples + samples,
    )


def erase(
    transaction: Transaction, subjects: tuple[int, ...], origin: Origin, action: str = "forget"
) -> tuple[tuple[int, ...], int]:
    """Erase subjects by their numbers; return these, and how many samples they had."""
    if not subjects:
        return (), 0
    count = transaction.erase_subjects(subjects)
    transaction.count(subjects=-len(subjects), samples=-count)
    transaction.log(origin, action, subjects, count)
    return subjects, count


def move_samples(
    transaction: Transaction, subject: Subject, into: Subject, origin: Origin, wanted: Collection[int] | None = None
) -> int:
    """Give samples of a subject to another, all of them without ``wanted``; return how many these were.

    They are new rows, with new numbers: who has a gallery in memory looks for what came and what went.
    """
    at, count, last = in_utc(origin.at), 0, 0
    while page := transaction.samples(subject.number, last, _MOVED_AT_ONCE):
        last = page[-1].id
        some = [sample for sample in page if wanted is None or sample.id in wanted]
        if not some:
            continue
        numbers, _ = transaction.new_numbers(len(some))
        rows = [_row_of(transaction, sample, next(numbers), into) for sample in some]
        transaction.erase_samples([sample.id for sample in some], at)  # first, for the new ones may have their keys
        transaction.put_samples(rows)
        count += len(some)
    if count:
        transaction.put_subjects([(into, changed(into, NO_DETAILS, at, samples=count))])
        transaction.log(origin, "move", sorted((subject.number, into.number)), count)
    return count


def first_number(sample: Sample) -> int:
    """Return the number that a sample had at first, which it is known by outside, however often it was moved."""
    return int(sample.metadata.get(FIRST_NUMBER, sample.id))


def key_of_moved(number: int) -> str:
    """Return the key of a sample that was moved, by its first number: no idempotency key of a caller looks so."""
    return f"\x1f{number}"


def _row_of(transaction: Transaction, sample: Sample, number: int, owner: Subject) -> SampleRow:
    picture = None
    with suppress(StoreDamaged):  # the face is still of use
        picture = transaction.picture(sample.id)
    kept: Keep = "nothing" if picture is None else sample.picture
    first = first_number(sample)
    known = {name: getattr(sample, name) for name in ("embedding", "quality", "source")}
    told = {**sample.metadata, FIRST_NUMBER: first}
    new = NewSample(subject=owner.id, **known, metadata=told, key=key_of_moved(first))
    about = kept, picture, transaction.fingerprint(new), sample.created_at
    return SampleRow(number, -owner.number if sample.counter else owner.number, new, sample.embedding, *about)


def spell_anew(transaction: Transaction) -> None:
    """Bring the IDs and names of an older store to their normal form; who is there in two forms becomes one."""
    origin, after = Origin(actor="upgrade", at=datetime.now(timezone.utc)), 0
    while page := transaction.subjects(after, _SPELLED_AT_ONCE):
        after = page[-1].number
        odd = [subject.id for subject in page if _spelled(subject) != subject]
        for old in (found for id_ in odd for found in transaction.find([id_]).values()):  # as they are by then
            new = _spelled(old)
            twin = None if new.id == old.id else transaction.find([new.id]).get(new.id)
            if twin is None:
                transaction.put_subjects([(old, new)])
                transaction.log(origin, "update", [old.number])
                continue
            known = {name: getattr(twin, name) or getattr(new, name) for name in ("name", "metadata", "consent")}
            ends = [moment for moment in (old.expires_at, twin.expires_at) if moment]
            one = replace(twin, version=twin.version + 1, expires_at=min(ends, default=None), **known)
            transaction.put_subjects([(twin, one)])
            move_samples(transaction, old, one, origin)
            erase(transaction, (old.number,), origin)


def _spelled(subject: Subject) -> Subject:
    return replace(subject, id=normal(subject.id), name=normal(subject.name))


class Use(NamedTuple):
    """What an idempotency key was used for."""

    subject: Subject  # as it is now
    sample: int  # the ID of the sample that came of it
    fingerprint: str | bytes  # as ``Transaction.fingerprint`` returned it


class Batch:
    """Samples to be enrolled, and their subjects: as they are stored, and as they are to be."""

    def __init__(self, transaction: Transaction, samples: Sequence[NewSample], at: datetime) -> None:
        self._transaction = transaction
        self._at = at
        self._before = transaction.find(dict.fromkeys(sample.subject for sample in samples))
        self._uses = transaction.uses(dict.fromkeys(sample.key for sample in samples if sample.key is not None))
        self._sample_ids, self._subject_numbers = transaction.new_numbers(len(samples))
        self._rows: list[SampleRow] = []
        self._now = dict(self._before)

    def add(self, sample: NewSample, embedding: FloatArray) -> Stored | VisavisError:
        """Add a sample, or find that its key is in use."""
        fingerprint = self._transaction.fingerprint(sample)
        if sample.counter and sample.subject not in self._now:
            return SubjectNotFound(f"there is no subject {sample.subject!r} to have a counter-sample")
        use = None if sample.key is None else self._uses.get(sample.key)
        if use is not None:
            if (use.subject.id, use.fingerprint) != (sample.subject, fingerprint):
                return KeyReused("this idempotency key was used for another enrolment; take a new one")
            return Stored(subject=self._now[sample.subject], sample=use.sample, repeated=True)
        before = self._now.get(sample.subject) or new_subject(sample.subject, next(self._subject_numbers), self._at)
        subject = self._now[sample.subject] = changed(before, sample.details, self._at, samples=1)
        keep = self._transaction.gallery.policy.keep
        picture = None if keep == "nothing" else sample.picture
        kept = "nothing" if picture is None else keep
        number = next(self._sample_ids)
        owner = -subject.number if sample.counter else subject.number
        row = SampleRow(number, owner, sample, embedding, kept, picture, fingerprint, self._at)
        self._rows.append(row)
        if sample.key is not None:
            self._uses[sample.key] = Use(subject, row.id, fingerprint)
        return Stored(subject=subject, sample=row.id, repeated=False)

    def write(self, origin: Origin) -> None:
        """Write what was added."""
        if not self._rows:
            return
        pairs = [(self._before.get(id_), after) for id_, after in self._now.items()]
        changes = [(before, after) for before, after in pairs if after is not before]
        self._transaction.put_subjects(changes)
        self._transaction.put_samples(self._rows)
        self._transaction.count(subjects=len(self._now) - len(self._before), samples=len(self._rows))
        numbers = sorted(after.number for _, after in changes)
        self._transaction.log(origin, "enrol", numbers, len(self._rows))
