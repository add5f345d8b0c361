"""Loads, uses and drops every pack that is there, again and again, and says how much memory the process has then.

    PYTHONPATH=tests/support python tests/models/pack_rounds.py MODELS CACHE IMAGE ROUNDS [PACK...]

MODELS holds all files of the pack ``open``; packs whose weights cannot be had here get made-up networks.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from keras_nets import NETWORKS, random_file
from onnx_embedders import Embedder, with_embedder, with_file
from test_keras_packs import KERAS_PACKS, file_of
from test_scrfd import network, random_weights

from visavis import Recognizer
from visavis.models.catalogue import AURAFACE, BUFFALO_S, PACKS, SFACE_FLOAT
from visavis.models.installation import FILES, PINS, Pins

if TYPE_CHECKING:
    from visavis.options import Attribute

MADE_UP = (SFACE_FLOAT, AURAFACE, BUFFALO_S)


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def use(name: str, models: Path, cache: Path, image: Path) -> None:
    """Load a pack and let it do what it can, once."""
    recognizer = Recognizer(name, models_dir=models, cache_dir=cache, threads=1)
    attributes: tuple[Attribute, ...] = ("liveness", "pose", "age", "gender") if name == "open" else ()
    faces = recognizer.embed(image, faces="largest", min_face=0.15, quality=True, attributes=attributes)
    if name != BUFFALO_S.name:  # whose detector knows no faces
        assert faces[0].embedding is not None
        assert (faces[0].attributes is None) == (not attributes)
    side = recognizer.pack.template.side
    assert len(recognizer.embed_chips([np.full((side, side, 3), 128, np.uint8)] * 5)) == 5


def make_keras_files(models: Path) -> None:
    """Put random weights among the models, and pin them, as nobody publishes hashes of the real ones."""
    pins = Pins(models).read()
    for pack in KERAS_PACKS:
        data = random_file(NETWORKS[pack.name])
        (models / FILES / file_of(pack)).write_bytes(data)
        pins[file_of(pack)] = hashlib.sha256(data).hexdigest()
    (models / PINS).write_text(json.dumps(pins))


def make_all_packs(models: Path) -> list[str]:
    """Make up what cannot be had here, and return the names of all packs."""
    for pack in MADE_UP:
        PACKS[pack.name] = with_embedder(pack, Embedder.of(pack).graph(pack), models)
    scrfd = network(random_weights(7), batched=False)
    PACKS[BUFFALO_S.name] = with_file(PACKS[BUFFALO_S.name], "detector", scrfd, models)
    make_keras_files(models)
    return ["dlib", "open", *(pack.name for pack in (*MADE_UP, *KERAS_PACKS))]


def main() -> None:
    models, cache, image, rounds = (*map(Path, sys.argv[1:4]), int(sys.argv[4]))
    packs = sys.argv[5:] or make_all_packs(models)
    for _ in range(rounds):
        for name in packs:
            use(name, models, cache, image)
        print(resident_bytes(), flush=True)  # noqa: T201  # to the test


if __name__ == "__main__":
    main()
