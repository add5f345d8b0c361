"""What is damaged in a gallery of a SQLite file."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from visavis.galleries.records import Damage, Gallery, GalleryCheck
from visavis.galleries.sealing import Checker, Sealer
from visavis.galleries.sqlite.cells import ABOUT, DAMAGE, DETAILS, PICTURE, Row, named, timed, to_vectors, whole

_AT_ONCE = 1000  # rows; a quick check ends there
_SUBJECTS = (
    "SELECT subjects.number, id_hash, content, created_at, updated_at, expires_at "
    "FROM subjects LEFT JOIN details ON details.number = subjects.details "
    "WHERE gallery = ? ORDER BY subjects.number LIMIT ?"
)
_SAMPLES = (
    "SELECT id, subject, subjects.number AS owner, embedding, about, picture, samples.created_at FROM samples "
    "LEFT JOIN subjects ON subjects.number = max(samples.subject, -samples.subject) "
    "WHERE samples.gallery = ? ORDER BY id LIMIT ?"
)
_PICTURE = "SELECT data FROM pictures WHERE sample = ?"


def check_gallery(
    connection: sqlite3.Connection,
    gallery: Gallery,
    sealer: Sealer | Checker,
    hash_of: Callable[[str], bytes],
    *,
    quick: bool,
) -> GalleryCheck:
    """Look at what is stored of a gallery: all of it, or the first rows and no pictures; IDs are found by a hash."""
    most, damaged = _AT_ONCE if quick else -1, list[Damage]()
    subjects = samples = 0
    for row in named(connection.execute(_SUBJECTS, (gallery.number, most))):
        subjects += 1
        if not _is_whole(row, sealer, hash_of):
            damaged.append(Damage(subject=row["number"], sample=None, what="details"))
    rows = named(connection.execute(_SAMPLES, (gallery.number, most)))
    while some := list(islice(rows, _AT_ONCE)):
        samples += len(some)
        faults = [*_faults(some, sealer, gallery.space.dimension)]
        if not quick:
            kept = (row for row in some if row["picture"] != "nothing")
            data = ((row, connection.execute(_PICTURE, (row["id"],)).fetchone() or (None,)) for row in kept)
            faults += [(row, "picture") for row, (it,) in data if not _opens(it, f"{PICTURE}{row['id']}", sealer)]
        for row, what in faults:
            owner = abs(row["subject"]) if isinstance(row["subject"], int) else None
            damaged.append(Damage(subject=owner, sample=row["id"], what=what))
    if not quick:
        counts = {"subjects": (subjects, gallery.subjects), "samples": (samples, gallery.samples)}
        wrong = [f"{there} {what}, and not {told}" for what, (there, told) in counts.items() if there != told]
        wrong += [row[0] for row in connection.execute("PRAGMA integrity_check(100)") if row[0] != "ok"]
        damaged += (Damage(subject=None, sample=None, what=what) for what in wrong)
    return GalleryCheck(gallery=gallery.name, subjects=subjects, samples=samples, damaged=tuple(damaged))


def _is_whole(subject: Row, sealer: Sealer | Checker, hash_of: Callable[[str], bytes]) -> bool:
    """Tell whether a subject's details open, and are found by its ID."""
    with suppress(*DAMAGE):
        known = json.loads(sealer.open(timed(subject)["content"], f"{DETAILS}{subject['number']}"))
        return bool(hash_of(known["id"]) == subject["id_hash"])
    return False


def _faults(rows: Sequence[Row], sealer: Sealer | Checker, dimension: int) -> Iterator[tuple[Row, str]]:
    """Return what is damaged of samples, but for pictures."""
    stored = [(row["id"], row["subject"], row["embedding"]) for row in rows]
    good = set(to_vectors(stored, sealer, dimension).samples.tolist())
    for row in rows:
        if row["owner"] is None:
            yield row, "subject"
        if row["id"] not in good:
            yield row, "embedding"
        if not _opens(row["about"], f"{ABOUT}{row['subject']}", sealer):
            yield row, "about"
        if not any(whole([row], timed)):
            yield row, "created_at"


def _opens(stored: bytes | None, place: str, sealer: Sealer | Checker) -> bool:
    with suppress(*DAMAGE):
        sealer.open(stored or b"", place)
        return True
    return False
