"""One gallery without looking at images: its records, and forgetting them."""

from collections.abc import Callable, Iterator
from typing import Any

from visavis.errors import SampleNotFound, SubjectNotFound
from visavis.galleries.records import Details, Erased, Gallery, LogEntry, Origin, Policy, Sample, Subject
from visavis.galleries.store import Store
from visavis.service import transfer
from visavis.service.decisions import within_retention
from visavis.service.results import Receipt


class GalleryKeeping:
    """The records of a gallery by its name."""

    def __init__(self, store: Store, name: str, origin: Callable[[], Origin]) -> None:
        """Name a gallery; use ``Galleries.open``."""
        self.name = name
        self._store = store
        self._origin = origin

    @property
    def record(self) -> Gallery:
        """What is known of the gallery as a whole."""
        return self._store.gallery(self.name)

    def set_policy(self, policy: Policy) -> Gallery:
        """Replace the policy; what is enrolled already stays."""
        return self._store.set_policy(self.name, policy, self._origin())

    def subjects(self, *, after: int = 0, limit: int = 100) -> tuple[Subject, ...]:
        """Return the next subjects after a number, in the order of their numbers, which is that of their enrolment."""
        self._expire()
        return self._store.subjects(self.name, after=after, limit=limit)

    def subject(self, subject: str) -> Subject:
        """Return a subject.

        Raises:
            SubjectNotFound: there is none of that ID.
        """
        self._expire()
        return self._subject(subject)

    def samples(self, subject: str) -> tuple[Sample, ...]:
        """Return the samples of a subject, oldest first.

        Raises:
            SubjectNotFound: there is none of that ID.
        """
        self.subject(subject)
        return tuple(transfer.all_samples(self._store, self.name, subject))

    def update(self, subject: str, details: Details, *, version: int | None = None) -> Subject:
        """Change what is known of a subject.

        Args:
            subject: its ID.
            details: what to change.
            version: that the caller knows; where the subject has another by now, nothing is changed.

        Raises:
            SubjectNotFound: there is none of that ID.
            VersionMismatch: it has changed meanwhile.
        """
        self._expire()
        origin = self._origin()
        details = within_retention(details, self.record.policy, origin.at)
        return self._store.update(self.name, subject, details, origin, version=version)

    def picture(self, subject: str, sample: int) -> bytes:
        """Return the encoded image, or chip, that is stored with a sample.

        Raises:
            SubjectNotFound: there is no subject of that ID.
            SampleNotFound: the subject has no such sample, or nothing is stored with it.
        """
        self._expire()
        number = self._sample_of(subject, sample).number
        picture = self._store.picture(self.name, sample)
        if picture is None:
            raise SampleNotFound(f"nothing is stored of the image of sample {sample}")
        self._store.log("picture", self.name, self._origin(), subjects=(number,), count=1)
        return picture

    def forget_sample(self, subject: str, sample: int) -> Receipt:
        """Forget a sample; its subject stays.

        Raises:
            SubjectNotFound: there is no subject of that ID.
            SampleNotFound: it has no such sample.
        """
        gallery = self.record
        self._sample_of(subject, sample)
        origin = self._origin()
        erased = self._store.forget_samples(self.name, [sample], origin)
        if not erased.samples:  # somebody else was faster
            raise SampleNotFound(f"subject {subject!r} has no sample {sample}")
        return _receipt(gallery, subject, erased, origin)

    def forget_subject(self, subject: str, *, version: int | None = None) -> Receipt:
        """Forget a subject with all its samples and all that is known of it.

        Args:
            subject: its ID.
            version: that the caller knows; where the subject has another by now, nothing is forgotten.

        Raises:
            SubjectNotFound: there is none of that ID.
            VersionMismatch: it has changed meanwhile.
        """
        gallery, origin = self.record, self._origin()
        erased = self._store.forget_subjects(self.name, [subject], origin, version=version)
        if not erased.subjects:
            raise SubjectNotFound(f"gallery {self.name!r} has no subject {subject!r}")
        return _receipt(gallery, subject, erased, origin)

    def forget(self) -> Receipt:
        """Forget the gallery with everybody in it; where it is encrypted, destroy its key."""
        gallery, origin = self.record, self._origin()
        return _receipt(gallery, None, self._store.drop(self.name, origin), origin)

    def export(self, *, pictures: bool = False) -> Iterator[dict[str, Any]]:
        """Return a header and a line for each sample, ready for JSON; ``import_lines`` takes them.

        Args:
            pictures: whether to include what is stored of images, in base64.
        """
        self._expire()
        gallery, origin = self.record, self._origin()
        self._store.log("export", self.name, origin, count=gallery.samples)
        return transfer.export_lines(self._store, gallery, origin.at, pictures=pictures)

    def export_subject(self, subject: str) -> dict[str, Any]:
        """Return all that is stored of a subject, with pictures and its entries in the log: for the person itself.

        Raises:
            SubjectNotFound: there is none of that ID.
        """
        found = self.subject(subject)
        self._store.log("export", self.name, self._origin(), subjects=(found.number,), count=found.samples)
        return transfer.subject_export(self._store, self.record, found)

    def entries(self, *, after: int = 0, limit: int = 100) -> tuple[LogEntry, ...]:
        """Return the next entries of the gallery's log after a number."""
        return self._store.entries(self.name, after=after, limit=limit)

    def _expire(self) -> None:
        """Forget those whose time is over before anything else is done."""
        self._store.expire(self.name, self._origin())

    def _subject(self, subject: str) -> Subject:
        found = self._store.subject(self.name, subject)
        if found is None:
            raise SubjectNotFound(f"gallery {self.name!r} has no subject {subject!r}")
        return found

    def _sample_of(self, subject: str, sample: int) -> Subject:
        """Return the subject, which has the sample."""
        found = self._subject(subject)
        samples = self._store.samples(self.name, subject=subject, after=sample - 1, limit=1)
        if not samples or samples[0].id != sample:
            raise SampleNotFound(f"subject {subject!r} has no sample {sample}")
        return found


def _receipt(gallery: Gallery, subject: str | None, erased: Erased, origin: Origin) -> Receipt:
    return Receipt(
        gallery=gallery.name,
        gallery_number=gallery.number,
        subject=subject,
        subjects=erased.subjects,
        samples=erased.samples,
        forgotten_at=origin.at,
        actor=origin.actor,
        overwritten=erased.overwritten,
    )
