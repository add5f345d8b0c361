"""The identity of an embedding space, on which stored embeddings rely."""

from dataclasses import replace

import numpy as np
import pytest

from visavis.core.geometry import ChipTemplate
from visavis.models.catalogue import DLIB, PACKS, Pack
from visavis.types import EmbeddingSpace


def test_the_space_of_the_default_pack_never_changes_by_accident() -> None:
    """Whoever changes this makes every stored gallery unreadable: only with other embeddings."""
    assert DLIB.space == EmbeddingSpace("df2e423c8260a6ae", 128, "euclidean")


def test_the_space_is_told_in_few_characters() -> None:
    for pack in PACKS.values():
        assert len(pack.space.id) == 16
        assert set(pack.space.id) <= set("0123456789abcdef")
    assert len({pack.space.id for pack in PACKS.values()}) == len(PACKS)


def _moved(shift: float) -> ChipTemplate:
    points = DLIB.template.points.copy()
    points[4, 1] += shift
    return ChipTemplate(DLIB.template.side, points)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(DLIB, embedder=replace(DLIB.embedder, sha256="0" * 64)), id="weights"),
        pytest.param(replace(DLIB, preprocessing="dlib-chip bgr8"), id="preprocessing"),
        pytest.param(replace(DLIB, template=ChipTemplate(160, DLIB.template.points)), id="side"),
        pytest.param(replace(DLIB, template=_moved(0.001)), id="points"),
        pytest.param(replace(DLIB, template=ChipTemplate(150, DLIB.template.points[::-1])), id="order of the points"),
        pytest.param(replace(DLIB, dimension=127), id="dimension"),
        pytest.param(replace(DLIB, metric="cosine"), id="metric"),
    ],
)
def test_each_ingredient_makes_another_space(other: Pack) -> None:
    assert other.space.id != DLIB.space.id


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(DLIB, name="other", summary="", threshold=0.5, threshold_provenance=""), id="words"),
        pytest.param(replace(DLIB, detector=replace(DLIB.detector, sha256="0" * 64)), id="detector"),
        pytest.param(replace(DLIB, embedder=replace(DLIB.embedder, package="elsewhere", path="x")), id="place"),
        pytest.param(replace(DLIB, template=_moved(float(np.spacing(np.float32(100))))), id="rounding"),
    ],
)
def test_nothing_else_does(other: Pack) -> None:
    assert other.space.id == DLIB.space.id
