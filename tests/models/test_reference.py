"""The default pack against dlib itself: the same faces, the same landmarks, the same embeddings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlib
import numpy as np
import pytest
from dlib_faces import Scene, recorded_scenes, seen_scenes
from effort import effort, scaled
from numpy.typing import NDArray

from visavis import Recognizer
from visavis.core.geometry import extract_chip, iou
from visavis.models.catalogue import DLIB
from visavis.models.dlib.detector import DlibDetector, LandmarkRegressor
from visavis.models.installation import source_path

COUNTED_SCORE = 0.3


@dataclass(frozen=True)
class Dlib:
    """dlib's own models of what follows detection."""

    landmarks: Any
    embedder: Any

    def points(self, pixels: NDArray[np.uint8], rectangle: dlib.rectangle) -> NDArray[np.float32]:
        return np.array([[p.x, p.y] for p in self.landmarks(pixels, rectangle).parts()], np.float32)

    def face(self, scene: Scene, at: int) -> "Described":
        chip = dlib.get_face_chip(
            scene.pixels, self.landmarks(scene.pixels, scene.rectangles[at]), size=150, padding=0.25
        )
        return Described(scene, at, chip, np.array(self.embedder.compute_face_descriptor(chip), np.float32))


@dataclass(frozen=True)
class Described:
    """One of the faces of a scene, with dlib's chip of it and dlib's embedding of that."""

    scene: Scene
    at: int
    chip: NDArray[np.uint8]
    embedding: NDArray[np.float32]


@pytest.fixture(scope="module")
def reference() -> Dlib:
    return Dlib(
        dlib.shape_predictor(str(source_path(DLIB.part("landmarks").files[0]))),
        dlib.face_recognition_model_v1(str(source_path(DLIB.part("embedder").files[0]))),
    )


@pytest.fixture(scope="module", params=["recorded", pytest.param("seen", marks=pytest.mark.thorough)])
def scenes(request: pytest.FixtureRequest) -> list[Scene]:
    """The two portraits that are always there, and the project's test images where they are."""
    return list(recorded_scenes() if request.param == "recorded" else seen_scenes())


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.thorough)])
def described(request: pytest.FixtureRequest, reference: Dlib) -> list[Described]:
    """Faces that dlib takes a tenth of a second each to embed: one of every fourth photo, or all."""
    scenes = [scene for scene in recorded_scenes() if len(scene.boxes)]
    if request.param == "some":
        return [reference.face(scene, 0) for scene in [*scenes[:2], *scenes[2::4]]]
    return [reference.face(scene, at) for scene in scenes for at in range(len(scene.boxes))]


@pytest.fixture(params=["f32", "auto"])
def either(request: pytest.FixtureRequest, recognizer: Recognizer, recognizer_auto: Recognizer) -> Recognizer:
    return recognizer if request.param == "f32" else recognizer_auto


F32_THOROUGHLY = ["auto", pytest.param("f32", marks=pytest.mark.thorough)]  # seconds, where float32 is slower
mostly_auto = pytest.mark.parametrize("either", F32_THOROUGHLY, indirect=True)


def missed(boxes: NDArray[np.float32], scores: NDArray[np.float32], others: NDArray[np.float32]) -> list[Any]:
    """Return the clear faces that have no counterpart among the others."""
    best = iou(boxes, others).max(axis=1, initial=0)
    return list(boxes[(scores > COUNTED_SCORE) & (best < 0.6)])


@scaled
def test_the_detector_finds_what_dlib_finds(either: Recognizer, scenes: list[Scene]) -> None:
    compared = 0
    for scene in scenes[:: effort(5, 1) if either.runtime.precision == "f32" else 1]:
        faces = either.detect(scene.pixels, min_face=80)
        boxes = np.array([face.box_xyxy for face in faces], np.float32).reshape(-1, 4)
        scores = np.array([face.score for face in faces], np.float32)
        assert missed(scene.boxes, scene.scores, boxes) == [], f"{scene.name}: dlib finds more"
        assert missed(boxes, scores, scene.boxes) == [], f"{scene.name}: dlib finds less"
        if not len(boxes):
            continue
        partner = iou(scene.boxes, boxes).argmax(axis=1)
        clear = scene.scores > COUNTED_SCORE
        assert np.abs(scores[partner] - scene.scores)[clear].max(initial=0) <= 0.05, scene.name
        compared += int(clear.sum())
    assert compared >= 2


def _landmarks(recognizer: Recognizer) -> LandmarkRegressor:
    detector = recognizer._models.detector  # noqa: SLF001
    assert isinstance(detector, DlibDetector)
    return detector.landmarks


def test_landmarks_in_dlibs_boxes(recognizer: Recognizer, reference: Dlib, scenes: list[Scene]) -> None:
    for scene in scenes:
        theirs = np.array([reference.points(scene.pixels, rectangle) for rectangle in scene.rectangles])
        ours = _landmarks(recognizer)([scene.pixels] * len(scene.boxes), scene.boxes)
        assert np.abs(ours - theirs.reshape(ours.shape)).max(initial=0) <= 1, scene.name


def test_embeddings_of_dlibs_chips(either: Recognizer, described: list[Described]) -> None:
    most = 1e-5 if either.runtime.precision == "f32" else 1e-2
    theirs = np.array([face.embedding for face in described])
    assert np.abs(either.embed_chips([face.chip for face in described]) - theirs).max() <= most


def test_the_whole_pipeline_in_the_same_boxes(either: Recognizer, described: list[Described]) -> None:
    distances = []
    for face in described:
        (points,) = _landmarks(either)([face.scene.pixels], face.scene.boxes[[face.at]])
        (ours,) = either.embed_chips([extract_chip(face.scene.pixels, points, DLIB.template)])
        distances.append(np.linalg.norm(ours - face.embedding))
    assert len(distances) >= 2
    assert np.median(distances) <= 0.03
    assert max(distances) <= 0.08


@pytest.mark.thorough
@mostly_auto
def test_face_counts(either: Recognizer, test_data: Path) -> None:
    paths = sorted((test_data / "images" / "groups").glob("*.jpg"))
    assert len(paths) == 18
    # What follows the underscore is the number of faces, or a letter for the one person on it.
    labels = [path.stem.partition("_")[2] for path in paths]
    wanted = [int(label) if label.isdigit() else 1 for label in labels]
    found = [len(faces) for faces in either.detect_many(paths) if isinstance(faces, tuple)]
    assert sum(a == b for a, b in zip(found, wanted, strict=True)) >= 16


@pytest.mark.thorough
@mostly_auto
def test_accuracy_on_a_part_of_lfw(either: Recognizer, test_data: Path) -> None:
    folder = test_data / "lfw-fold1"
    rows = [line.split("\t") for line in (folder / "pairs.txt").read_text().splitlines()[1:]][::10]

    def image(name: str, number: str) -> Path:
        return folder / "images" / name / f"{name}_{int(number):04d}.jpg"

    pairs = [(image(row[0], row[1]), image(row[-2] if len(row) == 4 else row[0], row[-1])) for row in rows]
    results = list(either.verify_many(pairs, min_face=40))
    right = [not isinstance(r, Exception) and r.same == (len(row) == 3) for r, row in zip(results, rows, strict=True)]
    assert np.mean(right) >= 0.95  # 57 of 60; bench/lfw.py measures all 600
