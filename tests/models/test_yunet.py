"""YuNet beside OpenCV's own, and the search on several scales."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from conftest import many_faces, read_pixels
from effort import effort, scaled
from numpy.typing import NDArray

from visavis import InvalidImage, Recognizer
from visavis.core.geometry import Detections, iou, suppress
from visavis.core.image import ImageLimits, Picture, Reduction, read_image
from visavis.core.pyramid import Level, Pyramid, paint, plan_alone
from visavis.models import recognizer
from visavis.models.anchor_free import YUNET as FAMILY
from visavis.models.anchor_free import AnchorFreeDetector, plan_levels
from visavis.models.catalogue.shared import YUNET
from visavis.models.installation import Installation
from visavis.models.runtime import Graph, Infer, RuntimeSpec, compile_graph
from visavis.options import Precision, Runtime
from visavis.types import ImageSource

UInt8 = NDArray[np.uint8]
ALL_PHOTOS = [
    "017_0", "000_5", "001_A", "002_A", "003_A", "004_A", "005_A", "006_A", "007_B", "008_B", "009_C", "010_2",
    "011_3", "012_4", "013_4", "014_5", "015_6", "016_8",
]  # fmt: skip
PHOTOS = ALL_PHOTOS[:: effort(3, 1)]
LEAST_SCORE, MOST_OVERLAP = 0.73, 0.3
FACE = np.array([[183, 62, 274, 174]], np.float32)  # of the astronaut


def detector(models: Path, runtime: Runtime = "openvino", precision: Precision = "f32") -> AnchorFreeDetector:
    spec = RuntimeSpec(runtime, precision, threads=1)
    return AnchorFreeDetector(FAMILY, Installation(spec, models, models).read(YUNET.files[0]), spec)


@pytest.fixture(scope="module")
def yunet(open_models: Path) -> AnchorFreeDetector:
    return detector(open_models)


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def yunet_of(runtime: Runtime, open_models: Path) -> AnchorFreeDetector:
    return detector(open_models, runtime, "auto")


@pytest.fixture(scope="module")
def infer_of(runtime: Runtime, open_models: Path) -> Infer:
    model = Installation(RuntimeSpec(), open_models, open_models).read(YUNET.files[0])
    graph = Graph(model, shape=(1, 3, None, None), outputs=FAMILY.outputs)
    return compile_graph(graph, RuntimeSpec(runtime, "f32", threads=1))


def photo(test_data: Path, name: str, longest: int | None = None) -> UInt8:
    return read_pixels(test_data / "images" / "groups" / f"{name}.jpg", longest)


def by_opencv(models: Path, image: UInt8) -> Detections:
    """Return what OpenCV's detector finds, best first; its boxes are left, top, width, height."""
    path = str(models / "files" / YUNET.files[0].name)
    theirs = cv2.FaceDetectorYN.create(path, "", image.shape[1::-1], LEAST_SCORE, MOST_OVERLAP)
    found = theirs.detect(np.ascontiguousarray(image[..., ::-1]))[1]
    rows = np.zeros((0, 15), np.float32) if found is None else found[np.argsort(-found[:, 14], kind="stable")]
    boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    return Detections(boxes, rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2))


def assert_same(ours: Detections, theirs: Detections) -> None:
    order = np.argsort(-ours.scores, kind="stable")
    assert len(order) == len(theirs.scores)
    assert np.abs(ours.boxes_xyxy[order] - theirs.boxes_xyxy).max(initial=0) < 1
    assert np.abs(ours.landmarks[order] - theirs.landmarks).max(initial=0) < 1
    assert np.abs(ours.scores[order] - theirs.scores).max(initial=0) < 0.01


@scaled
@pytest.mark.parametrize("name", PHOTOS)
def test_the_head_is_opencvs(infer_of: Infer, open_models: Path, test_data: Path, name: str) -> None:
    image = photo(test_data, name, longest=1000)
    (canvas,) = plan_alone(Level(0, image.shape[1::-1]), 256, 32)
    found = FAMILY.read(infer_of, paint(canvas, Pyramid(image), (0, 0, 0)))
    kept = suppress(found.boxes_xyxy, found.scores, MOST_OVERLAP, iou)
    assert_same(
        Detections(found.boxes_xyxy[kept], found.scores[kept], found.landmarks[kept]), by_opencv(open_models, image)
    )


@scaled
@pytest.mark.parametrize("name", PHOTOS)
def test_the_detector_is_opencvs(yunet_of: AnchorFreeDetector, open_models: Path, test_data: Path, name: str) -> None:
    image = photo(test_data, name, longest=280)  # one level
    size_wh = (image.shape[1], image.shape[0])
    assert len(plan_levels(size_wh)) == 1
    assert_same(yunet_of.find(image, size_wh, largest=False), by_opencv(open_models, image))


@scaled
def test_counts_and_noses(recognizer_open: Recognizer, test_data: Path) -> None:
    noses = json.loads((test_data / "images" / "groups" / "annotations.json").read_text())["nose_points_xy"]
    right = 0
    for name in PHOTOS:
        count = name.partition("_")[2]
        faces = recognizer_open.detect(test_data / "images" / "groups" / f"{name}.jpg")
        right += len(faces) == (int(count) if count.isdigit() else 1)
        for nose in noses.get(f"{name}.jpg", []):
            widths = [float(face.box_xyxy[2] - face.box_xyxy[0]) for face in faces]
            distances = [float(np.hypot(*(face.landmarks[2] - nose))) for face in faces]
            assert min(d / w for d, w in zip(distances, widths, strict=True)) < 0.3, name
    assert right >= len(PHOTOS) - 1


@scaled
def test_the_largest_is_the_first_of_all(recognizer_open: Recognizer, test_data: Path, astronaut: Path) -> None:
    photos = [astronaut, *sorted((test_data / "images").glob("groups/*.jpg"))]
    photos += sorted((test_data / "images" / "portraits").glob("*.jpg"))
    for path in photos[:: effort(3, 1)]:
        everything, largest = recognizer_open.detect(path), recognizer_open.detect(path, faces="largest")
        assert [face.to_dict() for face in largest] == [face.to_dict() for face in everything[:1]], path.name


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (4, 4), (31, 33), (1, 5000), (5000, 1), (2, 20_000)])
@pytest.mark.parametrize("faces", ["all", "prominent", "largest"])
def test_tiny_images_show_no_face(recognizer_open: Recognizer, shape: tuple[int, int], faces: str) -> None:
    assert recognizer_open.embed(np.full((*shape, 3), 127, np.uint8), faces=faces) == ()  # type: ignore[arg-type]


def test_no_image_at_all(recognizer_open: Recognizer) -> None:
    with pytest.raises(InvalidImage):
        recognizer_open.detect(np.empty((0, 0, 3), np.uint8))


def test_noise_shows_no_face(recognizer_open: Recognizer) -> None:
    assert recognizer_open.detect(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)) == ()


def overlap(box: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(iou(box[None], wanted)[0, 0])


@pytest.mark.parametrize("min_face", [0.08, 200])
def test_thirty_megapixels(recognizer_open: Recognizer, astronaut_pixels: UInt8, min_face: float) -> None:
    picture = np.zeros((5000, 6000, 3), np.uint8)
    picture[3000:4536, 4000:5536] = cv2.resize(astronaut_pixels, (1536, 1536))
    (face,) = recognizer_open.detect(picture, min_face=min_face)
    assert overlap(face.box_xyxy, FACE * 3 + np.array([4000, 3000] * 2, np.float32)) > 0.8


def test_a_grey_image(recognizer_open: Recognizer, astronaut: Path) -> None:
    with PIL.Image.open(astronaut) as image:
        (face,) = recognizer_open.detect(image.convert("L"))
    assert overlap(face.box_xyxy, FACE) > 0.8


@pytest.mark.parametrize(("orientation", "turn"), [(3, "ROTATE_180"), (6, "ROTATE_90"), (8, "ROTATE_270")])
def test_photos_that_say_how_they_are_turned(
    recognizer_open: Recognizer, astronaut: Path, orientation: int, turn: str
) -> None:
    with PIL.Image.open(astronaut) as image:
        turned = image.convert("RGB").crop((0, 0, 512, 400)).transpose(PIL.Image.Transpose[turn])
    exif, buffer = PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    turned.save(buffer, "PNG", exif=exif)
    (face,) = recognizer_open.detect(buffer.getvalue())
    assert overlap(face.box_xyxy, FACE) > 0.8


def test_threads_share_it(yunet: AnchorFreeDetector, astronaut_pixels: UInt8) -> None:
    images = [np.ascontiguousarray(astronaut_pixels[: 512 - 8 * i]) for i in range(8)]
    sizes = [yunet.search_size(image.shape[1::-1], 0.08) for image in images]
    alone = [yunet.find(image, size, largest=False) for image, size in zip(images, sizes, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        several = list(
            pool.map(lambda pair: yunet.find(*pair, largest=False), list(zip(images, sizes, strict=True)) * 4)
        )
    for found, expected in zip(several, alone * 4, strict=True):
        assert np.array_equal(found.boxes_xyxy, expected.boxes_xyxy)
        assert np.array_equal(found.landmarks, expected.landmarks)


@pytest.mark.parametrize("side", [40, 64, 112, 250, 600, 2000])
@pytest.mark.parametrize("margin", [0.5, 0.1, -0.1])
@pytest.mark.parametrize("min_face", [0.08, 40])
def test_close_ups(
    yunet: AnchorFreeDetector, astronaut_pixels: UInt8, side: int, margin: float, min_face: float
) -> None:
    # The crop begins that much of the face's height outside its box, or inside.
    whole = yunet.find(astronaut_pixels, yunet.search_size((512, 512), 0.08), largest=True)
    left, top, right, bottom = FACE[0].astype(int)
    reach = int((bottom - top) * (0.5 + margin))
    first = np.array([(left + right) // 2 - reach, max(0, (top + bottom) // 2 - reach)])
    crop = astronaut_pixels[first[1] : first[1] + 2 * reach, first[0] : first[0] + 2 * reach]
    scale = side / min(crop.shape[:2])
    image = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    for largest in (False, True):
        found = yunet.find(image, yunet.search_size(image.shape[1::-1], min_face), largest=largest)
        assert len(found.scores) == 1
        points = (found.landmarks[0] + 0.5) / scale - 0.5 + first
        assert np.abs(points - whole.landmarks[0]).mean() < 0.065 * (right - left)


def test_a_huge_face_beside_small_ones(recognizer_open: Recognizer, astronaut_pixels: UInt8) -> None:
    picture = np.zeros((2400, 3600, 3), np.uint8)
    picture[:2400, :2400] = cv2.resize(astronaut_pixels[20:220, 120:320], (2400, 2400))
    for row in range(10):
        picture[240 * row : 240 * row + 100, 2600:2700] = cv2.resize(astronaut_pixels[20:220, 120:320], (100, 100))
    faces = recognizer_open.detect(picture, min_face=40)
    widths = [round(float(face.box_xyxy[2] - face.box_xyxy[0])) for face in faces]
    assert len(faces) == 11
    assert widths[0] == pytest.approx(91 * 12, rel=0.1)
    assert widths[1:] == pytest.approx([46] * 10, rel=0.2)
    (largest,) = recognizer_open.detect(picture, min_face=40, faces="largest")
    assert largest.to_dict() == faces[0].to_dict()


@pytest.mark.thorough
def test_faces_on_the_seams_of_a_large_level(recognizer_open: Recognizer, astronaut_pixels: UInt8) -> None:
    # Searched at 2,700 x 2,700, which is cut into four.
    picture = np.zeros((1800, 1800, 3), np.uint8)
    face = cv2.resize(astronaut_pixels[20:220, 120:320], (100, 100))
    places = [(850, 850), (0, 850), (850, 0), (1700, 850), (850, 1700)]
    for x, y in places:
        picture[y : y + 100, x : x + 100] = face
    faces = recognizer_open.detect(picture, min_face=12)
    found = {
        (round((face.landmarks[2, 0] - 51) / 10) * 10, round((face.landmarks[2, 1] - 54) / 10) * 10) for face in faces
    }
    assert len(faces) == len(places)
    assert found == set(places)


def test_a_crowd(recognizer_open: Recognizer, astronaut_pixels: UInt8) -> None:
    assert len(recognizer_open.detect(many_faces(astronaut_pixels, 20, 20), min_face=40)) == 400


@pytest.mark.thorough
def test_bfloat16_is_not_used(open_models: Path, yunet: AnchorFreeDetector, astronaut_pixels: UInt8) -> None:
    auto = detector(open_models, precision="auto")
    ours, expected = (each.find(astronaut_pixels, (375, 375), largest=False) for each in (auto, yunet))
    assert np.array_equal(ours.landmarks, expected.landmarks)


@pytest.mark.parametrize(
    ("size_wh", "min_face", "expected"),
    [
        ((1, 1), 0.08, (160, 160)),
        ((640, 480), 36, (320, 240)),
        ((640, 480), 0.0625, (384, 288)),
        ((4000, 3000), 0.03, (800, 600)),
        ((640, 480), 1e9, (213, 160)),
        ((640, 480), 0.99, (213, 160)),
        ((100, 80), 0.08, (200, 160)),  # small images are enlarged
        ((5000, 10), 0.08, (4500, 9)),  # but not strips
    ],
)
def test_search_size(
    yunet: AnchorFreeDetector, size_wh: tuple[int, int], min_face: float, expected: tuple[int, int]
) -> None:
    assert yunet.search_size(size_wh, min_face) == expected


def test_too_much_to_search(yunet: AnchorFreeDetector) -> None:
    assert yunet.search_size((8000, 4000), 10) == (14_142, 7_071)  # 100 megapixels
    width, height = yunet.search_size((100_000, 500), 0.02)
    assert width * height <= 16_100_000


def test_the_packs_own_smallest_face_takes_two_levels() -> None:
    """A third would be a third size, for which runtimes prepare themselves on every photo."""
    for size_wh in ((4000, 3000), (3000, 4000), (6000, 4000), (8000, 6000)):
        least = YUNET.min_face * min(size_wh)
        assert len(plan_levels((round(18 / least * size_wh[0]), round(18 / least * size_wh[1])))) == 2


@pytest.mark.parametrize("size", [12, 18])
def test_small_faces(yunet: AnchorFreeDetector, astronaut_pixels: UInt8, size: int) -> None:
    """Faces of 18 pixels, to which the smallest one is brought; and of 12, which the limit of the score once missed."""
    scale = size / float(np.sqrt(np.prod(FACE[0, 2:] - FACE[0, :2])))
    image = cv2.resize(astronaut_pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = np.zeros((192, 192, 3), np.uint8)
    picture[30 : 30 + len(image), 41 : 41 + len(image)] = image
    (box,) = yunet.find(picture, (192, 192), largest=False).boxes_xyxy
    assert overlap(box, FACE * scale + np.array([41, 30] * 2, np.float32)) > 0.5


@pytest.mark.thorough
def test_a_large_jpeg_is_decoded_as_small_as_its_smallest_face_allows(
    recognizer_open: Recognizer, astronaut_pixels: UInt8, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = cv2.resize(astronaut_pixels, (3200, 3200))[:2400]
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG")
    seen: list[Picture] = []

    def read_and_look(source: ImageSource, *, limits: ImageLimits, reduction: Reduction) -> Picture:
        seen.append(read_image(source, limits=limits, reduction=reduction))
        return seen[-1]

    monkeypatch.setattr(recognizer, "read_image", read_and_look)
    sizes = {}
    for min_face in (None, 0.01, 0.08):
        (face,) = recognizer_open.embed(buffer.getvalue(), min_face=min_face)
        sizes[min_face] = seen[-1].pixels.shape[1]
        assert overlap(face.box_xyxy, FACE * 6.25) > 0.8
    assert sizes == {None: 3200, 0.01: 3200, 0.08: 800}


@pytest.mark.parametrize(
    "size_wh", [(1, 1), (224, 5000), (225, 225), (500, 375), (375, 500), (4000, 3000), (9000, 300)]
)
def test_levels(size_wh: tuple[int, int]) -> None:
    levels = plan_levels(size_wh)
    assert levels[-1] == Level(0, size_wh)
    assert [level.number for level in levels] == list(range(len(levels)))[::-1]
    assert min(levels[0].size_wh) == 160 or levels == (Level(0, size_wh),)
    for coarse, fine in pairwise(levels):
        assert 1 < fine.size_wh[0] / coarse.size_wh[0] < 5.1
