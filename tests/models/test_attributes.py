"""Liveness, head pose, age and gender: asked for or not, of no face or many, alone or at the same time."""

import json
import pickle
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from conftest import read_pixels
from numpy.typing import NDArray

from visavis import Recognizer
from visavis.core.decide import LEAST_LIVENESS, is_live
from visavis.errors import InvalidOption, ModelCorrupt, ModelMissing, RuntimeFailed
from visavis.models.attributes import ROLE_OF_ATTRIBUTE
from visavis.models.catalogue import DLIB, OPEN
from visavis.models.catalogue.shared import LIVENESS
from visavis.models.heads import AttributeModels
from visavis.models.installation import FILES, Installation, as_installed
from visavis.models.runtime import RuntimeSpec
from visavis.models.torch import minifasnet
from visavis.options import Attribute
from visavis.types import Attributes, Face, Gender, Pose

IN_F32 = RuntimeSpec(precision="f32", threads=1)
NOBODY = np.zeros((0, 4), np.float32)
ONE = np.array([[150, 20, 300, 220]], np.float32)


@pytest.fixture(scope="session")
def attributes(all_models: Path, cache_dir: Path) -> AttributeModels:
    return AttributeModels(as_installed(OPEN, all_models), Installation(IN_F32, cache_dir, all_models))


def absent(folder: Path) -> AttributeModels:
    """The attributes of ``open`` where no file of theirs is."""
    return AttributeModels(OPEN, Installation(IN_F32, folder, folder))


@pytest.mark.parametrize(
    ("wanted", "checked"),
    [
        ((), ()),
        (["pose"], ("pose",)),
        (("age", "pose", "age"), ("age", "pose")),
        (get_args(Attribute), get_args(Attribute)),
    ],
)
def test_wishes_are_checked(tmp_path: Path, wanted: Sequence[Attribute], checked: tuple[Attribute, ...]) -> None:
    assert absent(tmp_path).check(wanted) == checked


@pytest.mark.parametrize("wanted", ["pose", ["smile"], [""], [None], [["pose"]], 3, None])
def test_other_wishes_are_refused(tmp_path: Path, wanted: Any) -> None:  # noqa: ANN401  # all wrong
    with pytest.raises(InvalidOption, match="attributes"):
        absent(tmp_path).check(wanted)


def test_a_pack_tells_what_it_can(tmp_path: Path) -> None:
    without = AttributeModels(DLIB, Installation(IN_F32, tmp_path, tmp_path))
    assert without.check(()) == ()
    for name in get_args(Attribute):
        with pytest.raises(InvalidOption, match=f"'dlib' tells no {name}; the pack 'open' does"):
            without.check([name])


def test_nothing_is_loaded_for_nobody_or_nothing(tmp_path: Path, astronaut_pixels: NDArray[np.uint8]) -> None:
    assert absent(tmp_path)(astronaut_pixels, NOBODY, get_args(Attribute)) == ()
    assert absent(tmp_path)(astronaut_pixels, ONE, ()) == (Attributes(),)


@pytest.mark.parametrize("name", get_args(Attribute))
def test_missing_models_are_named(tmp_path: Path, astronaut_pixels: NDArray[np.uint8], name: Attribute) -> None:
    with pytest.raises(ModelMissing, match=f"visavis models pull open --with {ROLE_OF_ATTRIBUTE[name]}"):
        absent(tmp_path)(astronaut_pixels, ONE, [name])


def test_a_converted_copy_of_a_removed_model_is_not_used(
    tmp_path: Path, open_models: Path, astronaut_pixels: NDArray[np.uint8]
) -> None:
    shutil.copytree(open_models / FILES, tmp_path / "models" / FILES)

    def attributes() -> AttributeModels:
        return AttributeModels(OPEN, Installation(IN_F32, tmp_path / "cache", tmp_path / "models"))

    assert attributes()(astronaut_pixels, ONE, ["liveness"])[0].liveness is not None
    assert list((tmp_path / "cache").glob("liveness-*"))
    (tmp_path / "models" / FILES / LIVENESS.files[1].name).unlink()
    with pytest.raises(ModelMissing, match="visavis models pull open --with liveness"):
        attributes()(astronaut_pixels, ONE, ["liveness"])


def test_a_damaged_model_is_refused(tmp_path: Path, open_models: Path, astronaut_pixels: NDArray[np.uint8]) -> None:
    shutil.copytree(open_models / FILES, tmp_path / FILES)
    path = tmp_path / FILES / LIVENESS.files[1].name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelCorrupt, match=r"V1SE\.pth is not the file"):
        absent(tmp_path)(astronaut_pixels, ONE, ["liveness"])


def test_no_file_is_unpickled_that_is_not_the_pinned_one(
    tmp_path: Path, open_models: Path, astronaut_pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_data: bytes) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(minifasnet, "read_state_dict", fail)
    shutil.copytree(open_models / FILES, tmp_path / FILES)
    name = LIVENESS.files[0].name
    (tmp_path / FILES / name).write_bytes(pickle.dumps(Path(name)))
    with pytest.raises(ModelCorrupt, match=f"{name} is not the file that visavis knows"):
        absent(tmp_path)(astronaut_pixels, ONE, ["liveness"])


def test_onnx_runtime_tells_what_is_in_onnx(
    open_models: Path, cache_dir: Path, astronaut_pixels: NDArray[np.uint8], attributes: AttributeModels
) -> None:
    spec = RuntimeSpec("onnxruntime", threads=1)
    other = AttributeModels(OPEN, Installation(spec, cache_dir, open_models))
    (here,), (there,) = (each(astronaut_pixels, ONE, ["liveness"]) for each in (attributes, other))
    assert here.liveness == pytest.approx(there.liveness, abs=1e-4)
    with pytest.raises(RuntimeFailed, match="intermediate representation"):
        other(astronaut_pixels, ONE, ["pose"])


def test_only_what_is_asked_is_told(recognizer_all: Recognizer, test_data: Path) -> None:
    photo = test_data / "images" / "portraits" / "obama.jpg"
    (plain,) = recognizer_all.detect(photo)
    assert plain.attributes is None
    assert "attributes" not in plain.to_dict()
    (face,) = recognizer_all.detect(photo, attributes=["gender"])
    assert face.attributes is not None
    assert face.attributes == Attributes(gender=face.attributes.gender)
    (face,) = recognizer_all.embed(photo, attributes=get_args(Attribute), quality=True)
    assert face.embedding is not None
    assert face.quality is not None
    assert set(face.to_dict()["attributes"]) == set(get_args(Attribute))
    assert set(face.to_dict()["attributes"]["pose"]) == {"yaw", "pitch", "roll"}
    json.dumps(face.to_dict(), allow_nan=False)


def test_no_face_has_no_attributes(recognizer_all: Recognizer) -> None:
    blank = np.zeros((200, 200, 3), np.uint8)
    assert recognizer_all.detect(blank, attributes=get_args(Attribute)) == ()


@pytest.mark.parametrize(
    ("name", "age"),
    # By the day on which each was taken, which is in its EXIF data.
    [("obama.jpg", 51), ("obama2.jpg", 48), ("obama3.jpg", 48), ("biden.jpg", 67)],
)
def test_portraits(recognizer_all: Recognizer, test_data: Path, name: str, age: int) -> None:
    photo = test_data / "images" / "portraits" / name
    (face,) = recognizer_all.detect(photo, faces="largest", attributes=get_args(Attribute))
    assert face.attributes is not None
    assert face.attributes.age == pytest.approx(age, abs=10)
    assert face.attributes.gender is not None
    assert face.attributes.gender.label == "male"
    assert 0.5 <= face.attributes.gender.probability <= 1
    assert is_live(face.attributes)
    assert face.attributes.pose is not None
    assert max(abs(face.attributes.pose.yaw), abs(face.attributes.pose.pitch)) < 35


def poses_of(recognizer: Recognizer, image: NDArray[np.uint8]) -> list[Pose]:
    found = recognizer.detect(np.ascontiguousarray(image), attributes=["pose"])
    return [face.attributes.pose for face in found if face.attributes and face.attributes.pose]


def test_a_mirror_turns_yaw_and_roll(recognizer_open: Recognizer, test_data: Path) -> None:
    differences = []
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg"):
        image = read_pixels(test_data / "images" / "portraits" / name, 800)
        (here,), (there,) = poses_of(recognizer_open, image), poses_of(recognizer_open, image[:, ::-1])
        differences.append((here.yaw + there.yaw, here.pitch - there.pitch, here.roll + there.roll))
    assert np.abs(differences).mean() < 5


@pytest.mark.parametrize("degrees", [-20, 20])
def test_roll_is_clockwise(recognizer_open: Recognizer, test_data: Path, degrees: float) -> None:
    image = read_pixels(test_data / "images" / "portraits" / "obama.jpg", 800)
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    turned = np.asarray(cv2.warpAffine(image, turn, (width, height)), np.uint8)
    (here,), (there,) = poses_of(recognizer_open, image), poses_of(recognizer_open, turned)
    assert there.roll - here.roll == pytest.approx(degrees, abs=6)
    assert abs(there.yaw - here.yaw) < 10


@pytest.mark.thorough
def test_yaw_is_where_the_nose_points(recognizer_open: Recognizer, test_data: Path) -> None:
    """Yaw grows as the tip of the nose moves to the right of the middle between the eyes; pitch, as it sinks."""
    rows = []
    for photo in sorted((test_data / "images" / "groups").glob("*.jpg")):
        for face in recognizer_open.detect(photo, attributes=["pose"]):
            assert face.attributes is not None
            assert face.attributes.pose is not None
            rows.append((face.attributes.pose.yaw, *nose_of(face), face.attributes.pose.pitch))
    yaw, aside, down, pitch = np.array(rows).T
    assert np.corrcoef(yaw, aside)[0, 1] > 0.8
    assert np.corrcoef(pitch, down)[0, 1] > 0.3


def nose_of(face: Face) -> tuple[float, float]:
    """Where the nose is: aside of the eyes, in distances of the eyes; and down from the eyes towards the mouth."""
    left, right, nose, *mouth = face.landmarks.astype(np.float64)
    eyes, lips = (left + right) / 2, np.mean(mouth, axis=0)
    return float((nose - eyes)[0] / np.hypot(*(right - left))), float((nose - eyes)[1] / (lips - eyes)[1])


def test_many_faces_are_told_as_one_by_one(attributes: AttributeModels, test_data: Path) -> None:
    image = read_pixels(test_data / "images" / "groups" / "016_8.jpg")
    draw = np.random.default_rng(0)
    corners = draw.uniform(0, 300, (37, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + draw.uniform(30, 120, (37, 2)).astype(np.float32)], axis=1)
    together = attributes(image, boxes, get_args(Attribute))
    for number, box in enumerate(boxes):
        (one,) = attributes(image, box[None], get_args(Attribute))
        same = together[number]
        assert one.liveness == pytest.approx(same.liveness, abs=1e-4)
        assert one.age == pytest.approx(same.age, abs=0.1)
        assert one.pose is not None
        assert same.pose is not None
        assert one.pose.yaw == pytest.approx(same.pose.yaw, abs=0.01)


def test_threads_load_a_model_once(
    open_models: Path, cache_dir: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    installation = Installation(IN_F32, cache_dir, open_models)
    plain = Installation.read

    def counted(self: Installation, file: Any) -> bytes:  # noqa: ANN401  # as it is
        read.append(file.name)
        return plain(self, file)

    monkeypatch.setattr(Installation, "read", counted)
    models = AttributeModels(OPEN, installation)
    image = read_pixels(test_data / "images" / "portraits" / "obama.jpg", 800)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: models(image, ONE, ["pose", "liveness"]), range(16)))
    assert len(set(read)) == len(read) == 2
    assert all(each == told[0] for each in told)


@pytest.mark.parametrize(
    ("told", "live"),
    [
        (None, True),
        (Attributes(), True),
        (Attributes(liveness=LEAST_LIVENESS), True),
        (Attributes(liveness=0.49), False),
        (Attributes(liveness=0.0, gender=Gender("female", 1.0)), False),
    ],
)
def test_is_live(told: Attributes | None, *, live: bool) -> None:
    assert is_live(told) is live
