"""The audit of a gallery: what an exact search of everybody among everybody brings to light."""

from collections.abc import Iterable, Sequence

import numpy as np

from visavis.core import work
from visavis.core.decide import distances, probability_of_same
from visavis.galleries.records import Gallery, Match, Sample, alike, normal
from visavis.galleries.store import Store
from visavis.service.decisions import Rules, unfit
from visavis.service.results import AuditReport, LowQuality, Outlier, SubjectPair
from visavis.service.transfer import all_samples, all_subjects
from visavis.types import Metric


def audit(store: Store, gallery: Gallery, rules: Rules) -> AuditReport:
    """Look at every sample of a gallery: a search for each, so that it costs the square of the gallery's size."""
    report = _Findings(gallery, rules)
    for subject in all_subjects(store, gallery.name):
        work.check()
        samples = tuple(each for each in all_samples(store, gallery.name, subject.id) if not each.counter)
        report.ids.append(subject.id)
        report.samples += len(samples)
        if samples:
            found = store.search(gallery.name, np.stack([sample.embedding for sample in samples]), 2)
            others = (
                (match for match in matches if match.subject != subject.id and not match.counter) for matches in found
            )
            report.look_at(samples, [next(several, None) for several in others])
    return report.finished()


_PROBES, _SIMILAR = 16, 5  # samples of a subject whose neighbours are looked for, and how many subjects are told


def similar(store: Store, gallery: str, subject: str) -> tuple[int, list[Match]]:
    """Return how many samples of a subject were looked at, and the subjects whose faces are nearest, nearest first."""
    samples = store.samples(gallery, subject=subject, limit=_PROBES)
    probes = [sample.embedding for sample in samples if not sample.counter]
    found = store.search(gallery, np.stack(probes), _SIMILAR + 1) if probes else ()
    matched = (match for matches in found for match in matches if not match.counter)
    near = sorted(matched, key=lambda match: match.distance)
    first = {match.subject: match for match in reversed(near) if match.subject != normal(subject)}
    return len(probes), sorted(first.values(), key=lambda match: match.distance)[:_SIMILAR]


def mistaken(some: Sequence[Sample], others: Sequence[Sample], metric: Metric, limit: float) -> list[int]:
    """Return the counter-samples of two subjects who are one person that show the other of them."""
    return [
        sample.id
        for samples, rest in ((some, others), (others, some))
        if (own := [other.embedding for other in rest if not other.counter])
        for sample in samples
        if sample.counter and distances(metric, sample.embedding, np.stack(own)).min() < limit
    ]


class _Findings:
    """What was found so far."""

    def __init__(self, gallery: Gallery, rules: Rules) -> None:
        self.ids: list[str] = []
        self.samples = 0
        self._metric = gallery.space.metric
        self._rules = rules
        self._pairs: dict[frozenset[str], SubjectPair] = {}
        self._outliers: list[Outlier] = []
        self._low_quality: list[LowQuality] = []

    def look_at(self, samples: tuple[Sample, ...], nearest: Iterable[Match | None]) -> None:
        """Look at the samples of one subject, each with the nearest other subject."""
        vectors = np.stack([sample.embedding for sample in samples])
        for place, (sample, other) in enumerate(zip(samples, nearest, strict=True)):
            near = other if other is not None and other.distance < self._rules.rule.threshold else None
            if near is not None:
                self._add_pair(sample, near)
            if len(samples) > 1:
                among_own = distances(self._metric, sample.embedding, vectors)
                among_own[place] = np.inf
                own, of = float(among_own.min()), near.subject if near else None
                if own >= self._rules.pack.threshold:
                    self._outliers.append(Outlier(subject=sample.subject, sample=sample.id, distance=own, nearest=of))
            if lacks := unfit(sample.embedding, sample.quality, self._rules):
                reasons = tuple(lack.code for lack in lacks)
                self._low_quality.append(LowQuality(subject=sample.subject, sample=sample.id, reasons=reasons))

    def finished(self) -> AuditReport:
        """Return all of it, the most urgent first."""
        pairs = sorted(self._pairs.values(), key=lambda pair: (pair.distance, pair.samples))
        limit = self._rules.conflict_threshold
        return AuditReport(
            subjects=len(self.ids),
            samples=self.samples,
            duplicates=tuple(pair for pair in pairs if pair.distance < limit),
            confusable=tuple(pair for pair in pairs if pair.distance >= limit),
            outliers=tuple(sorted(self._outliers, key=lambda outlier: -outlier.distance)),
            low_quality=tuple(self._low_quality),
            lookalikes=alike(self.ids),
        )

    def _add_pair(self, sample: Sample, other: Match) -> None:
        both = frozenset((sample.subject, other.subject))
        known = self._pairs.get(both)
        if known is None or other.distance < known.distance:
            self._pairs[both] = SubjectPair(
                a=sample.subject,
                b=other.subject,
                samples=(sample.id, other.sample),
                distance=other.distance,
                probability=probability_of_same(other.distance, self._rules.pack.calibration),
            )
