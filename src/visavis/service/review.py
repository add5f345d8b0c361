"""The review queue of a gallery: faces of images that were nobody's for certain, until people say whose they are."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import starmap
from typing import Any

import numpy as np
from typing_extensions import Unpack

from visavis.core.embeddings import check_embedding
from visavis.errors import GalleryExists, GalleryNotFound, KeyReused, SampleNotFound, VisavisError
from visavis.galleries.records import (
    NO_DETAILS,
    QUEUE,
    Details,
    Erased,
    Gallery,
    Match,
    NewSample,
    Origin,
    Sample,
    Subject,
    within_integers,
)
from visavis.galleries.store import Store
from visavis.hints import Hinting
from visavis.models.recognizer import Observed
from visavis.options import Enrol, EnrolEmbeddings, Policy, Review, check_number, takes
from visavis.service.clusters import group_few
from visavis.service.decisions import Rules, rules_of, why_unfit
from visavis.service.enroller import Enroller, Enrolment, Observer, batches, encoded_chip, new_subject_id
from visavis.service.results import Candidate, Enrolled, Identification, Receipt, ReviewFace, ReviewGroup

_log = logging.getLogger("visavis.galleries")
MOST_KEPT = 1000
"""Faces in a queue; of more, the oldest are forgotten."""
_FORGOTTEN_AT_ONCE = MOST_KEPT // 10
_MOST_READ = 2 * MOST_KEPT  # at the same moment, several calls may each keep some
_NEAR = 0.5  # of the pack's threshold: two faces nearer than this are all but one picture,
_AGAIN_AFTER = timedelta(minutes=10)  # of which no other is kept before that
_LARGEST_NUMBER = 2**48  # of faces, for their places in a list
_KEEPING = Policy(keep="chips")


class ReviewQueue(Hinting):
    """The faces that wait for review in a gallery whose policy has ``review_days``. Any number of threads may share it.

    It is a gallery of its own beside the other, of the same space and encrypted as that is, which no list has: each
    face is a subject of one sample, whose number is the face's.
    """

    def __init__(
        self,
        store: Store,
        eyes: Observer,
        gallery: str,
        origin: Callable[[], Origin],
        bound: Callable[[], Gallery],
    ) -> None:
        """Name the queue of a gallery, which ``bound`` returns if its embeddings are of the eyes' space."""
        self.queue = gallery + QUEUE
        self._store = store
        self._eyes = eyes
        self._gallery = gallery
        self._origin = origin
        self._bound = bound

    def keep(self, seen: Sequence[Observed], found: Sequence[Identification]) -> None:
        """Keep of an image those faces that the gallery's own rules leave in doubt; where that fails, the log tells.

        Not kept are faces that nobody was looked for by: poor ones, covered ones, children's, prints and screens; nor
        those of subjects that are ignored, nor what hardly differs from a face that was kept minutes ago.
        """
        try:
            gallery = self._store.gallery(self._gallery)  # as it is by now
            rules = rules_of(gallery.policy, self._eyes.pack, searched=gallery)
            doubtful = [pair for pair in zip(seen, found, strict=True) if _is_doubtful(pair[1], rules)]
            if doubtful and gallery.policy.review_days is not None:
                self._keep(gallery, doubtful[:MOST_KEPT], timedelta(days=gallery.policy.review_days))
        except VisavisError as error:
            _log.warning("gallery %s: faces were not kept for review (%s)", self._gallery, error.code)

    def _keep(self, gallery: Gallery, doubtful: list[tuple[Observed, Identification]], period: timedelta) -> None:
        origin, queue, image = self._origin(), self._made(gallery), new_subject_id(None)
        vectors = [check_embedding(seen.face.embedding, gallery.space.dimension) for seen, _ in doubtful]
        nearest = self._store.search(self.queue, np.stack(vectors), 1)
        new = [
            NewSample(
                subject=new_subject_id(None),
                embedding=vector,
                details=Details(metadata=_known(found, image), expires_at=origin.at + period),
                quality=seen.face.quality,
                picture=encoded_chip(seen.chip),
            )
            for (seen, found), vector, near in zip(doubtful, vectors, nearest, strict=True)
            if not self._is_repeated(near, origin.at)
        ]
        if not new:
            return
        excess = queue.subjects + len(new) - MOST_KEPT
        if excess > 0:
            oldest = self._store.subjects(self.queue, limit=max(excess, _FORGOTTEN_AT_ONCE))
            self._store.forget_subjects(self.queue, [each.number for each in oldest], origin)
        self._store.enrol(self.queue, new, origin)

    def _made(self, gallery: Gallery) -> Gallery:
        """Return the queue as it is, made where there is none, without those whose time is over."""
        with suppress(GalleryNotFound):
            self._store.expire(self.queue, self._origin())
            return self._store.gallery(self.queue)
        with suppress(GalleryExists):  # somebody else just made it
            self._store.create(self.queue, gallery.space, _KEEPING, self._origin(), encrypted=gallery.encrypted)
        return self._store.gallery(self.queue)

    def _is_repeated(self, near: Sequence[Match], at: datetime) -> bool:
        same = [match.sample for match in near if match.distance < _NEAR * self._eyes.pack.threshold]
        kept = [each for sample in same for each in self._store.samples(self.queue, after=sample - 1, limit=1)]
        return any(each.id in same and at - each.created_at < _AGAIN_AFTER for each in kept)

    @takes(Review)
    def groups(
        self, *, after: int = 0, limit: int = 100, **options: Unpack[Review]
    ) -> tuple[tuple[ReviewGroup, ...], int | None]:
        """Return the next groups of faces that are likely one person each, largest first, and where to go on, or None.

        Args:
            after: what the call before returned, or 0.
            limit: how many groups.
            **options: see ``visavis.options.Review``.

        Raises:
            SpaceMismatch: the gallery holds embeddings of another pack.
        """
        gallery, least, tolerance = self._bound(), options["min_quality"] or 0.0, options["tolerance"]
        check_number("min_quality", least, at_least=0)
        tolerance = self._eyes.pack.cluster_threshold if tolerance is None else tolerance
        check_number("tolerance", tolerance, above=0)
        shown = [pair for pair in self._all() if _sharpness(pair[1]) >= least]
        if not shown:
            return (), None
        vectors = np.stack([sample.embedding for _, sample in shown])
        images = np.unique([subject.metadata["image"] for subject, _ in shown], return_inverse=True)[1]
        groups = group_few(vectors, images.tolist(), threshold=tolerance, metric=gallery.space.metric)
        best_first = [sorted((shown[at] for at in group), key=lambda face: -_sharpness(face[1])) for group in groups]
        left = {place: group for group in best_first if (place := _place(group)) > after}
        page = sorted(left)[:limit]
        told = (ReviewGroup(faces=tuple(starmap(self._shown, left[place]))) for place in page)
        return tuple(told), page[-1] if len(left) > limit else None

    def picture(self, face: int) -> bytes:
        """Return the encoded chip of a face.

        Raises:
            SampleNotFound: no such face waits.
        """
        _, sample = self._face(face)
        picture = self._store.picture(self.queue, sample.id)
        if picture is None:
            raise SampleNotFound(f"nothing is stored of the image of face {face}")
        self._store.log("picture", self.queue, self._origin(), subjects=(face,), count=1)
        return picture

    @takes(EnrolEmbeddings)
    def name(
        self,
        faces: Sequence[int],
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        **options: Unpack[EnrolEmbeddings],
    ) -> tuple[Enrolled | VisavisError, ...]:
        """Enrol faces, with their chips where the gallery keeps pictures; those that are enrolled leave the queue.

        Args:
            faces: their numbers.
            subject: whose they are: an ID, made if there is none of it yet; None for a new subject.
            details: of the subject, to be set with them.
            **options: see ``visavis.options.EnrolEmbeddings``.

        Returns:
            For each, in order, what became of it, or why it is refused: as in ``OpenGallery.enrol``, or SampleNotFound
            where no such face waits.
        """
        gallery, origin = self._bound(), self._origin()
        how: Enrol = {"faces": "main", "min_face": None, **options}
        enroller = Enroller(self._store, self._eyes, gallery, rules_of(gallery.policy, self._eyes.pack), origin, how)
        known = new_subject_id(None) if subject is None else subject
        wanted = (self._enrolment(face, known, details) for face in faces)
        results = [result for batch in batches(wanted) for result in enroller.enrol(batch)]
        pairs = list(zip(faces, results, strict=True))
        done = [face for face, result in pairs if isinstance(result, Enrolled)]
        if done:
            self._store.forget_subjects(self.queue, done, origin)
        return tuple(
            KeyReused(f"face {face} was enrolled as another subject already; discard it here")
            if isinstance(result, KeyReused)
            else result
            for face, result in pairs
        )

    def ignore(self, faces: Sequence[int], subject: str | None = None) -> tuple[Enrolled | VisavisError, ...]:
        """Enrol faces as those of a subject that is ignored: a new one, or the one of that ID; else as ``name``."""
        return self.name(faces, subject, details=Details(ignored=True))

    def discard(self, faces: Sequence[int]) -> Receipt:
        """Forget faces; those that are not there are passed over.

        Raises:
            SampleNotFound: none is there.
        """
        gallery, origin = self._store.gallery(self._gallery), self._origin()
        erased = self.forget(faces, origin)
        if not erased.subjects:
            raise SampleNotFound("none of these faces waits for review")
        return Receipt.of(replace(gallery, name=self.queue), None, erased, origin)

    def forget(self, faces: Sequence[int] | None = None, origin: Origin | None = None) -> Erased:
        """Forget faces, or all of the queue, if there is any."""
        with suppress(GalleryNotFound):
            if faces is None:
                return self._store.drop(self.queue, origin or self._origin())
            return self._store.forget_subjects(self.queue, faces, origin or self._origin())
        return Erased(subjects=(), samples=0, overwritten=True)

    def forget_resembling(self, subjects: Sequence[int], origin: Origin) -> Erased:
        """Forget the faces whose candidate one of these subjects was, by their numbers: they may show it."""
        faces: list[int] = []
        with suppress(GalleryNotFound):
            waiting = self._store.subjects(self.queue, limit=_MOST_READ)
            near = ((face.number, face.metadata["candidate"]) for face in waiting)
            faces = [number for number, candidate in near if candidate and candidate["subject_number"] in subjects]
        return self.forget(faces, origin)

    def _enrolment(self, face: int, subject: str, details: Details) -> Enrolment | VisavisError:
        try:
            waiting, sample = self._face(face)
            picture = self._store.picture(self.queue, sample.id)
        except VisavisError as error:
            return error
        return Enrolment(
            subject=subject,
            embedding=sample.embedding,
            details=details,
            quality=sample.quality,
            source="review",
            picture=picture,
            key=f"visavis review {waiting.id}",  # so that nobody is enrolled twice; an ID that nobody can guess
        )

    def _all(self) -> list[tuple[Subject, Sample]]:
        """Return all faces, but for damaged ones."""
        with suppress(GalleryNotFound):
            self._store.expire(self.queue, self._origin())
            samples = {sample.subject: sample for sample in self._store.samples(self.queue, limit=_MOST_READ)}
            subjects = self._store.subjects(self.queue, limit=_MOST_READ)
            return [(subject, samples[subject.id]) for subject in subjects if subject.id in samples]
        return []

    def _face(self, number: int) -> tuple[Subject, Sample]:
        with suppress(GalleryNotFound):
            self._store.expire(self.queue, self._origin())
            for subject in self._store.subjects(self.queue, after=within_integers(number) - 1, limit=1):
                samples = self._store.samples(self.queue, subject=subject.id, limit=1)
                if samples and subject.number == number:
                    return subject, samples[0]
        raise SampleNotFound(f"no face {number} waits for review")

    def _shown(self, face: Subject, sample: Sample) -> ReviewFace:
        return ReviewFace(
            number=face.number,
            quality=sample.quality,
            unknown=face.metadata["unknown"],
            candidate=self._candidate(face.metadata["candidate"]),
            seen_at=face.created_at,
            expires_at=face.expires_at,
        )

    def _candidate(self, near: Mapping[str, Any] | None) -> Candidate | None:
        """Return the candidate as it is called by now, or None where there was none, or it is gone."""
        number = near["subject_number"] if near else None
        for each in () if number is None else self._store.subjects(self._gallery, after=number - 1, limit=1):
            if near and each.number == number:
                return Candidate(**near, subject=each.id, name=each.name, ignored=each.ignored)
        return None


def _is_doubtful(found: Identification, rules: Rules) -> bool:
    """Tell whether a face is nobody's for certain by the gallery's own rule, whatever threshold a call had."""
    probe = found.face.embedding if found.face else None
    if found.unknown == "ignored" or why_unfit(found.face, probe, rules):  # which nobody asks in an empty gallery
        return False
    if found.unknown in {"low_margin", "rejected"}:
        return True
    return not found.candidates or rules.rule.decide(found.candidates[0].distance) != "same"


def _known(found: Identification, image: str) -> dict[str, Any]:
    """Return what is kept of an identification: a candidate by its number alone, as the log has it."""
    near = [{name: getattr(each, name) for name in _NEAREST} for each in found.candidates[:1]]
    return {"image": image, "unknown": found.unknown, "candidate": near[0] if near else None}


_NEAREST = ("subject_number", "sample", "distance", "probability", "margin")


def _sharpness(sample: Sample) -> float:
    return sample.quality.sharpness if sample.quality else 0.0


def _place(faces: Sequence[tuple[Subject, Sample]]) -> int:
    """Return where a group comes in a list, largest first: the same place for as long as nothing of it changes."""
    return (_MOST_READ - len(faces)) * _LARGEST_NUMBER + min(face.number for face, _ in faces)
