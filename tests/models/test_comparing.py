"""From two embedded faces to a verification, and what an installation knows of a pack's error rates."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured import MADE_UP, POINTS, keep

from visavis import Comparison, Recognizer, samples
from visavis.core.decide import Rule
from visavis.core.quality import ChildTest
from visavis.errors import InvalidEmbedding, InvalidOption, ModelCorrupt, SpaceMismatch
from visavis.models.catalogue import DLIB
from visavis.models.installation import Measured, as_installed
from visavis.models.recognizer import choose_rule, compare, value_of
from visavis.options import Threshold
from visavis.types import Face, Quality

PACK = replace(DLIB, child=None, calibration=MADE_UP.calibration, rates=MADE_UP.rates)
UNKNOWN = replace(DLIB, child=None, calibration=None, rates=None)
DEFAULT = Rule.at(0.6)


def face(*embedding: float) -> Face:
    points = np.zeros((5, 2), np.float32)
    return Face(np.array([0, 0, 9, 9], np.float32), 1.0, points, np.array(embedding, np.float32))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, DEFAULT),
        ({"threshold": 0.5}, Rule(0.5, 0.5, 0.5)),
        ({"fmr": 1e-3}, Rule(0.40, 0.15, 0.50, 1e-3)),
        ({"fmr": "strict"}, Rule(0.10, 0.08, 0.12, 1e-4)),
        ({"fmr": "lenient"}, Rule(0.60, 0.55, 0.65, 1e-2)),
    ],
)
def test_a_rule_is_what_was_asked_for(asked: Threshold, expected: Rule) -> None:
    assert choose_rule(PACK, DEFAULT, asked) == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"threshold": 0.5, "fmr": 1e-3}, "use one of them"),
        ({"threshold": 0}, "threshold must be"),
        ({"fmr": 0}, "between 0 and 1"),
        ({"fmr": "lax"}, "strict, balanced, lenient"),
        ({"fmr": 1e-6}, r"from 0\.0001 to 0\.01"),
    ],
)
def test_what_makes_no_rule_is_refused(asked: Threshold, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        choose_rule(PACK, DEFAULT, asked)


def test_without_a_measurement_there_are_no_rates() -> None:
    assert choose_rule(UNKNOWN, DEFAULT, {"threshold": 0.5}).threshold == 0.5
    with pytest.raises(InvalidOption, match="visavis calibrate --pack dlib"):
        choose_rule(UNKNOWN, DEFAULT, {"fmr": 1e-3})
    with pytest.raises(InvalidOption, match="between 0 and 1"):
        choose_rule(UNKNOWN, DEFAULT, {"fmr": 2})


@pytest.mark.parametrize(
    ("distance", "same", "decision"),
    [(0.0, True, "same"), (0.3, True, "uncertain"), (0.45, False, "uncertain"), (0.6, False, "different")],
)
def test_the_answer_tells_the_rule(distance: float, same: bool, decision: str) -> None:  # noqa: FBT001  # expected
    answer = compare(PACK, face(0, 0), face(distance, 0), choose_rule(PACK, DEFAULT, {"fmr": "balanced"}))
    assert (answer.same, answer.decision, answer.threshold, answer.fmr) == (same, decision, 0.40, 1e-3)
    assert bool(answer) is same
    assert answer.to_dict()["decision"] == decision


@pytest.mark.parametrize("distance", [0.0, 9.0])
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_no_valid_face_is_neither_the_same_nor_different(distance: float, place: int) -> None:
    a, b = (
        replace(face(x, 0), quality=Quality(99, 1, 1, validity=0.4 if at == place else 0.9))
        for at, x in enumerate((0, distance))
    )
    rules: list[Threshold] = [{}, {"fmr": "strict"}, {"threshold": 10.0}]
    for asked in rules:
        answer = compare(PACK, a, b, choose_rule(PACK, DEFAULT, asked))
        assert (answer.same, answer.decision, answer.reason) == (False, "uncertain", "invalid_face")
        assert (bool(answer), answer.probability, answer.distance) == (False, None, distance)


@pytest.mark.parametrize("quality", [None, Quality(99, 1, 1), Quality(99, 1, 1, validity=PACK.quality.min_validity)])
def test_what_nobody_looked_at_or_is_valid_enough_is_not_doubted(quality: Quality | None) -> None:
    assert PACK.quality.doubt(quality) is None
    answer = compare(PACK, replace(face(0, 0), quality=quality), face(0, 0), DEFAULT)
    assert (answer.same, answer.decision, answer.reason) == (True, "same", None)


def test_a_child_is_neither_the_same_nor_another() -> None:
    pack = replace(PACK, child=ChildTest("0 1", 0.9, "a test"))
    child, adult = face(0, 1), face(0.5, 0.5)
    for pair in ((child, child), (child, adult), (adult, child)):
        answer = compare(pack, *pair, DEFAULT)
        assert (answer.same, answer.decision, answer.reason, answer.probability) == (False, "uncertain", "child", None)
    assert compare(pack, adult, adult, DEFAULT).same
    assert compare(PACK, child, child, DEFAULT).same


def test_the_probability_is_none_where_nobody_calibrated() -> None:
    answer = compare(UNKNOWN, face(0, 0), face(0.1, 0), DEFAULT)
    assert (answer.probability, answer.fmr, answer.decision) == (None, None, "same")
    assert json.loads(json.dumps(answer.to_dict()))["probability"] is None


def test_faces_without_embeddings_are_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        compare(PACK, replace(face(0), embedding=None), face(0), DEFAULT)


# --- what was measured here -----------------------------------------------------------------------------------------


def test_without_a_calibration_the_pack_is_as_published(tmp_path: Path) -> None:
    assert as_installed(DLIB, tmp_path) is DLIB
    assert as_installed(DLIB, tmp_path / "nowhere") is DLIB
    assert as_installed(DLIB, Path(os.devnull)) is DLIB  # as where a service's user has no home


def test_a_calibration_takes_the_place_of_ours(tmp_path: Path) -> None:
    path = keep(MADE_UP, tmp_path)
    pack = as_installed(DLIB, tmp_path)
    assert DLIB.calibration is not None  # the worst group's rates stay: distances are the same
    assert pack.calibration == replace(MADE_UP.calibration, worst_group=DLIB.calibration.worst_group)
    assert pack.rates == MADE_UP.rates
    assert (pack.threshold, pack.space) == (DLIB.threshold, DLIB.space)
    path.unlink()
    assert as_installed(DLIB, tmp_path) is DLIB


def test_a_refused_rate_names_the_measurement_and_the_way_back(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"\(measured: all 4.7 million pairs.*smaller ones$"):
        choose_rule(DLIB, DEFAULT, {"fmr": 1e-9})
    keep(MADE_UP, tmp_path)
    with pytest.raises(InvalidOption, match=r"\(measured: made up\).*; visavis calibrate --reset --pack dlib brings"):
        choose_rule(as_installed(DLIB, tmp_path), DEFAULT, {"fmr": 1e-9})
    with pytest.raises(InvalidOption, match=r"\(measured: made up\).*smaller ones$"):  # there is nothing to go back to
        choose_rule(as_installed(UNKNOWN, tmp_path), DEFAULT, {"fmr": 1e-9})


def test_a_calibration_is_of_one_embedding_space(tmp_path: Path) -> None:
    keep(MADE_UP, tmp_path)
    other = replace(DLIB, preprocessing="another")
    assert as_installed(other, tmp_path) is other


PLAIN = asdict(MADE_UP)
FIRST = asdict(POINTS[0])


def with_points(*points: object) -> str:
    return json.dumps({**PLAIN, "rates": {"points": points, "provenance": "made up"}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "3",
        "[" * 100_000,
        MADE_UP.to_json()[:-20],
        json.dumps({**PLAIN, "rates": None}),
        json.dumps({**PLAIN, "rates": {"points": {}, "provenance": "made up"}}),
        json.dumps({**PLAIN, "calibration": {**PLAIN["calibration"], "slope": float("nan")}}),
        json.dumps({**PLAIN, "calibration": {**PLAIN["calibration"], "provenance": 7}}),
        json.dumps({**PLAIN, "calibration": {**PLAIN["calibration"], "surprise": 1}}),
        with_points(),
        with_points(FIRST, FIRST),
        with_points({**FIRST, "threshold": "0.1"}),
        with_points({**FIRST, "threshold": float("nan")}),
        with_points({**FIRST, "threshold": 10**400, "high": 10**400}),
        with_points({**FIRST, "fmr": -1}),
        with_points({"fmr": 1e-4}),
        with_points(7),
        json.dumps({**PLAIN, "people": "many"}),
    ],
)
def test_a_damaged_calibration_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    keep(MADE_UP, tmp_path).write_text(text)
    with pytest.raises(ModelCorrupt, match=r"cannot be read .*: visavis calibrate --pack dlib --reset removes it"):
        as_installed(DLIB, tmp_path)


def test_a_calibration_in_another_encoding_is_damaged(tmp_path: Path) -> None:
    keep(MADE_UP, tmp_path).write_bytes(MADE_UP.to_json().encode("utf-16"))
    with pytest.raises(ModelCorrupt):
        as_installed(DLIB, tmp_path)


def test_what_was_measured_reads_as_it_was_written() -> None:
    assert Measured.from_json(MADE_UP.to_json()) == MADE_UP
    assert Measured.from_json(replace(MADE_UP, people=45).to_json()).people == 45
    del (older := json.loads(MADE_UP.to_json()))["people"]
    assert Measured.from_json(json.dumps(older)) == MADE_UP


# --- embeddings that somebody gives


@pytest.fixture(scope="module")
def sface(cache_dir: Path) -> Recognizer:
    return Recognizer("sface", precision="f32", cache_dir=cache_dir, threads=1)


@pytest.fixture(scope="module")
def faces(sface: Recognizer) -> dict[str, Face]:
    paths = [samples.PEOPLE / "anna" / "1.jpg", samples.PHOTOS / "anna.jpg", samples.PHOTOS / "ben.jpg"]
    found = [value_of(each)[0] for each in sface.embed_many(paths, quality=True)]
    return dict(zip(("anna", "again", "ben"), found, strict=True))


@pytest.mark.parametrize("fmr", [None, "strict", 1e-2])
def test_embeddings_compare_as_their_images_do(sface: Recognizer, fmr: Any) -> None:  # noqa: ANN401  # a rate
    images = [samples.PEOPLE / "anna" / "1.jpg", samples.PHOTOS / "anna.jpg", samples.PHOTOS / "ben.jpg"]
    for other in images[1:]:
        verified = sface.verify(images[0], other, fmr=fmr)
        vectors = [face.embedding for face in verified.faces]
        for a, b in (vectors, verified.faces, [vectors[0].tolist(), verified.faces[1]]):  # type: ignore[union-attr]  # it has one
            compared = sface.compare(a, b, fmr=fmr)  # type: ignore[arg-type]  # likewise
            assert compared.to_dict() == {n: v for n, v in verified.to_dict().items() if n != "faces"}
            assert bool(compared) is verified.same


def test_many_pairs_have_a_result_or_an_error_each(sface: Recognizer, faces: dict[str, Face]) -> None:
    anna, again, ben = faces.values()
    found = list(sface.compare_many([(anna, again), (anna, np.ones(3, np.float32)), (anna, ben)]))
    assert [isinstance(each, Comparison) and each.decision for each in found] == ["same", False, "different"]
    assert isinstance(found[1], InvalidEmbedding)
    assert found[1].argument == "b"
    assert list(sface.compare_many([])) == []
    assert sum(bool(each) for each in sface.compare_many((anna, each) for each in (again, ben))) == 1


@pytest.mark.parametrize(("wrong", "message"), [
    (np.zeros(128), "largest number of an embedding is from 1e-12 to 1e\\+06 in size, not 0"),
    (np.full(128, np.nan), "finite"),
    (np.full(128, 1e300), "finite"),
    ([10**400] * 128, "128 numbers"),
    (np.ones(512), r"of the pack 'sface' has the shape \(128,\), not \(512,\)"),
    (np.ones((1, 128)), r"not \(1, 128\)"),
    (1.0, r"not \(\)"),
    ([], r"not \(0,\)"),
    ("x" * 128, "128 numbers, not str"),
    (np.ones(128, bool), "128 numbers, not bool"),
    (np.ones(128, complex), "128 numbers, not complex128"),
    (None, "an embedding is missing"),
    (face(), "has the shape"),
    (replace(face(), embedding=None), "embed gives faces that have one"),
])  # fmt: skip
def test_what_is_no_embedding_is_refused(sface: Recognizer, faces: dict[str, Face], wrong: Any, message: str) -> None:  # noqa: ANN401  # anything
    for name, pair in (("a", (wrong, faces["anna"])), ("b", (faces["anna"], wrong))):
        with pytest.raises(InvalidEmbedding, match=f"^{name}: .*{message}") as caught:
            sface.compare(*pair)
        assert caught.value.argument == name


def test_other_spaces_and_options_are_refused(sface: Recognizer, faces: dict[str, Face]) -> None:
    anna = faces["anna"]
    assert sface.compare(anna, anna, space=sface.pack.space.id).same
    with pytest.raises(SpaceMismatch, match="use the pack 'dlib'"):
        sface.compare(anna, anna, space=DLIB.space.id)
    with pytest.raises(SpaceMismatch, match="use the pack that made them"):
        sface.compare_many([], space="")
    with pytest.raises(InvalidOption, match="use one of them"):
        sface.compare(anna, anna, threshold=0.5, fmr="strict")


def test_vectors_that_say_nothing_are_not_decided_about(sface: Recognizer, faces: dict[str, Face]) -> None:
    nonsense = [vector * 4 for vector in sface._models.nonsense]  # noqa: SLF001  # what the embedder makes of what it cannot make out
    for vector in nonsense:
        answer = sface.compare(vector, vector)
        assert (answer.reason, answer.decision, answer.same) == ("invalid_face", "uncertain", False)
        assert answer.probability is None
        assert sface.compare(faces["anna"], vector).reason == "invalid_face"
    for one in faces.values():
        assert one.embedding is not None
        unit = one.embedding / np.linalg.norm(one.embedding)  # as the old service answers
        assert sface.compare(one.embedding, unit).decision == "same"
    occluded = replace(faces["anna"], quality=replace(faces["anna"].quality, occluded=0.9))  # type: ignore[type-var]  # it has one
    assert sface.compare(occluded, faces["again"]).reason == "occluded"
