"""What dlib's own detector finds on the tests' photos, in a record, as it takes seconds for each.

    PYTHONPATH=tests python tests/support/dlib_faces.py

writes the record anew, from the two portraits that are always there and the photos of TEST_DATA.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dlib
import numpy as np
from conftest import TEST_DATA, file_of_package, read_pixels
from numpy.typing import NDArray

from visavis.models.catalogue import DLIB
from visavis.models.installation import source_path

RECORD = Path(__file__).with_suffix(".json")
LONGEST_SIDE = 640  # dlib's detector takes 5 seconds per megapixel
FOLDERS = ("portraits", "groups", "groups_dlib")
PORTRAITS = (
    file_of_package("skimage", "data", "astronaut.png"),
    file_of_package("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg"),
)


@dataclass(frozen=True)
class Scene:
    """A photo, and the faces that dlib finds on it: their boxes (N, 4) as left, top, right, bottom, and scores (N,)."""

    name: str
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def rectangles(self) -> list[dlib.rectangle]:
        return [dlib.rectangle(*(int(value) for value in box)) for box in self.boxes]


def recorded_scenes() -> Iterator[Scene]:
    """Give the photos that are here with what the record says; with what dlib finds where the pixels are others."""
    record = json.loads(RECORD.read_text())
    for name, pixels in _photos():
        faces = record.get(name, {})
        if faces.get("pixels") == _fingerprint(pixels):
            rows = np.array(faces["faces"], np.float32).reshape(-1, 5)
            yield Scene(name, pixels, rows[:, :4], rows[:, 4])
        else:  # another decoder
            yield _look(name, pixels)


def seen_scenes() -> Iterator[Scene]:
    """Give the photos that are here with what dlib finds."""
    for name, pixels in _photos():
        yield _look(name, pixels)


def _photos() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    paths = [path for folder in FOLDERS for path in sorted((TEST_DATA / "images" / folder).glob("*.[jp][pn]g"))]
    for path in (*PORTRAITS, *paths):
        yield f"{path.parent.name}/{path.name}", np.ascontiguousarray(read_pixels(path, LONGEST_SIDE))


def _look(name: str, pixels: NDArray[np.uint8]) -> Scene:
    found = dlib.cnn_face_detection_model_v1(str(source_path(DLIB.part("detector").files[0])))(pixels, 0)
    boxes = [(face.rect.left(), face.rect.top(), face.rect.right(), face.rect.bottom()) for face in found]
    scores = np.array([face.confidence for face in found], np.float32)
    return Scene(name, pixels, np.array(boxes, np.float32).reshape(-1, 4), scores)


def _fingerprint(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]


def main() -> None:
    lines = []
    for scene in seen_scenes():
        faces = [[*map(int, box), round(float(score), 5)] for box, score in zip(scene.boxes, scene.scores, strict=True)]
        lines.append(f'"{scene.name}": {json.dumps({"pixels": _fingerprint(scene.pixels), "faces": faces})}')
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
