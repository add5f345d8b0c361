"""The Recognizer as its users call it."""

import copy
import io
import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from conftest import many_faces
from effort import effort
from numpy.typing import NDArray

from visavis import (
    Face,
    ImageCorrupt,
    ImageLimits,
    ImageNotFound,
    ImageTooLarge,
    InvalidImage,
    InvalidOption,
    MultipleFaces,
    NoFace,
    Recognizer,
    RuntimeFailed,
    Verification,
    VisavisError,
)
from visavis.core import pyramid

GREY = np.full((200, 200, 3), 128, np.uint8)


def test_the_same_person(recognizer: Recognizer, astronaut: Path, astronaut_again: bytes) -> None:
    result = recognizer.verify(astronaut, astronaut_again)
    assert result.same
    assert result.distance < result.threshold == 0.6
    assert result.decision == "same"
    assert (result.probability or 0) > 0.99
    a, b = result.faces
    assert a.embedding is not None
    assert b.embedding is not None
    assert np.linalg.norm(a.embedding - b.embedding) == pytest.approx(result.distance)


def test_different_persons(recognizer: Recognizer, astronaut: Path, hopper: Path) -> None:
    result = recognizer.verify(astronaut, hopper)
    assert not result.same
    assert result.distance > 0.6
    assert result.decision == "different"
    assert (result.probability or 1) < 0.5


def test_faces_say_how_small_they_might_have_been(
    recognizer: Recognizer, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recognizer.detect(astronaut).searched_from_px == pytest.approx(0.08 * 512, abs=0.1)
    nobody = recognizer.detect(GREY, min_face=0.02)
    assert (len(nobody), nobody.searched_from_px) == (0, 20)  # a fraction never asks for less
    monkeypatch.setattr(pyramid, "_MOST_SEARCHED_PIXELS", 1_000_000)
    some, others = recognizer.embed_many([astronaut, GREY], min_face=10)
    assert not isinstance(some, VisavisError)
    assert not isinstance(others, VisavisError)
    assert len(some) == 1
    assert (some.searched_from_px, others.searched_from_px) == (41, 16)  # as small as a megapixel allows
    assert copy.copy(some).searched_from_px == pickle.loads(pickle.dumps(some)).searched_from_px == 41  # noqa: S301  # our own


def test_an_answer_is_true_or_false(recognizer: Recognizer, astronaut: Path, hopper: Path) -> None:
    assert recognizer.verify(hopper, hopper)
    assert not recognizer.verify(astronaut, hopper)


def test_printing_shows_no_biometric_data(recognizer: Recognizer, hopper: Path) -> None:
    answer = recognizer.verify(hopper, hopper)
    assert "embedding" not in repr(answer)
    assert len(repr(answer)) < 800


def test_a_single_image_is_not_several(recognizer: Recognizer) -> None:
    for many in (recognizer.detect_many, recognizer.embed_many):
        with pytest.raises(InvalidOption, match="several images are wanted"):
            many("photo.jpg")


def test_the_order_does_not_matter(recognizer: Recognizer, astronaut: Path, hopper: Path) -> None:
    one, other = recognizer.verify(astronaut, hopper), recognizer.verify(hopper, astronaut)
    assert one.distance == pytest.approx(other.distance, abs=1e-6)
    assert one.faces[0].box_xyxy.tolist() == other.faces[1].box_xyxy.tolist()


def test_an_image_is_the_same_as_itself(recognizer: Recognizer, hopper: Path) -> None:
    result = recognizer.verify(hopper, hopper.read_bytes())
    assert result.distance == pytest.approx(0, abs=1e-6)
    assert result.same


def test_the_threshold_decides(recognizer: Recognizer, astronaut: Path, hopper: Path) -> None:
    distance = recognizer.verify(astronaut, hopper).distance
    assert recognizer.verify(astronaut, hopper, threshold=distance + 0.01).same
    assert not recognizer.verify(astronaut, hopper, threshold=distance - 0.01).same
    with pytest.raises(InvalidOption, match="threshold"):
        recognizer.verify(astronaut, hopper, threshold=0)


def test_verify_needs_a_face_in_each(recognizer: Recognizer, astronaut: Path, tmp_path: Path) -> None:
    empty = tmp_path / "street.png"
    PIL.Image.fromarray(GREY).save(empty)
    with pytest.raises(NoFace, match=r"street\.png: no face found"):
        recognizer.verify(astronaut, empty)
    with pytest.raises(NoFace, match="<array>: no face found in the first image"):
        recognizer.verify(GREY, astronaut)


def test_only_insists_on_one_face(recognizer: Recognizer, astronaut: Path, astronaut_pixels: NDArray[np.uint8]) -> None:
    crowd = many_faces(astronaut_pixels, 2, 2)
    assert len(recognizer.detect(astronaut, faces="only")) == 1
    with pytest.raises(MultipleFaces, match="4 faces"):
        recognizer.detect(crowd, faces="only")
    with pytest.raises(MultipleFaces):
        recognizer.verify(astronaut, crowd, faces="only")
    with pytest.raises(NoFace):
        recognizer.embed(GREY, faces="only")


def test_policies(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> None:
    crowd = many_faces(astronaut_pixels, 2, 2)
    assert len(recognizer.embed(crowd)) == 4
    assert len(recognizer.embed(crowd, faces="largest")) == 1
    assert recognizer.embed(GREY, faces="largest") == ()
    with pytest.raises(InvalidOption, match="faces must be one of all, prominent, largest, main, only"):
        recognizer.detect(crowd, faces="best")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="faces must be one of prominent, largest, main, only"):
        recognizer.verify(crowd, crowd, faces="all")  # type: ignore[arg-type]


def test_results_are_frozen(recognizer: Recognizer, hopper: Path) -> None:
    (face,) = recognizer.embed(hopper)
    with pytest.raises(FrozenInstanceError):
        face.score = 2.0  # type: ignore[misc]
    for array in (face.box_xyxy, face.landmarks, face.embedding):
        assert array is not None
        assert array.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert (face.box_xyxy.shape, face.landmarks.shape) == ((4,), (5, 2))


def test_results_as_plain_values(recognizer: Recognizer, hopper: Path) -> None:
    (face,) = recognizer.embed(hopper)
    plain = face.to_dict()
    assert list(plain) == ["box_xyxy", "score", "landmarks", "embedding"]
    assert len(plain["embedding"]) == 128
    answer = recognizer.verify(hopper, hopper).to_dict()
    first = ["same", "distance", "threshold", "probability", "decision", "fmr", "reason", "interval"]
    assert list(answer) == [*first, "faces"]
    assert all("embedding" not in face for face in answer["faces"])


@pytest.mark.thorough
def test_batches_give_what_single_calls_give(
    recognizer: Recognizer, astronaut: Path, hopper: Path, astronaut_pixels: NDArray[np.uint8]
) -> None:
    images: list[Path | NDArray[np.uint8]] = [astronaut, many_faces(astronaut_pixels, 3, 7), GREY, hopper]
    images *= effort(1, 2)
    together = list(recognizer.embed_many(images))
    for image, faces in zip(images, together, strict=True):
        assert not isinstance(faces, VisavisError)
        alone = recognizer.embed(image)
        assert len(alone) == len(faces)
        for a, b in zip(alone, faces, strict=True):
            assert a.box_xyxy.tolist() == b.box_xyxy.tolist()
            assert a.embedding is not None
            assert b.embedding is not None
            assert np.abs(a.embedding - b.embedding).max() < 1e-5


def test_one_bad_image_is_one_error(recognizer: Recognizer, astronaut: Path, hopper: Path) -> None:
    images: list[Any] = ["missing.jpg", astronaut, b"\xff\xd8\xff\xe0broken", GREY, None, hopper]
    for results in (list(recognizer.detect_many(images)), list(recognizer.embed_many(images))):
        kinds = [type(result) if isinstance(result, VisavisError) else len(result) for result in results]
        assert kinds == [ImageNotFound, 1, ImageCorrupt, 0, InvalidImage, 1]


def test_verify_many(recognizer: Recognizer, astronaut: Path, astronaut_again: bytes, hopper: Path) -> None:
    pairs: list[Any] = [(astronaut, astronaut_again), (astronaut, GREY), (b"", hopper), (astronaut, hopper)]
    yes, no_face, unreadable, no = recognizer.verify_many(pairs)
    assert isinstance(yes, Verification)
    assert yes.same
    assert isinstance(no_face, NoFace)
    assert isinstance(unreadable, VisavisError)
    assert isinstance(no, Verification)
    assert not no.same


def test_a_pair_is_of_two(recognizer: Recognizer) -> None:
    pairs: list[Any] = [(GREY, GREY, GREY), (GREY,)]
    with pytest.raises(ValueError, match="too many values"):
        list(recognizer.verify_many(pairs))


def test_batches_of_nothing(recognizer: Recognizer) -> None:
    assert list(recognizer.detect_many([])) == list(recognizer.embed_many([])) == list(recognizer.verify_many([])) == []


def test_images_are_taken_as_results_are(recognizer: Recognizer, hopper: Path) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield hopper

    results = recognizer.embed_many(endless(), faces="largest")
    assert isinstance(next(results), tuple)
    assert taken <= 16


def test_wrong_arguments_are_told_at_once(recognizer: Recognizer) -> None:
    with pytest.raises(InvalidOption):
        recognizer.detect_many([], faces="some")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption):
        recognizer.embed_many([], min_face=-1)
    with pytest.raises(InvalidOption):
        recognizer.verify_many([], threshold=-1)
    with pytest.raises(InvalidOption, match="there is no pack 'magic'; choose one of: dlib"):
        Recognizer("magic")
    for wrong in (None, 3, b"dlib", ["dlib"]):
        with pytest.raises(InvalidOption, match="there is no pack "):
            Recognizer(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="threshold"):
        Recognizer(threshold=float("nan"))


def test_a_failing_runtime_is_an_error_for_each_image(
    cache_dir: Path, hopper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Recognizer(precision="f32", cache_dir=cache_dir, threads=1)

    def fail(_chips: object) -> NDArray[np.float32]:
        raise RuntimeFailed("out of order")

    monkeypatch.setattr(type(broken._models.embedder), "__call__", lambda _self, chips: fail(chips))  # noqa: SLF001
    results = list(broken.embed_many([hopper, "missing.jpg"]))
    assert [type(result) for result in results] == [RuntimeFailed, ImageNotFound]


def test_limits(cache_dir: Path, hopper: Path) -> None:
    small = Recognizer(limits=ImageLimits(max_pixels=1000), cache_dir=cache_dir, threads=1)
    with pytest.raises(ImageTooLarge, match="max_pixels"):
        small.detect(hopper)


def test_a_large_jpeg_gives_coordinates_of_the_original(recognizer: Recognizer, hopper: Path) -> None:
    with PIL.Image.open(hopper) as image:
        large = image.resize((image.width * 6, image.height * 6), PIL.Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=92)
    (small_face,), (large_face,) = recognizer.embed(hopper), recognizer.embed(buffer.getvalue())
    assert np.abs(large_face.box_xyxy / 6 - small_face.box_xyxy).max() < 10
    assert np.abs(large_face.landmarks / 6 - small_face.landmarks).max() < 3
    assert large_face.embedding is not None
    assert small_face.embedding is not None
    assert np.linalg.norm(large_face.embedding - small_face.embedding) < 0.2


def test_a_sideways_phone_photo(recognizer: Recognizer, hopper: Path) -> None:
    with PIL.Image.open(hopper) as image:
        sideways = image.transpose(PIL.Image.Transpose.ROTATE_90)
        exif = PIL.Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        buffer = io.BytesIO()
        sideways.save(buffer, "JPEG", quality=95, exif=exif)
    (face,) = recognizer.embed(buffer.getvalue())
    (upright,) = recognizer.embed(hopper)
    assert np.abs(face.box_xyxy - upright.box_xyxy).max() < 12


def test_a_cache_folder_may_be_a_string(cache_dir: Path, recognizer: Recognizer) -> None:
    assert recognizer  # so that all is converted
    assert Recognizer(precision="f32", cache_dir=str(cache_dir)).detect(GREY) == ()


def test_embed_chips(recognizer: Recognizer) -> None:
    assert recognizer.embed_chips([]).shape == (0, 128)
    chip = np.zeros((150, 150, 3), np.uint8)
    chips = [chip, chip + 255, chip]
    embeddings = recognizer.embed_chips(chips)
    assert embeddings.shape == (3, 128)
    assert np.abs(embeddings[0] - embeddings[2]).max() < 1e-6
    with pytest.raises(InvalidImage, match=r"\(150, 150, 3\) uint8 RGB, not \(10, 10, 3\) uint8"):
        recognizer.embed_chips([chip[:10, :10]])
    with pytest.raises(InvalidImage, match=r"not \(1, 2\) int64"):
        recognizer.embed_chips([[[1, 2]]])  # type: ignore[list-item]


def test_faces_can_be_made_by_hand() -> None:
    box = np.array([1, 2, 3, 4], np.float64)
    face = Face(box, 1, np.zeros((5, 2)))  # type: ignore[arg-type]
    box[0] = 9
    assert face.box_xyxy.tolist() == [1, 2, 3, 4]
    assert "embedding" not in face.to_dict()
