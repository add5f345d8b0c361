"""Requests made from the OpenAPI document, valid and not: every answer must be one that the document announces."""

import io
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import hypothesis
import numpy as np
import PIL.Image
import pytest
import schemathesis
from effort import effort
from numpy.typing import NDArray
from serving import sqlite_url, vector

from visavis import FetchFailed, Recognizer
from visavis.config import Settings
from visavis.errors import GalleryExists, SubjectNotFound
from visavis.fetch import FetchPolicy
from visavis.galleries.records import Details, may_be_gallery
from visavis.galleries.store import open_store
from visavis.server.app import create_app
from visavis.service.galleries import Galleries

WITH_BODY = ["POST", "PATCH"]
# A request that is valid may still show no face, be no image, or come too late: 4xx, as the document says.
SEMANTIC = ["2xx", "304", "401", "403", "404", "409", "412", "413", "415", "422"]
PERSON = np.array(vector(1), np.float32)
SIGNED = Details(consent="signed")  # as a policy may demand, once a request has changed it
KEY = "a-secret-for-these-requests"
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {"positive_data_acceptance": {"expected-statuses": SEMANTIC}},
        "request-timeout": 60,  # seconds; 10 are too few on a busy machine
        "auth": {"openapi": {"apiKey": {"api_key": KEY}}},
    }
)
STORE = sqlite_url(Path(tempfile.gettempdir(), secrets.token_hex(8), "galleries.db"))

APP = create_app(
    Settings(max_images=4, auth="on", keys=(("admin", KEY),), keys_file=Path("no-such-file.sqlite"), store=STORE)
)
SCHEMA = schemathesis.openapi.from_dict(APP.openapi(), config=CONFIG)
SCHEMA.app = APP


@schemathesis.serializer("application/x-ndjson")
def as_lines(_context: Any, value: Any) -> bytes:  # noqa: ANN401  # likewise
    """Send texts as they are, and the items of a list each as a line."""
    if isinstance(value, bytes | str):
        return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return "\n".join(map(json.dumps, value if isinstance(value, list) else [value])).encode()


@schemathesis.serializer("image/png")  # for image/*
def as_image(_context: Any, value: Any) -> bytes:  # noqa: ANN401  # likewise
    """Send bytes as they are."""
    data: Any = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module", autouse=True)
def _parts(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> Iterator[None]:
    """Give the application its models before its first request starts it, and no way to any other machine."""
    APP.state.recognizer = recognizer
    portrait = io.BytesIO()  # small, as some requests ask for faces of ten pixels
    PIL.Image.fromarray(astronaut_pixels[20:220, 120:320]).resize((96, 96)).save(portrait, "PNG")

    def fetch(url: str, _policy: FetchPolicy, _take: object) -> bytes:
        if "example.com" in url:
            return portrait.getvalue()
        raise FetchFailed("the URL could not be fetched: unreachable")

    folder = Path(unquote(STORE.removeprefix("sqlite:///"))).parent
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visavis.server.reading.fetch", fetch)
        yield
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def galleries(recognizer: Recognizer, _parts: None) -> Iterator[Galleries]:
    """The same galleries as the application's."""
    with closing(open_store(STORE)) as store:
        yield Galleries(store, recognizer)


def make_it_find_something(case: Any, galleries: Galleries) -> None:  # noqa: ANN401  # likewise
    """Let three of four requests mean a gallery, a subject and a sample that there are."""
    names = case.path_parameters or {}
    if "gallery" not in names or len(str(case.query)) % 4 == 3 or not may_be_gallery(names["gallery"]):
        return
    with suppress(GalleryExists):
        galleries.create("team")
    gallery, samples = galleries.open("team"), list[int]()
    with suppress(SubjectNotFound):  # a request before may have renamed, merged or forgotten it
        samples = [sample.id for sample in gallery.samples("ada")]
    sample = (
        samples[0] if samples else gallery.enrol_embedding(PERSON, "ada", details=SIGNED, allow_conflict=True).sample
    )
    names.update({name: value for name, value in (("gallery", "team"), ("subject", "ada")) if name in names})
    if isinstance(names.get("sample"), int):
        names["sample"] = sample


def examples(few: int) -> hypothesis.settings:
    return hypothesis.settings(max_examples=effort(few, 300), suppress_health_check=list(hypothesis.HealthCheck))


@pytest.mark.thorough
@SCHEMA.include(method=WITH_BODY).parametrize()
@examples(12)
def test_the_document_is_true(case: Any, galleries: Galleries) -> None:  # noqa: ANN401  # likewise
    body = case.body if case.media_type == "multipart/form-data" and isinstance(case.body, dict) else {}
    hypothesis.assume([] not in [value for name, value in body.items() if name != "images"])  # no form can hold that
    hypothesis.assume(isinstance(body.get("images", []), list))  # whatever else it is, in a form it is a list of one
    make_it_find_something(case, galleries)
    case.call_and_validate()


@pytest.mark.thorough
@SCHEMA.exclude(method=WITH_BODY).parametrize()
@examples(3)
def test_the_document_is_true_where_there_is_no_body(case: Any, galleries: Galleries) -> None:  # noqa: ANN401  # likewise
    make_it_find_something(case, galleries)
    case.call_and_validate()
