"""The calls that both clients make, and what they read from the answers."""

import asyncio
import dataclasses
import inspect
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import numpy as np
from answering import URL, Server, parts

from outside import as_json, record, to_json
from outside.results import NOON, examples
from visavis import AsyncClient, AsyncGalleryClient, Client, Details, Enrolment, GalleryClient, Policy, Quality

_IMAGE, _LINK = b"an image", "http://example.com/a.jpg"
_USUAL = ("host", "accept", "accept-encoding", "connection", "content-length", "user-agent")
_VECTOR = np.array([1, 0.5], np.float32)
Act = Callable[[Any], Any]


def calls() -> dict[str, tuple[Act, httpx.Response, object]]:
    """Return calls: what is asked of a client, what a server answers, and what the client then returns."""
    return {**_about_images(), **_about_galleries(), **_about_subjects(), **_searches(), **_enrolments()}


def made(act: Act, answer: httpx.Response) -> tuple[list[httpx.Request], object, list[httpx.Request], object]:
    """Return the requests of the client and what it returns, and the same of the asynchronous one."""
    server, other = Server(answer), Server(answer)
    with Client(URL, "vv_key", transport=httpx.MockTransport(server)) as client:
        found = act(client)
        found = list(found) if isinstance(found, Iterator) else found

    async def run() -> object:
        async with AsyncClient(URL, "vv_key", transport=httpx.MockTransport(other)) as client:
            result = act(client)
            if isinstance(result, AsyncIterator):
                return [one async for one in result]
            return await result if inspect.isawaitable(result) else result

    return server.requests, found, other.requests, asyncio.run(run())


def request_text(request: httpx.Request) -> str:
    """Return a request, without what is random in it; the order of parts, parameters and members does not count."""
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    headers = {name: value for name, value in request.headers.items() if name not in _USUAL}
    if kind.startswith("multipart"):
        headers["content-type"] = kind
        told = sorted((name, head.strip(), content.decode()) for name, head, content in parts(request))
        body = "\n".join(f"{head}\n{content}" for _, head, content in told)
    elif kind == "application/json":
        body = as_json(json.loads(request.content))
    else:
        body = "\n".join(as_json(json.loads(line)) for line in request.content.splitlines())
    query = sorted(f"{name}={value}" for name, value in request.url.params.multi_items())
    address = request.url.raw_path.decode().partition("?")[0] + ("?" if query else "") + "&".join(query)
    lines = [f"{request.method} {address}", *(f"{name}: {headers[name]}" for name in sorted(headers))]
    text = "\n".join([*lines, *([body] if body else [])]).replace("\r\n", "\n")
    return re.sub(r'(idempotency-key: |"key": ")[\w-]{22,}', r"\1RANDOM", text).strip()


def plain(value: Any) -> Any:  # noqa: ANN401  # whatever a client returns
    """Return values that can be compared: a record with its name, arrays as lists."""
    if isinstance(value, GalleryClient | AsyncGalleryClient):
        return f"the gallery {value.name}"
    if dataclasses.is_dataclass(value):
        members = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"a": type(value).__name__, **members}
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, list | tuple):
        return ["list" if isinstance(value, list) else "tuple", *map(plain, value)]
    return {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def _ok(value: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=value)


def _lines(*values: object) -> httpx.Response:
    content = "".join(f"{json.dumps(value)}\n" for value in values)
    return httpx.Response(200, content=content, headers={"Content-Type": "application/x-ndjson"})


def _about_images() -> dict[str, tuple[Act, httpx.Response, object]]:
    known = examples()
    faces, verified = known["Face"], known["Verification"]
    answer = _ok({"pack": "dlib", "results": [{"faces": [to_json(face) for face in faces]}]})
    options = {"faces": "largest", "min_face": 0.25, "quality": True, "attributes": ["pose", "age"]}
    decided = {"faces": "only", "threshold": 0.5, "min_face": 20, "require_live": True}
    without = [_without_embeddings(one) for one in verified]
    pack, models = _models()
    return {
        "detect": (lambda client: client.detect(_IMAGE), answer, faces),
        "detect with options": (lambda client: client.detect(_IMAGE, **options), answer, faces),
        "detect a URL": (lambda client: client.detect(_LINK, **options), answer, faces),
        "detect many": (lambda client: client.detect_many([_IMAGE]), answer, [faces]),
        "embed": (lambda client: client.embed(_IMAGE), answer, faces),
        "embed with options": (lambda client: client.embed(_LINK, **options), answer, faces),
        "embed many": (lambda client: client.embed_many([_LINK]), answer, [faces]),
        "verify": (lambda client: client.verify(_IMAGE, b"another"), _ok(to_json(verified[0])), without[0]),
        "verify with options": (
            lambda client: client.verify(_IMAGE, _LINK, **decided),
            _ok(to_json(verified[1])),
            without[1],
        ),
        "verify at a rate": (
            lambda client: client.verify(_LINK, _LINK, fmr="strict"),
            _ok(to_json(verified[0])),
            without[0],
        ),
        "verify at a point": (
            lambda client: client.verify(_IMAGE, _IMAGE, operating_point="default"),
            _ok(to_json(verified[0])),
            without[0],
        ),
        "models": (lambda client: client.models(), models, (pack,)),
        "health": (lambda client: client.health(), _ok({"status": "ready"}), True),
    }


def _without_embeddings(verification: Any) -> Any:  # noqa: ANN401  # a record
    faces = tuple(dataclasses.replace(face, embedding=None) for face in verification.faces)
    return dataclasses.replace(verification, faces=faces)


def _models() -> tuple[Any, httpx.Response]:
    about = {"name": "dlib", "summary": "words", "commercial_use": True, "installed": False, "dimension": 128}
    about |= {"space": None, "metric": "euclidean", "threshold": 0.6, "threshold_provenance": "a guess"}
    about |= {"operating_points": {"default": 0.6}}
    part = {"role": "detector", "needed": True, "installed": False, "training_data": "photos", "commercial_use": True}
    file = {"role": "detector", "name": "d", "size": 1, "sha256": None, "licence": "any", "origin": "here"}
    json_pack = {**about, "attributes": ["pose"], "parts": [{**part, "files": ["d"]}], "files": [file]}
    pack = record(
        "ServedPack",
        **{**about, "default": True, "attributes": ("pose",)},
        parts=(record("ServedPart", **part, files=("d",)),),
        files=(record("ServedFile", **file),),
    )
    return pack, _ok({"default": "dlib", "packs": [json_pack]})


def _about_galleries() -> dict[str, tuple[Act, httpx.Response, object]]:
    known = examples()
    galleries, receipts, entries = known["Gallery"], known["Receipt"], known["LogEntry"]
    one, receipt = _ok(to_json(galleries[0])), _ok(to_json(receipts[1]))
    log = _ok({"entries": [to_json(entry) for entry in entries], "next_cursor": None})
    lines = [{"visavis_export": 1, "gallery": "people"}, {"subject": "ada", "embedding": [1.0]}]
    policy = Policy(threshold=0.5, keep="chips")
    audits = known["AuditReport"]
    return {
        "galleries": (
            lambda client: client.galleries(),
            _ok({"galleries": [to_json(gallery) for gallery in galleries]}),
            galleries,
        ),
        "create": (lambda client: client.create_gallery("people"), one, "the gallery people"),
        "create with options": (
            lambda client: client.create_gallery("people", policy=policy, encrypted=True),
            one,
            "the gallery people",
        ),
        "get or create": (lambda client: client.get_or_create_gallery("people"), one, "the gallery people"),
        "record": (lambda client: client.gallery("people").record(), _ok(to_json(galleries[1])), galleries[1]),
        "set policy": (lambda client: client.gallery("people").set_policy(policy), one, galleries[0]),
        "forget": (lambda client: client.gallery("people").forget(), receipt, receipts[1]),
        "log": (lambda client: client.entries(), log, list(entries)),
        "log of a gallery": (lambda client: client.gallery("people").entries(), log, list(entries)),
        "audit": (lambda client: client.gallery("people").audit(), _ok(to_json(audits[0])), audits[0]),
        "audit of nothing": (lambda client: client.gallery("people").audit(), _ok(to_json(audits[1])), audits[1]),
        "export": (lambda client: client.gallery("people").export(), _lines(*lines), lines),
        "export with pictures": (lambda client: client.gallery("people").export(pictures=True), _lines(*lines), lines),
    }


def _about_subjects() -> dict[str, tuple[Act, httpx.Response, object]]:
    known = examples()
    subjects, receipt = known["Subject"], known["Receipt"][0]
    ada, one, gone = subjects[0], _ok(to_json(subjects[0])), _ok(to_json(receipt))
    kept = [{name: getattr(sample, name) for name in _SAMPLE} for sample in known["Sample"]]
    samples = [to_json(sample) for sample in known["Sample"]]
    details = Details(name="Ada", metadata={"é": [1, None]}, consent="", expires_at=NOON)
    entries = [to_json(entry) for entry in known["LogEntry"]]
    everything = {**to_json(ada), "gallery": "people", "sample_list": samples, "log": entries}
    return {
        "subjects": (
            lambda client: client.gallery("people").subjects(),
            _ok({"subjects": [to_json(subject) for subject in subjects], "next_cursor": None}),
            list(subjects),
        ),
        "subject": (lambda client: client.gallery("people").subject("a b?ü"), one, ada),
        "samples": (
            lambda client: client.gallery("people").samples("ada"),
            _ok({**to_json(ada), "sample_list": samples}),
            tuple(record("ServedSample", **sample) for sample in kept),
        ),
        "update": (lambda client: client.gallery("people").update("ada", details), one, ada),
        "update a version": (lambda client: client.gallery("people").update("ada", details, version=ada), one, ada),
        "forget a subject": (lambda client: client.gallery("people").forget_subject("ada"), gone, receipt),
        "forget a version": (lambda client: client.gallery("people").forget_subject("ada", version=ada), gone, receipt),
        "forget a sample": (lambda client: client.gallery("people").forget_sample("ada", 12), gone, receipt),
        "export a subject": (
            lambda client: client.gallery("people").export_subject("ada"),
            _ok(everything),
            everything,
        ),
        "picture": (
            lambda client: client.gallery("people").picture("ada", 12),
            httpx.Response(200, content=b"png", headers={"Content-Type": "image/png"}),
            b"png",
        ),
    }


_SAMPLE = ("id", "subject", "quality", "source", "picture", "created_at")


def _searches() -> dict[str, tuple[Act, httpx.Response, object]]:
    known = examples()
    found = tuple(
        dataclasses.replace(one, face=one.face and dataclasses.replace(one.face, embedding=None))
        for one in known["Identification"]
    )
    verified = tuple(
        dataclasses.replace(one, face=one.face and dataclasses.replace(one.face, embedding=None))
        for one in known["SubjectVerification"]
    )
    both = _ok({"results": [{"faces": [to_json(one) for one in found]}]})
    each = _ok({"results": [{"faces": [to_json(one)]} for one in found]})
    options = {"faces": "largest", "limit": 3, "threshold": 0.5, "min_face": 20, "require_live": True}
    decided = {"faces": "only", "fmr": 0.001, "min_face": 0.5, "require_live": True}
    rows = np.stack([_VECTOR, _VECTOR])
    return {
        "identify": (lambda client: client.gallery("people").identify(_IMAGE), both, found),
        "identify with options": (lambda client: client.gallery("people").identify(_IMAGE, **options), both, found),
        "identify a URL": (lambda client: client.gallery("people").identify(_LINK, fmr="strict", limit=1), both, found),
        "identify many": (lambda client: client.gallery("people").identify_many([_IMAGE]), both, [found]),
        "identify embeddings": (
            lambda client: client.gallery("people").identify_embeddings(rows, limit=2, threshold=0.5),
            each,
            found,
        ),
        "compare": (
            lambda client: client.compare(_VECTOR, _VECTOR.tolist(), fmr="strict", space="0123456789abcdef"),
            _ok({"results": [to_json(known["Comparison"][0])]}),
            known["Comparison"][0],
        ),
        "compare many": (
            lambda client: client.compare_many([(_VECTOR, _VECTOR), (_VECTOR, -_VECTOR)]),
            _ok({"results": [to_json(one) for one in known["Comparison"]]}),
            list(known["Comparison"]),
        ),
        "verify a subject": (
            lambda client: client.gallery("people").verify(_IMAGE, "ada"),
            _ok(to_json(verified[0])),
            verified[0],
        ),
        "verify a subject with options": (
            lambda client: client.gallery("people").verify(_LINK, "ada", **decided),
            _ok(to_json(verified[1])),
            verified[1],
        ),
        "verify an embedding": (
            lambda client: client.gallery("people").verify_embedding(_VECTOR, "ada", threshold=0.5),
            _ok(to_json(verified[1])),
            verified[1],
        ),
    }


def _enrolments() -> dict[str, tuple[Act, httpx.Response, object]]:
    full, minimal = examples()["Enrolled"]
    full = dataclasses.replace(full, face=dataclasses.replace(full.face, embedding=None))
    results = {name: value for name, value in to_json(full).items() if name != "subject"}
    answer = _ok({"subject": to_json(full.subject), "results": [results]}, 201)
    lines = _lines({"line": 1, **to_json(minimal)}, {"done": True, "enrolled": 1, "repeated": 0, "failed": 0})
    details = Details(name="Ada", metadata={"é": [1, None]}, consent="yes", expires_at=NOON)
    about = {"details": details, "source": "door", "key": "k1"}
    options = {"faces": "largest", "min_face": 0.25, "allow_conflict": True}
    quality = Quality(28.0, 0.25, 0.9, 1.5, -2.5)
    line = {"subject": "bob", "embedding": [1.0, 0.5], "key": "k3"}
    photo = Enrolment(subject="bob", image=_IMAGE, details=details, source="door", key="k2")
    vector = Enrolment(subject="bob", embedding=_VECTOR, quality=quality, picture=b"png")
    return {
        "enrol": (lambda client: client.gallery("people").enrol(_IMAGE), answer, full),
        "enrol with options": (
            lambda client: client.gallery("people").enrol(_IMAGE, "ada", **about, **options),
            answer,
            full,
        ),
        "enrol a URL": (lambda client: client.gallery("people").enrol(_LINK, "ada", **about, **options), answer, full),
        "enrol an embedding": (
            lambda client: client.gallery("people").enrol_embedding(
                _VECTOR, "ada", quality=quality, allow_conflict=True, **about
            ),
            answer,
            full,
        ),
        "enrol many": (lambda client: client.gallery("people").enrol_many([photo], **options), lines, [minimal]),
        "enrol many embeddings": (lambda client: client.gallery("people").enrol_many([vector]), lines, [minimal]),
        "import": (lambda client: client.gallery("people").import_lines([line]), lines, [minimal]),
    }
