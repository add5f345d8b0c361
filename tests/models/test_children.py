"""Children's faces, told from adults' by the default pack alone, on photos that it was not fitted on."""

from itertools import combinations
from pathlib import Path

import pytest

from visavis import Face, Recognizer, VisavisError
from visavis.core.decide import rule_at_rate
from visavis.models.recognizer import compare

EACH = 25


@pytest.fixture(scope="module")
def default(cache_dir: Path) -> Recognizer:
    return Recognizer(precision="f32", min_face=40, cache_dir=cache_dir)


def faces_of(recognizer: Recognizer, folder: Path) -> list[Face]:
    """Return the largest face of photos with odd numbers: the test was fitted on those with even ones."""
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    paths = sorted(folder.glob("*[13579].jpg"))[:EACH]
    found = recognizer.embed_many(map(str, paths), faces="largest", quality=True)
    return [faces[0] for faces in found if not isinstance(faces, VisavisError) and faces]


def test_small_children_are_never_one_person(default: Recognizer, test_data: Path) -> None:
    children = faces_of(default, test_data / "groups-of-people" / "age0-5")
    rates = default.pack.rates
    assert rates is not None
    for rule in (default.rule, rule_at_rate(rates, 1e-4)):
        answers = [compare(default.pack, *pair, rule) for pair in combinations(children, 2)]
        assert sum(answer.same for answer in answers) <= 0.001 * len(answers)
        assert sum(answer.reason == "child" for answer in answers) >= 0.95 * len(answers)
        assert sum(answer.distance < rule.threshold for answer in answers) > 0.2 * len(answers)  # else nothing is shown


def test_children_are_decided_about_where_that_is_allowed(
    default: Recognizer, test_data: Path, cache_dir: Path
) -> None:
    two = sorted((test_data / "groups-of-people" / "age0-5").glob("000[13].jpg"))
    if not two:
        pytest.skip("no photos of children")
    answer = default.verify(*two)
    assert (answer.same, answer.decision, answer.reason, answer.probability) == (False, "uncertain", "child", None)
    allowed = Recognizer(precision="f32", min_face=40, cache_dir=cache_dir, allow_children=True).verify(*two)
    assert allowed.reason is None
    assert allowed.probability is not None
    assert allowed.distance == pytest.approx(answer.distance, abs=1e-3)


@pytest.mark.thorough
def test_adults_are_rarely_children(default: Recognizer, test_data: Path) -> None:
    groups = ("asian-men", "asian-women", "black-women", "white-men", "white-women")
    adults = [face for group in groups for face in faces_of(default, test_data / "groups-of-people" / group)]
    child = default.pack.child
    assert child is not None
    told = [face.embedding is not None and child(face.embedding) for face in adults]
    assert len(told) >= 100
    assert sum(told) <= 0.06 * len(told)
