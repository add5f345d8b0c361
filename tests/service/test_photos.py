"""An index of photos: what is looked at again and what is not, what interrupts it, and the search for a person."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typing_extensions import Unpack

from visavis.core.image import DEFAULT_LIMITS, as_jpeg, name_of
from visavis.errors import (
    ChildFace,
    ImageCorrupt,
    ImageNotFound,
    InvalidFace,
    InvalidOption,
    NoFace,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
    VisavisError,
)
from visavis.models.catalogue import DLIB, SFACE
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed
from visavis.options import Observe
from visavis.service.photos import PhotoIndex
from visavis.types import Attributes, Face, Faces, ImageSource, Quality


class Eyes:
    """Sees a person for each letter of a file, upper case ones unclear, and notes what it looked at."""

    limits = DEFAULT_LIMITS
    min_face = 0.03

    def __init__(self, pack: Pack = SFACE, kill_after: int | None = None) -> None:
        self.pack = replace(pack, child=lambda embedding: bool(embedding[0] > 0.9))  # type: ignore[arg-type]  # of "a"
        self.looked: list[str] = []
        self._kill_after = kill_after

    def observe_many(
        self, images: Iterable[ImageSource], **_options: Unpack[Observe]
    ) -> Iterator[Faces[Observed] | VisavisError]:
        for image in images:
            self.looked.append(Path(str(image)).name)
            if len(self.looked) == self._kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                content = Path(str(image)).read_text()
            except OSError:
                yield ImageNotFound(f"{name_of(image)}: there is no such file")
                continue
            if {"!", "?"} & {*content}:
                corrupt = ImageCorrupt(f"{name_of(image)}: it is cut off")
                corrupt.__cause__ = MemoryError() if "?" in content else None  # which says nothing of the photo
                yield corrupt
            else:
                yield Faces((self._face(place, letter) for place, letter in enumerate(content)), 12.5)

    def _face(self, place: int, letter: str) -> Observed:
        vector = np.zeros(self.pack.dimension, np.float32)
        vector[ord(letter.lower()) % 32 - 1] = 1
        quality = Quality(80.0, 0.4, 0.95, 1.5, None, 0.1 if letter.isupper() else 0.9, 0.2)
        box = np.array([10, 20, 90, 100], np.float32) + 100 * place
        chip = np.full((112, 112, 3), 40 + 2 * ord(letter) % 200, np.uint8)
        about = {"quality": quality, "attributes": Attributes(liveness=0.75), "turned": 90, "chip": as_jpeg(chip)}
        return Observed(Face(box, 0.95, np.ones((5, 2), np.float32), vector, **about), chip)  # type: ignore[arg-type]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of b, of b and c, of nobody, and one that cannot be read."""
    folder = tmp_path / "photos"
    (folder / "2024").mkdir(parents=True)
    for name, content in {"1.jpg": "b", "2.jpg": "cb", "2024/3.jpg": "", "4.jpg": "!"}.items():
        (folder / name).write_text(content)
    return folder


def paths_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.jpg") if path.is_file())


def look(folder: Path, eyes: Eyes | None = None, index: Path | None = None) -> tuple[list[str], dict[str, Any]]:
    """Look at all photos of a folder through its index; return what was looked at, and what is seen on each."""
    eyes = eyes or Eyes()
    paths = paths_in(folder)
    with closing(PhotoIndex(eyes, index or folder / ".visavis-index")) as opened:
        seen = dict(zip([path.name for path in paths], opened.observe_many(paths), strict=True))
        opened.prune([folder])
    return sorted(eyes.looked), seen


def told(seen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(each) if isinstance(each, VisavisError) else [face.face.to_dict() for face in each]
        for name, each in seen.items()
    }


# --- what is looked at again ----------------------------------------------------------------------------------------


def test_a_photo_is_looked_at_once(photos: Path) -> None:
    looked, first = look(photos)
    assert looked == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    looked, second = look(photos)
    assert looked == []
    assert told(second) == told(first)
    assert second["2.jpg"].searched_from_px == 12.5
    assert told(first)["4.jpg"] == f"{photos / '4.jpg'}: it is cut off"
    assert second["2.jpg"][1].face.embedding.tolist() == first["2.jpg"][1].face.embedding.tolist()
    assert np.abs(second["1.jpg"][0].chip.astype(int) - first["1.jpg"][0].chip).max() <= 2  # as JPEG leaves it


def test_a_photo_for_which_there_was_no_memory_is_looked_at_again(photos: Path) -> None:
    (photos / "5.jpg").write_text("?")
    for looked, _ in (look(photos), look(photos)):
        assert "5.jpg" in looked
    assert looked == ["5.jpg"]


def test_what_changed_is_looked_at_again(photos: Path) -> None:
    look(photos)
    (photos / "1.jpg").write_text("d")
    (photos / "5.jpg").write_text("e")
    (photos / "2.jpg").touch()
    looked, seen = look(photos)
    assert looked == ["1.jpg", "5.jpg"]
    assert len(seen["5.jpg"]) == 1


def test_what_was_renamed_copied_or_moved_is_known(photos: Path, tmp_path: Path) -> None:
    look(photos)
    (photos / "1.jpg").rename(photos / "2024" / "one.jpg")
    (photos / "copy.jpg").write_text("cb")
    assert look(photos)[0] == []
    photos.rename(tmp_path / "elsewhere")  # with its index
    assert look(tmp_path / "elsewhere")[0] == []
    assert rows(tmp_path / "elsewhere" / ".visavis-index", "SELECT path FROM photos ORDER BY path") == [
        *[(b"2.jpg",), (b"2024/3.jpg",), (b"2024/one.jpg",), (b"4.jpg",), (b"copy.jpg",)]
    ]


def test_what_is_gone_is_forgotten(photos: Path) -> None:
    look(photos)
    (photos / "2.jpg").unlink()
    (photos / "1.jpg").write_text("e")
    look(photos)
    index = photos / ".visavis-index"
    assert rows(index, "SELECT count(*) FROM photos") == [(3,)]
    assert rows(index, "SELECT count(*) FROM looks") == [(3,)]
    assert rows(index, "SELECT count(*) FROM looks WHERE seen LIKE '%box%'") == [(1,)]


def test_what_another_folder_lacks_stays(photos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    look(photos, index=index)
    photos.rename(tmp_path / "unplugged")
    photos.mkdir()
    (tmp_path / "other").mkdir()
    look(tmp_path / "other", index=index)
    assert rows(index, "SELECT count(*) FROM photos") == [(4,)]


@pytest.mark.parametrize("change", [{"pack": DLIB}, {"min_face": 0.1}, {"faces": "largest"}, {"attributes": ("pose",)}])
def test_other_models_and_options_look_for_themselves(photos: Path, change: dict[str, Any]) -> None:
    look(photos)
    eyes = Eyes(change.pop("pack", SFACE))
    with closing(PhotoIndex(eyes, photos / ".visavis-index")) as index:
        list(index.observe_many(paths_in(photos), **change))
        list(index.observe_many(paths_in(photos), **change))
    assert len(eyes.looked) == 4
    assert look(photos)[0] == []


def test_files_that_are_not_there_or_no_files(photos: Path) -> None:
    pipe = photos / "pipe.jpg"
    os.mkfifo(pipe)  # which would wait for a writer
    eyes = Eyes()
    with closing(PhotoIndex(eyes, photos / ".visavis-index")) as index:
        seen = index.observe_many([photos / "missing.jpg", photos / "1.jpg"])
        assert [type(each) for each in seen] == [ImageNotFound, Faces]
        assert index.id_of(pipe) == index.id_of(photos / "missing.jpg") == ""
    assert rows(photos / ".visavis-index", "SELECT count(*) FROM looks") == [(1,)]


def test_a_name_that_is_no_text(photos: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(photos) + b"/\xff.jpg")).write_text("b")
    except OSError:
        pytest.skip("this file system has no such names")
    look(photos)
    assert look(photos)[0] == []


def test_detect_and_embed_are_served(photos: Path) -> None:
    look(photos)
    eyes = Eyes()
    with closing(PhotoIndex(eyes, photos / ".visavis-index")) as index:
        (detected,) = index.detect_many([photos / "1.jpg"])
        (embedded,) = index.embed_many([photos / "1.jpg"], quality=True)
    assert not isinstance(detected, VisavisError)
    assert not isinstance(embedded, VisavisError)
    assert (detected[0].embedding, detected[0].quality, eyes.looked) == (None, None, [])
    assert embedded[0].embedding is not None
    assert embedded[0].quality is not None


def test_without_a_file_nothing_is_kept(photos: Path) -> None:
    eyes = Eyes()
    with closing(PhotoIndex(eyes)) as index:
        ids = {index.id_of(path) for path in paths_in(photos)}
        for _ in range(2):
            list(index.observe_many(paths_in(photos)))
    assert (len(ids), len(eyes.looked)) == (4, 8)
    assert not (photos / ".visavis-index").exists()


# --- what interrupts it ---------------------------------------------------------------------------------------------

_KILLED = """
import sys
from pathlib import Path
from test_photos import Eyes, look
look(Path(sys.argv[1]), Eyes(kill_after=90))
"""


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    folder = tmp_path / "hundred"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number:03}.jpg").write_text("bcdefghij"[number % 9] + "k" * (number // 9))
    return folder


@pytest.mark.thorough
def test_killed_at_nine_tenths_it_goes_on_from_there(hundred: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(hundred)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, check=False, env=environment).returncode == -signal.SIGKILL
    looked, seen = look(hundred)
    assert len(looked) <= 36
    assert len(seen) == 100
    assert look(hundred)[0] == []


def test_interrupted_it_keeps_what_was_seen(hundred: Path) -> None:
    with closing(PhotoIndex(Eyes(), hundred / ".visavis-index")) as index:
        seen = index.observe_many(paths_in(hundred))
        for _ in range(90):
            next(seen)
        seen.close()  # type: ignore[attr-defined]  # as KeyboardInterrupt does
    assert len(look(hundred)[0]) == 10


def test_closed_in_the_middle_it_keeps_what_was_seen(hundred: Path) -> None:
    index = PhotoIndex(Eyes(), hundred / ".visavis-index")
    seen = index.observe_many(paths_in(hundred))
    for _ in range(90):
        next(seen)
    index.close()  # while what goes through it is still there
    del seen
    assert len(look(hundred)[0]) == 10


@pytest.mark.thorough
def test_two_at_once(hundred: Path) -> None:
    index = hundred / ".visavis-index"
    with closing(PhotoIndex(Eyes(), index)) as one, closing(PhotoIndex(Eyes(), index)) as other:
        pairs = zip(one.observe_many(paths_in(hundred)), other.observe_many(paths_in(hundred)), strict=True)
        assert sum(1 for _ in pairs) == 100
    assert look(hundred)[0] == []


def test_a_full_disk(hundred: Path) -> None:
    with closing(PhotoIndex(Eyes(), hundred / ".visavis-index")) as index:
        seen = index.observe_many(paths_in(hundred))
        for _ in range(40):
            next(seen)
        (pages,) = connection_of(index).execute("PRAGMA page_count").fetchone()
        connection_of(index).execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFull, match="room"):
            list(seen)
    assert len(look(hundred)[0]) == 68


def test_a_photo_that_changes_while_it_is_looked_at_is_not_kept(photos: Path) -> None:
    class Meddling(Eyes):
        def _face(self, place: int, letter: str) -> Observed:
            (photos / "1.jpg").write_text("changed")
            return super()._face(place, letter)

    with closing(PhotoIndex(Meddling(), photos / ".visavis-index")) as index:
        list(index.observe_many([photos / "1.jpg"]))
    assert rows(photos / ".visavis-index", "SELECT count(*) FROM looks") == [(0,)]


# --- the file -------------------------------------------------------------------------------------------------------


def connection_of(index: PhotoIndex) -> sqlite3.Connection:
    connection: sqlite3.Connection = vars(index)["_connection"]
    return connection


def rows(index: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(index)) as connection:
        return connection.execute(query).fetchall()


def test_only_its_owner_may_read_it_and_nothing_else_is_left(photos: Path) -> None:
    look(photos)
    index = photos / ".visavis-index"
    assert index.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in photos.iterdir() if path.name.startswith(".")] == [index.name]


def test_a_file_of_something_else(photos: Path) -> None:
    index = photos / ".visavis-index"
    index.write_text("a letter to somebody, and no index of photos at all")
    with pytest.raises(StoreForeign, match="no SQLite file"):
        look(photos)
    index.unlink()
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("CREATE TABLE letters (text)")
    with pytest.raises(StoreForeign, match="of something else"):
        look(photos)
    with pytest.raises(StoreForeign, match="is a folder"):
        look(photos, index=photos)


def test_a_damaged_file(photos: Path) -> None:
    look(photos)
    index = photos / ".visavis-index"
    whole = index.read_bytes()
    for damaged in (whole[: len(whole) // 2 + 100], whole[:4096] + bytes(len(whole) - 4096)):
        index.write_bytes(damaged)
        with pytest.raises(StoreDamaged, match="delete it, and the photos are looked at again"):
            look(photos)
    index.write_bytes(whole)
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("UPDATE looks SET seen = '{}'")
    with pytest.raises(StoreDamaged):
        look(photos)


def test_a_folder_that_cannot_be_written(photos: Path) -> None:
    with pytest.raises(StoreReadOnly, match="--index FILE keeps the index elsewhere"):
        PhotoIndex(Eyes(), photos / "1.jpg" / ".visavis-index")


def test_an_index_that_can_only_be_read_is_read(photos: Path) -> None:
    look(photos)
    with closing(PhotoIndex(Eyes(), photos / ".visavis-index")) as index:
        connection_of(index).execute("PRAGMA query_only = ON")
        assert len(list(index.observe_many(paths_in(photos)))) == 4
        (photos / "5.jpg").write_text("b")
        with pytest.raises(StoreReadOnly, match="--index FILE"):
            list(index.observe_many(paths_in(photos)))


# --- the search for a person ----------------------------------------------------------------------------------------


def find(folder: Path, *people: str, **options: float | str) -> dict[str, list[tuple[str, str | None]]]:
    """Return for each photo what becomes of its faces, the nearest first."""
    with closing(PhotoIndex(Eyes(), folder / ".visavis-index")) as index:
        found = index.find([folder / name for name in people], paths_in(folder), **options)  # type: ignore[arg-type]
        return {
            path.name: [(each.decision, each.reason) for each in seen]
            for path, seen in zip(paths_in(folder), found, strict=True)
            if not isinstance(seen, VisavisError)
        }


def test_a_person_is_found(photos: Path) -> None:
    assert find(photos, "1.jpg") == {
        "1.jpg": [("same", None)],
        "2.jpg": [("same", None), ("different", None)],
        "3.jpg": [],
    }


def test_the_rate_is_strict_unless_something_else_is_asked_for(photos: Path) -> None:
    with closing(PhotoIndex(Eyes())) as index:
        ((seen,),) = index.find(str(photos / "1.jpg"), [photos / "1.jpg"])  # type: ignore[misc]
        ((other,),) = index.find(str(photos / "1.jpg"), [photos / "1.jpg"], threshold=0.7)  # type: ignore[misc]
    assert (seen.fmr, seen.threshold) == (1e-4, pytest.approx(0.5805))
    assert (other.fmr, other.threshold) == (None, 0.7)


def test_several_photos_of_a_person_count_by_their_mean(photos: Path) -> None:
    (photos / "5.jpg").write_text("c")
    found = find(photos, "1.jpg", "5.jpg", threshold=0.5)
    assert found["2.jpg"] == [("same", None), ("same", None)]
    assert find(photos, "1.jpg", "5.jpg", threshold=0.2)["2.jpg"] == [("different", None), ("different", None)]


def test_a_face_that_says_nothing_is_no_match_and_is_told(photos: Path) -> None:
    (photos / "5.jpg").write_text("B")
    (photos / "6.jpg").write_text("a")
    found = find(photos, "1.jpg")
    assert (found["5.jpg"], found["6.jpg"]) == ([("uncertain", "invalid_face")], [("uncertain", "child")])


@pytest.mark.parametrize(
    ("content", "kind"),
    [("B", InvalidFace), ("a", ChildFace), ("", NoFace), ("!", ImageCorrupt), (None, ImageNotFound)],
)
def test_a_photo_of_the_person_that_cannot_be_compared(
    photos: Path, content: str | None, kind: type[VisavisError]
) -> None:
    if content is not None:
        (photos / "me.jpg").write_text(content)
    with pytest.raises(kind, match=r"me\.jpg"):
        find(photos, "me.jpg")
    with pytest.raises(InvalidOption, match="by one image, or by several"):
        find(photos)


def test_a_photo_of_the_person_is_not_kept(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "me.jpg").write_text("bbb")
    find(photos, "../me.jpg", faces="largest")
    assert rows(photos / ".visavis-index", "SELECT count(*) FROM looks") == [(4,)]
