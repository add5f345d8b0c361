"""1:N, beside a gallery that is searched one probe at a time."""

import numpy as np
import pytest
from store_oracle import true_distances, true_template

from visavis.core.decide import distances
from visavis.evaluation.embedding import EmbeddedPhotos
from visavis.evaluation.protocols import Photo, Split, people_of, split_people
from visavis.evaluation.search import ProbeResults, SearchReplicates, search, threshold_at_fpir
from visavis.types import Metric


def gallery(
    seed: int = 0, counts: tuple[int, ...] = (3,) * 12 + (1,) * 9, lost: tuple[int, ...] = (), per_person: int = 1
) -> tuple[EmbeddedPhotos, Split]:
    """Return photos of people, split, of which some show no face."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(len(counts)), counts)
    photos = [Photo(f"{place}.jpg", f"{place}.jpg", f"p{person}") for place, person in enumerate(people.tolist())]
    vectors = rng.normal(0, 1, (len(counts), 4))[people] + rng.normal(0, 0.5, (len(people), 4))
    vectors[list(lost)] = np.nan
    boxes = np.zeros((len(people), 4), np.float32)
    embedded = EmbeddedPhotos(vectors.astype(np.float32), boxes, dict.fromkeys(lost, ("no_face", "")))
    return embedded, split_people(photos, per_person=per_person)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("per_person", [1, 2])
@pytest.mark.parametrize("lost", [(), (0, 3, 5, 36), tuple(range(9))])
def test_answers_are_those_of_a_search_one_by_one(metric: Metric, per_person: int, lost: tuple[int, ...]) -> None:
    embedded, split = gallery(lost=lost, per_person=per_person)
    results = search(embedded, split, metric)
    _, numbers = people_of(split.photos)
    enrolled = [place for place in split.gallery.tolist() if place not in lost]
    for row, probe in enumerate(split.probes.tolist()):
        assert results.mated[row] == (numbers[probe] in numbers[split.gallery])
        assert results.embedded[row] == (probe not in lost)
        if probe in lost:
            assert not np.isfinite(results.nearest[row])
            assert not results.found(np.inf, 0.0)[row]
            continue
        images = distances(metric, embedded.embeddings[probe], embedded.embeddings[enrolled])
        people: dict[int, float] = {}
        for number in {int(numbers[place]) for place in enrolled}:
            template = true_template([embedded.embeddings[place] for place in enrolled if numbers[place] == number])
            people[number] = float(true_distances(metric, embedded.embeddings[probe], [template])[0])
        (first, nearest), (_, second) = sorted(people.items(), key=lambda item: item[1])[:2]
        assert results.nearest[row] == pytest.approx(nearest, abs=1e-6)
        assert results.margin[row] == pytest.approx(second - nearest, abs=1e-6)
        assert results.right[row] == (first == numbers[probe])
        own = {place: distance for place, distance in zip(enrolled, images, strict=True) if numbers[place] == first}
        assert results.references[row] == min(own, key=lambda place: own[place])


def test_nobody_enrolled_finds_nobody() -> None:
    embedded, split = gallery(lost=tuple(range(45)))
    results = search(embedded, split, "euclidean")
    assert not results.found(np.inf, 0.0).any()
    assert (results.references == -1).all()
    assert SearchReplicates(results).rates(1.0, 0.0).fnir.value == 1.0


def test_one_person_has_no_next_one() -> None:
    embedded, split = gallery(counts=(2, 1))
    results = search(embedded, split, "euclidean")
    assert np.isinf(results.margin).all()


def made(nearest: list[float], mated: list[bool], right: list[bool], margin: list[float] | None = None) -> ProbeResults:
    count = len(nearest)
    places = np.arange(count)
    return ProbeResults(
        probes=places,
        persons=places,
        mated=np.array(mated),
        nearest=np.array(nearest),
        margin=np.array(margin or [1.0] * count),
        right=np.array(right),
        references=places,
        embedded=np.isfinite(nearest),
    )


def test_rates_by_hand() -> None:
    results = made(
        nearest=[0.1, 0.2, 0.3, 0.9, 0.4, 0.8],
        mated=[True, True, True, True, False, False],
        right=[True, True, False, True, False, False],
        margin=[1.0, 0.01, 1.0, 1.0, 1.0, 1.0],
    )
    drawn = SearchReplicates(results)
    rates = drawn.rates(0.5, 0.05)
    assert (rates.fnir.value, rates.misidentified.value) == (0.75, 0.25)
    assert rates.fpir is not None
    assert rates.fpir.value == 0.5
    assert (rates.fpir.low, rates.fpir.high) == pytest.approx((0.0945, 0.9055), abs=1e-4)
    without_margin = drawn.rates(0.5, 0.0)
    assert without_margin.fnir.value == 0.5
    assert drawn.rates(0.05, 0.0).fnir.value == 1.0
    assert drawn.rate(results.right, results.mated).value == 0.75


def test_without_strangers_there_is_no_fpir() -> None:
    drawn = SearchReplicates(made([0.1], mated=[True], right=[True]))
    assert drawn.rates(0.5, 0.0).fpir is None
    assert np.isnan(drawn.rate(np.array([True]), np.array([False])).value)


@pytest.mark.parametrize(("fpir", "threshold"), [(0.0, 0.2), (0.25, 0.4), (0.5, 0.8), (0.75, np.inf), (1.0, np.inf)])
def test_thresholds_keep_their_rate(fpir: float, threshold: float) -> None:
    # The third stranger is turned away by the margin at any threshold.
    results = made([0.2, 0.4, 0.1, 0.8], mated=[False] * 4, right=[False] * 4, margin=[1, 1, 0, 1])
    assert threshold_at_fpir(results, fpir, 0.05) == threshold
