"""One gallery: enrol, identify, verify, forget."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from visavis.core.decide import Rule
from visavis.errors import InvalidOption, NoFace, SampleNotFound, VisavisError
from visavis.galleries.checks import check_embedding, check_probes
from visavis.models.finding import FacesPolicy
from visavis.models.recognizer import Rate, choose_rule, value_of
from visavis.service import hygiene, transfer
from visavis.service.decisions import candidates_of, check_live, identify, rules_of, verify, wanted_attributes
from visavis.service.filling import GalleryFilling
from visavis.service.reports import AuditReport
from visavis.service.results import Identification, SubjectVerification
from visavis.types import Face, FloatArray, ImageSource

_MOST_CANDIDATES = 1000


class OpenGallery(GalleryFilling):
    """A gallery by its name; every call sees it as it is now. Any number of threads may share one.

    Every method may raise ``GalleryNotFound`` where it was forgotten meanwhile, and a ``SetupError`` where the store
    cannot be used. Whose time is over is forgotten before anything else is done.
    """

    def identify(  # noqa: PLR0913  # independent options
        self,
        image: ImageSource,
        *,
        faces: FacesPolicy = "all",
        limit: int = 5,
        threshold: float | None = None,
        fmr: Rate | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> tuple[Identification, ...]:
        """Tell who the faces of an image are, largest first; an empty tuple where there are none.

        Args:
            image: as in ``Recognizer.detect``.
            faces: as in ``Recognizer.detect``.
            limit: how many candidates to return for each face.
            threshold: a subject nearer than this is identified; None for the gallery's own.
            fmr: the false match rate to keep in place of a threshold, as in ``Recognizer.verify``: that of a single
                comparison. Among N subjects about N times as many strangers are taken for somebody.
            min_face: the smallest face to look for, in place of the Recognizer's.
            require_live: whether a face that looks like a print or a screen is nobody; also where the policy says so.

        Raises:
            NoFace, MultipleFaces: with faces="only".
            SpaceMismatch: the gallery holds embeddings of another pack.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        found = self.identify_many(
            [image],
            faces=faces,
            limit=limit,
            threshold=threshold,
            fmr=fmr,
            min_face=min_face,
            require_live=require_live,
        )
        return value_of(next(found))

    def identify_many(  # noqa: PLR0913  # independent options
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        limit: int = 5,
        threshold: float | None = None,
        fmr: Rate | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> Iterator[tuple[Identification, ...] | VisavisError]:
        """Return for each image, in order, what ``identify`` returns, or the error that it would raise."""
        policy = self._bound().policy
        rules_of(policy, self._eyes.pack, threshold=threshold, fmr=fmr)  # before the work of looking
        attributes = wanted_attributes(require_live=require_live or policy.require_live)
        for seen in self._eyes.observe_many(images, faces=faces, min_face=min_face, attributes=attributes):
            if isinstance(seen, VisavisError):
                yield seen
            else:
                found = [observed.face for observed in seen]
                vectors = [face.embedding for face in found if face.embedding is not None]
                yield self._identify(vectors, found, limit, threshold, fmr)

    def identify_embeddings(
        self, embeddings: FloatArray, *, limit: int = 5, threshold: float | None = None, fmr: Rate | None = None
    ) -> tuple[Identification, ...]:
        """Tell who faces are that were embedded before: (P, D) of the gallery's space; else as in ``identify``.

        Raises:
            InvalidEmbedding: one is none of the gallery's space.
        """
        probes = list(check_probes(embeddings, self._bound().space.dimension))
        return self._identify(probes, [None] * len(probes), limit, threshold, fmr)

    def verify(  # noqa: PLR0913  # independent options
        self,
        image: ImageSource,
        subject: str,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        fmr: Rate | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> SubjectVerification:
        """Tell whether an image shows a subject, by the nearest of its samples.

        Args:
            image: as in ``Recognizer.detect``.
            subject: its ID.
            faces: as in ``Recognizer.verify``.
            threshold: a sample nearer than this is the same person; None for the pack's, as in ``Recognizer.verify``.
            fmr: the false match rate to keep in place of a threshold, as in ``Recognizer.verify``.
            min_face: the smallest face to look for, in place of the Recognizer's.
            require_live: whether to refuse a face that looks like a print or a screen; also where the policy says so.

        Raises:
            NotLive: a live face is required, and this one looks like none.
            NoFace, MultipleFaces: the image does not show what is needed.
            SubjectNotFound: there is no subject of that ID.
            SampleNotFound: the subject has no samples.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        if faces not in ("largest", "only"):
            raise InvalidOption(f"faces must be largest or only, not {faces!r}")
        gallery = self._bound()
        self._subject(subject)  # before the work of looking
        rule = self._rule(threshold, fmr)
        attributes = wanted_attributes(require_live=require_live or gallery.policy.require_live)
        seen = value_of(next(self._eyes.observe_many([image], faces=faces, min_face=min_face, attributes=attributes)))
        if not seen:
            raise NoFace("no face found")
        face = seen[0].face
        check_live(face)
        if face.embedding is None:
            raise AssertionError("faces that were observed come with embeddings")
        return self._verify(face.embedding, face, subject, rule)

    def verify_embedding(
        self, embedding: FloatArray, subject: str, *, threshold: float | None = None, fmr: Rate | None = None
    ) -> SubjectVerification:
        """Tell whether a face that was embedded before is a subject; everything else as in ``verify``."""
        vector = check_embedding(embedding, self._bound().space.dimension)
        return self._verify(vector, None, subject, self._rule(threshold, fmr))

    def audit(self, *, going_on: Callable[[], bool] = lambda: True) -> AuditReport:
        """Look for what should be mended: it searches the gallery for each of its samples, so large ones take long.

        Args:
            going_on: asked again and again; where it says no, the audit ends in ``StoreUnavailable``.
        """
        gallery = self._bound()
        self._store.log("audit", self.name, self._origin(), count=gallery.samples)
        return hygiene.audit(self._store, gallery, rules_of(gallery.policy, self._eyes.pack), going_on)

    def _identify(
        self,
        probes: list[FloatArray],
        faces: Sequence[Face | None],
        limit: int,
        threshold: float | None,
        fmr: Rate | None,
    ) -> tuple[Identification, ...]:
        if type(limit) is not int or not 1 <= limit <= _MOST_CANDIDATES:
            raise InvalidOption(f"limit must be a whole number from 1 to {_MOST_CANDIDATES}, not {limit!r}")
        gallery = self._bound()
        rules = rules_of(gallery.policy, self._eyes.pack, threshold=threshold, fmr=fmr)
        found = self._store.search(self.name, np.array(probes, np.float32), limit + 1) if probes else ()
        identifications = tuple(
            identify(candidates_of(matches, self._eyes.pack), rules, face, limit)
            for matches, face in zip(found, faces, strict=True)
        )
        if gallery.policy.log_searches:
            matched = dict.fromkeys(each.match.subject_number for each in identifications if each.match)
            self._store.log("identify", self.name, self._origin(), subjects=tuple(matched), count=len(probes))
        return identifications

    def _verify(self, probe: FloatArray, face: Face | None, subject: str, rule: Rule) -> SubjectVerification:
        gallery = self._bound()
        number = self._subject(subject).number
        samples = tuple(transfer.all_samples(self._store, self.name, subject))
        if not samples:
            raise SampleNotFound(f"subject {subject!r} has no samples; enrol one")
        verification = verify(probe, face, samples, self._eyes.pack, rule)
        if gallery.policy.log_searches:
            self._store.log("verify", self.name, self._origin(), subjects=(number,), count=1)
        return verification

    def _rule(self, threshold: float | None, fmr: Rate | None) -> Rule:
        """Return the rule of a verification."""
        pack = self._eyes.pack
        return choose_rule(pack, Rule.at(pack.threshold), threshold=threshold, fmr=fmr)
