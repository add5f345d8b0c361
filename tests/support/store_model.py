"""What a store of galleries is to do, in plain dictionaries: slow, and easily seen to be right.

It does what ``Store`` promises, and shares none of its code: it is what every other store is compared with.
"""

import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from store_oracle import true_distances, true_template

from visavis.core.embeddings import check_probes
from visavis.errors import (
    GalleryExists,
    GalleryLocked,
    GalleryNotFound,
    InvalidOption,
    KeyReused,
    SampleNotFound,
    SubjectExists,
    SubjectNotFound,
    VersionMismatch,
    VisavisError,
)
from visavis.galleries.index import RANKED_ANEW
from visavis.galleries.records import (
    NEVER,
    NO_DETAILS,
    QUEUE,
    Details,
    Erased,
    Gallery,
    GalleryCheck,
    LogEntry,
    Match,
    Matches,
    NewSample,
    Origin,
    Sample,
    Stored,
    Subject,
    check_gallery_name,
    check_samples,
    check_subject_id,
)
from visavis.galleries.store import Store
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray

T = TypeVar("T")


@dataclass(eq=False)
class _Held:
    """A sample with what only the store knows of it."""

    sample: Sample
    picture: bytes | None
    key: str | None
    fingerprint: str


@dataclass(eq=False)
class _Shelf:
    """A gallery with what it holds."""

    gallery: Gallery
    subjects: dict[str, Subject] = field(default_factory=dict)
    held: dict[int, _Held] = field(default_factory=dict)


class StoreModel:
    """A store that forgets everything when the process ends. For one thread."""

    url = "model:"

    def __init__(self) -> None:
        self._numbers = itertools.count(1)  # for all that has one: never given twice
        self._shelves: dict[str, _Shelf] = {}
        self._log: list[LogEntry] = []

    def create(
        self, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin, *, encrypted: bool | None = None
    ) -> Gallery:
        check_gallery_name(name.removesuffix(QUEUE))
        if encrypted:
            raise GalleryLocked("the model has no key")
        if name.lower() in map(str.lower, self._shelves):
            raise GalleryExists(f"there is a gallery {name}")
        gallery = Gallery(
            name=name,
            number=next(self._numbers),
            space=space,
            policy=policy,
            encrypted=False,
            created_at=origin.at,
            subjects=0,
            samples=0,
        )
        self._shelves[name] = _Shelf(gallery)
        self.log("create", name, origin)
        return gallery

    def galleries(self) -> tuple[Gallery, ...]:
        return tuple(self.gallery(name) for name in sorted(self._shelves))

    def gallery(self, name: str) -> Gallery:
        shelf = self._shelf(name)
        return replace(shelf.gallery, subjects=len(shelf.subjects), samples=len(shelf.held))

    def set_policy(self, name: str, policy: Policy, origin: Origin) -> Gallery:
        shelf = self._shelf(name)
        shelf.gallery = replace(shelf.gallery, policy=policy)
        self.log("policy", name, origin)
        return self.gallery(name)

    def drop(self, name: str, origin: Origin) -> Erased:
        shelf = self._shelf(name)
        numbers = tuple(sorted(subject.number for subject in shelf.subjects.values()))
        self.log("forget", name, origin, count=len(shelf.held))
        del self._shelves[name]
        return Erased(subjects=numbers, samples=len(shelf.held), overwritten=True)

    def enrol(self, gallery: str, samples: Sequence[NewSample], origin: Origin) -> tuple[Stored | VisavisError, ...]:
        shelf = self._shelf(gallery)
        embeddings = check_samples(samples, shelf.gallery.space.dimension)
        outcomes: list[tuple[str, int, bool] | VisavisError] = []
        for new, embedding in zip(samples, embeddings, strict=True):
            before = None if new.key is None else self._holder(shelf, new.key)
            if new.counter and new.subject not in shelf.subjects:
                outcomes.append(SubjectNotFound("nobody is there whom it is not"))
            elif before is None:
                outcomes.append((new.subject, self._store(shelf, new, embedding, origin), False))
            elif (before.sample.subject, before.fingerprint) == (new.subject, new.fingerprint):
                outcomes.append((before.sample.subject, before.sample.id, True))
            else:
                outcomes.append(KeyReused("the key belongs to another enrolment"))
        stored = [outcome[0] for outcome in outcomes if not isinstance(outcome, VisavisError) and not outcome[2]]
        if stored:
            numbers = sorted({shelf.subjects[subject].number for subject in stored})
            self.log("enrol", gallery, origin, subjects=numbers, count=len(stored))
        return tuple(
            outcome
            if isinstance(outcome, VisavisError)
            else Stored(subject=shelf.subjects[outcome[0]], sample=outcome[1], repeated=outcome[2])
            for outcome in outcomes
        )

    def add_subject(self, gallery: str, subject: str, details: Details, origin: Origin) -> Subject:
        shelf, id_ = self._shelf(gallery), check_subject_id(subject)
        if id_ in shelf.subjects:
            raise SubjectExists(f"there is a subject {id_}")
        self._make(shelf, id_, origin)
        self._change(shelf, id_, origin, details)
        self.log("enrol", gallery, origin, subjects=[shelf.subjects[id_].number])
        return shelf.subjects[id_]

    def update(  # noqa: PLR0913  # as the store has it
        self,
        gallery: str,
        subject: str,
        details: Details,
        origin: Origin,
        *,
        new_id: str | None = None,
        version: int | None = None,
    ) -> Subject:
        shelf = self._shelf(gallery)
        id_ = self._known(shelf, subject)
        self._check_versions(shelf, [id_], version)
        new = id_ if new_id is None else check_subject_id(new_id)
        if new != id_ and new in shelf.subjects:
            raise SubjectExists(f"there is a subject {new}")
        self._change(shelf, id_, origin, details)
        shelf.subjects[new] = replace(shelf.subjects.pop(id_), id=new)
        for held in shelf.held.values():
            held.sample = replace(held.sample, subject=new) if held.sample.subject == id_ else held.sample
        self.log("update", gallery, origin, subjects=[shelf.subjects[new].number])
        return shelf.subjects[new]

    def move(  # noqa: PLR0913  # as the store has it
        self,
        gallery: str,
        subject: str,
        into: str,
        origin: Origin,
        *,
        samples: Iterable[int] | None = None,
        new: Details | None = None,
    ) -> Subject:
        shelf = self._shelf(gallery)
        first = self._known(shelf, subject)
        other = self._known(shelf, into) if new is None else check_subject_id(into)
        if new is not None and other in shelf.subjects:
            raise SubjectExists(f"there is a subject {other}")
        own = {number for number, held in shelf.held.items() if held.sample.subject == first}
        wanted = own if samples is None else set(samples)
        if first == other:
            raise InvalidOption("both are one")
        if wanted - own:
            raise SampleNotFound(subject)
        if new is not None:
            self._make(shelf, other, origin)
            self._change(shelf, other, origin, new)
        for number in sorted(wanted):
            held = shelf.held.pop(number)
            known = {"first_number": number, **held.sample.metadata}
            sample = replace(held.sample, id=next(self._numbers), subject=other, metadata=known)
            shelf.held[sample.id] = _Held(sample, held.picture, f"\x1f{known['first_number']}", "")
            self._change(shelf, first, origin, samples=-1)
        both = sorted(shelf.subjects[id_].number for id_ in (first, other))
        if wanted:
            self._change(shelf, other, origin, samples=len(wanted))
            self.log("move", gallery, origin, subjects=both, count=len(wanted))
        if samples is None:
            self._forget(shelf, [first], "forget", origin)
        return shelf.subjects[other]

    def forget_samples(
        self, gallery: str, samples: Iterable[int], origin: Origin, *, subject: str | None = None
    ) -> Erased:
        shelf = self._shelf(gallery)
        there = sorted(set(samples) & set(shelf.held))
        subject = None if subject is None else self._known(shelf, subject)
        if subject is not None and {shelf.held[sample].sample.subject for sample in there} - {subject}:
            raise SampleNotFound(subject)
        touched = set()
        for sample in there:
            subject = shelf.held.pop(sample).sample.subject
            touched.add(shelf.subjects[subject].number)
            self._change(shelf, subject, origin, samples=-1)
        if there:
            self.log("forget", gallery, origin, subjects=sorted(touched), count=len(there))
        return Erased(subjects=tuple(sorted(touched)), samples=len(there), overwritten=True)

    def forget_subjects(
        self, gallery: str, subjects: Iterable[str | int], origin: Origin, *, version: int | None = None
    ) -> Erased:
        shelf = self._shelf(gallery)
        ids: dict[str | int, str] = {subject.number: id_ for id_, subject in shelf.subjects.items()}
        wanted = dict.fromkeys(ids.get(subject, nfc(subject)) for subject in subjects)
        there = [subject for subject in wanted if isinstance(subject, str) and subject in shelf.subjects]
        self._check_versions(shelf, there, version)
        return self._forget(shelf, there, "forget", origin)

    def check(self, gallery: str, *, quick: bool = False) -> GalleryCheck:
        found = self.gallery(gallery)
        _ = quick
        return GalleryCheck(gallery=found.name, subjects=found.subjects, samples=found.samples, damaged=())

    def rekey(self, gallery: str, origin: Origin) -> Gallery:
        raise InvalidOption(f"{gallery} is not encrypted, says {origin.actor}")

    def rewrap(self, origin: Origin) -> tuple[str, ...]:
        raise InvalidOption(f"the model has no key, says {origin.actor}")

    def expire(self, gallery: str, origin: Origin) -> Erased:
        shelf = self._shelf(gallery)
        there = shelf.subjects.values()
        over = [subject.id for subject in there if subject.expires_at and subject.expires_at <= origin.at]
        return self._forget(shelf, over, "expire", origin)

    def subject(self, gallery: str, subject: str) -> Subject | None:
        return self._shelf(gallery).subjects.get(nfc(subject))

    def subjects(self, gallery: str, *, after: int = 0, limit: int = 100) -> tuple[Subject, ...]:
        in_order = sorted(self._shelf(gallery).subjects.values(), key=lambda subject: subject.number)
        return _first(limit, (subject for subject in in_order if subject.number > after))

    def samples(
        self, gallery: str, *, subject: str | None = None, after: int = 0, limit: int = 1000
    ) -> tuple[Sample, ...]:
        subject = nfc(subject)
        all_ = (held.sample for _, held in sorted(self._shelf(gallery).held.items()))
        return _first(limit, (one for one in all_ if one.id > after and subject in {None, one.subject}))

    def picture(self, gallery: str, sample: int) -> bytes | None:
        held = self._shelf(gallery).held.get(sample)
        return held.picture if held else None

    def keyed(self, gallery: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        shelf = self._shelf(gallery)
        holders = {key: self._holder(shelf, key) for key in keys}
        return {
            key: Stored(subject=shelf.subjects[held.sample.subject], sample=held.sample.id, repeated=True)
            for key, held in holders.items()
            if held is not None
        }

    def search(
        self, gallery: str, probes: FloatArray, limit: int, *, templates: bool = False, single: bool = False
    ) -> Matches:
        shelf = self._shelf(gallery)
        probes = check_probes(probes, shelf.gallery.space.dimension)
        if limit < 1:
            raise InvalidOption("limit must be 1 or more")
        if single:
            return tuple(self._single(shelf, probe)[:limit] for probe in probes)
        if not templates:
            return tuple(_subjects(self._nearest(shelf, probe), limit) for probe in probes)
        found = ((probe, _subjects(self._nearest(shelf, probe), max(limit, RANKED_ANEW))) for probe in probes)
        return tuple(_subjects(self._by_template(shelf, probe, near), limit) for probe, near in found)

    def log(self, action: str, gallery: str, origin: Origin, *, subjects: Sequence[int] = (), count: int = 0) -> None:
        self._log.append(
            LogEntry(
                number=len(self._log) + 1,
                at=origin.at,
                actor=origin.actor,
                action=action,
                gallery=gallery,
                subjects=tuple(subjects),
                count=count,
            )
        )

    def entries(
        self, gallery: str | None = None, *, after: int = 0, limit: int = 100, newest_first: bool = False
    ) -> tuple[LogEntry, ...]:
        found = [one for one in self._log if gallery in {None, one.gallery}]
        if newest_first:
            return _first(limit, (one for one in reversed(found) if not after or one.number < after))
        return _first(limit, (one for one in found if one.number > after))

    def backup(self, target: Path, origin: Origin) -> None:
        raise InvalidOption(f"the model is not written to {target}, not even for {origin.actor}")

    def close(self) -> None:
        """Do nothing: what is in memory stays there."""

    def _shelf(self, name: str) -> _Shelf:
        if name not in self._shelves:
            raise GalleryNotFound(f"there is no gallery {name}")
        return self._shelves[name]

    def _known(self, shelf: _Shelf, subject: str) -> str:
        if nfc(subject) not in shelf.subjects:
            raise SubjectNotFound(f"there is no subject {subject}")
        return nfc(subject)

    def _holder(self, shelf: _Shelf, key: str) -> _Held | None:
        return next((held for held in shelf.held.values() if held.key == key), None)

    def _store(self, shelf: _Shelf, new: NewSample, embedding: FloatArray, origin: Origin) -> int:
        if new.subject not in shelf.subjects:
            self._make(shelf, new.subject, origin)
        self._change(shelf, new.subject, origin, new.details, samples=1)
        keep = shelf.gallery.policy.keep if new.picture is not None else "nothing"
        sample = Sample(
            id=next(self._numbers),
            subject=new.subject,
            embedding=embedding,
            quality=new.quality,
            source=new.source,
            picture=keep,
            created_at=origin.at,
            counter=new.counter,
            metadata=dict(new.metadata),
        )
        picture = None if keep == "nothing" else new.picture
        shelf.held[sample.id] = _Held(sample, picture, new.key, new.fingerprint)
        return sample.id

    def _make(self, shelf: _Shelf, subject: str, origin: Origin) -> None:
        shelf.subjects[subject] = Subject(
            id=subject,
            number=next(self._numbers),
            name=None,
            metadata={},
            consent=None,
            created_at=origin.at,
            updated_at=origin.at,
            expires_at=None,
            version=0,
            samples=0,
        )

    def _change(
        self, shelf: _Shelf, subject: str, origin: Origin, details: Details = NO_DETAILS, *, samples: int = 0
    ) -> None:
        """Note a change of a subject. In the details, None leaves what is there, and what is empty clears it."""
        before = shelf.subjects[subject]
        expires_at = before.expires_at if details.expires_at is None else details.expires_at
        shelf.subjects[subject] = replace(
            before,
            name=before.name if details.name is None else details.name or None,
            metadata=before.metadata if details.metadata is None else dict(details.metadata),
            consent=before.consent if details.consent is None else details.consent or None,
            expires_at=None if expires_at == NEVER else expires_at,
            ignored=before.ignored if details.ignored is None else details.ignored,
            version=before.version + 1,
            updated_at=origin.at,
            samples=before.samples + samples,
        )

    def _check_versions(self, shelf: _Shelf, subjects: Iterable[str], version: int | None) -> None:
        if version is not None and any(shelf.subjects[subject].version != version for subject in subjects):
            raise VersionMismatch("the subject has changed")

    def _forget(self, shelf: _Shelf, subjects: Sequence[str], action: str, origin: Origin) -> Erased:
        numbers = tuple(sorted(shelf.subjects.pop(subject).number for subject in subjects))
        gone = [sample for sample, held in shelf.held.items() if held.sample.subject in subjects]
        for sample in gone:
            del shelf.held[sample]
        if numbers:
            self.log(action, shelf.gallery.name, origin, subjects=numbers, count=len(gone))
        return Erased(subjects=numbers, samples=len(gone), overwritten=True)

    def _nearest(self, shelf: _Shelf, probe: FloatArray) -> tuple[Match, ...]:
        nearest: dict[tuple[str, bool], Match] = {}
        for match in self._matches(shelf, probe):
            nearest.setdefault((match.subject, match.counter), match)
        return tuple(nearest.values())

    def _single(self, shelf: _Shelf, probe: FloatArray) -> tuple[Match, ...]:
        """Return the samples, but for those that are farther than a counter-sample of the same subject."""
        found = self._matches(shelf, probe)
        against = {match.subject: match.distance for match in reversed(found) if match.counter}
        return tuple(one for one in found if not one.counter and one.distance <= against.get(one.subject, np.inf))

    def _matches(self, shelf: _Shelf, probe: FloatArray) -> list[Match]:
        samples = [held.sample for held in shelf.held.values()]
        found = true_distances(shelf.gallery.space.metric, probe, [sample.embedding for sample in samples])
        matches = []
        for distance, sample in sorted(zip(found, samples, strict=True), key=lambda pair: (pair[0], pair[1].id)):
            subject = shelf.subjects[sample.subject]
            match = Match(
                subject=subject.id,
                subject_number=subject.number,
                name=subject.name,
                sample=sample.id,
                distance=float(distance),
                ignored=subject.ignored,
                counter=sample.counter,
            )
            matches.append(match)
        return matches

    def _by_template(self, shelf: _Shelf, probe: FloatArray, near: tuple[Match, ...]) -> tuple[Match, ...]:
        anew = []
        for match in near:
            of_it = (held.sample for held in shelf.held.values() if held.sample.subject == match.subject)
            own = [one.embedding for one in of_it if not one.counter]
            if not match.counter:
                (distance,) = true_distances(shelf.gallery.space.metric, probe, [true_template(own)])
                match = replace(match, distance=float(distance))  # noqa: PLW2901  # anew
            anew.append(match)
        return tuple(sorted(anew, key=lambda match: (match.distance, match.sample)))


def nfc(subject: T) -> T:
    """Return the ID of a subject as it is stored; anything else as it is."""
    return cast("T", unicodedata.normalize("NFC", subject)) if isinstance(subject, str) else subject


def _subjects(matches: tuple[Match, ...], limit: int) -> tuple[Match, ...]:
    """Return matches up to the last subject that is wanted: counter-samples do not count, and none comes after."""
    some: list[Match] = []
    for match in matches:
        some.append(match)
        limit -= not match.counter
        if not limit:
            break
    return tuple(some)


def new_model() -> Store:
    """Return a model as what it behaves as."""
    return cast("Store", StoreModel())


def _first(limit: int, items: Iterator[T]) -> tuple[T, ...]:
    if limit < 1:
        raise InvalidOption("limit must be 1 or more")
    return tuple(itertools.islice(items, limit))
