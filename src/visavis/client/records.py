"""Records of the client, and the reading of the server's JSON, trusting nothing."""

import json
import math
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from datetime import datetime, timezone
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import httpx
import numpy as np

from visavis.client.wire import Sent, error_of, foreign, trusting
from visavis.errors import ImageTooLarge, VisavisError
from visavis.galleries.records import Gallery, LogEntry, Subject
from visavis.options import Keep
from visavis.service.packs import ServedPack
from visavis.service.results import Candidate, Enrolled, SubjectVerification
from visavis.types import Faces, FloatArray, Quality, Shape, SizeWH

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSample:
    """One enrolled face, as the server tells of it: ``Sample`` without its embedding, whose members these are."""

    id: int
    subject: str
    quality: Quality | None
    source: str | None
    picture: Keep
    created_at: datetime
    counter: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the caller may do: the key's scope, the only galleries that it is for, its ID; and the server's version."""

    scope: str
    galleries: tuple[str, ...]
    key: str | None
    version: str


def read(kind: type[_Value], plain: object) -> _Value:
    """Return a value of JSON as what a type says, a record of the library or a part of one.

    Members that a record does not have are left out, as a server of the future may send them.

    Raises:
        ArithmeticError, LookupError, TypeError, ValueError: it is something else, or lacks a member.
    """
    return reader(kind)(plain)


def reader(kind: type[_Value]) -> Callable[[object], _Value]:
    """Return what reads values of one type."""
    reads: Callable[[object], _Value] = _reader(cast("Any", kind))
    return reads


def every(kind: type[_Value], plain: object) -> tuple[_Value, ...]:
    """Return the items of a list, each read."""
    return tuple(map(reader(kind), read(list, plain)))


def faces_of(kind: type[_Value], plain: Mapping[str, Any]) -> Faces[_Value]:
    """Return what was found on an image."""
    return Faces(every(kind, plain["faces"]), if_any(float, plain.get("searched_from_px")) or 0.0)


def if_any(kind: type[_Value], plain: object) -> _Value | None:
    """Return what is read, or None where there is null."""
    return None if plain is None else read(kind, plain)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401, PLR0911  # any type, each in a way of its own
    origin, kinds = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        shape = next((each for each in kind.__metadata__ if isinstance(each, Shape)), None)
        return partial(_array, shape.lengths) if shape else _reader(kinds[0])
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        members = [(each.name, _reader(hints[each.name]), _is_needed(each)) for each in fields(kind)]
        return partial(_record, kind, members)
    if kind in (float, datetime):
        return _number if kind is float else _moment
    if kind is Any:
        return lambda plain: plain
    if origin is Literal:
        return partial(_among, kinds)
    if origin is tuple and kinds[-1] is Ellipsis:
        return partial(every, kinds[0])
    readers = [_reader(each) for each in kinds]
    if origin is tuple:
        return lambda plain: tuple(each(item) for each, item in zip(readers, read(list, plain), strict=True))
    if origin in (Union, UnionType):  # with None
        return lambda plain: None if plain is None else readers[0](plain)
    if origin in (dict, Mapping) and kinds:
        return lambda plain: {name: readers[1](value) for name, value in read(dict, plain).items()}
    return partial(_exact, kind)


def _is_needed(member: Field[Any]) -> bool:
    return member.default is MISSING and member.default_factory is MISSING


def _record(kind: type[Any], members: Iterable[tuple[str, Callable[[Any], Any], bool]], plain: object) -> object:
    found = _exact(dict, plain)
    return kind(**{name: read(found[name]) for name, read, needed in members if needed or name in found})


def _array(lengths: tuple[int, ...], plain: object) -> FloatArray:
    array = np.array(plain, np.float32)
    if array.shape != tuple(length or each for length, each in zip(lengths, array.shape, strict=True)):
        raise ValueError
    return array


def _moment(plain: object) -> datetime:
    moment = datetime.fromisoformat(read(str, plain).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(timezone.utc)


def _number(plain: object) -> float:
    if not (type(plain) is float or type(plain) is int) or not math.isfinite(plain):
        raise TypeError
    return float(plain)


def _among(choices: Collection[object], plain: object) -> object:
    if plain not in choices:
        raise ValueError
    return plain


def _exact(kind: type[_Value], plain: object) -> _Value:
    if type(plain) is not kind:
        raise TypeError
    return plain


# --- answers that are not just a record


def galleries(plain: dict[str, Any]) -> tuple[Gallery, ...]:
    """Return the galleries that the key may see."""
    return every(Gallery, plain["galleries"])


def preview(plain: dict[str, Any]) -> tuple[SizeWH, bytes]:
    """Return the size of an image, and a JPEG of it."""
    width, height = every(int, plain["size_wh"])
    return (width, height), b64decode(plain["jpeg"], validate=True)


def candidates(plain: dict[str, Any]) -> tuple[Candidate, ...]:
    """Return the subjects that resemble one."""
    return every(Candidate, plain["candidates"])


def found_subjects(plain: dict[str, Any]) -> tuple[tuple[Subject, ...], str | None]:
    """Return a page of subjects, and where the next one begins."""
    return every(Subject, plain["subjects"]), if_any(str, plain["next_cursor"])


def packs(plain: dict[str, Any]) -> tuple[ServedPack, ...]:
    """Return the packs that the server knows."""
    return every(ServedPack, [{**pack, "default": pack["name"] == plain["default"]} for pack in plain["packs"]])


def samples(plain: dict[str, Any]) -> tuple[ServedSample, ...]:
    """Return the samples of a subject, which older servers do not say."""
    return every(ServedSample, [{"subject": plain["id"], **sample} for sample in plain["sample_list"]])


def subject_verification(plain: dict[str, Any]) -> SubjectVerification:
    """Return whether a face is a subject; older servers are never uncertain."""
    return read(SubjectVerification, {"decision": "same" if plain["same"] else "different", **plain})


def subject_export(plain: dict[str, Any]) -> dict[str, Any]:
    """Return all that is known of a subject, as it came."""
    read(str, plain["id"])
    every(dict, plain["sample_list"])
    every(LogEntry, plain["log"])
    return dict(plain)


def export_line(line: bytes, response: httpx.Response) -> dict[str, Any]:
    """Return a line of an export."""
    with trusting(response):
        return read(dict, json.loads(line))


def import_results(
    response: httpx.Response, lines: Mapping[int, Sent]
) -> tuple[dict[int, Enrolled | VisavisError], VisavisError | None]:
    """Return what became of each line of an import, by its number, and what broke the whole off, if anything did.

    Where neither says what became of a line, it was not reached: another call may.
    """
    results: dict[int, Enrolled | VisavisError] = {}
    for plain in map(json.loads, response.content.splitlines()):
        number = if_any(int, plain.get("line"))
        if number is not None and lines[number].has_face:
            if "error" in plain:
                results[number] = error_of(read(dict, plain["error"]), response, lines[number].name)
            else:
                results[number] = read(Enrolled, plain)
            continue
        missing = next((number for number, line in lines.items() if number not in results and line.has_face), None)
        if "error" in plain:
            name = "" if missing is None else lines[missing].name
            failure = error_of(read(dict, plain["error"]), response, name)
            if missing is None or not isinstance(failure, ImageTooLarge):
                return results, failure
            results[missing] = failure  # That line was too long, and nothing behind it was read.
            return results, None
        if read(bool, plain["done"]) and missing is None:
            return results, None
    return results, foreign(response, "the server's answer ended before it was complete")
