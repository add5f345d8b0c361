"""Unknown faces in groups: what is grouped, and how the command line tells it."""

import base64
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
from conftest import many_faces
from numpy.typing import NDArray

from visavis import InvalidOption, Recognizer
from visavis.cli.groups import GroupedFace, Groups, write_contact_sheet
from visavis.cli.main import main
from visavis.errors import DriverMissing, InvalidEmbedding
from visavis.service import clusters
from visavis.service.clusters import group_faces, group_few
from visavis.types import Face, Metric

Vectors = NDArray[np.float32]


def group(
    vectors: object,
    images: Sequence[int] | None = None,
    threshold: float = 1.0,
    metric: Metric = "euclidean",
    min_size: int = 2,
) -> list[list[int]]:
    """Group faces, each of an image of its own unless the images are told."""
    array = np.asarray(vectors, np.float32)
    numbers = range(len(array)) if images is None else images
    found = group_faces(array, numbers, threshold=threshold, metric=metric, min_size=min_size)
    return [list(part) for part in found]


def line(*places: float) -> Vectors:
    """Return faces that differ in one number, beside another that is the same for all."""
    return np.array([(place, 5.0) for place in places], np.float32)


def made_up(rng: np.random.Generator, people: int, most: int, spread: float) -> tuple[Vectors, list[int]]:
    """Return faces of people, mixed, and whose each is."""
    owners = rng.permutation(np.repeat(np.arange(people), rng.integers(1, most + 1, people)))
    centres = rng.normal(0, 1, (people, 8))
    return (centres[owners] + rng.normal(0, spread, (len(owners), 8))).astype(np.float32), owners.tolist()


def by_hand(vectors: Vectors, images: Sequence[int], threshold: float) -> list[list[int]]:
    """Group as the documentation says, slowly: chains of neighbours, and in each the nearest parts joined again."""
    count = len(vectors)
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[None], axis=2)
    same_image = np.equal.outer(images, images)
    near = (distances < threshold) & ~same_image
    distances[same_image] = np.maximum(distances[same_image], 2 * threshold)
    groups = []
    left = set(range(count))
    while left:
        chain, fresh = set(), {min(left)}
        while fresh:
            chain |= fresh
            fresh = {other for one in fresh for other in np.flatnonzero(near[one]).tolist()} - chain
        left -= chain
        groups += _joined_by_hand([[face] for face in sorted(chain)], distances, threshold)
    found = [sorted(part) for part in groups if len(part) > 1]
    return sorted(found, key=lambda part: (-len(part), part[0]))


def _joined_by_hand(parts: list[list[int]], distances: NDArray[np.float64], threshold: float) -> list[list[int]]:
    while len(parts) > 1:
        pairs = [(a, b) for a in range(len(parts)) for b in range(a)]
        average = {(a, b): distances[np.ix_(parts[a], parts[b])].mean() for a, b in pairs}
        a, b = min(average, key=lambda pair: average[pair])
        if average[a, b] > threshold:
            break
        parts[b] += parts.pop(a)
    return parts


# --- the grouping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([1], [], id="one"),
        pytest.param([1, 9], [], id="two strangers"),
        pytest.param([1, 1.5], [[0, 1]], id="one person"),
        pytest.param([1, 1], [[0, 1]], id="the same twice"),
        pytest.param([1, 9, 1.5, 9.5], [[0, 2], [1, 3]], id="two people"),
        pytest.param([9, 1, 9.5, 1.5, 1.2, 20], [[1, 3, 4], [0, 2]], id="the largest first"),
    ],
)
def test_groups(places: list[float], expected: list[list[int]]) -> None:
    assert group(line(*places).reshape(len(places), 2)) == expected


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("count", [1, 2, 60])
def test_few_faces_are_grouped_as_scipy_does(metric: Metric, count: int) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    generator = np.random.default_rng(count)
    vectors = generator.normal(size=(count, 4)).astype(np.float32)
    for threshold in (0.01, 0.3, 1.0, 1e6):
        found = group_few(vectors, range(count), threshold=threshold, metric=metric)
        assert sorted(face for faces in found for face in faces) == list(range(count))
        if count > 1:
            labels = hierarchy.fcluster(hierarchy.linkage(vectors, "average", metric), threshold, "distance")
            assert sorted(found) == sorted(tuple(np.flatnonzero(labels == each).tolist()) for each in set(labels))


def test_few_faces_of_one_image_are_not_one_person() -> None:
    same = np.ones((2, 4), np.float32)
    assert group_few(same, [0, 1], threshold=0.5, metric="euclidean") == ((0, 1),)
    assert group_few(same, [7, 7], threshold=0.5, metric="euclidean") == ((0,), (1,))
    assert group_few(np.empty((0, 4), np.float32), [], threshold=0.5, metric="euclidean") == ()


def test_a_chain_from_one_person_to_the_next_is_taken_apart() -> None:
    # Each is near to the next one, and the first is far from the last.
    chain = line(*np.arange(0, 8, 0.8))
    found = group(chain, min_size=1)
    assert len(found) > 2
    assert sorted(face for part in found for face in part) == list(range(10))
    assert all(chain[part[-1], 0] - chain[part[0], 0] < 2 for part in found)


def test_small_groups_are_none() -> None:
    faces = line(1, 1.1, 1.2, 5, 5.1, 9)
    assert group(faces, min_size=3) == [[0, 1, 2]]
    assert group(faces, min_size=1) == [[0, 1, 2], [3, 4], [5]]


def test_two_faces_of_one_image_are_two_people() -> None:
    assert group(line(1, 1), images=[7, 7]) == []
    # Each of the twins of image 7 finds itself on other images.
    assert group(line(1.0, 1.8, 1.0, 1.8), images=[7, 7, 8, 9]) == [[0, 2], [1, 3]]


def test_lookalikes_who_are_often_together_are_two_people() -> None:
    # As near as siblings may be: each face of one is nearer than the threshold to most of the other.
    places = [0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9]
    apart, together = list(range(8)), [0, 1, 2, 3, 0, 1, 2, 7]
    assert group(line(*places), images=apart) == [list(range(8))]
    assert group(line(*places), images=together) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_collage_shows_one_person_several_times() -> None:
    assert group(line(1, 1.01, 1, 1, 1, 1), images=[7, 7, 1, 2, 3, 4]) == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("seed", range(12))
def test_groups_are_what_they_are_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, _ = made_up(rng, 12, 6, spread=0.35)
    images = rng.integers(0, len(vectors), len(vectors)).tolist()
    assert group(vectors, images, threshold=1.6) == by_hand(vectors, images, 1.6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    vectors, owners = made_up(rng, 30, 5, spread=0.05)
    whole = group(vectors)
    monkeypatch.setattr(clusters, "_ROWS", 7)
    monkeypatch.setattr(clusters, "_COLUMNS", 10)
    assert group(vectors) == whole
    assert all(len({owners[face] for face in part}) == 1 for part in whole)
    assert sorted(map(len, whole)) == sorted(count for count in np.bincount(owners) if count > 1)


@pytest.fixture
def few_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few faces in memory together that a small test goes the ways of a large album."""
    monkeypatch.setattr(clusters, "_MOST_TOGETHER", 40)
    monkeypatch.setattr(clusters, "_PROMINENT", 4)
    monkeypatch.setattr(clusters, "_ROWS", 64)


@pytest.mark.usefixtures("few_together")
def test_one_person_on_very_many_images_stays_one() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(0, 0.1, (500, 8)).astype(np.float32)
    assert [len(part) for part in group(vectors)] == [500]


@pytest.mark.usefixtures("few_together")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_long_chain_of_people_is_taken_apart(metric: Metric) -> None:
    # 40 people on a circle, the last face of each near to the first one of the next; of four there are many images.
    counts = [60 if person % 10 == 0 else 4 for person in range(40)]
    angles = np.concatenate([2 * np.pi / 40 * person + np.linspace(-0.02, 0.02, n) for person, n in enumerate(counts)])
    assert np.diff(angles).max() < 0.12
    owners = np.repeat(np.arange(40), counts)
    mixed = np.random.default_rng(3).permutation(len(owners))
    vectors = np.column_stack([np.cos(angles), np.sin(angles)])[mixed]
    found = group(vectors, threshold=0.12 if metric == "euclidean" else 0.12**2 / 2, metric=metric)
    assert sorted(face for part in found for face in part) == list(range(len(owners)))
    assert all(len(set(owners[mixed[part]].tolist())) == 1 for part in found)
    assert sorted(map(len, found)) == sorted(counts)


@pytest.mark.usefixtures("few_together")
def test_where_nobody_is_prominent_neighbours_must_be_nearer() -> None:
    owners = np.repeat(np.arange(100), 3)
    found = group(line(*(1.4 * owners + np.tile([-0.3, 0, 0.3], 100))))
    assert sorted(found) == [[3 * person, 3 * person + 1, 3 * person + 2] for person in range(100)]


def test_the_length_of_vectors_does_not_matter_to_the_cosine() -> None:
    rng = np.random.default_rng(5)
    vectors, _ = made_up(rng, 20, 5, spread=0.1)
    longer = vectors * rng.uniform(0.1, 10, (len(vectors), 1)).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    plain = group(vectors, threshold=0.05, metric="cosine")
    assert plain
    assert group(longer, threshold=0.05, metric="cosine") == plain == group(units, threshold=0.05, metric="cosine")


def test_arguments_are_left_as_they_are() -> None:
    vectors, images = line(1, 1.1, 1.2), np.array([1, 2, 2])
    before = vectors.copy()
    vectors.flags.writeable = False
    group(vectors, images.tolist(), metric="cosine")
    assert np.array_equal(vectors, before)


@pytest.mark.parametrize(
    ("vectors", "images", "message"),
    [
        ([1.0, 2.0], [0, 1], r"\(N, D\) embeddings and \(N,\) images are wanted, not \(2,\) and \(2,\)"),
        ([[1.0, 2.0]], [0, 1], r"not \(1, 2\) and \(2,\)"),
        ([[1.0, np.nan]], [0], "finite"),
        ([[1.0, 2.0], [0.0, 0.0]], [0, 1], "not all zero"),
    ],
)
def test_arrays_that_do_not_fit(vectors: object, images: list[int], message: str) -> None:
    with pytest.raises(InvalidEmbedding, match=message):
        group(vectors, images)


def test_options_out_of_range() -> None:
    with pytest.raises(InvalidOption, match="threshold"):
        group(line(1, 2), threshold=0)
    with pytest.raises(InvalidOption, match="a group has 1 face or more, not 0"):
        group(line(1, 2), min_size=0)


@pytest.fixture
def no_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)


@pytest.mark.usefixtures("no_scipy")
def test_a_missing_library() -> None:
    with pytest.raises(DriverMissing, match=r"pip install 'visavis\[cluster\]'"):
        group(line(1, 2))


# --- the command ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    code: object
    out: str
    err: str

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache_dir: Path, tmp_path: Path) -> Run:
    """Run the command in this process, in an empty folder."""
    monkeypatch.setenv("VISAVIS_PACK", "dlib")
    monkeypatch.setenv("VISAVIS_PRECISION", "f32")
    monkeypatch.setenv("VISAVIS_MIN_FACE", "0.15")
    monkeypatch.setenv("VISAVIS_CACHE_DIR", str(cache_dir))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as exit_:
            main(["cluster", *map(str, arguments)])
        captured = capsys.readouterr()
        return Outcome(exit_.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def album(astronaut: Path, hopper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people on three and two photos that differ a little, a stranger to both, and a photo of nobody."""
    folder = tmp_path_factory.mktemp("album")
    with PIL.Image.open(astronaut) as image:
        collins = image.convert("RGB").crop((60, 0, 380, 320))
    with PIL.Image.open(hopper) as image:
        grace = image.convert("RGB").crop((80, 0, 432, 352))
    collins.save(folder / "a.png")
    collins.rotate(8, PIL.Image.Resampling.BICUBIC).save(folder / "c.jpg", quality=80)
    collins.resize((240, 240)).transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "e.jpg", quality=70)
    grace.save(folder / "b.jpg")
    grace.resize((260, 260)).point(lambda level: round(level * 0.8)).save(folder / "d <b>&\"'.jpg", quality=80)
    PIL.Image.new("RGB", (100, 100), "grey").save(folder / "grey.png")
    return folder


@pytest.mark.usefixtures("recognizer")  # so that nothing is converted any more
def test_duplicates_are_grouped_and_strangers_are_not(cli: Run, album: Path) -> None:
    outcome = cli("--json", album)
    assert outcome.code == 0
    groups = [(line["group"], Path(line["file"]).name[0]) for line in outcome.lines()]
    assert groups == [(1, "a"), (1, "c"), (1, "e"), (2, "b"), (2, "d")]
    smallest, counts = outcome.err.splitlines()
    assert smallest.startswith("faces were looked for from 20 pixels on (in the largest images from 53)")
    assert counts == "images: 6, groups: 2 of 5 faces, ungrouped: 0, left out: 0, failed: 0"


def test_lines_of_json(cli: Run, recognizer: Recognizer, album: Path) -> None:
    line = cli("--json", album).lines()[0]
    assert list(line) == ["group", "name", "left_out", "file", "box_xyxy", "score", "quality"]
    (face,) = recognizer.embed(album / "a.png", min_face=0.15, quality=True)
    assert line["file"] == str(album / "a.png")
    assert line["box_xyxy"] == pytest.approx(face.box_xyxy.tolist(), abs=0.01)
    assert line["left_out"] is None
    assert face.quality is not None
    assert line["quality"] == pytest.approx(face.quality.to_dict())


def test_text(cli: Run, album: Path) -> None:
    outcome = cli(album, "--min-size", 3)
    lines = outcome.out.splitlines()
    assert lines[0] == "group 1: 3 faces"
    assert re.fullmatch(r"  .*a\.png  box \d+ \d+ \d+ \d+", lines[1])
    assert [line for line in lines if not line.startswith(" ")] == ["group 1: 3 faces", "ungrouped: 2 faces"]


def test_a_smaller_threshold_groups_less(cli: Run, album: Path) -> None:
    assert cli(album, "--threshold", 0.01, "--json", "-q").lines()[0]["group"] is None
    assert cli(album, "--threshold", 0).code == 2


def test_faces_of_one_image_are_not_grouped(cli: Run, tmp_path: Path, astronaut_pixels: NDArray[np.uint8]) -> None:
    PIL.Image.fromarray(many_faces(astronaut_pixels, 2, 2)).save(tmp_path / "crowd.png")
    outcome = cli(tmp_path / "crowd.png")
    assert outcome.out.splitlines()[0] == "ungrouped: 4 faces"


@pytest.fixture
def blurred_twice(tmp_path: Path, astronaut: Path) -> Path:
    folder = tmp_path / "blurred"
    folder.mkdir()
    with PIL.Image.open(astronaut) as image:
        soft = image.convert("RGB").filter(PIL.ImageFilter.GaussianBlur(4))
    soft.save(folder / "a.png")
    soft.save(folder / "b.png")
    return folder


def test_what_is_too_blurred_is_left_out(cli: Run, blurred_twice: Path) -> None:
    outcome = cli(blurred_twice)
    lines = outcome.out.splitlines()
    assert (outcome.code, lines[0]) == (0, "left out: 2 faces")
    assert lines[1].endswith("  blurred")
    assert "left out: 2" in outcome.err
    assert [(line["group"], line["left_out"]) for line in cli(blurred_twice, "--json").lines()] == [
        (None, "blurred")
    ] * 2


def test_any_quality_groups_it_all_the_same(cli: Run, blurred_twice: Path) -> None:
    assert cli(blurred_twice, "--any-quality").out.splitlines()[0] == "group 1: 2 faces"


def test_an_image_that_fails_is_named_and_does_not_stop_the_others(cli: Run, album: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
    as_json, as_text = cli("--json", "broken.jpg", album), cli("broken.jpg", album)
    assert as_json.code == as_text.code == 1
    assert as_json.err.startswith("visavis: broken.jpg: ")
    assert as_json.lines()[-1]["error"]["code"] == "image_corrupt"
    assert len(as_json.lines()) == 6
    assert as_text.out.splitlines()[-1] == "broken.jpg: failed, image_corrupt"


def test_no_face_at_all(cli: Run, album: Path) -> None:
    outcome = cli(album / "grey.png", "-o", "people.html")
    assert (outcome.code, outcome.out) == (0, "")
    assert "0 groups of faces" in Path("people.html").read_text()


@pytest.mark.usefixtures("no_scipy")
def test_the_missing_library_is_told_before_any_image_is_looked_at(cli: Run) -> None:
    outcome = cli("missing.jpg", "-o", "people.html")
    assert outcome.code == 2
    assert outcome.err == "visavis: grouping faces takes SciPy: pip install 'visavis[cluster]'\n"
    assert not Path("people.html").exists()


def test_wrong_use(cli: Run, album: Path) -> None:
    outcome = cli(album, "-o", "people.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert "a page is written, and its suffix is .html" in outcome.err
    assert cli(album, "--min-size", 0).code == 2
    assert cli("no-such-folder/*.jpg", "-o", "no-such-folder/people.html").code == 2


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_shows_every_face(cli: Run, album: Path) -> None:
    outcome = cli(album, "-o", "people.html", "--min-size", 3)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.endswith("; see people.html\n")
    page = Path("people.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?) (?:<input [^>]*> )?<small>(.*?)</small>", page)
    assert titles == [("Group 1", "3 faces in 3 images"), ("In no group", "2 faces in 2 images")]
    assert page.count('<img src="data:image/jpeg;base64,') == 5
    assert page.count('<input type="checkbox" checked>') == 3


def test_the_page_and_json_together(cli: Run, album: Path) -> None:
    assert len(cli(album, "-o", "people.html", "--json").lines()) == 5
    assert Path("people.html").is_file()


def test_the_page_needs_nothing_else(cli: Run, album: Path) -> None:
    cli(album, "-o", "people.html")
    page = Path("people.html").read_text(encoding="utf-8")
    assert not re.findall(r"<script .|<link|<iframe|https?:|url\(|@import|\son\w+=", page)
    assert set(re.findall(r"src=\"(\w+:)", page)) == {"data:"}
    assert "default-src 'none'" in page
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in page
    assert 'name="viewport"' in page


def test_thumbnails_are_pictures_of_faces(cli: Run, album: Path) -> None:
    cli(album, "-o", "people.html")
    data = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", Path("people.html").read_text(encoding="utf-8"))
    for encoded in data:
        with PIL.Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            assert (image.format, image.size) == ("JPEG", (128, 128))
            assert np.asarray(image).std() > 10


def test_file_names_are_text_on_the_page(cli: Run, album: Path) -> None:
    cli(album, "-o", "people.html")
    page = Path("people.html").read_text(encoding="utf-8")
    assert "d &lt;b&gt;&amp;&quot;&#x27;.jpg" in page
    assert "<b>" not in page


def test_the_page_tells_no_more_of_a_path_than_was_searched(cli: Run, album: Path) -> None:
    cli(album, "-o", "people.html")
    page = Path("people.html").read_text(encoding="utf-8")
    assert "<bdi>a.png</bdi>" in page
    assert str(album) not in page


def sightings(*files: str) -> Iterator[GroupedFace]:
    face = Face(np.zeros(4, np.float32), 1.0, np.zeros((5, 2), np.float32))
    return (GroupedFace(file, file, face, thumbnail=b"x") for file in files)


def test_names_that_are_no_text_are_escaped() -> None:
    stream = io.StringIO()
    write_contact_sheet(Groups([list(sightings("a\udcff\u202e\n.jpg", "人 é.jpg"))], [], [], []), 2, stream)
    page = stream.getvalue()
    assert "a\\udcff\\u202e\\n.jpg" in page
    assert "人 é.jpg" in page
    page.encode()


def test_a_very_large_group_is_cut_short_on_the_page() -> None:
    stream = io.StringIO()
    write_contact_sheet(Groups([list(sightings(*["a.jpg"] * 1450))], [], [], []), 1450, stream)
    page = stream.getvalue()
    assert page.count("<img") == 200
    assert "<p>and 1,250 more</p>" in page
    assert "1,450 faces in 1 image" in page
