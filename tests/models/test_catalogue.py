"""The catalogue: every pack complete, and the identity of embedding spaces, on which stored embeddings rely."""

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from visavis.core.decide import NAMED_RATES, rule_at_rate
from visavis.core.geometry import ChipTemplate, fit_similarity
from visavis.errors import ModelMissing
from visavis.models.catalogue import DLIB, PACKS
from visavis.models.heads import ATTRIBUTES, CONVERSIONS, DETECTORS, EMBEDDERS
from visavis.models.installation import pack_of_space
from visavis.models.packs import Archive, ModelFile, Pack, Part
from visavis.types import EmbeddingSpace

# Whoever changes one of these makes galleries that were made with the pack unreadable: only with other embeddings.
SPACES = {
    "dlib": EmbeddingSpace("df2e423c8260a6ae", 128, "euclidean"),
    "dlib-cosine": EmbeddingSpace("b178a2b1d63843c7", 128, "cosine"),
    "open": EmbeddingSpace("b0916d0770899611", 256, "cosine"),
    "sface": EmbeddingSpace("5d409b5af81ca3fa", 128, "cosine"),
    "sface-float": EmbeddingSpace("749554eb3796f596", 128, "cosine"),
    "auraface": EmbeddingSpace("935cc0013e463757", 512, "cosine"),
    "buffalo_l": EmbeddingSpace("18035b44e415e1f5", 512, "cosine"),
    "buffalo_s": EmbeddingSpace("1023bdd75d6c92a1", 512, "cosine"),
    "antelopev2": EmbeddingSpace("c6dc6c3b1f5b31a4", 512, "cosine"),
    "edgeface_xs": EmbeddingSpace("429cdaf5bbdbefc3", 512, "cosine"),
}
FOR_RESEARCH = {"buffalo_l", "buffalo_s", "antelopev2", "edgeface_xs", "vggface2"}

every_pack = pytest.mark.parametrize("pack", PACKS.values(), ids=lambda pack: pack.name)


def parts_of(pack: Pack) -> tuple[Part, ...]:
    return (*pack.parts, *pack.optional)


def all_files() -> Iterator[ModelFile]:
    for pack in PACKS.values():
        for part in parts_of(pack):
            yield from part.files


@every_pack
def test_a_space_never_changes_by_accident(pack: Pack) -> None:
    if pack.name in SPACES:
        assert pack.space == SPACES[pack.name]
        assert pack_of_space(pack.space.id) is pack
    else:  # nobody publishes a hash of its embedder: its space is known once it was pulled
        with pytest.raises(ModelMissing, match=f"visavis models pull {pack.name}"):
            _ = pack.space
        assert pack_of_space("") is None


def test_every_space_is_another_told_in_few_characters() -> None:
    assert set(SPACES) <= set(PACKS)
    assert len({space.id for space in SPACES.values()}) == len(SPACES)
    assert all(re.fullmatch("[0-9a-f]{16}", space.id) for space in SPACES.values())


@every_pack
def test_a_pack_says_where_its_numbers_come_from(pack: Pack) -> None:
    words = [pack.name, pack.summary, pack.preprocessing, pack.quality.provenance]
    words += [getattr(pack, field.name) for field in fields(pack) if field.name.endswith("_provenance")]
    words += [measured.provenance for measured in (pack.calibration, pack.rates) if measured is not None]
    words += [part.training_data for part in parts_of(pack)]
    assert all(word.strip() and "TODO" not in word for word in words)


@every_pack
def test_the_numbers_of_a_pack_are_in_order(pack: Pack) -> None:
    most = 2.0  # of the distance of two unit vectors in either metric
    assert 0 < pack.conflict_threshold <= pack.identify_threshold <= pack.threshold < most
    assert 0 <= pack.identify_margin < pack.identify_threshold
    assert 0 < pack.cluster_threshold <= pack.threshold
    assert 0 < pack.quality.max_yaw <= 90
    assert 0 < pack.quality.max_pitch <= 90
    if pack.rates is not None:
        least, largest = (pack.rates.points[end].fmr for end in (0, -1))
        assert all(
            0 < rule_at_rate(pack.rates, rate).threshold < most
            for rate in NAMED_RATES.values()
            if least <= rate <= largest
        )


@every_pack
def test_a_pack_has_what_it_takes(pack: Pack) -> None:
    roles = [part.role for part in pack.parts]
    assert sorted(roles) in (["detector", "embedder"], ["detector", "embedder", "landmarks"])
    assert {part.role for part in pack.optional} <= {"liveness", "pose", "age_gender"}
    assert all(part.files for part in parts_of(pack))
    assert pack.commercial_use == (pack.name not in FOR_RESEARCH)


@every_pack
def test_something_loads_every_head(pack: Pack) -> None:
    tables = {"detector": DETECTORS, "landmarks": CONVERSIONS, "embedder": EMBEDDERS}
    assert [part.head for part in parts_of(pack) if part.head not in tables.get(part.role, ATTRIBUTES)] == []


@every_pack
def test_a_template_holds_a_face_that_looks_out_of_the_image(pack: Pack) -> None:
    points, side = pack.template.points, pack.template.side
    assert points.shape == (5, 2)
    assert (points > 0).all()
    assert (points < side).all()
    if not pack.name.startswith("dlib"):  # eyes, nose, corners of the mouth; those on the left of the image first
        eye, other_eye, nose, corner, other_corner = points
        assert eye[0] < nose[0] < other_eye[0]
        assert corner[0] < nose[0] < other_corner[0]
        assert max(eye[1], other_eye[1]) < nose[1] < min(corner[1], other_corner[1])


def test_arcface_and_open_want_the_same_face() -> None:
    """The two templates were published apart, and differ by a crop and little else."""
    source, target = PACKS["open"].template.points, PACKS["buffalo_l"].template.points
    matrix = fit_similarity(source, target)
    moved = source @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(moved - target).max() < 3


@pytest.mark.parametrize("file", [*all_files()], ids=lambda file: file.name)
def test_a_file_can_be_had_and_recognised(file: ModelFile) -> None:
    assert file.licence
    assert _is_https(file.origin.partition(" ")[0])
    assert sum(map(bool, (file.package or file.url, file.archive))) == 1
    assert bool(file.package) == bool(file.requirement)
    assert bool(file.archive) == bool(file.member)
    assert bool(file.package) == bool(file.path)
    assert Path(file.name).name == file.name
    assert file.size is None or file.size > 0
    assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert re.fullmatch("[0-9a-f]{96}|", file.sha384)
    assert not file.url or _is_https(file.url)
    if file.archive:
        assert _is_https(file.archive.url)
        assert file.archive.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.archive.sha256)
        assert not file.member.startswith("/")


def test_a_name_means_one_file_everywhere() -> None:
    files: dict[str, ModelFile] = {}
    archives: dict[str, Archive] = {}
    for file in all_files():
        assert files.setdefault(file.name, file) == file
        if file.archive:
            assert archives.setdefault(file.archive.url, file.archive) == file.archive
    assert len({name.lower() for name in files}) == len(files)  # some file systems know no difference


def _is_https(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" and bool(parts.hostname) and not parts.query


def _moved(shift: float) -> ChipTemplate:
    points = DLIB.template.points.copy()
    points[4, 1] += shift
    return ChipTemplate(DLIB.template.side, points)


def _other(role: str, **file: str) -> Pack:
    """Return the default pack with another file in one part."""
    parts = (
        replace(part, files=(replace(part.files[0], **file),)) if part.role == role else part  # type: ignore[arg-type]
        for part in DLIB.parts
    )
    return replace(DLIB, parts=tuple(parts))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_other("embedder", sha256="0" * 64), id="weights"),
        pytest.param(replace(DLIB, preprocessing="dlib-chip bgr8"), id="preprocessing"),
        pytest.param(replace(DLIB, template=ChipTemplate(160, DLIB.template.points)), id="side"),
        pytest.param(replace(DLIB, template=_moved(0.001)), id="points"),
        pytest.param(replace(DLIB, template=ChipTemplate(150, DLIB.template.points[::-1])), id="order of the points"),
        pytest.param(replace(DLIB, dimension=127), id="dimension"),
        pytest.param(replace(DLIB, metric="cosine"), id="metric"),
        pytest.param(replace(DLIB, mirror=True), id="mirrored chip"),
    ],
)
def test_each_ingredient_makes_another_space(other: Pack) -> None:
    assert other.space.id != DLIB.space.id


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(DLIB, name="other", summary="", threshold=0.5, threshold_provenance=""), id="words"),
        pytest.param(_other("detector", sha256="0" * 64), id="detector"),
        pytest.param(_other("embedder", package="elsewhere", path="x"), id="place"),
        pytest.param(replace(DLIB, template=_moved(float(np.spacing(np.float32(100))))), id="rounding"),
    ],
)
def test_nothing_else_does(other: Pack) -> None:
    assert other.space.id == DLIB.space.id
