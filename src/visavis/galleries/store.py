"""Stores of galleries: what every kind promises, and the rules that are the same for all. They decide nothing.

A kind of store is a folder, called as the scheme of its URL, whose ``store.py`` has a ``STORE``, which is a subclass of
``Store``, and a subclass of ``Transaction``; it is right when it passes ``tests/galleries/test_store_contract.py``.
"""

import base64
import binascii
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from visavis.core import work
from visavis.errors import (
    InvalidOption,
    KeyReused,
    SampleNotFound,
    StoreFull,
    SubjectExists,
    SubjectNotFound,
    VersionMismatch,
    VisavisError,
)
from visavis.galleries.moves import add_subject, changed, erase, move_samples, new_subject
from visavis.galleries.records import (
    KEY_BYTES,
    Details,
    Erased,
    Gallery,
    GalleryCheck,
    LogEntry,
    Matches,
    NewSample,
    Origin,
    Sample,
    SampleRow,
    Stored,
    StoreKeys,
    Subject,
    check_limit,
    check_samples,
    check_subject_id,
    in_utc,
    normal,
    within_integers,
)
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray

_AT_ONCE = 500  # subjects whose time is over, in one transaction; and samples of a subject for which there is no room
_UNDONE = "nothing was forgotten, or not all of it"
URL_EXAMPLES = "sqlite:///faces.db (in this folder), sqlite:////var/lib/faces.db, postgresql://user@host/database"


class Use(NamedTuple):
    """What an idempotency key was used for."""

    subject: Subject  # as it is now
    sample: int  # the ID of the sample that came of it
    fingerprint: str | bytes  # as ``Transaction.fingerprint`` returned it


@contextmanager
def undone(words: str) -> Iterator[None]:
    """Say in the error of a full disk what was not done, unless that is said already; it may decorate a function."""
    try:
        yield
    except StoreFull as error:
        if "undone" in vars(error):
            raise
        told = StoreFull(f"{words}: {error}")
        told.undone = words
        raise told from error.__cause__


def log_entry(action: str, gallery: str, origin: Origin, subjects: Sequence[int] = (), count: int = 0) -> LogEntry:
    """Return an entry that has no number yet."""
    return LogEntry(
        number=0,
        at=in_utc(origin.at),
        actor=origin.actor,
        action=action,
        gallery=gallery,
        subjects=tuple(subjects),
        count=count,
    )


class Transaction(ABC):
    """A transaction in one gallery, in the words of one kind of store: no rules, no checks."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    @abstractmethod
    def find(self, subjects: Iterable[str]) -> dict[str, Subject]:
        """Return by ID those subjects that are there, whose IDs are in their normal form."""

    def subject(self, subject: str) -> Subject:
        """Return a subject by its ID; ``SubjectNotFound`` where there is none."""
        for found in self.find([normal(subject)]).values():
            return found
        raise SubjectNotFound(f"gallery {self.gallery.name!r} has no subject {subject!r}")

    def numbers(self, subjects: Iterable[str | int]) -> dict[int, int]:
        """Return by number the versions of subjects that are there, by their IDs or numbers, also of damaged ones."""
        found: dict[int, int] = {}
        for subject in subjects:
            by_number = self.subjects(subject - 1, 1) if isinstance(subject, int) else self.find([subject]).values()
            found |= {one.number: one.version for one in by_number if subject in {one.id, one.number}}
        return found

    @abstractmethod
    def subjects(self, after: int, limit: int) -> tuple[Subject, ...]:
        """Return the next subjects after a number, in the order of their numbers."""

    @abstractmethod
    def due(self, at: datetime | None, limit: int | None) -> tuple[int, ...]:
        """Return, ascending, so many numbers of subjects that expire by a moment in UTC; None stands for any or all."""

    @abstractmethod
    def samples(self, subject: int | None, after: int, limit: int) -> tuple[Sample, ...]:
        """Return the next samples after an ID, in the order of their IDs: of a subject's number, or of all."""

    @abstractmethod
    def picture(self, sample: int) -> bytes | None:
        """Return what is stored of a sample's image, or None."""

    @abstractmethod
    def uses(self, keys: Iterable[str]) -> dict[str, Use]:
        """Return by key the uses of those idempotency keys that are in use."""

    @abstractmethod
    def fingerprint(self, sample: NewSample) -> str | bytes:
        """Return what tells apart the samples that a key may be used for, as it is stored."""

    @abstractmethod
    def new_numbers(self, count: int) -> tuple[Iterator[int], Iterator[int]]:
        """Return IDs for so many samples and numbers for so many subjects: ascending, and never returned before."""

    @abstractmethod
    def set_policy(self, policy: Policy) -> None:
        """Replace the gallery's policy."""

    @abstractmethod
    def put_subjects(self, changes: Sequence[tuple[Subject | None, Subject]]) -> None:
        """Write subjects: pairs of what is stored, None where that is nothing, and of what is to be."""

    @abstractmethod
    def put_samples(self, rows: Sequence[SampleRow]) -> None:
        """Write samples of subjects that are there."""

    @abstractmethod
    def erase_samples(self, samples: Sequence[int], at: datetime) -> dict[int, int]:
        """Erase those samples that are there, each being a change of its subject.

        Returns:
            How many each subject lost, by its number.
        """

    @abstractmethod
    def erase_subjects(self, subjects: Sequence[int]) -> int:
        """Erase subjects that are there, by their numbers, with all their samples; return how many these were."""

    @abstractmethod
    def drop(self) -> tuple[int, ...]:
        """Erase the gallery with all that it holds; return its subjects' numbers, ascending."""

    @abstractmethod
    def count(self, *, subjects: int = 0, samples: int = 0) -> None:
        """Add to the gallery's counts."""

    @abstractmethod
    def add_to_log(self, entry: LogEntry) -> None:
        """Add an entry to the log, which numbers it."""

    def log(self, origin: Origin, action: str, subjects: Sequence[int] = (), count: int = 0) -> None:
        """Add an entry about the gallery to the log."""
        self.add_to_log(log_entry(action, self.gallery.name, origin, subjects, count))


class Store(ABC):
    """Galleries that outlive the process. Any number of threads may share a store.

    What a method that writes has returned survives a kill and a loss of power; a method that raises has changed
    nothing. What one process writes, the next call in any other sees.

    Every method that takes a gallery's name may raise ``GalleryNotFound``; every method may raise a ``SetupError``:
    ``StoreUnavailable``, ``StoreDamaged``, ``StoreForeign``, ``StoreOutdated``, ``StoreReadOnly``, ``StoreFull`` or
    ``GalleryLocked``.
    """

    # What each kind does in its own way.

    @classmethod
    @abstractmethod
    def from_url(cls, url: str, key: StoreKeys) -> "Store":
        """Return the store at a URL of this kind; see ``visavis.open_store``."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, without any password."""

    @abstractmethod
    def _reading(self, gallery: str) -> AbstractContextManager[Transaction]:
        """Give a transaction that sees one state of a gallery."""

    @abstractmethod
    def _writing(self, gallery: str) -> AbstractContextManager[Transaction]:
        """Give a transaction that changes a gallery, wholly or, where the block raises, not at all."""

    @abstractmethod
    def create(
        self, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin, *, encrypted: bool | None = None
    ) -> Gallery:
        """Make a gallery.

        Args:
            name: as ``check_gallery_name`` allows.
            space: of its embeddings.
            policy: how it is to be used.
            origin: who makes it.
            encrypted: whether to encrypt embeddings and pictures; None to do so where the store has a key.

        Raises:
            GalleryExists: there is one of that name.
            GalleryLocked: encryption is asked for, and there is no key.
            InvalidOption: the name is not allowed, or this kind of store cannot encrypt.
        """

    @abstractmethod
    def galleries(self) -> tuple[Gallery, ...]:
        """Return every gallery, by name."""

    @abstractmethod
    def search(
        self, gallery: str, probes: FloatArray, limit: int, *, templates: bool = False, single: bool = False
    ) -> Matches:
        """Return for each probe the nearest subjects, nearest first, each with its nearest sample.

        A subject counts once more where it has counter-samples: by the nearest of these.

        Args:
            gallery: to be searched.
            probes: (P, D).
            limit: how many subjects, 1 or more; counter-samples that are nearer than the last of them come along.
            templates: whether a subject is as far as its template, of those subjects whose samples are nearest,
                ``index.RANKED_ANEW`` at least; else as its nearest sample. See ``visavis.core.decide``.
            single: whether to return single samples, as many as the limit says, without counter-samples and without
                those that a counter-sample of their subject is nearer than; not with templates.

        Raises:
            InvalidEmbedding: a probe has another dimension, or holds what is no finite number.
        """

    @abstractmethod
    def add_to_log(self, entry: LogEntry) -> None:
        """Add an entry to the log, which numbers it."""

    @abstractmethod
    def entries(
        self, gallery: str | None = None, *, after: int = 0, limit: int = 100, newest_first: bool = False
    ) -> tuple[LogEntry, ...]:
        """Return the next entries of the log after a number: of a gallery, which need not exist any more, or of all.

        With ``newest_first`` these are the ones before that number; 0 stands for the end of the log.
        """

    @abstractmethod
    def backup(self, target: Path, origin: Origin) -> None:
        """Write a copy of the whole store to a file that does not exist yet, while others go on.

        Raises:
            InvalidOption: the file exists, or this kind of store is backed up by other means; the message says which.
        """

    def check(self, gallery: str, *, quick: bool = False) -> GalleryCheck:
        """Look for what is damaged: in all that is stored, or quickly.

        Of PostgreSQL, which has checksums of its own, it tells nothing.
        """
        _ = quick
        found = self.gallery(gallery)
        return GalleryCheck(gallery=found.name, subjects=found.subjects, samples=found.samples, damaged=())

    def rekey(self, gallery: str, origin: Origin) -> Gallery:
        """Give an encrypted gallery a new key, and seal all of it anew, while others go on.

        Where it was interrupted, another call goes on with it.

        Raises:
            InvalidOption: it is not encrypted.
        """
        _ = origin
        raise InvalidOption(f"gallery {gallery!r} is not encrypted: it has no key")

    def rewrap(self, origin: Origin) -> tuple[str, ...]:
        """Protect the keys of galleries with the first of the store's keys; return those that none of them opens.

        Raises:
            InvalidOption: this kind of store cannot encrypt.
            GalleryLocked: the store has no key.
        """
        _ = origin
        raise InvalidOption("this kind of store encrypts nothing, and has no key")

    @abstractmethod
    def _overwrite(self, gallery: Gallery, *, forgotten: bool) -> bool:
        """Let what was forgotten leave memory and files, after its transaction.

        Args:
            gallery: that it was in.
            forgotten: whether it was anything; else others may have forgotten something.

        Returns:
            Whether no file holds any of its bytes.
        """

    def _make_room(self) -> bool:
        """Make room on a full disk for forgetting; False where nothing can be done."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; they are opened again when they are needed."""

    # What is the same for all.

    def log(self, action: str, gallery: str, origin: Origin, *, subjects: Sequence[int] = (), count: int = 0) -> None:
        """Add an entry to the log: for what is no change, such as a search."""
        with undone(f"{action} could not be logged, and has no answer for that reason"):
            self.add_to_log(log_entry(action, gallery, origin, subjects, count))

    def gallery(self, name: str) -> Gallery:
        """Return one gallery."""
        with self._reading(name) as transaction:
            return transaction.gallery

    @undone("the policy was not changed")
    def set_policy(self, name: str, policy: Policy, origin: Origin) -> Gallery:
        """Replace a gallery's policy."""
        with self._writing(name) as transaction:
            transaction.set_policy(policy)
            transaction.log(origin, "policy")
            return replace(transaction.gallery, policy=policy)

    def drop(self, name: str, origin: Origin) -> Erased:
        """Forget a gallery with all that it holds, and its key; its log stays."""

        def erase(transaction: Transaction) -> tuple[tuple[int, ...], int]:
            transaction.log(origin, "forget", count=transaction.gallery.samples)
            return transaction.drop(), transaction.gallery.samples

        try:
            return self._forget(name, erase, whole=True)
        except StoreFull:  # its subjects, a few at a time, may have room enough
            part = self._forget_in_parts(name, lambda transaction: transaction.due(None, _AT_ONCE), origin)
        return _together(part, self._forget(name, erase, whole=True))

    @undone("nothing was stored")
    def enrol(self, gallery: str, samples: Sequence[NewSample], origin: Origin) -> tuple[Stored | VisavisError, ...]:
        """Store samples, all in one transaction.

        Raises:
            InvalidEmbedding: one has another dimension, or holds what is no finite number. Nothing is stored then.

        Returns:
            For each, in order, what became of it; ``KeyReused`` where its key belongs to something else.
        """
        with self._writing(gallery) as transaction:
            embeddings = check_samples(samples, transaction.gallery.space.dimension)
            batch = _Batch(transaction, samples, in_utc(origin.at))
            outcomes = tuple(
                batch.add(sample, embedding) for sample, embedding in zip(samples, embeddings, strict=True)
            )
            batch.write(origin)
        return outcomes

    @undone("no subject was made")
    def add_subject(self, gallery: str, subject: str, details: Details, origin: Origin) -> Subject:
        """Make a subject that has no samples yet.

        Raises:
            InvalidOption: the ID is not one that a subject may have.
            SubjectExists: there is one of that ID.
        """
        with self._writing(gallery) as transaction:
            return add_subject(transaction, subject, details, origin)

    @undone("the subject was not changed")
    def update(  # noqa: PLR0913  # each is a part of its own
        self,
        gallery: str,
        subject: str,
        details: Details,
        origin: Origin,
        *,
        new_id: str | None = None,
        version: int | None = None,
    ) -> Subject:
        """Change what is known of a subject, and its ID where there is a new one.

        Raises:
            SubjectNotFound: there is none of that ID.
            SubjectExists: the new ID is another subject's.
            VersionMismatch: its version is another than the one given.
        """
        with self._writing(gallery) as transaction:
            before = transaction.subject(subject)
            _check_version(before.version, version)
            after = changed(before, details, in_utc(origin.at))
            if new_id is not None:
                after = replace(after, id=check_subject_id(new_id))
                if after.id != before.id and transaction.find([after.id]):
                    raise SubjectExists(f"gallery {gallery!r} has a subject {after.id!r} already")
            transaction.put_subjects([(before, after)])
            transaction.log(origin, "update", [after.number])
        return after

    def move(
        self, gallery: str, subject: str, into: str, origin: Origin, *, samples: Iterable[int] | None = None
    ) -> Subject:
        """Give samples of a subject to another, and return that; without ``samples`` all, and forget the first.

        Raises:
            InvalidOption: both are one.
            SubjectNotFound: there is none of that ID.
            SampleNotFound: a sample is not the subject's.
        """
        wanted = None if samples is None else set(samples)

        def move(transaction: Transaction) -> tuple[tuple[int, ...], int]:
            first, other = transaction.subject(subject), transaction.subject(into)
            if first.number == other.number:
                raise InvalidOption("a subject cannot be merged into itself, nor a sample moved to whose it is")
            count = move_samples(transaction, first, other, origin, wanted)
            if count < len(wanted or ()):
                raise SampleNotFound(f"subject {subject!r} has not all of these samples")
            if wanted is None:
                erase(transaction, (first.number,), origin)
            return (first.number,), count

        self._forget(gallery, move, words="nothing was moved")
        with self._reading(gallery) as transaction:
            return transaction.subject(into)

    def forget_samples(
        self, gallery: str, samples: Iterable[int], origin: Origin, *, subject: str | None = None
    ) -> Erased:
        """Forget samples; those that are not there are passed over. A subject stays, also without any.

        Raises:
            SubjectNotFound: there is no subject of the ID that was given.
            SampleNotFound: a sample is that of another one.
        """
        wanted = [sample for sample in dict.fromkeys(samples) if sample == within_integers(sample)]

        def erase(transaction: Transaction) -> tuple[tuple[int, ...], int]:
            owner = None if subject is None else transaction.numbers([normal(subject)])
            if owner == {}:
                raise SubjectNotFound(f"gallery {gallery!r} has no subject {subject!r}")
            lost = transaction.erase_samples(wanted, in_utc(origin.at))
            if owner is not None and lost.keys() - owner:
                raise SampleNotFound(f"subject {subject!r} has no such sample")
            subjects, count = tuple(sorted(filter(None, lost))), sum(lost.values())
            if count:
                transaction.count(samples=-count)
                transaction.log(origin, "forget", subjects, count)
            return subjects, count

        return self._forget(gallery, erase)

    def forget_subjects(
        self, gallery: str, subjects: Iterable[str | int], origin: Origin, *, version: int | None = None
    ) -> Erased:
        """Forget subjects, by their IDs or numbers, with all their samples; those that are not there are passed over.

        Raises:
            VersionMismatch: one has another version than the one given.
        """
        wanted = tuple(dict.fromkeys(map(normal, subjects)))

        def find(transaction: Transaction, version: int | None = None) -> tuple[int, ...]:
            found = transaction.numbers(wanted)
            for its_version in found.values():
                _check_version(its_version, version)
            return tuple(sorted(found))

        try:
            return self._forget(gallery, lambda transaction: erase(transaction, find(transaction, version), origin))
        except StoreFull:
            return self._forget_in_parts(gallery, find, origin)

    def expire(self, gallery: str, origin: Origin) -> Erased:
        """Forget the subjects whose time is over at ``origin.at``; fast where there is none."""
        at = in_utc(origin.at)
        with self._reading(gallery) as transaction:
            numbers = transaction.due(at, 1)
        if not numbers:
            return Erased(subjects=(), samples=0, overwritten=self._overwrite(transaction.gallery, forgotten=False))
        return self._forget_in_parts(gallery, lambda transaction: transaction.due(at, _AT_ONCE), origin, "expire")

    def subject(self, gallery: str, subject: str) -> Subject | None:
        """Return a subject, or None."""
        with self._reading(gallery) as transaction:
            return next(iter(transaction.find([normal(subject)]).values()), None)

    def subjects(self, gallery: str, *, after: int = 0, limit: int = 100) -> tuple[Subject, ...]:
        """Return the next subjects after a number, in the order of their numbers, which is that of their enrolment."""
        with self._reading(gallery) as transaction:
            return transaction.subjects(within_integers(after), check_limit(limit))

    def samples(
        self, gallery: str, *, subject: str | None = None, after: int = 0, limit: int = 1000
    ) -> tuple[Sample, ...]:
        """Return the next samples after an ID, in the order of their IDs: of a subject, or of all."""
        after, limit = within_integers(after), check_limit(limit)
        with self._reading(gallery) as transaction:
            if subject is None:
                return transaction.samples(None, after, limit)
            found = transaction.find([normal(subject)]).values()
            return tuple(sample for one in found for sample in transaction.samples(one.number, after, limit))

    def picture(self, gallery: str, sample: int) -> bytes | None:
        """Return what is stored of a sample's image, or None."""
        with self._reading(gallery) as transaction:
            return transaction.picture(within_integers(sample))

    def keyed(self, gallery: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        """Return for those idempotency keys that are in use what they were used for."""
        with self._reading(gallery) as transaction:
            uses = transaction.uses(keys)
        return {key: Stored(subject=use.subject, sample=use.sample, repeated=True) for key, use in uses.items()}

    def _forget(self, gallery: str, erase: "Erasing", *, whole: bool = False, words: str = _UNDONE) -> Erased:
        """Erase something in one transaction, also where the disk is full, and overwrite it."""
        with undone(words):
            while True:
                try:
                    with self._writing(gallery) as transaction:
                        subjects, samples = erase(transaction)
                    break
                except StoreFull:
                    if not self._make_room():
                        raise
            overwritten = self._overwrite(transaction.gallery, forgotten=whole or bool(subjects))
        if whole or subjects:
            work.give_memory_back()
        return Erased(subjects=subjects, samples=samples, overwritten=overwritten)

    def _forget_in_parts(
        self, gallery: str, find: Callable[[Transaction], tuple[int, ...]], origin: Origin, action: str = "forget"
    ) -> Erased:
        """Forget the subjects that are found, until none is: each time in one transaction, or sample by sample.

        Samples need less room, where the disk is full.
        """
        all_of_it = Erased(subjects=(), samples=0, overwritten=True)
        while True:
            try:
                erased = self._forget(
                    gallery, lambda transaction: erase(transaction, find(transaction), origin, action)
                )
            except StoreFull:
                with self._reading(gallery) as transaction:
                    samples = [
                        sample.id for number in find(transaction) for sample in transaction.samples(number, 0, _AT_ONCE)
                    ]
                lost = sum(self.forget_samples(gallery, [sample], origin).samples for sample in samples)
                if not lost:
                    raise
                erased = Erased(subjects=(), samples=lost, overwritten=True)
            all_of_it = _together(all_of_it, erased)
            if not (erased.subjects or erased.samples):
                return all_of_it


def _together(some: Erased, more: Erased) -> Erased:
    overwritten = some.overwritten and more.overwritten
    return Erased(subjects=some.subjects + more.subjects, samples=some.samples + more.samples, overwritten=overwritten)


Erasing = Callable[[Transaction], tuple[tuple[int, ...], int]]
"""Erases something, and returns the numbers of the subjects that it was of, and how many samples."""


class _Batch:
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


def _check_version(present: int, version: int | None) -> None:
    if version is not None and present != version:
        raise VersionMismatch(f"the subject has changed: its version is {present}, not {version}; read it anew")


_ALIASES = {"postgresql": "postgres"}


def open_store(url: str, *, key: StoreKeys = None) -> Store:
    """Return the store at a URL; nothing is read or made before it is needed, but for indexes.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or ``postgresql://...`` as psycopg reads it, to
            which ``?search=hnsw`` may be added for approximate search: indexes that are missing are then made here.
        key: 32 bytes that protect the keys of encrypted galleries; new galleries are encrypted where it is given.
            Several while the key changes: the first protects what is new, and each opens what it protects.

    Raises:
        InvalidOption: the URL is none of these, the key is none, or this kind of store cannot encrypt.
        DriverMissing: the library that speaks to this kind of store is not installed.
    """
    scheme = url.partition(":")[0].lower()
    folder = _ALIASES.get(scheme, scheme)
    if not (folder.isidentifier() and Path(__file__).with_name(folder).joinpath("store.py").is_file()):
        raise InvalidOption(f"the URL of a store is one such as {URL_EXAMPLES}")
    kind: type[Store] = importlib.import_module(f"visavis.galleries.{folder}.store").STORE
    return kind.from_url(url, key)


def read_keys(text: str) -> tuple[bytes, ...]:
    """Return the keys that a text spells, a line for each: 64 hexadecimal digits, or 32 bytes in base64.

    Raises:
        InvalidOption: there is none, or one is none of these.
    """
    return tuple(_read_key(line) for line in text.split() or [""])


def _read_key(text: str) -> bytes:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidOption(
            "the key of the galleries is 64 hexadecimal digits, or 32 bytes in base64; openssl rand -hex 32 makes one"
        )
    return key
