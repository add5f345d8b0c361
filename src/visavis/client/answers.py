"""From the server's answers to the library's results and errors."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from visavis import errors
from visavis.client.exchange import Answer
from visavis.errors import InputError, ServerError, ServerOverloaded, VisavisError
from visavis.types import Face, Verification

_OK = 200
_UNAVAILABLE = 503
_BUSY = frozenset({429, _UNAVAILABLE})
_LONGEST_DETAIL = 1000

_LEAVES = {
    leaf.code: leaf
    for leaf in vars(errors).values()
    if isinstance(leaf, type) and issubclass(leaf, errors.InputError | errors.SetupError) and "code" in vars(leaf)
}
# What only the server tells apart.
_BY_CODE = {**_LEAVES, "body_too_large": errors.ImageTooLarge, "invalid_request": errors.InvalidOption}


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A weights file of a pack: as ``visavis models`` lists it."""

    role: str
    name: str
    size: int
    sha256: str
    licence: str
    origin: str


@dataclass(frozen=True, slots=True)
class ServedPack:
    """A pack that the server knows.

    Attributes:
        name: by which it is called.
        default: whether this is the one that answers.
        summary: one line about it.
        commercial_use: whether all its licences allow it.
        dimension: of an embedding.
        metric: how two embeddings are compared.
        threshold: two faces nearer than this are the same person.
        operating_points: thresholds by name.
        files: its weights.
    """

    name: str
    default: bool
    summary: str
    commercial_use: bool
    dimension: int
    metric: str
    threshold: float
    operating_points: Mapping[str, float]
    files: tuple[ServedFile, ...]


def read_results(answer: Answer, names: list[str]) -> list[tuple[Face, ...] | VisavisError]:
    """Return for each image its faces, or why there are none.

    Args:
        answer: to ``detect`` or ``embed``.
        names: what messages call the images that were sent.

    Raises:
        VisavisError: the call as a whole failed.
    """
    with _content(answer) as content:
        return [_faces(result, name, answer) for result, name in zip(content["results"], names, strict=True)]


def read_verification(answer: Answer, names: Mapping[str, str]) -> Verification:
    """Return the answer to ``verify``.

    Args:
        answer: to be read.
        names: what messages call the images "a" and "b".

    Raises:
        VisavisError: the call failed.
    """
    with _content(answer, names) as content:
        a, b = map(_face, content["faces"])
        return Verification(
            same=bool(content["same"]),
            distance=float(content["distance"]),
            threshold=float(content["threshold"]),
            probability=float(content["probability"]),
            faces=(a, b),
        )


def read_packs(answer: Answer) -> tuple[ServedPack, ...]:
    """Return the packs that the server knows.

    Raises:
        VisavisError: the call failed.
    """
    with _content(answer) as content:
        return tuple(_pack(pack, content["default"]) for pack in content["packs"])


def read_health(answer: Answer) -> bool:
    """Tell whether the server is ready.

    Raises:
        VisavisError: the answer says neither that it is nor that it is not.
    """
    if answer.status not in (_OK, _UNAVAILABLE):
        raise _error(_problem(answer), answer, {})
    return answer.status == _OK


@contextmanager
def _content(answer: Answer, names: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Give the JSON of an answer; what is wrong with it, or with how it is read, is an error of the server."""
    if answer.status != _OK:
        raise _error(_problem(answer), answer, names or {})
    try:
        yield json.loads(answer.body)
    except (LookupError, TypeError, ValueError) as error:
        raise ServerError("this is not the answer of a visavis server", status=answer.status) from error


def _faces(result: Mapping[str, Any], name: str, answer: Answer) -> tuple[Face, ...] | VisavisError:
    if "error" in result:
        return _error(result["error"], answer, {}, name)
    return tuple(map(_face, result["faces"]))


def _face(face: Mapping[str, Any]) -> Face:
    embedding = face.get("embedding")
    return Face(
        box_xyxy=np.array(face["box_xyxy"], np.float32).reshape(4),
        score=face["score"],
        landmarks=np.array(face["landmarks"], np.float32).reshape(-1, 2),
        embedding=None if embedding is None else np.array(embedding, np.float32),
    )


def _pack(pack: Mapping[str, Any], default: str) -> ServedPack:
    return ServedPack(
        name=pack["name"],
        default=pack["name"] == default,
        summary=pack["summary"],
        commercial_use=pack["commercial_use"],
        dimension=pack["dimension"],
        metric=pack["metric"],
        threshold=pack["threshold"],
        operating_points=dict(pack["operating_points"]),
        files=tuple(
            ServedFile(file["role"], file["name"], file["size"], file["sha256"], file["licence"], file["origin"])
            for file in pack["files"]
        ),
    )


def _problem(answer: Answer) -> Mapping[str, Any]:
    """Return the problem details of an answer; nothing where somebody else gave it, such as a proxy."""
    try:
        problem = json.loads(answer.body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _error(
    problem: Mapping[str, Any], answer: Answer, names: Mapping[str, str], name: str | None = None
) -> VisavisError:
    """Return the error that a problem means: the library's own where there is one of that code."""
    code = _text(problem, "code")
    detail = _text(problem, "detail") or _text(problem, "title") or f"the server answered with status {answer.status}"
    name = name or names.get(_text(problem, "field"))
    leaf = _BY_CODE.get(code)
    if leaf in (errors.FetchRefused, errors.FetchFailed):
        return leaf(detail.rpartition(": ")[2])  # which says the rest itself
    if leaf is not None and issubclass(leaf, InputError):
        return leaf(f"{name}: {detail}" if name else detail)
    request_id = _text(problem, "request_id") or answer.headers.get("x-request-id")
    if leaf is not None:
        return leaf(f"{detail} (request {request_id})" if request_id else detail)
    kind = ServerOverloaded if answer.status in _BUSY else ServerError
    return kind(detail, code=code or None, status=answer.status, request_id=request_id)


def _text(problem: Mapping[str, Any], member: str) -> str:
    value = problem.get(member)
    return value[:_LONGEST_DETAIL] if isinstance(value, str) else ""
