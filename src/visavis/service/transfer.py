"""Galleries as lines of JSON: what is exported can be imported, and anybody can write it."""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, fields
from datetime import datetime, timezone
from typing import IO, Any, TypeVar
from zipfile import BadZipFile, ZipFile

import numpy as np

from visavis.errors import InvalidOption, StoreDamaged, VisavisError
from visavis.galleries.records import Details, Gallery, Sample, Subject, normal
from visavis.galleries.store import Store
from visavis.models.catalogue.dlib import DLIB
from visavis.record import plain
from visavis.service.enroller import Enrolment
from visavis.types import ImageSource, Quality

EXPORT_VERSION = 1
_HEADER = "visavis_export"
_PAGE = 100
_LARGE_PAGE, _PAGES_LOOKED_AT = 1000, 10  # of subjects, in a search by name
_ECHO = 100  # characters of what somebody sent, in a message or a comparison
_MEASURES = {each.name for each in fields(Quality) if each.default is MISSING}
_IF_KNOWN = {each.name for each in fields(Quality)} - _MEASURES
_MOST_BYTES_OF_ARRAYS = 2**30  # two million encodings
_Value = TypeVar("_Value")


def export_lines(store: Store, gallery: Gallery, at: datetime, *, pictures: bool) -> Iterator[dict[str, Any]]:
    """Return a header, and a line for each sample; a subject without samples has one without an embedding."""
    yield {
        _HEADER: EXPORT_VERSION,
        "gallery": gallery.name,
        "space": asdict(gallery.space),
        "policy": gallery.policy.to_dict(),
        "exported_at": plain(at),
    }
    for subject in all_subjects(store, gallery.name):
        about = {"subject": subject.id, **{name: plain(getattr(subject, name)) for name in _DETAILS}}
        empty = True
        for sample in _counters_last(all_samples(store, gallery.name, subject.id)):
            empty = False
            yield {
                **about,
                "embedding": sample.embedding.tolist(),
                "quality": sample.quality and sample.quality.to_dict(),
                "source": sample.source,
                "sample_metadata": plain(sample.metadata),
                "counter": sample.counter,
                "created_at": plain(sample.created_at),
                "picture": _picture(store, gallery.name, sample) if pictures else None,
            }
        if empty and store.subject(gallery.name, subject.id):  # and not forgotten meanwhile
            yield {**about, "embedding": None, "created_at": plain(subject.created_at)}


def _counters_last(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Return samples, those last that an import refuses where nobody is yet."""
    counters = []
    for sample in samples:
        if sample.counter:
            counters.append(sample)
        else:
            yield sample
    yield from counters


def subject_export(store: Store, gallery: Gallery, subject: Subject) -> dict[str, Any]:
    """Return all that is stored of a subject, for the person whom it is about; counter-samples are others' faces."""
    samples = [
        {**each.to_dict(), "embedding": each.embedding.tolist(), "picture_data": _picture(store, gallery.name, each)}
        for each in all_samples(store, gallery.name, subject.id)
        if not each.counter
    ]
    log = [entry.to_dict() for entry in _log_of(store, gallery.name, subject.number)]
    return {"gallery": gallery.name, **subject.to_dict(), "sample_list": samples, "log": log}


def all_subjects(store: Store, gallery: str) -> Iterator[Subject]:
    """Return every subject, page by page."""
    after = 0
    while page := store.subjects(gallery, after=after, limit=_PAGE):
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].number


def subjects_named(
    store: Store, gallery: str, text: str, after: int, limit: int
) -> tuple[tuple[Subject, ...], int | None]:
    """Return the next subjects whose ID or name contains a text, and after which number to go on, or None at the end.

    So many pages are looked at, and no more.
    """
    wanted = normal(text).casefold()
    found: list[Subject] = []
    for _ in range(_PAGES_LOOKED_AT):
        page = store.subjects(gallery, after=after, limit=_LARGE_PAGE)
        for each in page:
            after = each.number
            found += [each] if wanted in f"{each.id}\n{each.name or ''}".casefold() else []
            if len(found) == limit:
                return tuple(found), after
        if len(page) < _LARGE_PAGE:
            return tuple(found), None
    return tuple(found), after


def all_samples(store: Store, gallery: str, subject: str) -> Iterator[Sample]:
    """Return every sample of a subject, page by page."""
    after = 0
    while page := store.samples(gallery, subject=subject, after=after, limit=_PAGE):
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].id


def enrolments_of(
    lines: Iterable[Mapping[str, Any]], check_space: Callable[[str], None]
) -> Iterator[Enrolment | VisavisError]:
    """Return what lines ask for, in order; a header is checked and passed over, as is a subject without samples.

    Raises:
        InvalidOption: a header is none that is understood here.
        SpaceMismatch: from ``check_space``, which takes the ID of its embedding space.
    """
    for line in lines:
        if is_header(line):
            check_space(space_of_header(line))
        if not has_face(line):
            continue
        try:
            yield enrolment_from_line(line)
        except VisavisError as error:
            yield error


def lines_of_arrays(file: IO[bytes], name: str) -> Iterator[dict[str, Any]]:
    """Return a header, and a line for each of the arrays ``encodings`` (N, D) and ``names`` (N,) of an ``.npz`` file.

    A third one, ``space``, is the ID of their embedding space; where there is none, they are face_recognition's.

    Args:
        file: can be sought in; nothing in it is unpickled.
        name: of it, in messages.

    Raises:
        InvalidOption: it is damaged, too large, or holds something else.
    """
    try:
        with ZipFile(file) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > _MOST_BYTES_OF_ARRAYS:
            raise InvalidOption(f"{name}: its arrays take {size:,} bytes; {_MOST_BYTES_OF_ARRAYS:,} are allowed")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            known = {each: arrays[each] for each in ("encodings", "names", "space") if each in arrays}
    except (BadZipFile, EOFError, KeyError, MemoryError, OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = "it holds Python objects, and is never unpickled" if "allow_pickle" in str(error) else str(error)
        raise InvalidOption(
            f"{name}: cannot be read: {reason[:_ECHO]}; np.savez(FILE, encodings=np.stack(encodings), names=names), "
            "names being texts, writes such a file"
        ) from None
    if missing := {"encodings", "names"} - known.keys():
        raise InvalidOption(f"{name}: the array {' and '.join(sorted(missing))} is missing")
    vectors, names = known["encodings"], known["names"]
    is_good = vectors.ndim == 2 and names.shape == vectors.shape[:1] and vectors.dtype.kind in "fiu"  # noqa: PLR2004
    if not is_good or names.dtype.kind != "U":
        raise InvalidOption(
            f"{name}: encodings are (N, D) numbers, and names N texts, not {vectors.shape} {vectors.dtype} and "
            f"{names.shape} {names.dtype}"
        )
    yield {_HEADER: EXPORT_VERSION, "space": {"id": str(known.get("space", DLIB.space.id))}}
    yield from ({"subject": each, "embedding": row.tolist()} for each, row in zip(names.tolist(), vectors, strict=True))


def is_header(line: Mapping[str, Any]) -> bool:
    """Tell whether a line is the first of an export."""
    return isinstance(line, Mapping) and _HEADER in line


def has_face(line: Mapping[str, Any]) -> bool:
    """Tell whether a line asks for an enrolment: a header does not, nor does a subject without samples."""
    return not is_header(line) and not (isinstance(line, Mapping) and line.get("embedding", line) is None)


def space_of_header(line: Mapping[str, Any]) -> str:
    """Return the ID of the embedding space that an export is of.

    Raises:
        InvalidOption: it is no header that is understood here.
    """
    if line.get(_HEADER) != EXPORT_VERSION:
        other = repr(line.get(_HEADER))[:_ECHO]
        raise InvalidOption(f"{_HEADER}: this version reads {EXPORT_VERSION}, not {other}")
    space = line.get("space")
    if not isinstance(space, Mapping) or not isinstance(space.get("id"), str):
        raise InvalidOption("space: the header of an export names its embedding space")
    return str(space["id"][:_ECHO])


def enrolment_from_line(line: Mapping[str, Any], *, image: "ImageSource | None" = None) -> Enrolment:
    """Return what a line asks for.

    Args:
        line: with an embedding, unless there is
        image: that came with the line.

    Raises:
        InvalidOption: a field is missing, unknown or of another kind; the message names it.
    """
    if not isinstance(line, Mapping):
        raise InvalidOption("a line is a JSON object")
    if unknown := sorted(str(name) for name in line.keys() - _FIELDS):
        raise InvalidOption(f"{unknown[0][:_ECHO]}: there is no such field")
    embedding = line.get("embedding")
    if image is None and not isinstance(embedding, list):
        raise InvalidOption("embedding: a list of numbers is needed")
    return Enrolment(
        subject=_read(line, "subject", _string),
        image=image,
        embedding=embedding,  # whose numbers are checked with those of images
        details=details_from_line(line),
        quality=_read(line, "quality", _quality),
        source=_read(line, "source", _string),
        sample_metadata=_read(line, "sample_metadata", _object),
        key=_read(line, "key", _string),
        picture=_read(line, "picture", _from_base64),
        counter=_read(line, "counter", _truth) or False,
        box=line.get("box"),
        like=line.get("like"),  # both are checked when the image is looked at
    )


def details_from_line(line: Mapping[str, Any]) -> Details:
    """Return what a line says of a subject; InvalidOption where a field is of another kind; the message names it."""
    return Details(**{name: _read(line, name, read) for name, read in _DETAILS.items()})


def _picture(store: Store, gallery: str, sample: Sample) -> str | None:
    data = None
    with suppress(StoreDamaged):  # the face is still of use
        data = None if sample.picture == "nothing" else store.picture(gallery, sample.id)
    return None if data is None else base64.b64encode(data).decode("ascii")


def _log_of(store: Store, gallery: str, subject: int) -> Iterator[Any]:
    after = 0
    while page := store.entries(gallery, after=after, limit=1000):
        yield from (entry for entry in page if subject in entry.subjects)
        after = page[-1].number


def _read(line: Mapping[str, Any], name: str, read: Callable[[Any], _Value]) -> _Value | None:
    value = line.get(name)
    if value is None:
        return None
    try:
        return read(value)
    except (LookupError, TypeError, ValueError, OverflowError, binascii.Error) as error:
        raise InvalidOption(f"{name}: {str(error)[:_ECHO]}") from None


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("must be a text")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("must be an object")
    return value


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_string(value).replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)


def _quality(value: object) -> Quality:
    numbers = _object(value)
    if not _MEASURES <= set(numbers) <= _MEASURES | _IF_KNOWN:
        raise ValueError(
            "must have face_px, sharpness and score, may have yaw, pitch, validity and occluded, and nothing else"
        )
    known = {name: number for name, number in numbers.items() if name in _MEASURES or number is not None}
    return Quality(**{name: _number(number) for name, number in known.items()})


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise TypeError("must hold finite numbers")
    return float(value)


def _from_base64(value: object) -> bytes:
    return base64.b64decode(_string(value), validate=True)


_DETAILS: Mapping[str, Callable[[Any], Any]] = {
    "name": _string,
    "metadata": _object,
    "consent": _string,
    "expires_at": _moment,
    "ignored": _truth,
}
_FIELDS = frozenset(
    {
        *("subject", *_DETAILS, "embedding", "quality", "source", "sample_metadata", "key", "picture", "counter"),
        *("box", "like"),
        "created_at",  # which is of the sample that was exported, and not of the one that is made
    }
)
