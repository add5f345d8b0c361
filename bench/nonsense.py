"""Prototypes of embeddings that say nothing, which packs come with: what turned and degraded faces have in common.

The largest face of each photo is scaled to the size of LFW's, as it is and leaned and mirrored; each is then treated as
``bench/invalid.py`` does, and embedded as it lies. A prototype is the mean direction of all that one treatment makes:
nothing in it is of one person. The packs' own are of 26 photos: scikit-image's astronaut and Matplotlib's Grace Hopper,
``obama.jpg`` and ``biden.jpg`` of ``images/portraits``, which are in the public domain; 001, 007, 009 to 016 and 000 of
``images/groups``, CompreFace's samples (Apache-2.0); and the photos of ``images/groups_dlib``, dlib's examples (Boost).

    python bench/nonsense.py [--models-dir DIR] PHOTO ...
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from invalid import PAINTER, PROTOTYPES, TREATMENTS, as_they_lie, look, read
from numpy.typing import NDArray

from visavis import Face, Recognizer

PACKS = ("sface", "open", "dlib")
_FACE_PX = 100
_MIN_FACE = 40
_SIDE = 250
_LEANS = (0, 8)  # degrees; who leans is mirrored too
_FEWEST = 12  # faces that a prototype is made of, or it would be of one person


def variants(photo: NDArray[np.uint8], face: Face) -> Iterator[NDArray[np.uint8]]:
    """Yield the middle of a photo around a face, leaned and mirrored."""
    left, top, right, bottom = face.box_xyxy.tolist()
    middle = ((left + right) / 2, (top + bottom) / 2)
    for lean in _LEANS:
        to_face = cv2.getRotationMatrix2D(middle, lean, _FACE_PX / (right - left))
        to_face[:, 2] += _SIDE / 2 - np.array(middle)
        seen = cv2.warpAffine(photo, to_face, (_SIDE, _SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        yield np.ascontiguousarray(seen[:, ::-1]) if lean else seen


def prototypes(recognizer: Recognizer, photos: Sequence[tuple[NDArray[np.uint8], Face]]) -> NDArray[np.float16]:
    """Return the prototypes (K, D), each of length 1."""
    found = []
    for name, kind in TREATMENTS.items():
        if name == "none" or "painted" in name:
            continue
        with as_they_lie():
            faces = [face for face in look(recognizer, (kind(*each) for each in photos)) if face]
        if len(faces) >= _FEWEST:
            vectors = np.array([face.embedding / np.linalg.norm(face.embedding) for face in faces])  # type: ignore[operator, arg-type]
            mean = vectors.mean(axis=0)
            found.append(mean / np.linalg.norm(mean))
            print(f"{recognizer.pack.name:8} {name:28} {len(faces):4} faces, {np.mean(vectors @ found[-1]):.2f} alike")
    return np.array(found, np.float16)


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--models-dir", type=Path, help="where pulled models are kept")
    options = parser.parse_args()
    painter = Recognizer(PAINTER, precision="f32", models_dir=options.models_dir)
    whole = [(photo, painter.detect(photo, faces="largest")[0]) for photo in map(read, options.photos)]
    near = [variant for photo, face in whole for variant in variants(photo, face)]
    photos = [(photo, face) for photo in near for face in painter.detect(photo, faces="largest")]
    print(f"{len(photos)} faces")
    made = {}
    for pack in PACKS:
        recognizer = Recognizer(pack, precision="f32", min_face=_MIN_FACE, models_dir=options.models_dir)
        made[pack] = prototypes(recognizer, photos)
    np.savez(PROTOTYPES, **made)  # type: ignore[arg-type]  # arrays by name


if __name__ == "__main__":
    main()
