"""Attributes and quality in every shell: asked for on the command line, of the server, and through its clients."""

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

import httpx
import numpy as np
import pytest
from command_line import Shell
from serving import Caller, in_base64, listening, problem

from visavis import AsyncClient, Client, Face, Recognizer
from visavis.config import Settings
from visavis.errors import InvalidOption, ServerError
from visavis.options import Attribute
from visavis.types import Gender, Pose

ALL = get_args(Attribute)
LISTED = ",".join(ALL)


@pytest.fixture(scope="module")
def photo(test_data: Path) -> Path:
    return test_data / "images" / "portraits" / "obama.jpg"


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    all_models: Path,
    cache_dir: Path,
) -> Shell:
    """A shell whose pack is ``open``."""
    places = {"VISAVIS_CACHE_DIR": str(cache_dir), "VISAVIS_MODELS_DIR": str(all_models)}
    # The Recognizer beside which results are compared looks for the smallest faces that it does by itself.
    return Shell(capsys, monkeypatch, tmp_path, {**places, "VISAVIS_PACK": "open", "VISAVIS_MIN_FACE": "0.03"})


@pytest.fixture(scope="module")
def expected(recognizer_all: Recognizer, photo: Path) -> Face:
    (face,) = recognizer_all.embed(photo, quality=True, attributes=ALL)
    return face


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether two faces as plain values are the same but for rounding: what is computed in batches may differ so."""
    if found.keys() != expected.keys():
        return False
    pairs = ((found[key], value) for key, value in expected.items())
    return all(
        same(a, b) if isinstance(b, dict) else a == b if isinstance(b, str) else np.allclose(a, b, atol=1e-3)
        for a, b in pairs
    )


# --- command line ---------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_in_words(shell: Shell, photo: Path, expected: Face) -> None:
    outcome = shell("detect", photo, "--attributes", " liveness, pose,age,gender,", "--quality")
    assert outcome.code == 0
    told = outcome.out.splitlines()[1]
    assert expected.attributes is not None
    assert expected.quality is not None
    for words in (f"liveness {expected.attributes.liveness:.2f}", "yaw 1", "age 5", "male 0.", "sharpness", "size 232"):
        assert words in told
    turned = f"  turned sideways {expected.quality.yaw:.0f} down {expected.quality.pitch:.0f}  "
    assert turned in told  # other words than those of the network that tells a pose
    assert turned in shell("detect", photo, "--quality").out.replace("\n", "  ")
    assert "turned" not in shell("detect", photo).out
    with_dlib = shell("detect", photo, "--pack", "dlib", "--quality").out
    assert "  turned sideways " in with_dlib
    assert " down " not in with_dlib  # which its landmarks do not tell


def test_nothing_more_is_told_unasked(shell: Shell, photo: Path) -> None:
    outcome = shell("detect", photo, "--json")
    (face,) = json.loads(outcome.out)["faces"]
    assert set(face) == {"box_xyxy", "score", "landmarks"}


@pytest.mark.parametrize("verb", ["detect", "embed"])
def test_as_json(shell: Shell, photo: Path, expected: Face, verb: str) -> None:
    outcome = shell(verb, photo, "--attributes", LISTED, "--quality", "--json")
    (face,) = json.loads(outcome.out)["faces"]
    plain = expected.to_dict()
    if verb == "detect":
        del plain["embedding"], plain["quality"]["validity"]  # which is told by the embedding
    assert same(face, plain)


def test_as_csv(shell: Shell, photo: Path, test_data: Path, expected: Face) -> None:
    empty = test_data / "images" / "groups" / "017_0.jpg"
    outcome = shell("embed", photo, empty, "nowhere.jpg", "--attributes", LISTED, "--quality", "--csv")
    face, lost = csv.DictReader(io.StringIO(outcome.out))
    assert (lost["error"], lost["age"], lost["e255"]) == ("image_not_found", "", "")
    assert expected.attributes is not None
    assert float(face["liveness"]) == pytest.approx(expected.attributes.liveness)
    assert face["gender"] == "male"
    assert {"yaw", "pitch", "roll", "gender_probability", "quality_face_px", "quality_sharpness"} < set(face)
    assert expected.embedding is not None
    assert float(face["e0"]) == pytest.approx(float(expected.embedding[0]), abs=1e-3)


def test_as_arrays(shell: Shell, photo: Path, test_data: Path, expected: Face) -> None:
    empty = test_data / "images" / "groups" / "017_0.jpg"
    for photos, count in (([empty], 0), ([photo, empty, photo], 2)):
        outcome = shell("detect", *photos, "--attributes", LISTED, "--quality", "-o", "faces.npz")
        assert outcome.code == 0
        with np.load("faces.npz", allow_pickle=False) as arrays:
            for name in ("liveness", "yaw", "age", "gender", "quality_yaw"):
                assert arrays[name].shape == (count,)
            assert arrays["gender"].dtype.kind == "U"
            assert expected.attributes is not None
            assert arrays["age"].tolist() == pytest.approx([expected.attributes.age] * count, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attributes", "smile"], "there is no 'smile'"),
        (["--attributes", "pose", "--pack", "dlib"], "the pack 'dlib' tells no pose; the pack 'open' does"),
        (["--attributes", "pose", "--runtime", "onnxruntime"], "intermediate representation"),
    ],
)
@pytest.mark.parametrize("verb", ["detect", "embed"])
def test_what_cannot_be_told_is_said_at_once(
    shell: Shell, photo: Path, verb: str, options: list[str], message: str
) -> None:
    outcome = shell(verb, photo, *options, "-o", "faces.json")
    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("faces.json").exists()


def test_missing_models_are_said_at_once(shell: Shell, photo: Path, open_models: Path) -> None:
    outcome = shell("detect", photo, "--attributes", "age", "--models-dir", open_models)
    assert outcome.code == 2
    assert "visavis models pull open --with age_gender" in outcome.err


# --- server ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(recognizer_all: Recognizer) -> Iterator[Caller]:
    with Caller(Settings(), recognizer_all) as caller:
        yield caller


@pytest.mark.parametrize("verb", ["detect", "embed"])
def test_the_server_tells_them(server: Caller, photo: Path, expected: Face, verb: str) -> None:
    image = {"base64": in_base64(photo.read_bytes())}
    value = {"images": [image, image], "attributes": list(ALL), "quality": True}
    plain = expected.to_dict()
    if verb == "detect":
        del plain["embedding"], plain["quality"]["validity"]  # which is told by the embedding
    for result in server.post(f"/v1/{verb}", value).json()["results"]:
        assert same(result["faces"][0], plain)


def test_the_server_tells_only_what_is_asked(server: Caller, photo: Path) -> None:
    image = {"base64": in_base64(photo.read_bytes())}
    for attributes in ([], ["pose"], ["pose", "pose"]):
        (result,) = server.post("/v1/detect", {"images": [image], "attributes": attributes}).json()["results"]
        assert set(result["faces"][0].get("attributes", {})) == set(attributes)


@pytest.mark.parametrize(("text", "names"), [("", set()), ("pose", {"pose"}), ("liveness, pose", {"liveness", "pose"})])
def test_a_form_lists_them_with_commas(server: Caller, photo: Path, text: str, names: set[str]) -> None:
    answer = server.request(
        "POST", "/v1/detect", files={"images": photo.read_bytes()}, data={"attributes": text, "quality": "true"}
    )
    (result,) = answer.json()["results"]
    assert set(result["faces"][0].get("attributes", {})) == names


@pytest.mark.parametrize("attributes", [["smile"], "pose", None, [None], [["pose"]], {"pose": True}, ["pose"] * 5, 1])
def test_the_server_refuses_other_wishes(server: Caller, photo: Path, attributes: object) -> None:
    image = {"base64": in_base64(photo.read_bytes())}
    answer = server.post("/v1/detect", {"images": [image], "attributes": attributes})
    assert answer.status_code == 422
    assert problem(answer)["field"].startswith("attributes")


@pytest.mark.parametrize("text", ["smile", "pose;age", ",", "pose,"])
def test_a_form_refuses_other_wishes(server: Caller, photo: Path, text: str) -> None:
    answer = server.request("POST", "/v1/embed", files={"images": photo.read_bytes()}, data={"attributes": text})
    assert answer.status_code == 422
    assert problem(answer)["field"].startswith("attributes")


@pytest.mark.parametrize("verb", ["detect", "embed"])
def test_a_pack_that_cannot_tell_is_the_fields_fault(recognizer: Recognizer, astronaut: Path, verb: str) -> None:
    with Caller(Settings(), recognizer) as caller:
        image = {"base64": in_base64(astronaut.read_bytes())}
        answer = caller.post(f"/v1/{verb}", {"images": [image], "attributes": ["liveness"]})
        assert answer.status_code == 422
        assert (problem(answer)["code"], problem(answer)["field"]) == ("invalid_option", "attributes")
        assert "the pack 'dlib' tells no liveness" in problem(answer)["detail"]


def test_a_part_that_is_not_installed_is_said_to_be_missing(recognizer_open: Recognizer, photo: Path) -> None:
    with Caller(Settings(), recognizer_open) as caller:
        image = {"base64": in_base64(photo.read_bytes())}
        answer = caller.post("/v1/detect", {"images": [image], "attributes": ["age"]})
        assert (answer.status_code, problem(answer)["code"]) == (501, "unsupported_pack")
        assert problem(answer)["field"] == "attributes"


# --- clients --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(recognizer_all: Recognizer) -> Iterator[str]:
    with listening(Settings(port=0), recognizer_all) as served:
        yield f"http://127.0.0.1:{served.port}"


def ask(url: str, act: Callable[[Client], Any]) -> Any:  # noqa: ANN401  # whatever is asked
    with Client(url) as client:
        answer = act(client)
        return answer if isinstance(answer, tuple) else list(answer)


def ask_async(url: str, act: Callable[[Client], Any]) -> Any:  # noqa: ANN401  # likewise
    async def talk() -> Any:  # noqa: ANN401  # likewise
        async with AsyncClient(url) as client:
            answer = act(cast("Client", client))
            return [one async for one in answer] if hasattr(answer, "__aiter__") else await answer

    return asyncio.run(talk())


@pytest.mark.parametrize("asking", [ask, ask_async])
def test_clients_read_them_back(url: str, photo: Path, expected: Face, asking: Callable[..., Any]) -> None:
    for wanted in ((), ["gender"], ALL):
        (face,) = asking(url, lambda client, wanted=wanted: client.embed(photo, attributes=wanted, quality=True))
        assert set(face.attributes.to_dict() if face.attributes else ()) == set(wanted)
    assert same(face.to_dict(), expected.to_dict())
    assert isinstance(face.attributes.pose, Pose)
    assert isinstance(face.attributes.gender, Gender)
    assert len(asking(url, lambda client: client.detect_many([photo, photo], attributes=["pose"]))) == 2
    for (found,) in asking(url, lambda client: client.embed_many([photo], attributes=["age"])):
        assert found.attributes.age == pytest.approx(face.attributes.age, abs=0.1)


@pytest.mark.parametrize("attributes", ["pose", None, 3, ["smile"], [b"pose"]])
def test_clients_refuse_other_wishes(url: str, photo: Path, attributes: Any) -> None:  # noqa: ANN401  # anything
    with pytest.raises(InvalidOption, match="attributes"):
        ask(url, lambda client: client.detect(photo, attributes=attributes))


@pytest.mark.parametrize(
    "attributes",
    [
        3,
        [],
        {"liveness": "1"},
        {"age": True},
        {"pose": {"yaw": 1}},
        {"pose": [1, 2, 3]},
        {"gender": {"label": "x", "probability": 1}},
    ],
)
def test_nonsense_of_a_server_is_its_error(attributes: object) -> None:
    face = {"box_xyxy": [0, 0, 1, 1], "score": 1, "landmarks": [[0, 0]] * 5, "attributes": attributes}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"results": [{"faces": [face]}]}))
    with Client("http://server", transport=transport) as client, pytest.raises(ServerError, match="not the answer"):
        client.detect(np.zeros((8, 8, 3), np.uint8))
