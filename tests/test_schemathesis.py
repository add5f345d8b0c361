"""Requests made from the OpenAPI document, valid and not: every answer must be one that the document announces."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis

from visavis import FetchFailed, Recognizer
from visavis.config import Settings
from visavis.fetch import FetchPolicy
from visavis.server.app import create_app

# 2,000 in all: half of the operations have no body, and are done after an example or two.
THOROUGH = os.environ.get("CI") == "true" or "VISAVIS_SCHEMATHESIS_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("VISAVIS_SCHEMATHESIS_EXAMPLES", "300" if THOROUGH else "50"))

# A request that is valid may still show no face, or be no image: 4xx, as the document says.
SEMANTIC = ["2xx", "401", "403", "404", "413", "415", "422"]
KEY = "a-secret-for-these-requests"
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {"positive_data_acceptance": {"expected-statuses": SEMANTIC}},
        "auth": {"openapi": {"apiKey": {"api_key": KEY}}},
    }
)


APP = create_app(Settings(max_images=4, auth="on", keys=(("read", KEY),), keys_file=Path("no-such-file.sqlite")))
SCHEMA = schemathesis.openapi.from_dict(APP.openapi(), config=CONFIG)
SCHEMA.app = APP


@pytest.fixture(scope="module", autouse=True)
def _parts(recognizer: Recognizer, astronaut: Path) -> Iterator[None]:
    """Give the application its models before its first request starts it, and no way to any other machine."""
    APP.state.recognizer = recognizer
    portrait = astronaut.read_bytes()

    def fetch(url: str, _policy: FetchPolicy) -> bytes:
        if "example.com" in url:
            return portrait
        raise FetchFailed("the URL could not be fetched: unreachable")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visavis.server.runner.fetch", fetch)
        yield


@SCHEMA.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_the_document_is_true(case: Any) -> None:  # noqa: ANN401  # likewise
    case.call_and_validate()
