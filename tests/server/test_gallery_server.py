"""Galleries over HTTP: made, filled, searched, looked at, forgotten."""

import io
import itertools
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import PIL.Image
import pytest
from conftest import many_faces
from numpy.typing import NDArray
from serving import Caller, from_ndjson, in_base64, ndjson, problem, sqlite_url, vector

from visavis import Recognizer
from visavis.config import Settings
from visavis.options import Policy

Pixels = NDArray[np.uint8]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    with Caller(Settings(store=store), recognizer) as caller:
        yield caller


@pytest.fixture
def gallery(server: Caller) -> str:
    """A new gallery's path."""
    return make(server)


@pytest.fixture(scope="module")
def grey() -> bytes:
    return encoded(np.full((80, 80, 3), 128, np.uint8))


@pytest.fixture(scope="module")
def crowd(astronaut_pixels: Pixels) -> bytes:
    return encoded(many_faces(astronaut_pixels, 1, 2))


def make(server: Caller, **policy: object) -> str:
    name = f"gallery-{next(_numbers)}"
    answer = server.post("/v1/galleries", {"name": name, "policy": policy})
    assert answer.status_code == 201
    return f"/v1/galleries/{name}"


def encoded(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image(data: bytes) -> dict[str, str]:
    return {"base64": in_base64(data)}


def enrol(server: Caller, gallery: str, subject: str, *seeds: int, **more: object) -> httpx.Response:
    body = {"subject": subject, "embeddings": [vector(seed) for seed in seeds], **more}
    return server.post(f"{gallery}/enrol", body)


def subject_path(gallery: str, subject: str) -> str:
    return f"{gallery}/subjects/{quote(subject, safe='')}"


class TestGalleries:
    def test_no_gallery(self, recognizer: Recognizer, tmp_path: Path) -> None:
        with Caller(Settings(store=sqlite_url(tmp_path / "galleries.db")), recognizer) as server:
            assert server.get("/v1/galleries").json() == {"galleries": []}
            assert server.get("/v1/log").json() == {"entries": [], "next_cursor": None}
            answer = server.get("/v1/galleries/team")
            assert (answer.status_code, problem(answer)["code"]) == (404, "gallery_not_found")
        assert list(tmp_path.iterdir()) == []

    def test_a_gallery_is_made_as_described(self, server: Caller, recognizer: Recognizer) -> None:
        policy = {"threshold": 0.5, "retention_days": 30, "keep": "images", "consent_required": True, "margin": None}
        answer = server.post("/v1/galleries", {"name": "described", "policy": policy})
        assert (answer.status_code, answer.headers["location"]) == (201, "/v1/galleries/described")
        made = answer.json()
        assert made["policy"] == {**Policy().to_dict(), **policy}
        space = recognizer.pack.space
        assert made["space"] == {"id": space.id, "dimension": 128, "metric": "euclidean"}
        assert (made["encrypted"], made["subjects"], made["samples"]) == (False, 0, 0)
        assert datetime.fromisoformat(made["created_at"].replace("Z", "+00:00")).tzinfo == timezone.utc
        assert server.get("/v1/galleries/described").json() == made
        assert made in server.get("/v1/galleries").json()["galleries"]
        again = server.post("/v1/galleries", {"name": "described"})
        assert (again.status_code, problem(again)["code"]) == (409, "gallery_exists")

    def test_put_makes_a_gallery_once(self, server: Caller) -> None:
        path = "/v1/galleries/put"
        made = server.request("PUT", path, json={"policy": {"keep": "chips"}})
        assert (made.status_code, made.headers["location"]) == (201, path)
        for body in (None, {}, {"policy": {"keep": "images"}}):
            again = server.request("PUT", path, json=body)
            assert (again.status_code, again.json()) == (200, made.json())
        assert server.request("PUT", "/v1/galleries/put-without-a-body").status_code == 201
        for name, wrong in (("-No", {}), ("a", {"policy": {"keep": "all"}}), ("a", {"name": "a"}), ("a", 1)):
            assert server.request("PUT", f"/v1/galleries/{name}", json=wrong).status_code == 422

    @pytest.mark.parametrize("line", [False, True])
    def test_enrolling_may_make_the_gallery(self, server: Caller, *, line: bool) -> None:
        path = f"/v1/galleries/created-by-{'lines' if line else 'images'}"
        kind = {"Content-Type": "application/x-ndjson" if line else "application/json"}
        body = {"subject": "ada", **({"embedding": vector(1)} if line else {"embeddings": [vector(1)]})}
        call = f"{path}/{'import' if line else 'enrol'}"
        for query in ("", "?create=false"):
            refused = server.request("POST", call + query, json=body, headers=kind)
            assert (refused.status_code, problem(refused)["code"]) == (404, "gallery_not_found")
        for _ in range(2):
            answer = server.request("POST", f"{call}?create=true", json=body, headers=kind)
            assert answer.status_code in (200, 201)
        assert server.get(path).json()["samples"] == 2

    def test_defaults_are_those_of_the_library(self, server: Caller) -> None:
        assert server.get(make(server)).json()["policy"] == Policy().to_dict()

    @pytest.mark.parametrize(
        ("value", "field"),
        [
            ({}, "name"),
            *(({"name": name}, "name") for name in ("", ".team", "a b", "-a", "a/b", "x" * 256, "ä", "a\n", 1, None)),
            ({"name": "a", "policy": {"threshold": 0}}, "policy.threshold"),
            ({"name": "a", "policy": {"margin": -1}}, "policy.margin"),
            ({"name": "a", "policy": {"min_face_px": "40"}}, "policy.min_face_px"),
            ({"name": "a", "policy": {"min_face_px": -1}}, "policy.min_face_px"),
            ({"name": "a", "policy": {"max_yaw": -0.5}}, "policy.max_yaw"),
            ({"name": "a", "policy": {"max_pitch": "40"}}, "policy.max_pitch"),
            ({"name": "a", "policy": {"require_live": None}}, "policy.require_live"),
            ({"name": "a", "policy": {"retention_days": 1e9}}, "policy.retention_days"),
            ({"name": "a", "policy": {"keep": "all"}}, "policy.keep"),
            ({"name": "a", "policy": {"consent_required": 1}}, "policy.consent_required"),
            ({"name": "a", "policy": {"colour": 1}}, "policy.colour"),
            ({"name": "a", "encrypted": "yes"}, "encrypted"),
            ({"name": "a", "space": {}}, "space"),
        ],
    )
    def test_what_cannot_be_made(self, server: Caller, value: object, field: str) -> None:
        answer = server.post("/v1/galleries", value)
        assert (answer.status_code, problem(answer)["field"]) == (422, field)

    def test_limits_may_be_left_to_the_pack_again(self, server: Caller) -> None:
        gallery = make(server, min_score=0.5, max_yaw=30, max_pitch=90, probe_min_face_px=20)
        before = server.get(gallery).json()["policy"]
        assert (before["min_score"], before["max_yaw"], before["min_sharpness"]) == (0.5, 30.0, None)
        null = {"policy": dict.fromkeys(("min_score", "max_yaw", "probe_min_face_px"))}
        after = server.request("PATCH", gallery, json=null).json()["policy"]
        assert after == {**Policy().to_dict(), "max_pitch": 90.0}

    def test_live_faces_take_a_pack_that_can_tell(self, server: Caller) -> None:
        wanted = {"policy": {"require_live": True}}
        for answer in (
            server.post("/v1/galleries", {"name": "live", **wanted}),
            server.request("PATCH", make(server), json=wanted),
        ):
            assert (answer.status_code, problem(answer)["code"]) == (422, "invalid_option")
            assert "the pack 'dlib' has no part" in problem(answer)["detail"]
        assert server.get("/v1/galleries/live").status_code == 404

    def test_encryption_needs_a_key(self, server: Caller) -> None:
        answer = server.post("/v1/galleries", {"name": "secret", "encrypted": True})
        assert (answer.status_code, problem(answer)["field"]) == (422, "encrypted")
        assert server.post("/v1/galleries", {"name": "plain", "encrypted": False}).status_code == 201

    def test_a_policy_is_changed_in_part(self, server: Caller) -> None:
        gallery = make(server, threshold=0.5, margin=0.1)
        changed = server.request("PATCH", gallery, json={"policy": {"threshold": None, "min_score": 1}}).json()
        assert changed["policy"] == {**Policy().to_dict(), "margin": 0.1, "min_score": 1.0}
        assert server.get(gallery).json() == changed
        assert problem(server.request("PATCH", gallery, json={}))["field"] == "policy"
        assert problem(server.request("PATCH", gallery, json={"policy": {"margin": -1}}))["field"] == "policy.margin"
        assert problem(server.request("PATCH", "/v1/galleries/none", json={"policy": {}}))["status"] == 404

    def test_a_gallery_is_forgotten_and_its_log_stays(self, server: Caller) -> None:
        gallery = make(server)
        enrol(server, gallery, "ada", 1, 2)
        number = server.get(gallery).json()["number"]
        receipt = server.request("DELETE", gallery).json()
        assert (receipt["gallery"], receipt["gallery_number"]) == (gallery.rpartition("/")[2], number)
        assert (receipt["subject"], receipt["samples"], receipt["overwritten"]) == (None, 2, True)
        assert receipt["actor"] == "anonymous"
        assert server.get(gallery).status_code == 404
        assert server.request("DELETE", gallery).status_code == 404
        actions = [entry["action"] for entry in server.get(f"{gallery}/log").json()["entries"]]
        assert actions == ["create", "enrol", "forget"]

    def test_another_space_is_told_apart(self, recognizer: Recognizer, tmp_path: Path) -> None:
        from visavis.galleries.records import Origin  # noqa: PLC0415  # likewise
        from visavis.galleries.store import open_store  # noqa: PLC0415  # to make what this server would not
        from visavis.types import EmbeddingSpace  # noqa: PLC0415  # likewise

        url = sqlite_url(tmp_path / "galleries.db")
        store = open_store(url)
        other = EmbeddingSpace("another-space", 128, "cosine")
        store.create("old", other, Policy(), Origin(actor="a", at=datetime.now(timezone.utc)))
        store.close()
        with Caller(Settings(store=url), recognizer) as server:
            assert server.get("/v1/galleries/old").json()["space"]["id"] == "another-space"
            for answer in (
                enrol(server, "/v1/galleries/old", "a", 1),
                server.post("/v1/galleries/old/identify", {"embeddings": [vector(1)]}),
                server.get("/v1/galleries/old/audit"),
                server.get("/v1/galleries/old/rules"),
            ):
                members = problem(answer)
                assert (members["status"], members["code"]) == (409, "space_mismatch")
                assert all(part in members["detail"] for part in ("another-space", recognizer.pack.space.id, "pack"))
            assert server.get("/v1/galleries/old/export").status_code == 200
            assert server.request("DELETE", "/v1/galleries/old").status_code == 200


class TestEnrol:
    def test_nothing_to_enrol(self, server: Caller, gallery: str) -> None:
        nothings: list[dict[str, object]] = [{}, {"images": []}, {"embeddings": []}, {"subject": "ada"}]
        for nothing in nothings:
            assert problem(server.post(f"{gallery}/enrol", nothing))["code"] == "invalid_request"

    def test_an_image_with_all_there_is_to_say(
        self, server: Caller, gallery: str, recognizer: Recognizer, astronaut: Path
    ) -> None:
        body = {
            "subject": "eileen",
            "name": "Eileen Collins",
            "metadata": {"missions": [63, 84, 93, 114]},
            "consent": "signed 2024-05-01",
            "expires_at": "2090-01-01T01:00:00+01:00",
            "source": "portrait",
            "sample_metadata": {"page": 3},
            "images": [image(astronaut.read_bytes())],
        }
        answer = server.post(f"{gallery}/enrol", body)
        assert answer.status_code == 201
        subject = answer.json()["subject"]
        told = ("name", "metadata", "consent")
        assert {name: subject[name] for name in told} == {name: body[name] for name in told}
        assert (subject["id"], subject["expires_at"], subject["samples"]) == ("eileen", "2090-01-01T00:00:00Z", 1)
        (result,) = answer.json()["results"]
        (face,) = recognizer.embed(astronaut, quality=True)
        plain = face.to_dict()
        plain.pop("embedding")
        assert (result["face"], result["repeated"], result["conflict"]) == (plain, False, None)
        detail = server.get(subject_path(gallery, "eileen")).json()
        assert detail.pop("sample_list")[0] == {
            "id": result["sample"],
            "quality": plain["quality"],
            "source": "portrait",
            "picture": "nothing",
            "created_at": subject["created_at"],
            "counter": False,
            "subject": "eileen",
            "metadata": {"page": 3},
        }
        assert detail == subject

    def test_a_form_does_the_same(self, server: Caller, gallery: str, astronaut: Path) -> None:
        data = {
            "subject": "eileen",
            "name": "E",
            "metadata": '{"a": [1, "b"]}',
            "consent": "yes",
            "expires_at": "2090-01-01T00:00:00Z",
            "source": "form",
            "faces": "largest",
            "min_face": "0.1",
            "allow_conflict": "true",
        }
        answer = server.request("POST", f"{gallery}/enrol", files=[("images", astronaut.read_bytes())], data=data)
        assert answer.status_code == 201
        assert answer.json()["subject"]["metadata"] == {"a": [1, "b"]}
        for name, text in (
            *(("metadata", "{"), ("allow_conflict", "maybe"), ("min_face", "x"), ("metadata", "[]")),
            *(("subject", ""), ("expires_at", "soon")),
        ):
            answer = server.request(
                "POST", f"{gallery}/enrol", files=[("images", astronaut.read_bytes())], data={name: text}
            )
            assert (answer.status_code, problem(answer)["field"]) == (422, name)

    def test_what_a_form_leaves_empty_is_not_given(self, server: Caller, gallery: str, astronaut: Path) -> None:
        files = [("images", astronaut.read_bytes())]
        empty = dict.fromkeys(("metadata", "expires_at", "faces", "min_face", "allow_conflict"), "")
        data = {**empty, "subject": "eileen", "name": "E", "consent": "signed"}
        answer = server.request("POST", f"{gallery}/enrol", files=files, data=data)
        assert answer.status_code == 201
        assert [answer.json()["subject"][name] for name in ("metadata", "expires_at")] == [{}, None]
        cleared = server.request("POST", f"{gallery}/enrol?subject=eileen&name=", files=files, data={"consent": ""})
        assert [cleared.json()["subject"][name] for name in ("id", "name", "consent")] == ["eileen", None, None]

    def test_options_in_the_query_count(self, server: Caller, gallery: str, astronaut: Path, crowd: bytes) -> None:
        server.request("PATCH", gallery, json={"policy": {"candidate_threshold": 2}})
        query = f"{gallery}/enrol?subject=eileen&faces=largest&metadata=%7B%22a%22%3A1%7D"
        answer = server.post(query, {"images": [image(crowd)], "metadata": {"a": 1}})
        assert (answer.status_code, answer.json()["subject"]["metadata"]) == (201, {"a": 1})
        answer = server.post(query, {"images": [image(crowd)], "metadata": {"a": 2}})
        assert (answer.status_code, problem(answer)["field"]) == (422, "metadata")
        found = server.post(f"{gallery}/identify?faces=largest&threshold=1.5", {"images": [image(crowd)]})
        (face,) = found.json()["results"][0]["faces"]
        assert face["threshold"] == 1.5
        verified = server.post(
            f"{gallery}/subjects/eileen/verify?threshold=0.01", {"image": image(astronaut.read_bytes())}
        )
        assert (verified.json()["threshold"], verified.json()["same"]) == (0.01, False)
        refused = server.post(f"{gallery}/identify?fmr=strict", {"images": [image(crowd)], "threshold": 0.5})
        assert "at most one of threshold and fmr" in problem(refused)["detail"]

    def test_an_image_as_the_body(self, server: Caller, gallery: str, astronaut: Path) -> None:
        def send(path: str, **query: str) -> httpx.Response:
            content, headers = astronaut.read_bytes(), {"Content-Type": "image/png", "Idempotency-Key": "1"}
            return server.request("POST", f"{gallery}/{path}", content=content, headers=headers, params=query)

        known = {"subject": "eileen", "name": "Eileen", "metadata": '{"crew": "STS-63"}', "source": "NASA"}
        answer = send("enrol", **known)
        assert answer.status_code == 201
        enrolled = answer.json()["subject"]
        assert (enrolled["name"], enrolled["metadata"], enrolled["samples"]) == ("Eileen", {"crew": "STS-63"}, 1)
        assert send("enrol", **known).status_code == 200
        (face,) = send("identify", limit="1", fmr="strict").json()["results"][0]["faces"]
        assert face["match"]["subject"] == "eileen"
        assert send("subjects/eileen/verify", threshold="0.01").json()["threshold"] == 0.01
        assert problem(send("identify", subject="eileen"))["field"] == "subject"

    def test_one_bad_image_does_not_spoil_the_others(
        self, server: Caller, gallery: str, astronaut: Path, grey: bytes, crowd: bytes
    ) -> None:
        images = [image(grey), image(astronaut.read_bytes()), {"base64": "$"}, image(crowd)]
        answer = server.post(f"{gallery}/enrol", {"subject": "eileen", "images": images})
        assert answer.status_code == 201
        errors = [result.get("error") for result in answer.json()["results"]]
        assert [error and (error["code"], error["field"]) for error in errors] == [
            ("no_face", "images.0"),
            None,
            ("invalid_image", "images.2"),
            ("multiple_faces", "images.3"),
        ]
        assert answer.json()["subject"]["samples"] == 1

    def test_where_all_are_refused_it_is_the_first_ones_problem(
        self, server: Caller, gallery: str, grey: bytes
    ) -> None:
        answer = server.post(f"{gallery}/enrol", {"images": [image(grey), {"base64": "$"}]})
        members = problem(answer)
        assert (answer.status_code, members["code"], members["field"]) == (422, "no_face", "images.0")
        assert [(error["field"], error["code"]) for error in members["errors"]] == [
            ("images.0", "no_face"),
            ("images.1", "invalid_image"),
        ]
        assert server.get(gallery).json()["subjects"] == 0

    def test_the_gate_says_why_it_refuses(self, server: Caller, astronaut: Path, crowd: bytes) -> None:
        for policy, code in (
            ({"min_face_px": 1000}, "too_small"),
            ({"min_sharpness": 1000}, "blurred"),
            ({"min_score": 1000}, "low_score"),
            ({"consent_required": True}, "consent_missing"),
        ):
            answer = server.post(f"{make(server, **policy)}/enrol", {"images": [image(astronaut.read_bytes())]})
            assert (answer.status_code, problem(answer)["code"]) == (422, code)
        assert server.post(f"{make(server)}/enrol", {"images": [image(crowd)], "faces": "largest"}).status_code == 201

    def test_one_of_several_faces(
        self, server: Caller, gallery: str, astronaut: Path, hopper: Path, recognizer: Recognizer
    ) -> None:
        with PIL.Image.open(astronaut) as first, PIL.Image.open(hopper) as second:
            pair = PIL.Image.new("RGB", (1024, 600))
            pair.paste(first, (0, 0))
            pair.paste(second, (512, 0))
        data, embedded = encoded(np.asarray(pair)), recognizer.embed(pair)
        (right,) = (face for face in embedded if face.box_xyxy[0] > 512)
        path, box = f"{gallery}/enrol", [float(edge) for edge in right.box_xyxy]
        (alone,) = recognizer.detect(hopper)

        def boxes(answer: httpx.Response) -> list[list[float]]:
            assert answer.status_code == 201, answer.json()
            return [one["face"]["box_xyxy"] for one in answer.json()["results"]]

        told = {"subject": "grace", "images": [image(data)]}
        in_json = server.post(path, {**told, "box": box})
        as_text = ",".join(map(str, box))
        in_form = server.request("POST", path, files={"images": data}, data={"subject": "grace", "box": as_text})
        in_query = server.post(f"{path}?box={as_text}", told)
        like = server.post(path, {**told, "like": image(hopper.read_bytes())})
        like_form = server.request(
            "POST", path, files=[("images", data), ("like", hopper.read_bytes())], data={"subject": "grace"}
        )
        assert all(boxes(one) == [box] for one in (in_json, in_form, in_query, like, like_form))
        line = {"subject": "grace", "image": image(data), "box": box}
        body = ndjson(line, {**line, "box": [1, 2]})
        imported = server.request(
            "POST", f"{gallery}/import", content=body, headers={"Content-Type": "application/x-ndjson"}
        )
        good, bad, _ = from_ndjson(imported.content)
        assert (good["face"]["box_xyxy"], bad["error"]["code"]) == (box, "invalid_option")
        both = server.post(path, {**told, "images": [image(data)] * 2, "like": image(hopper.read_bytes())})
        assert boxes(both) == [box, box]
        assert alone.box_xyxy[0] < box[0]

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            ({"box": [500, 0, 510, 9]}, "no_face images.0"),
            ({"box": [9, 9, 1, 1]}, "invalid_option images.0"),
            ({"box": [0, 0, 9]}, "invalid_request box"),
            ({"box": "0,0,9,9"}, "invalid_request box"),
            ({"box": [0, 0, 9, 9], "images": 2}, "invalid_request"),
            ({"box": [0, 0, 9, 9], "like": "grey"}, "invalid_request"),
            ({"like": "grey"}, "no_face like"),
            ({"like": "crowd"}, "multiple_faces like"),
            ({"like": {"base64": "$"}}, "invalid_image like"),
            ({"like": "grey", "images": 0, "embeddings": [[0.5]]}, "invalid_request"),
        ],
    )
    def test_a_face_that_cannot_be_chosen(
        self, server: Caller, crowd: bytes, grey: bytes, more: dict[str, Any], expected: str
    ) -> None:
        gallery, known = make(server), {"grey": image(grey), "crowd": image(crowd)}
        images = [image(crowd)] * more.pop("images", 1)
        told = {name: known.get(value, value) if isinstance(value, str) else value for name, value in more.items()}
        answer = server.post(f"{gallery}/enrol", {**({"images": images} if images else {}), **told})
        told_of = f"{problem(answer)['code']} {problem(answer).get('field', '')}".strip()
        assert (answer.status_code, told_of) == (422, expected)

    def test_a_conflict(self, server: Caller, gallery: str) -> None:
        enrol(server, gallery, "ada", 1)
        answer = enrol(server, gallery, "grace", 1)
        members = problem(answer)
        assert (answer.status_code, members["code"], members["field"]) == (409, "conflict", "embeddings.0")
        answer = enrol(server, gallery, "grace", 1, allow_conflict=True)
        assert answer.status_code == 201
        assert answer.json()["results"][0]["conflict"]["subject"] == "ada"

    def test_embeddings_with_qualities(self, server: Caller, gallery: str) -> None:
        quality = {"face_px": 100.0, "sharpness": 0.5, "score": 1.0, "yaw": -12.5}
        answer = enrol(server, gallery, "ada", 1, 2, qualities=[{**quality, "pitch": None}, None])
        assert answer.json()["subject"]["samples"] == 2
        samples = server.get(subject_path(gallery, "ada")).json()["sample_list"]
        assert [sample["quality"] for sample in samples] == [quality, None]
        assert "qualities" in problem(enrol(server, gallery, "ada", 3, qualities=[quality] * 2))["detail"]

    @pytest.mark.parametrize(
        "bad", [[0.0] * 128, [1.0] * 127, [1.0] * 129, [1e300] * 128, [int("9" * 400)] + [1.0] * 127, [1e-30] * 128]
    )
    def test_a_bad_embedding_is_refused_alone(self, server: Caller, gallery: str, bad: list[float]) -> None:
        answer = server.post(f"{gallery}/enrol", {"subject": "ada", "embeddings": [bad, vector(1)]})
        assert answer.status_code == 201
        assert answer.json()["results"][0]["error"]["code"] == "invalid_embedding"
        answer = server.post(f"{gallery}/identify", {"embeddings": [bad, vector(1)]})
        results = answer.json()["results"]
        assert (results[0]["error"]["code"], results[0]["error"]["field"]) == ("invalid_embedding", "embeddings.0")
        assert results[1]["faces"][0]["match"]["subject"] == "ada"

    @pytest.mark.parametrize("bad", [1, {}, [1], [[]], [["1"]], [[True]], [[None]], [[[1.0]]], None])
    def test_what_is_no_embedding(self, server: Caller, gallery: str, bad: object) -> None:
        for path, value in (
            ("enrol", {"embeddings": bad}),
            ("identify", {"embeddings": bad}),
            ("subjects/ada/verify", {"embedding": [[bad]]}),
        ):
            answer = server.post(f"{gallery}/{path}", value)
            assert (answer.status_code, problem(answer)["code"]) == (422, "invalid_request")

    def test_as_many_as_allowed(self, server: Caller, gallery: str, grey: bytes) -> None:
        answer = server.post(f"{gallery}/enrol", {"images": [image(grey)] * 17})
        assert problem(answer)["detail"] == "images: at most 16"
        assert len(enrol(server, gallery, "many", *range(500)).json()["results"]) == 500
        assert problem(enrol(server, gallery, "many", *range(501)))["field"] == "embeddings"

    @pytest.mark.parametrize(
        "moment", ["2030", "2030-01-01", "2030-01-01T00:00:00", "0", 1900000000, "", "2030-02-30T00:00:00Z"]
    )
    def test_a_moment_is_exact(self, server: Caller, gallery: str, moment: object) -> None:
        assert problem(enrol(server, gallery, "ada", 1, expires_at=moment))["field"] == "expires_at"

    def test_several_images_of_nobody_in_particular_are_one_subject(self, server: Caller, gallery: str) -> None:
        body = {"embeddings": [vector(1), vector(2)]}
        subject = server.post(f"{gallery}/enrol", body).json()["subject"]
        assert (subject["samples"], len(subject["id"])) == (2, 16)
        assert server.get(gallery).json()["subjects"] == 1


class TestIdempotency:
    def test_a_call_that_is_repeated_enrols_once(self, server: Caller, gallery: str) -> None:
        for body in (
            {"subject": "ada", "embeddings": [vector(1)]},
            {"subject": "grace", "embeddings": [vector(2), vector(3)]},
            {"embeddings": [vector(4)]},
            {"embeddings": [vector(5), vector(6)]},
        ):
            key = {"Idempotency-Key": f"call {len(body)} {len(body['embeddings'])}"}
            first, second = (server.post(f"{gallery}/enrol", body, key) for _ in range(2))
            assert (first.status_code, second.status_code) == (201, 200)
            assert second.json()["subject"] == first.json()["subject"]
            assert [result["sample"] for result in second.json()["results"]] == [
                result["sample"] for result in first.json()["results"]
            ]
            assert all(result["repeated"] for result in second.json()["results"])
        assert server.get(gallery).json()["samples"] == 6

    def test_what_went_wrong_is_tried_again(self, server: Caller, gallery: str) -> None:
        key = {"Idempotency-Key": "k" * 180}
        body = {"subject": "ada", "embeddings": [vector(1), [1.0]]}
        assert server.post(f"{gallery}/enrol", body, key).status_code == 201
        body = {"subject": "ada", "embeddings": [vector(1), vector(2)]}
        answer = server.post(f"{gallery}/enrol", body, key)
        assert answer.status_code == 201
        assert [result["repeated"] for result in answer.json()["results"]] == [True, False]

    def test_a_key_of_something_else(self, server: Caller, gallery: str) -> None:
        key = {"Idempotency-Key": "k"}
        server.post(f"{gallery}/enrol", {"subject": "ada", "embeddings": [vector(1)]}, key)
        answer = server.post(f"{gallery}/enrol", {"subject": "grace", "embeddings": [vector(2)]}, key)
        assert (answer.status_code, problem(answer)["code"]) == (409, "idempotency_key_reused")

    @pytest.mark.parametrize("keys", [[b""], [b"k" * 181], [b"a\tb"], [b"\xc3\xa9"], [b"a", b"a"], [b"a", b"b"]])
    def test_keys_that_there_cannot_be(self, server: Caller, gallery: str, keys: list[bytes]) -> None:
        answer = server.request(
            "POST",
            f"{gallery}/enrol",
            json={"embeddings": [vector(1)]},
            headers=[(b"idempotency-key", key) for key in keys],
        )
        assert (answer.status_code, problem(answer)["field"]) == (422, "Idempotency-Key")


class TestIdentify:
    def test_an_empty_street_and_an_empty_gallery(
        self, server: Caller, gallery: str, grey: bytes, astronaut: Path
    ) -> None:
        images = [image(grey), image(astronaut.read_bytes())]
        answer = server.post(f"{gallery}/identify", {"images": images}).json()
        assert (answer["gallery"], answer["pack"]) == (gallery.rpartition("/")[2], "dlib")
        nobody, somebody = answer["results"]
        assert (nobody["faces"], nobody["searched_from_px"] > 0) == ([], True)
        assert (somebody["faces"][0]["match"], somebody["faces"][0]["unknown"]) == (None, "empty_gallery")
        assert somebody["faces"][0]["candidates"] == []

    def test_who_is_enrolled_is_found(
        self, server: Caller, gallery: str, astronaut: Path, astronaut_again: bytes, hopper: Path
    ) -> None:
        for name, photo in (("eileen", astronaut), ("grace", hopper)):
            body = {"subject": name, "name": name.title(), "images": [image(photo.read_bytes())]}
            assert server.post(f"{gallery}/enrol", body).status_code == 201
        images = [image(astronaut_again), {"base64": "$"}, image(hopper.read_bytes())]
        results = server.post(f"{gallery}/identify", {"images": images}).json()["results"]
        assert results[1]["error"]["field"] == "images.1"
        (first,), (second,) = results[0]["faces"], results[2]["faces"]
        assert (first["match"]["subject"], first["match"]["name"], first["unknown"]) == ("eileen", "Eileen", None)
        assert first["candidates"] == [first["match"]]
        assert first["match"]["margin"] is None  # nobody else is near enough
        server.request("PATCH", gallery, json={"policy": {"candidate_threshold": 2}})
        wide = server.post(f"{gallery}/identify", {"images": images}).json()["results"][0]["faces"][0]
        assert [candidate["subject"] for candidate in wide["candidates"]] == ["eileen", "grace"]
        distances = [candidate["distance"] for candidate in wide["candidates"]]
        assert wide["candidates"][0]["margin"] == pytest.approx(distances[1] - distances[0], abs=0.0101)
        assert second["match"]["subject"] == "grace"
        assert set(first["face"]) == {"box_xyxy", "score", "landmarks", "quality"}

    def test_options(self, server: Caller, gallery: str, crowd: bytes) -> None:
        enrol(server, gallery, "ada", 1)
        enrol(server, gallery, "grace", 2)
        near = {"embeddings": [vector(1)]}

        def first(**options: object) -> dict[str, Any]:
            found: dict[str, Any] = server.post(f"{gallery}/identify", {**near, **options}).json()["results"][0][
                "faces"
            ][0]
            return found

        assert len(first(limit=1)["candidates"]) == len(first()["candidates"]) == 1
        assert first(threshold=1e-9)["threshold"] == 1e-9
        far = server.post(f"{gallery}/identify", {"embeddings": [vector(9)]}).json()["results"][0]["faces"][0]
        assert (far["match"], far["unknown"], len(far["candidates"])) == (None, "no_match", 0)
        server.request("PATCH", gallery, json={"policy": {"candidate_threshold": 100}})
        assert len(first(limit=1)["candidates"]) == 1
        assert first(limit=1)["candidates"][0]["margin"] is not None
        assert len(first()["candidates"]) == 2
        several = server.post(f"{gallery}/identify", {"images": [image(crowd)]}).json()["results"][0]["faces"]
        assert len(several) == 2
        answer = server.request(
            "POST", f"{gallery}/identify", files=[("images", crowd)], data={"faces": "largest", "limit": "1"}
        )
        (largest,) = answer.json()["results"][0]["faces"]
        assert len(largest["candidates"]) == 1
        only = server.post(f"{gallery}/identify", {"images": [image(crowd)], "faces": "only"}).json()["results"][0]
        assert only["error"]["code"] == "multiple_faces"

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"limit": 0}, "limit"),
            ({"limit": 101}, "limit"),
            ({"limit": 1.5}, "limit"),
            ({"threshold": 0}, "threshold"),
            ({"threshold": "0.5"}, "threshold"),
            ({"fmr": 0}, "fmr"),
            ({"fmr": 1}, "fmr"),
            ({"fmr": "lax"}, "fmr"),
            ({"fmr": True}, "fmr"),
            ({"require_live": 1}, "require_live"),
            ({"faces": "first"}, "faces"),
            ({"min_face": 5}, "min_face"),
            ({"gallery": "x"}, "gallery"),
        ],
    )
    def test_options_that_there_are_not(
        self, server: Caller, gallery: str, options: dict[str, object], field: str
    ) -> None:
        answer = server.post(f"{gallery}/identify", {"embeddings": [vector(1)], **options})
        assert (answer.status_code, problem(answer)["field"]) == (422, field)
        assert not problem(answer)["detail"].startswith(f"{field}: {field} ")

    def test_a_wrong_value_is_not_repeated(self, server: Caller, gallery: str) -> None:
        answer = server.post(f"{gallery}/identify", {"embeddings": [vector(1)], "fmr": "secret" * 1000})
        assert answer.status_code == 422
        assert "secret" not in answer.text

    def test_a_rate_in_place_of_a_threshold(self, server: Caller, gallery: str) -> None:
        enrol(server, gallery, "ada", 1)
        path, near = f"{gallery}/identify", {"embeddings": [vector(1)]}
        (plain,) = server.post(path, near).json()["results"][0]["faces"]
        (named,) = server.post(path, {**near, "fmr": "balanced"}).json()["results"][0]["faces"]
        (given,) = server.post(path, {**near, "fmr": 1e-3, "threshold": None}).json()["results"][0]["faces"]
        assert (plain["fmr"], named["fmr"]) == (None, 0.001)
        assert named == given
        assert named["threshold"] != plain["threshold"]
        both = problem(server.post(path, {**near, "fmr": 1e-3, "threshold": 0.5}))
        assert (both["status"], both["code"]) == (422, "invalid_request")
        assert "at most one of threshold and fmr" in both["detail"]
        few = problem(server.post(path, {**near, "fmr": 1e-9}))
        assert (few["status"], few["code"]) == (422, "invalid_option")
        assert "calibrate" in few["detail"]

    def test_embeddings_do_not_look_live(self, server: Caller, gallery: str, astronaut: Path) -> None:
        enrol(server, gallery, "ada", 1)
        for path, embedded, pictured in (
            (f"{gallery}/identify", {"embeddings": [vector(1)]}, {"images": [image(astronaut.read_bytes())]}),
            (f"{gallery}/subjects/ada/verify", {"embedding": vector(1)}, {"image": image(astronaut.read_bytes())}),
        ):
            assert server.post(path, {**embedded, "require_live": False}).status_code == 200
            blind = problem(server.post(path, {**embedded, "require_live": True}))
            assert "require_live needs an image" in blind["detail"]
            unable = problem(server.post(path, {**pictured, "require_live": True}))
            assert (unable["status"], unable["code"]) == (422, "invalid_option")
            assert "liveness" in unable["detail"]

    def test_metrics_tell_outcomes_and_no_names(self, recognizer: Recognizer, tmp_path: Path) -> None:
        with Caller(Settings(store=sqlite_url(tmp_path / "galleries.db")), recognizer) as server:
            gallery = "/v1/galleries/red-team"
            server.post("/v1/galleries", {"name": "red-team"})
            server.post(f"{gallery}/identify", {"embeddings": [vector(1)]})
            enrol(server, gallery, "ada-lovelace", 1)
            enrol(server, gallery, "red-hopper", 2)
            server.post(f"{gallery}/identify", {"embeddings": [vector(1), vector(2), vector(3)]})
            server.request("DELETE", f"{gallery}/subjects/ada-lovelace")
            text = server.get("/metrics").text
        for line in (
            "visavis_enrolled_samples_total 2.0",
            "visavis_forgotten_samples_total 1.0",
            "visavis_expired_subjects_total 0.0",
            'visavis_identifications_total{outcome="empty_gallery"} 1.0',
            'visavis_identifications_total{outcome="matched"} 2.0',
            'visavis_identifications_total{outcome="no_match"} 1.0',
            'method="DELETE",route="/v1/galleries/{gallery}/subjects/{subject}",status="200"} 1.0',
        ):
            assert line in text, line
        assert "red-" not in text
        assert "ada" not in text

    def test_nothing_is_fetched_for_a_gallery_that_is_not_there(
        self, server: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("visavis.server.reading.fetch", lambda *_: pytest.fail("something was fetched"))
        for path, body in (
            ("enrol", {"images": [{"url": "https://example.com/a.jpg"}]}),
            ("identify", {"images": [{"url": "https://example.com/a.jpg"}]}),
            ("subjects/ada/verify", {"image": {"url": "https://example.com/a.jpg"}}),
        ):
            assert problem(server.post(f"/v1/galleries/none/{path}", body))["code"] == "gallery_not_found"


class TestVerify:
    def test_it_is_or_it_is_not(
        self, server: Caller, gallery: str, astronaut: Path, astronaut_again: bytes, hopper: Path
    ) -> None:
        server.post(f"{gallery}/enrol", {"subject": "eileen", "images": [image(astronaut.read_bytes())]})
        path = f"{gallery}/subjects/eileen/verify"
        same = server.post(path, {"image": image(astronaut_again)}).json()
        assert (same["same"], same["subject"], same["threshold"]) == (True, "eileen", 0.6)
        assert server.request("POST", path, files={"image": astronaut_again}).json() == same
        assert server.post(path, {"image": image(hopper.read_bytes())}).json()["same"] is False
        strict = server.request("POST", path, files={"image": astronaut_again}, data={"threshold": "0.01"}).json()
        assert strict == {**same, "same": False, "threshold": 0.01, "decision": "different"}
        assert (same["decision"], same["fmr"]) == ("same", None)

    def test_an_embedding(self, server: Caller, gallery: str) -> None:
        enrol(server, gallery, "ada", 1)
        answer = server.post(f"{gallery}/subjects/ada/verify", {"embedding": vector(1)}).json()
        assert (answer["same"], answer["face"]) == (True, None)

    def test_a_rate_in_place_of_a_threshold(
        self, server: Caller, gallery: str, astronaut: Path, astronaut_again: bytes
    ) -> None:
        server.post(f"{gallery}/enrol", {"subject": "eileen", "images": [image(astronaut.read_bytes())]})
        path = f"{gallery}/subjects/eileen/verify"
        answer = server.request("POST", path, files={"image": astronaut_again}, data={"fmr": "lenient"}).json()
        assert (answer["fmr"], answer["decision"]) == (0.01, "same")
        number = server.request("POST", path, files={"image": astronaut_again}, data={"fmr": "1e-2"}).json()
        assert number == answer
        for wrong in ({"fmr": "1e-2", "threshold": "0.5"}, {"fmr": "all"}):
            refused = server.request("POST", path, files={"image": astronaut_again}, data=wrong)
            assert (refused.status_code, problem(refused)["code"]) == (422, "invalid_request")

    def test_what_is_wrong_is_said(self, server: Caller, gallery: str, grey: bytes, crowd: bytes) -> None:
        enrol(server, gallery, "ada", 1)
        sample = server.get(f"{gallery}/subjects/ada").json()["sample_list"][0]["id"]
        path = f"{gallery}/subjects/ada/verify"
        for value, expected in (
            ({}, (422, "invalid_request", None)),
            ({"image": None}, (422, "invalid_request", "image")),
            ({"image": image(grey), "embedding": vector(1)}, (422, "invalid_request", None)),
            ({"image": image(grey)}, (422, "no_face", "image")),
            ({"image": image(crowd), "faces": "only"}, (422, "multiple_faces", "image")),
            ({"image": image(b"?")}, (415, "unsupported_format", "image")),
            ({"embedding": [1.0]}, (422, "invalid_embedding", "embedding")),
        ):
            members = problem(server.post(path, value))
            assert (members["status"], members["code"], members.get("field")) == expected
        nobody = problem(server.post(f"{gallery}/subjects/nobody/verify", {"embedding": vector(1)}))
        assert (nobody["status"], nobody["code"], "field" in nobody) == (404, "subject_not_found", False)
        server.request("DELETE", f"{gallery}/subjects/ada/samples/{sample}")
        assert problem(server.post(path, {"embedding": vector(1)}))["code"] == "sample_not_found"


class TestPrivacy:
    def test_subjects_are_in_no_log(self, server: Caller, gallery: str, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            enrol(server, gallery, "Grace Hopper", 1)
            for method, rest in (
                *(("GET", ""), ("PATCH", ""), ("PUT", ""), ("DELETE", "/samples/1"), ("GET", "/samples/1/picture")),
                *(("GET", "/export"), ("GET", "/nothing"), ("POST", "/verify"), ("DELETE", "")),
            ):
                server.request(method, f"{gallery}/subjects/Grace%20Hopper{rest}")
            server.get("/v1/galleries/nowhere/subjects/Grace%20Hopper/")
        ours = [record for record in caplog.records if record.name.startswith("visavis")]
        routes = {getattr(record, "facts", {}).get("route") for record in ours}
        assert "/v1/galleries/{gallery}/subjects/{subject}" in routes
        assert "none" in routes
        assert not any("Grace" in str(record.__dict__) for record in ours)

    def test_no_error_tells_anything_biometric(self, server: Caller, gallery: str) -> None:
        numbers = [0.123456789] * 127
        for path in ("enrol", "identify"):
            text = server.post(f"{gallery}/{path}", {"embeddings": [numbers]}).text
            assert "0.1234" not in text

    def test_those_whose_time_is_over_are_gone(self, server: Caller, gallery: str) -> None:
        soon = (datetime.now(timezone.utc) - timedelta(seconds=1)).isoformat()
        enrol(server, gallery, "ada", 1, expires_at=soon)
        assert server.get(f"{gallery}/subjects").json() == {"subjects": [], "next_cursor": None}
