"""Photos that are embedded one face each, and embeddings that are kept."""

import io
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import pytest

from visavis import InvalidOption, Recognizer, VisavisError
from visavis.core.image import DEFAULT_LIMITS, ImageLimits
from visavis.errors import RuntimeFailed
from visavis.evaluation.embedding import (
    EmbeddingCache,
    PhotoEmbedder,
    PhotoResult,
    embed_photos,
)
from visavis.evaluation.protocols import Photo
from visavis.models.packs import Pack
from visavis.options import OneFace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut: Path, hopper: Path) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    shutil.copy(astronaut, folder / "astronaut.png")
    shutil.copy(hopper, folder / "hopper.jpg")
    with PIL.Image.open(astronaut) as first, PIL.Image.open(hopper) as second:
        both = PIL.Image.new("RGB", (900, 512))
        both.paste(first.convert("RGB").crop((100, 0, 400, 300)), (300, 100))
        both.paste(second.convert("RGB").crop((100, 0, 500, 400)).resize((360, 360)), (590, 76))
    both.save(folder / "both.png")
    PIL.Image.new("RGB", (200, 200), "grey").save(folder / "nobody.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return folder


def photos(folder: Path, *names: str) -> list[Photo]:
    return [Photo(name, str(folder / name), name) for name in names]


ALL = ("astronaut.png", "hopper.jpg", "nobody.png", "broken.jpg", "missing.jpg")


@pytest.fixture
def embedder(recognizer: Recognizer) -> PhotoEmbedder:
    return replace(PhotoEmbedder.of(recognizer), min_face=0.15)


def test_nothing_to_look_at(embedder: PhotoEmbedder) -> None:
    embedded = embed_photos(embedder, [])
    assert embedded.embeddings.shape == (0, 128)
    assert embedded.failures == {}


def test_every_photo_has_an_embedding_or_a_reason(
    embedder: PhotoEmbedder, folder: Path, recognizer: Recognizer
) -> None:
    calls: list[None] = []
    embedded = embed_photos(replace(embedder, advance=lambda: calls.append(None)), photos(folder, *ALL))
    assert len(calls) == len(ALL)
    assert embedded.found.tolist() == [True, True, False, False, False]
    assert {place: code for place, (code, _) in embedded.failures.items()} == {
        2: "no_face",
        3: "image_corrupt",
        4: "image_not_found",
    }
    assert embedded.failures[2][1] == "nobody.png: no face found"
    assert "missing.jpg" in embedded.failures[4][1]
    (face,) = recognizer.embed(folder / "hopper.jpg", faces="largest", min_face=0.15)
    assert face.embedding is not None
    assert embedded.embeddings[1].tolist() == face.embedding.tolist()
    assert embedded.boxes_xyxy[1].tolist() == face.box_xyxy.tolist()


def test_which_face_counts(embedder: PhotoEmbedder, folder: Path) -> None:
    alone = embed_photos(embedder, photos(folder, "astronaut.png", "hopper.jpg"))
    found: dict[str, Any] = {}
    for choice in get_args(OneFace):
        found[choice] = embed_photos(replace(embedder, faces=choice), photos(folder, "both.png"))
    assert found["only"].failures[0][0] == "multiple_faces"
    nearest = {
        choice: np.linalg.norm(alone.embeddings - found[choice].embeddings, axis=1).argmin()
        for choice in ("largest", "prominent")
    }
    assert nearest == {"largest": 1, "prominent": 0}
    with pytest.raises(InvalidOption, match="faces must be one of prominent, largest, main, only, not 'all'"):
        embed_photos(replace(embedder, faces="all"), [])  # type: ignore[arg-type]


class CountingRecognizer:
    """Sees with a Recognizer, and counts the images."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.images = 0

    @property
    def pack(self) -> Pack:
        return self.recognizer.pack

    @property
    def limits(self) -> ImageLimits:
        return DEFAULT_LIMITS

    def observe_many(self, images: Iterable[Any], **options: object) -> Iterator[Any]:
        def counted() -> Iterator[Any]:
            for image in images:
                self.images += 1
                yield image

        return self.recognizer.observe_many(counted(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", ["largest", "prominent", "only"])
def test_what_is_kept_is_not_looked_at_again(
    embedder: PhotoEmbedder, folder: Path, recognizer: Recognizer, tmp_path: Path, choice: OneFace
) -> None:
    counting = CountingRecognizer(recognizer)
    cached = replace(embedder, recognizer=counting, cache_dir=tmp_path / "kept", faces=choice)
    first = embed_photos(cached, photos(folder, *ALL))
    # A file that is not there does not reach the recognizer; a damaged one does.
    assert counting.images == 4
    # Under other names, and one of them is new; what failed for other reasons than its faces is tried again.
    renamed = [replace(photo, file=f"new/{photo.file}") for photo in photos(folder, *ALL, "both.png")]
    calls: list[None] = []
    second = embed_photos(replace(cached, advance=lambda: calls.append(None)), renamed)
    assert counting.images == 6
    assert second.from_cache == 3
    assert [second.failures[place][0] for place in (3, 4)] == ["image_corrupt", "image_not_found"]
    assert all(photos(folder, name)[0].path in second.failures[place][1] for place, name in ((3, ALL[3]), (4, ALL[4])))
    assert len(calls) == 6
    assert second.embeddings[:2].tolist() == first.embeddings[:2].tolist()
    assert second.boxes_xyxy[:2].tolist() == first.boxes_xyxy[:2].tolist()
    assert second.failures[2] == ("no_face", "new/nobody.png: no face found")
    # Another smallest face may find another face.
    embed_photos(replace(cached, min_face=0.2), photos(folder, "hopper.jpg"))
    assert counting.images == 7


def test_nothing_is_kept_unasked(
    embedder: PhotoEmbedder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    embed_photos(embedder, photos(folder, "hopper.jpg"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_what_is_kept_is_the_owners(embedder: PhotoEmbedder, folder: Path, tmp_path: Path) -> None:
    embed_photos(replace(embedder, cache_dir=tmp_path), photos(folder, "hopper.jpg"))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.suffix == ".npz"


def result(value: float = 0.5) -> PhotoResult:
    return PhotoResult(np.full(128, value, np.float32), np.arange(4, dtype=np.float32))


def test_damaged_files_count_as_not_there(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "key")
    cache.put("ab12", result())
    (file,) = tmp_path.rglob("*.npz")
    whole = file.read_bytes()
    assert cache.get("ab12", 128) is not None
    assert cache.get("ab13", 128) is None
    assert cache.get("ab12", 256) is None
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        assert cache.get("ab12", 128) is None
    rng = np.random.default_rng(7)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(0, len(whole))] ^= 1 << rng.integers(0, 8)
        file.write_bytes(damaged)
        found = cache.get("ab12", 128)  # damage that no number depends on may go unnoticed
        assert found is None or found.code or found.embedding is not None
    cache.put("ab12", result())
    assert cache.get("ab12", 128) is not None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_numbers_count_as_not_there(value: float, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "key")
    cache.put("ab12", result(value))
    assert cache.get("ab12", 128) is None


def test_pickles_are_not_read(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "key")
    cache.put("ab12", result())
    (file,) = tmp_path.rglob("*.npz")
    buffer = io.BytesIO()
    objects = np.array([print], object)
    np.savez(buffer, embedding=objects, box_xyxy=objects, code=objects)
    file.write_bytes(buffer.getvalue())
    assert cache.get("ab12", 128) is None


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    cache = EmbeddingCache(tmp_path, "key")
    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.put("ab12", result())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written(embedder: PhotoEmbedder, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        embed_photos(replace(embedder, cache_dir=tmp_path / "file"), photos(folder, "hopper.jpg"))


def test_a_broken_installation_ends_it(embedder: PhotoEmbedder, folder: Path, recognizer: Recognizer) -> None:
    class BrokenRecognizer(CountingRecognizer):
        def observe_many(self, images: Iterable[Any], **_options: object) -> Iterator[Any]:
            failure: VisavisError = RuntimeFailed("no memory")
            return (failure for _ in images)

    with pytest.raises(RuntimeFailed, match="no memory"):
        embed_photos(replace(embedder, recognizer=BrokenRecognizer(recognizer)), photos(folder, "hopper.jpg"))


def test_many_may_share_a_folder(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "key")

    def keep_and_find(number: int) -> bool:
        cache.put("ab12", result(number))
        found = cache.get("ab12", 128)
        return found is not None and found.embedding is not None and len(set(found.embedding.tolist())) == 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(keep_and_find, range(200)))
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".npz"]
