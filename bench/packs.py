"""How fast the pack ``open`` is beside ``dlib`` and beside OpenCV's own way, one thread each.

Every row runs all sides in turn, after a warm-up, and gives medians in milliseconds of one portrait of 640 x 480: of
finding its faces, and of finding and embedding them. The packs search for faces from 8 % of the shorter side on, as
they do by default. OpenCV's detector searches the image at its own size, as it does by default; its network of faces
(SFace) is run too where its file lies in the models folder.

    python bench/packs.py                        the models that ``visavis models pull open`` has put in place
    python bench/packs.py --models-dir FOLDER    other ones
    python bench/packs.py --rounds 15            more of each
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy and OpenCV load their libraries

# ruff: noqa: E402
import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from portraits import astronaut_path
from speed import PRECISIONS, Work, medians

from visavis import Recognizer
from visavis.models.catalogue import OPEN
from visavis.models.installation import default_models_dir, source_path
from visavis.models.runtime import RuntimeSpec, precision_in_force

SFACE = "face_recognition_sface_2021dec.onnx"
LEAST_SCORE = 0.8
MOST_OVERLAP = 0.3


class OpenCV:
    """OpenCV's detector, and its embedder where the file is there."""

    def __init__(self, models_dir: Path, size_wh: tuple[int, int]) -> None:
        """Load them for images of one size."""
        yunet = source_path(OPEN.part("detector").files[0], models_dir)
        self._detector = cv2.FaceDetectorYN.create(str(yunet), "", size_wh, LEAST_SCORE, MOST_OVERLAP)
        sface = yunet.with_name(SFACE)
        self._embedder = cv2.FaceRecognizerSF.create(str(sface), "") if sface.exists() else None

    @property
    def embeds(self) -> bool:
        """Whether the embedder is there."""
        return self._embedder is not None

    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the faces (N, 15) of a BGR image."""
        faces = self._detector.detect(image)[1]
        return np.zeros((0, 15), np.float32) if faces is None else faces

    def embed(self, image: NDArray[np.uint8]) -> list[Any]:
        """Return their embeddings."""
        embedder: Any = self._embedder
        return [embedder.feature(embedder.alignCrop(image, face)) for face in self.detect(image)]


def scene() -> NDArray[np.uint8]:
    """Return the portrait: (480, 640, 3) RGB."""
    with Image.open(astronaut_path()) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB").resize((640, 640)))[:480])


def report(name: str, works: dict[str, Work], rounds: int) -> None:
    """Measure the works in turn, and print each one's median and how many times faster than dlib's pack it is."""
    taken = dict(zip(works, medians(list(works.values()), rounds), strict=True))
    print(f"\n{name:24} {'milliseconds':>12} {'x dlib f32':>11} {'x dlib auto':>12}")
    for side, milliseconds in taken.items():
        ratios = [taken[f"dlib {precision}"] / milliseconds for precision in PRECISIONS]
        print(f"  {side:22} {milliseconds:12.2f} {ratios[0]:11.1f} {ratios[1]:12.1f}", flush=True)


def main() -> None:
    """Measure every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-dir", type=Path, default=default_models_dir(), help="where pulled models are")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each row")
    options = parser.parse_args()
    cv2.setNumThreads(1)

    image = scene()
    reversed_image = np.ascontiguousarray(image[..., ::-1])
    ours = {
        f"{pack} {precision}": Recognizer(pack, precision=precision, threads=1, models_dir=options.models_dir)  # type: ignore[arg-type]
        for pack in ("open", "dlib")
        for precision in PRECISIONS
    }
    theirs = OpenCV(options.models_dir, (image.shape[1], image.shape[0]))
    counts = {name: len(each.detect(image)) for name, each in ours.items()} | {
        "OpenCV": len(theirs.detect(reversed_image))
    }
    if set(counts.values()) != {1}:
        raise SystemExit(f"the portrait has one face, but these were found: {counts}")
    auto = precision_in_force(RuntimeSpec())
    print(f"one thread each; auto = {auto}; OpenCV {cv2.__version__}; medians of {options.rounds} rounds")

    def detecting(recognizer: Recognizer) -> Work:
        return lambda: recognizer.detect(image)

    def embedding(recognizer: Recognizer) -> Work:
        return lambda: recognizer.embed(image)

    detect: dict[str, Work] = {name: detecting(each) for name, each in ours.items()}
    report("detect", detect | {"OpenCV FaceDetectorYN": lambda: theirs.detect(reversed_image)}, options.rounds)
    embed: dict[str, Work] = {name: embedding(each) for name, each in ours.items()}
    if theirs.embeds:
        embed["OpenCV YuNet + SFace"] = lambda: theirs.embed(reversed_image)
    report("detect + embed", embed, options.rounds)


if __name__ == "__main__":
    main()
