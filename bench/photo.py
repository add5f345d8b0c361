"""Where the time goes with a photo of 12 megapixels, by stage, beside OpenCV's own pipeline and plain decoding.

One thread each, the pack ``open``; all works take turns, and milliseconds are medians. The photo is put together from
portraits of PyPI packages, with a sensor's noise; ``--photo`` takes one of yours.

    python bench/photo.py                        the models that ``visavis models pull open`` has put in place
    python bench/photo.py --models-dir FOLDER    other ones
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy and OpenCV load their libraries

# ruff: noqa: E402
import argparse
import io
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from packs import OpenCV
from portraits import astronaut_path
from speed import Work, medians

from visavis import Recognizer
from visavis.core.geometry import extract_chip
from visavis.core.image import read_image
from visavis.models.installation import default_models_dir
from visavis.models.recognizer import _reduction

SIZE_WH = (4000, 3000)
FACE_AT, FACE_SIDE = (1500, 1200), 900  # of a square around a face of a fifth of it
NOISE = 2.0  # grey values
REDUCED = cv2.IMREAD_REDUCED_COLOR_2  # the same as ours


def large_photo() -> bytes:
    """Return a JPEG with one face."""
    with PIL.Image.open(astronaut_path()) as image:
        portrait = image.convert("RGB")
    flag = portrait.crop((0, 200, 120, 290))  # no face
    pixels = np.array(flag.resize(SIZE_WH, PIL.Image.Resampling.BICUBIC))
    left, top = FACE_AT
    face = portrait.resize((FACE_SIDE, FACE_SIDE), PIL.Image.Resampling.BICUBIC)
    pixels[top : top + FACE_SIDE, left : left + FACE_SIDE] = np.asarray(face)
    noisy = pixels + np.random.default_rng(0).normal(0, NOISE, pixels.shape).astype(np.float32)
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def decoded_by_pillow(data: bytes, scale: int) -> PIL.Image.Image:
    """Decode a JPEG, reduced."""
    image = PIL.Image.open(io.BytesIO(data))
    image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    return image


def main() -> None:
    """Print all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-dir", type=Path, default=default_models_dir(), help="where pulled models are")
    parser.add_argument("--photo", type=Path, help="a JPEG")
    parser.add_argument("--min-face", type=float, default=0.03, help="smallest face, of the shorter side")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each row")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    data = options.photo.read_bytes() if options.photo else large_photo()
    encoded = np.frombuffer(data, np.uint8)

    ours = Recognizer("open", threads=1, models_dir=options.models_dir, min_face=options.min_face)
    models, template = ours._models, ours.pack.template  # noqa: SLF001  # the parts, one by one
    read: Work = partial(read_image, data, reduction=partial(_reduction, options.min_face, template))
    picture = read_image(data, reduction=partial(_reduction, options.min_face, template))
    size_wh = models.detector.search_size(picture.size_wh, options.min_face)
    found = models.detector.find(picture.pixels, size_wh, largest=False)
    chips = [extract_chip(picture.pixels, points, template) for points in found.landmarks]
    theirs = OpenCV(options.models_dir, size_wh)

    def detect_by_opencv() -> None:
        faces = theirs.detect if not theirs.embeds else theirs.embed
        faces(cv2.resize(cv2.imdecode(encoded, REDUCED), size_wh, interpolation=cv2.INTER_AREA))

    small = cv2.resize(picture.pixels, size_wh, interpolation=cv2.INTER_AREA)
    works: dict[str, Work] = {
        "decode alone, Pillow, whole": lambda: decoded_by_pillow(data, 1),
        "decode alone, Pillow, half": lambda: decoded_by_pillow(data, 2),
        "decode alone, OpenCV, whole": lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR),
        "decode alone, OpenCV, half": lambda: cv2.imdecode(encoded, REDUCED),
        "read": read,
        "search": lambda: models.detector.find(picture.pixels, size_wh, largest=False),
        "search, OpenCV, of the same size": lambda: theirs.detect(small),
        "chips": lambda: [extract_chip(picture.pixels, points, template) for points in found.landmarks],
        "embed": lambda: models.embedder(chips),
        "all: embed(photo)": lambda: ours.embed(data),
        f"all, OpenCV{'' if theirs.embeds else ' (without embedding)'}": detect_by_opencv,
    }
    print(f"{picture.size_wh[0]} x {picture.size_wh[1]}, {len(data):,} bytes, {len(chips)} face(s); ", end="")
    print(f"read at {picture.pixels.shape[1]} x {picture.pixels.shape[0]}, searched at {size_wh[0]} x {size_wh[1]}")
    taken = dict(zip(works, medians(list(works.values()), options.rounds), strict=True))
    plain = taken["decode alone, OpenCV, half"]
    print(f"{'milliseconds':40} {'':>9} x OpenCV's half decode")
    for name, milliseconds in taken.items():
        print(f"{name:40} {milliseconds:9.1f} {milliseconds / plain:6.2f}")


if __name__ == "__main__":
    main()
