"""A folder of embeddings from earlier measurements: personal data, kept where and when somebody asks for it."""

import hashlib
import io
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visavis import __version__
from visavis.models.packs import Pack
from visavis.models.runtime import RuntimeSpec, precision_in_force
from visavis.types import FloatArray

_KEY_LENGTH = 16
_CORNERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What is seen on a photo: a face, or the code of why there is none, with a message where that needs one."""

    embedding: FloatArray | None = None
    box_xyxy: FloatArray | None = None
    code: str = ""
    message: str = ""


def key_of(pack: Pack, runtime: RuntimeSpec, faces: str, min_face: float) -> str:
    """Return a name for everything but the image that an embedding depends on.

    Raises:
        RuntimeMissing: the runtime is not installed.
    """
    about = {
        "visavis": __version__,  # another one may find and align faces otherwise
        "space": pack.space.id,
        "files": [file.sha256 or file.name for file in pack.files],
        "runtime": runtime.runtime,
        "precision": precision_in_force(runtime),
        "faces": faces,
        "min_face": min_face,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:_KEY_LENGTH]


class Shelf:
    """What was seen on images, by their content's SHA-256: a small file each, which only its owner may read.

    Files appear whole or not at all, so that any number of processes may share a folder; one that is damaged counts as
    not there.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Keep what has this key in a folder of its own below the one given."""
        self._folder = folder / key

    def get(self, digest: str, dimension: int) -> Sight | None:
        """Return what was seen on an image, or None where that is not known."""
        try:
            content = io.BytesIO(self._path(digest).read_bytes())
            with np.load(content, allow_pickle=False) as arrays:
                embedding, box, code = arrays["embedding"], arrays["box_xyxy"], str(arrays["code"])
        except Exception:  # noqa: BLE001  # whatever a damaged file makes NumPy and zipfile raise
            return None
        if code:
            return Sight(code=code)
        whole = embedding.shape == (dimension,) and box.shape == (_CORNERS,)
        if not whole or embedding.dtype != np.float32 or not np.isfinite(embedding).all():
            return None
        return Sight(embedding, box.astype(np.float32))

    def put(self, digest: str, sight: Sight) -> None:
        """Keep what was seen on an image.

        Raises:
            OSError: it cannot be written.
        """
        buffer = io.BytesIO()
        nothing = np.zeros(0, np.float32)
        embedding = nothing if sight.embedding is None else sight.embedding
        box = nothing if sight.box_xyxy is None else sight.box_xyxy
        np.savez(buffer, embedding=embedding, box_xyxy=box, code=np.array(sight.code))
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
        try:
            with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(buffer.getbuffer())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.npz"
