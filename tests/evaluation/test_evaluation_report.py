"""An evaluation as a record, as JSON and as a page."""

import json
import re
import sys
from dataclasses import fields
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from conftest import read_pixels

from visavis import InvalidOption, Recognizer
from visavis.errors import DriverMissing
from visavis.evaluation.bootstrap import Estimate
from visavis.evaluation.embedding import PhotoEmbedder
from visavis.evaluation.metrics import Curve
from visavis.evaluation.page import plots_of, thumbnail, write_page
from visavis.evaluation.pairs import evaluate_pairs
from visavis.evaluation.protocols import Grouping, Photo, pair_people, split_people
from visavis.evaluation.results import PairEvaluation, SearchEvaluation, ShownFace, thinned
from visavis.evaluation.search import evaluate_search
from visavis.evaluation.tables import share, share_with_interval, tables_of, title_of

HOSTILE = "<script>alert(1)</script>\"'&\u202e\x1b[31m"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Path, hopper: Path) -> list[Photo]:
    """Three photos each of two people, one of a third without a face, and one of a fourth."""
    folder = tmp_path_factory.mktemp("photos")
    made = []
    for person, path in (("collins", astronaut), (HOSTILE, hopper)):
        pixels = read_pixels(path, 400)
        for number, turned in enumerate((pixels, pixels[:, ::-1], pixels[::1] // 2 + 60)):
            file = folder / f"{path.stem}{number}.png"
            PIL.Image.fromarray(np.ascontiguousarray(turned)).save(file)
            made.append(Photo(f"{person}/{number}.png", str(file), person))
    PIL.Image.new("RGB", (100, 100)).save(folder / "nobody.png")
    made.append(Photo("nobody/1.png", str(folder / "nobody.png"), "nobody"))
    blended = read_pixels(astronaut, 400)[:, ::-1]
    PIL.Image.fromarray(np.ascontiguousarray(blended[:380])).save(folder / "other.png")
    made.append(Photo("other/1.png", str(folder / "other.png"), "other"))
    return made


@pytest.fixture(scope="module")
def embedder(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> PhotoEmbedder:
    return PhotoEmbedder(recognizer, recognizer.runtime, min_face=0.2, cache_dir=tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def pairs(embedder: PhotoEmbedder, photos: list[Photo]) -> PairEvaluation:
    protocol = pair_people(photos)
    groups = np.array([0 if photo.person == "collins" else 1 for photo in protocol.photos])
    return evaluate_pairs(embedder, protocol, grouping=Grouping(("a", HOSTILE), groups))


@pytest.fixture(scope="module")
def found(embedder: PhotoEmbedder, photos: list[Photo]) -> SearchEvaluation:
    split = split_people(photos)
    groups = np.array([0 if photo.person == "collins" else -1 for photo in split.photos])
    return evaluate_search(embedder, split, grouping=Grouping(("a",), groups))


def test_pairs_are_counted(pairs: PairEvaluation) -> None:
    assert (pairs.genuine, pairs.impostor) == (6, 15)  # of 6 and 22, those of seven images with faces
    assert pairs.without_face == (0, 7)
    assert [failure.code for failure in pairs.failures] == ["no_face"]
    # "other" is the astronaut once more, under another name.
    assert pairs.compared.fmr.value == pytest.approx(3 / 15)
    assert pairs.counted.fmr.value == pytest.approx(3 / 22)
    assert pairs.compared.fnmr.value == 0.0
    assert pairs.compared.fnmr == Estimate(0.0, 0.0, 1.0)  # two people show nothing
    assert pairs.compared.accuracy.value == pytest.approx(18 / 21)
    assert pairs.at_fmr[0].threshold is None
    assert pairs.at_fmr[0].pairs_of_people == 3
    assert pairs.folds is None
    assert {match.first.person for match in pairs.nearest_strangers[:3]} | {
        match.second.person for match in pairs.nearest_strangers[:3]
    } == {"collins", "other"}
    assert [match.distance for match in pairs.farthest_same] == sorted(
        (match.distance for match in pairs.farthest_same), reverse=True
    )
    assert len(pairs.farthest_same) == 6
    assert any("4 people are few" in note for note in pairs.notes)
    assert any("accuracy mostly tells of the other kind" in note for note in pairs.notes)


def test_groups_have_rows(pairs: PairEvaluation) -> None:
    first, second, between = pairs.groups
    assert (first.images, first.failures, first.own, first.strangers) == (3, 0, 3, 0)
    assert first.false_positives is None
    assert first.false_negatives is not None
    assert (second.images, second.failures, second.own, second.strangers) == (5, 1, 3, 3)
    assert second.false_positives is not None
    assert second.false_positives.value == 0.0
    assert (between.name, between.strangers, between.own) == ("between groups", 12, 0)
    assert between.false_positives is not None
    assert between.false_positives.value == pytest.approx(3 / 12)


def test_photos_of_nobody_twice_have_rates_within_groups(embedder: PhotoEmbedder, photos: list[Photo]) -> None:
    alone = [Photo(photo.file, photo.path, photo.file) for photo in photos]
    protocol = pair_people(alone, strangers_suffice=True)
    places = np.array([0 if photo.file.startswith("collins") else 1 for photo in protocol.photos])
    found = evaluate_pairs(embedder, protocol, grouping=Grouping(("a", "b"), places))
    assert (found.genuine, found.impostor) == (0, 21)
    collins = found.groups[0]
    assert collins.false_positives is not None
    assert (collins.strangers, collins.own, collins.false_negatives) == (3, 0, None)
    assert collins.false_positives.value == 1.0
    plain = json.loads(json.dumps(found.to_dict()))
    assert (plain["eer"]["value"], plain["best_accuracy"], plain["compared"]["fnmr"]["value"]) == (None, None, None)
    titles = [table.title for table in tables_of(found)]
    assert "Groups" in titles
    assert "Over all thresholds" not in titles
    page = StringIO()
    write_page(found, page, images=False)
    assert page.getvalue().count("<svg") == 1
    with pytest.raises(InvalidOption, match="none is of one person"):
        evaluate_pairs(embedder, protocol)


def test_a_search_is_counted(found: SearchEvaluation) -> None:
    assert (found.enrolled, found.not_enrolled, found.mated, found.strangers) == (2, 0, 4, 2)
    assert found.without_face == (0, 1)
    assert found.rank1.value == 1.0
    assert found.compared.fnir.value == 0.0
    assert found.compared.fpir is not None
    assert found.counted.fpir is not None
    assert (found.compared.fpir.value, found.counted.fpir.value) == (1.0, 0.5)
    assert [match.first.person for match in found.nearest_strangers] == ["other"]
    assert found.taken_for_others == ()
    assert [(group.name, group.own, group.strangers) for group in found.groups] == [("a", 2, 0)]


def test_json_is_plain(pairs: PairEvaluation, found: SearchEvaluation) -> None:
    for evaluation, kind in ((pairs, "pairs"), (found, "search")):
        plain = evaluation.to_dict()
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert plain["kind"] == kind
        assert {field.name for field in fields(evaluation)} | {"kind"} == set(plain)
        assert set(plain["nearest_strangers"][0]["first"]) == {"file", "person"}


def test_an_evaluation_is_the_same_again(embedder: PhotoEmbedder, photos: list[Photo], pairs: PairEvaluation) -> None:
    again = evaluate_pairs(embedder, pair_people(photos))
    assert again.about.from_cache == len(photos)
    assert again.compared == pairs.compared
    assert evaluate_pairs(embedder, pair_people(photos), threshold=0.1).compared.fmr.value < pairs.compared.fmr.value
    with pytest.raises(InvalidOption, match="threshold"):
        evaluate_pairs(embedder, pair_people(photos), threshold=-1.0)


def test_without_faces_there_is_nothing_to_measure(embedder: PhotoEmbedder, photos: list[Photo]) -> None:
    nobody = [Photo(f"{n}.png", photos[6].path, f"p{n // 2}") for n in range(4)]
    with pytest.raises(InvalidOption, match="of 0 pairs whose images show faces"):
        evaluate_pairs(embedder, pair_people(nobody))
    with pytest.raises(InvalidOption, match="no face was found of anybody"):
        evaluate_search(embedder, split_people(nobody))


class Reader(HTMLParser):
    """Collects the tags of a page, and refuses what would reach beyond it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:image/jpeg;base64,", "#")), value

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(evaluation: PairEvaluation | SearchEvaluation, *, images: bool) -> tuple[str, Reader]:
    stream = StringIO()
    write_page(evaluation, stream, images=images)
    reader = Reader()
    reader.feed(stream.getvalue())
    return stream.getvalue(), reader


@pytest.mark.thorough
@pytest.mark.parametrize("images", [True, False])
def test_a_page_needs_nothing_but_itself(pairs: PairEvaluation, found: SearchEvaluation, *, images: bool) -> None:
    for evaluation, plots in ((pairs, 3), (found, 3)):
        text, reader = page_of(evaluation, images=images)
        assert not {"script", "link", "iframe", "object", "form"} & set(reader.tags)
        assert reader.tags.count("svg") == plots
        assert ("img" in reader.tags) is images
        assert "default-src 'none'" in text
        assert not re.search(r"url\((?!#)|@import", text)
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "\u202e" not in text
        shown = " ".join(reader.texts)
        assert title_of(evaluation) in shown
        assert all(table.title in shown for table in tables_of(evaluation))
    assert "<script>alert(1)</script>" in "".join(page_of(pairs, images=False)[1].texts).replace("\u200b", "")


def test_without_strangers_there_is_no_curve(embedder: PhotoEmbedder, photos: list[Photo]) -> None:
    found = evaluate_search(embedder, split_people(photos[:6]))
    assert found.curve is None
    assert found.compared.fpir is None
    assert page_of(found, images=False)[1].tags.count("svg") == 1
    assert "not supported by 0 strangers" in "".join(page_of(found, images=False)[1].texts)


@pytest.mark.thorough
def test_plots_do_not_share_names(pairs: PairEvaluation) -> None:
    plots = plots_of(pairs)
    names = [set(re.findall(r'id="(p[0-9a-f]{9,}|m[0-9a-f]{9,})"', plot)) for plot in plots]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert plots_of(pairs) == plots


def test_a_page_takes_matplotlib(pairs: PairEvaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DriverMissing, match=r"pip install 'visavis\[evaluate\]'"):
        write_page(pairs, StringIO())


def test_a_face_at_the_border_is_shown(photos: list[Photo]) -> None:
    shown = ShownFace("a", "a", photos[0].path, np.array([-20, -20, 60, 80], np.float32))
    assert thumbnail(shown).startswith(b"\xff\xd8\xff")


def test_a_photo_that_is_gone_leaves_a_gap(pairs: PairEvaluation, photos: list[Photo]) -> None:
    moved = [(photo.path, photo.path + ".away") for photo in photos]
    for here, there in moved:
        Path(here).rename(there)
    try:
        assert "img" not in page_of(pairs, images=True)[1].tags
    finally:
        for here, there in moved:
            Path(there).rename(here)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.00 %"), (1.0, "100.00 %"), (0.98667, "98.67 %"), (0.0000314, "0.0031 %"), (float("nan"), "-")],
)
def test_shares_in_words(value: float, words: str) -> None:
    assert share(value) == words


def test_intervals_in_words() -> None:
    assert share_with_interval(None) == "-"
    assert share_with_interval(Estimate(0.5, 0.25, 1.0)) == "50.00 % (25.00 to 100.00)"
    assert share_with_interval(Estimate(0.5, float("nan"), float("nan"))) == "50.00 %"


def test_a_long_curve_without_a_false_match_is_thinned() -> None:
    rates = np.linspace(1, 0, 2000)
    thin = thinned(Curve(np.arange(2000.0), np.zeros(2000), rates))
    assert 2 < len(thin.thresholds) < 1000
    assert (thin.fmr == 0).all()
