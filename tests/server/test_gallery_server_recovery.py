"""What callers can learn of enrolled embeddings: the attacks that once recovered them, over HTTP.

The embeddings are drawn from a population like that of the pack dlib: a large part in common, 33 dimensions that count,
and as many strangers as near (0.1 % of pairs below 0.547, 1 % below 0.616). Cosines are taken after the mean of the
population is subtracted: without that, those of strangers are 0.8 already. ``bench/recovery.py`` does it with photos.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from serving import Caller, SlowRecognizer, problem, sqlite_url

from visavis import Recognizer
from visavis.config import Scope, Settings
from visavis.models.recognizer import Observed
from visavis.server.keys import KeyStore
from visavis.service.gallery import OpenGallery
from visavis.types import Face, Faces

BOOTSTRAP = "bootstrap-secret-0123456789"
TEAM = "/v1/galleries/team"
SUBJECTS, PROBES, AT_ONCE = 30, 10_000, 500
Vectors = NDArray[np.float64]

_SPREAD = np.exp(-np.arange(128) / 16.5)
_SPREAD = np.sqrt(0.345 * _SPREAD / _SPREAD.sum())
MEAN = np.full(128, 1.3 / np.sqrt(128))
PEOPLE = MEAN + np.random.default_rng(1).normal(size=(SUBJECTS, 128)) * _SPREAD


def strangers(number: int) -> Vectors:
    return MEAN + np.random.default_rng(2).normal(size=(number, 128)) * _SPREAD


def directions(number: int) -> Vectors:
    """Return vectors of length 1.4, as embeddings have it, in directions drawn at random."""
    drawn = np.random.default_rng(3).normal(size=(number, 128))
    lengths: Vectors = np.linalg.norm(drawn, axis=1, keepdims=True)
    return 1.4 * drawn / lengths


@dataclass
class Reader(SlowRecognizer):
    """Sees in an image the embedding that its bytes are."""

    def observe_many(self, images: Any, **_options: Any) -> Iterator[Faces[Observed]]:  # noqa: ANN401  # a stand-in
        for image in images:
            face = Face(np.zeros(4, np.float32), 1.0, np.zeros((5, 2), np.float32), np.frombuffer(image, np.float32))
            yield Faces([Observed(face, np.zeros((150, 150, 3), np.uint8))])


def image_of(vector: Vectors) -> dict[str, str]:
    return {"base64": base64.b64encode(vector.astype(np.float32).tobytes()).decode()}


@dataclass
class Attacker:
    """Calls with a key of a scope, and keeps the distances that are told: of a subject, by the number of the probe."""

    server: Caller
    secret: str
    told: dict[str, dict[int, float]]

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401  # JSON
        answer = self.server.post(TEAM + path, body, {"X-API-Key": self.secret})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def identify(self, probes: Vectors, *, images: bool) -> None:
        """Ask for as much as there is to be had."""
        for first in range(0, len(probes), AT_ONCE):
            some = probes[first : first + AT_ONCE]
            sent = {"images": list(map(image_of, some))} if images else {"embeddings": some.tolist()}
            for place, result in enumerate(self.post("/identify", {**sent, "limit": 100})["results"]):
                for candidate in result["faces"][0]["candidates"]:
                    self.told[candidate["subject"]][first + place] = candidate["distance"]

    def recovered(self, probes: Vectors) -> list[float]:
        """Solve |x|^2 - 2px + |p|^2 = d^2 for each subject; return the cosines to what was to be found."""
        return [cosine(solved(probes, self.told[str(n)]), person - MEAN) for n, person in enumerate(PEOPLE)]


def solved(probes: Vectors, told: dict[int, float]) -> Vectors:
    places = probes[list(told)] - MEAN
    rounded_by = 0.005
    right = (np.array(list(told.values())) + rounded_by) ** 2 - (places**2).sum(axis=1)
    solution: Vectors = np.linalg.lstsq(np.c_[-2 * places, np.ones(len(places))], right, rcond=None)[0]
    return solution[:-1]


def cosine(a: Vectors, b: Vectors) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    folder = tmp_path_factory.mktemp("recovery")
    settings = Settings(
        auth="on",
        keys=(("admin", BOOTSTRAP),),
        keys_file=folder / "keys.sqlite",
        store=sqlite_url(folder / "galleries.db"),
        max_images=AT_ONCE,
    )
    with Caller(settings, cast("Recognizer", Reader())) as caller:
        caller.post("/v1/galleries", {"name": "team"}, {"X-API-Key": BOOTSTRAP})
        for number, person in enumerate(PEOPLE):
            body = {"subject": str(number), "embeddings": [person.tolist()]}
            assert caller.post(f"{TEAM}/enrol", body, {"X-API-Key": BOOTSTRAP}).status_code == 201
        yield caller


def attacker(server: Caller, scope: Scope) -> Attacker:
    keys: KeyStore = server.app.state.keys
    return Attacker(server, keys.create("a", scope, ["team"])[1], {str(n): {} for n in range(SUBJECTS)})


@pytest.mark.thorough
def test_vectors_in_any_direction_tell_nothing(server: Caller) -> None:
    probing, probes = attacker(server, "probe"), directions(PROBES)
    probing.identify(probes, images=False)
    for number, probe in enumerate(probes[:200]):
        verified = probing.post("/subjects/0/verify", {"embedding": probe.tolist()})
        if verified["distance"] is not None:
            probing.told["0"][number] = verified["distance"]
    assert max(probing.recovered(probes)) <= 0.5


@pytest.mark.thorough
def test_photos_of_strangers_recover_nobody(server: Caller) -> None:
    """But who resembles a subject so much that the gallery takes them for it: that is what it is there to say."""
    reading, probes = attacker(server, "read"), strangers(PROBES)
    reading.identify(probes, images=True)
    assert np.median(reading.recovered(probes)) <= 0.5
    exact = np.linalg.norm(probes[:, None] - PEOPLE, axis=2)
    for number, told in enumerate(reading.told.values()):
        assert set(told) <= set(np.flatnonzero(exact[:, number] < 0.56))
        assert all(exact[probe, number] - 0.0101 <= distance for probe, distance in told.items())


def test_nearest_photos_of_strangers_are_told_in_two_decimals(server: Caller) -> None:
    reading = attacker(server, "read")
    step = (strangers(1)[0] - PEOPLE[0]) / np.linalg.norm(strangers(1)[0] - PEOPLE[0])
    for exact in np.arange(0.4301, 0.44, 0.001):
        image = image_of(PEOPLE[0] + exact * step)
        (face,) = reading.post("/identify", {"images": [image]})["results"][0]["faces"]
        verified = reading.post("/subjects/0/verify", {"image": image})
        assert face["match"]["distance"] == verified["distance"] == 0.43
        told = reading.post("/subjects/0/verify", {"image": image_of(PEOPLE[0] + 0.4355 * step)})
        assert verified["probability"] == told["probability"]
        odds = told["probability"] / (1 - told["probability"])
        assert face["match"]["probability"] == pytest.approx(odds / (odds + face["compared"]))


def test_thresholds_one_after_the_other_tell_no_more(server: Caller) -> None:
    probing = attacker(server, "probe")
    step = (strangers(1)[0] - PEOPLE[0]) / np.linalg.norm(strangers(1)[0] - PEOPLE[0])

    def verify(distance: float, **options: float) -> dict[str, Any]:
        body = {"embedding": (PEOPLE[0] + distance * step).tolist(), **options}
        return cast("dict[str, Any]", probing.post("/subjects/0/verify", body))

    for exact in (0.431, 0.435, 0.439):
        answers = [verify(exact, threshold=threshold) for threshold in np.arange(0.42, 0.45, 0.0007)]
        assert {(answer["threshold"], answer["same"]) for answer in answers} == {
            (0.42, False),
            (0.43, False),
            (0.44, True),
        }
    for rate in np.geomspace(1e-4, 1e-2, 50):
        answer = verify(0.7, fmr=float(rate))
        assert answer["threshold"] == round(answer["threshold"], 2)
        assert (answer["same"], answer["distance"], answer["sample"]) == (False, None, None)
    for path, member in (("/identify", "embeddings"), ("/subjects/0/verify", "embedding")):
        vector = PEOPLE[0].tolist()
        for wide in ({"threshold": 0.62}, {"threshold": 100.0}, {"fmr": 0.05}):
            body = {member: [vector] if member == "embeddings" else vector, **wide}
            refused = probing.server.post(TEAM + path, body, {"X-API-Key": probing.secret})
            assert (refused.status_code, problem(refused)["code"]) == (422, "invalid_option")


@pytest.mark.parametrize("scope", ["read", "enrol"])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/identify", {"embeddings": [[0.0] * 128]}), ("/subjects/0/verify", {"embedding": [0.0] * 128})],
)
def test_vectors_need_a_scope_of_their_own(
    server: Caller, monkeypatch: pytest.MonkeyPatch, *, scope: Scope, path: str, body: object
) -> None:
    for name in ("identify_embeddings", "verify_embedding"):
        monkeypatch.setattr(OpenGallery, name, lambda *_, **__: pytest.fail("something was computed"))
    answer = server.post(TEAM + path, body, {"X-API-Key": attacker(server, scope).secret})
    assert (answer.status_code, problem(answer)["code"]) == (403, "forbidden")
    assert problem(answer)["detail"] == f"this API key has the scope {scope}; probe is needed"


def test_enrolments_tell_no_more(server: Caller) -> None:
    enrolling, near = attacker(server, "enrol"), PEOPLE[0] + np.eye(128)[5] * 0.1234
    body = {"subject": "other", "embeddings": [near.tolist()]}
    refused = server.post(f"{TEAM}/enrol", body, {"X-API-Key": enrolling.secret})
    assert (refused.status_code, "(distance 0.12)" in problem(refused)["detail"]) == (409, True)
    body["allow_conflict"] = True  # type: ignore[assignment]  # JSON
    allowed = server.post(f"{TEAM}/enrol", body, {"X-API-Key": enrolling.secret}).json()
    conflict = allowed["results"][0]["conflict"]
    assert (conflict["distance"], conflict["margin"]) == (0.12, None)
    server.request("DELETE", f"{TEAM}/subjects/other", headers={"X-API-Key": BOOTSTRAP})
