"""Subjects, samples and logs over HTTP: pages, entity tags, pictures, exports, IDs of every kind."""

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import PIL.Image
import pytest
from serving import Caller, from_ndjson, in_base64, problem, sqlite_url, vector

from visavis import Recognizer
from visavis.config import Settings
from visavis.server.api.subjects import media_type_of

_numbers = itertools.count(1)
STRANGE = [
    *("é", "x\u0301", "%", "%41", "?", "#", "+", "a b", "😀", "&=;:@$,!*'()[]", '"', "\\", "<b>", "名前", "..."),
    *(
        "a" * 200,
        "😀" * 200,
        "x.json",
        "ada?limit=1",
        "subjects",
        "~",
        "`",
        "|",
        "^",
        "{subject}",
    ),
]


@pytest.fixture(scope="module")
def server(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    with Caller(Settings(store=store), recognizer) as caller:
        yield caller


@pytest.fixture
def gallery(server: Caller) -> str:
    return make(server)


def make(server: Caller, **policy: object) -> str:
    name = f"gallery-{next(_numbers)}"
    assert server.post("/v1/galleries", {"name": name, "policy": policy}).status_code == 201
    return f"/v1/galleries/{name}"


def enrol(server: Caller, gallery: str, subject: str, *seeds: int, **more: object) -> httpx.Response:
    answer = server.post(
        f"{gallery}/enrol", {"subject": subject, "embeddings": [vector(seed) for seed in seeds], **more}
    )
    assert answer.status_code == 201
    return answer


def path_of(gallery: str, subject: str) -> str:
    return f"{gallery}/subjects/{quote(subject, safe='')}"


class TestIds:
    @pytest.mark.parametrize("subject", STRANGE)
    def test_every_printable_character_but_a_slash(self, server: Caller, gallery: str, subject: str) -> None:
        enrol(server, gallery, "other", 1)
        enrol(server, gallery, subject, 2)
        path = path_of(gallery, subject)
        assert server.get(path).json()["id"] == subject
        assert server.request("PATCH", path, json={"name": "n"}).json()["id"] == subject
        assert server.post(f"{path}/verify", {"embedding": vector(2)}).json()["subject"] == subject
        sample = server.get(path).json()["sample_list"][0]["id"]
        assert server.get(f"{path}/export").json()["id"] == subject
        assert server.request("DELETE", f"{path}/samples/{sample}").json()["subject"] == subject
        assert server.request("DELETE", path).json()["subject"] == subject
        assert server.get(path).status_code == 404
        assert [one["id"] for one in server.get(f"{gallery}/subjects").json()["subjects"]] == ["other"]

    @pytest.mark.parametrize(
        "subject", ["", " a", "a ", "a/b", ".", "..", "a\nb", "a\0", "x" * 201, "\u200b", "\ud800"]
    )
    def test_what_is_no_id(self, server: Caller, gallery: str, subject: str) -> None:
        body = {"subject": subject, "embeddings": [vector(1)]}
        answer = server.request(
            "POST", f"{gallery}/enrol", content=_json(body), headers={"content-type": "application/json"}
        )
        assert answer.status_code in (400, 422)
        assert problem(answer)["code"] in ("invalid_request", "invalid_option")
        assert server.get(gallery).json()["subjects"] == 0

    @pytest.mark.parametrize("path", ["a%2Fb", "%FF", "%00", "%0A", "a%20", "x" * 201])
    def test_paths_that_name_nobody(self, server: Caller, gallery: str, path: str) -> None:
        answers = [server.get(f"{gallery}/subjects/{path}"), server.request("DELETE", f"{gallery}/subjects/{path}")]
        assert all(400 <= answer.status_code < 500 for answer in answers)
        assert all(problem(answer)["code"] for answer in answers)

    def test_a_path_that_is_not_utf8_is_no_other_name_of_anybody(self, server: Caller, gallery: str) -> None:
        enrol(server, gallery, "\ufffd", 1)
        answer = server.request("DELETE", f"{gallery}/subjects/%FF")
        assert (answer.status_code, problem(answer)["detail"]) == (400, "the path is not UTF-8")
        assert server.get(path_of(gallery, "\ufffd")).status_code == 200

    @pytest.mark.parametrize("sample", ["0", "-1", "1.0", "x", "9" * 18, "9" * 19, "9" * 500, "٣", "1e3", "0x1"])
    def test_samples_that_there_are_not(self, server: Caller, gallery: str, sample: str) -> None:
        enrol(server, gallery, "ada", 1)
        for method, path in (("DELETE", sample), ("GET", f"{sample}/picture")):
            answer = server.request(method, f"{gallery}/subjects/ada/samples/{path}")
            assert answer.status_code in (404, 422)
            assert problem(answer)["code"] in ("sample_not_found", "invalid_request")


def test_samples_are_listed_shown_and_forgotten_by_their_numbers(server: Caller, gallery: str) -> None:
    enrol(server, gallery, "ada", 1, 2, sample_metadata={"image_id": "x"})
    enrol(server, gallery, "ben", 3)
    first = server.get(f"{gallery}/samples?limit=2").json()
    (last,) = (rest := server.get(f"{gallery}/samples?limit=2&cursor={first['next_cursor']}").json())["samples"]
    assert rest["next_cursor"] is None
    told = [(one["subject"], one["metadata"]) for one in (*first["samples"], last)]
    assert told == [*[("ada", {"image_id": "x"})] * 2, ("ben", {})]
    path = f"{gallery}/samples/{last['id']}"
    assert server.get(path).json() == last
    assert server.request("DELETE", path).json()["subject"] is None
    for answer in (server.get(path), server.request("DELETE", path), server.get(f"{gallery}/samples/{'9' * 18}")):
        assert (answer.status_code, problem(answer)["code"]) == (404, "sample_not_found")
    wrong = {"subject": "ada", "embeddings": [vector(1)], "sample_metadata": {"x": "y" * 5000}}
    answer = server.post(f"{gallery}/enrol", wrong)
    assert (answer.status_code, problem(answer)["detail"].split()[0]) == (422, "sample_metadata")
    found = server.post(f"{gallery}/identify", {"embeddings": [vector(1)], "group_by": "sample"}).json()
    (face,) = found["results"][0]["faces"]
    assert [one["sample"] for one in face["candidates"]] == [first["samples"][0]["id"]]


def test_a_subject_is_made_and_held_against_one_sample(server: Caller, gallery: str) -> None:
    path = f"{gallery}/subjects"
    made = server.post(path, {"id": "ada", "name": "Ada"})
    assert (made.status_code, made.json()["samples"], made.headers["etag"][0]) == (201, 0, '"')
    assert server.post(path, {"id": "ada"}).json()["code"] == "subject_exists"
    assert server.post(path, {"name": "Ada"}).json()["field"] == "id"
    first, second = (enrol(server, gallery, "ada", seed).json()["results"][0]["sample"] for seed in (1, 2))
    probe = {"embedding": vector(1)}
    assert server.post(f"{path}/ada/verify", {**probe, "sample": first}).json()["sample"] == first
    assert server.post(f"{path}/ada/verify", {**probe, "sample": second}).json()["same"] is False
    assert server.post(f"{path}/ada/verify", {**probe, "sample": second + 1}).json()["code"] == "sample_not_found"


def _json(value: object) -> bytes:
    import json  # noqa: PLC0415  # httpx itself refuses lone surrogates

    return json.dumps(value).encode()


class TestPages:
    def test_an_empty_list(self, server: Caller, gallery: str) -> None:
        assert server.get(f"{gallery}/subjects").json() == {"subjects": [], "next_cursor": None}

    @pytest.mark.parametrize("count", [1, 2, 4, 5])
    def test_pages_make_up_the_whole(self, server: Caller, gallery: str, count: int) -> None:
        names = [f"s{number}" for number in (3, 1, 2, 0)]
        for seed, name in enumerate(names):
            enrol(server, gallery, name, seed)
        for what, name, expected, asked in (
            ("subjects", "id", names, {}),
            ("log", "action", ["create", *["enrol"] * 4], {}),
            ("log", "action", [*["enrol"] * 4, "create"], {"newest_first": "true"}),
        ):
            found, cursor, pages = [], None, 0
            while cursor is not None or not pages:
                query = {"limit": str(count), **asked, **({"cursor": cursor} if cursor else {})}
                page = server.request("GET", f"{gallery}/{what}", params=query).json()
                found += [one[name] for one in page["entries" if what == "log" else what]]
                cursor, pages = page["next_cursor"], pages + 1
            assert (found, pages) == (expected, -(-len(expected) // count))

    def test_one_that_is_forgotten_between_pages_disturbs_nobody(self, server: Caller, gallery: str) -> None:
        for seed in range(3):
            enrol(server, gallery, f"s{seed}", seed)
        cursor = server.get(f"{gallery}/subjects?limit=1").json()["next_cursor"]
        server.request("DELETE", f"{gallery}/subjects/s0")
        page = server.request("GET", f"{gallery}/subjects", params={"cursor": cursor}).json()
        assert [one["id"] for one in page["subjects"]] == ["s1", "s2"]

    def test_a_cursor_fits_its_own_list_and_unchanged(self, server: Caller, gallery: str) -> None:
        for seed in range(3):
            enrol(server, gallery, f"s{seed}", seed)
        cursor = server.get(f"{gallery}/subjects?limit=1").json()["next_cursor"]
        for changed in (cursor[:-1], cursor + "A", cursor.swapcase(), "A" * 16, "x", "é", "=" * 16, f"{cursor}\n", " "):
            answer = server.request("GET", f"{gallery}/subjects", params={"cursor": changed})
            assert (answer.status_code, problem(answer)["field"]) == (422, "cursor"), changed
        oldest = server.get("/v1/log?limit=1").json()["next_cursor"]
        for path, cursor in (
            *((path, cursor) for path in (f"{gallery}/log", "/v1/log", f"{make(server)}/subjects")),
            ("/v1/log?newest_first=true", oldest),
        ):
            answer = server.request("GET", str(httpx.URL(path).copy_merge_params({"cursor": cursor})))
            assert (answer.status_code, problem(answer)["field"]) == (422, "cursor"), path

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            *(("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("limit=", "limit")),
            *(
                ("limit=1&limit=2", "limit"),
                ("page=2", "page"),
                ("limit=1e9", "limit"),
                ("cursor=" + "A" * 101, "cursor"),
            ),
        ],
    )
    def test_queries_that_there_are_not(self, server: Caller, gallery: str, query: str, field: str) -> None:
        answer = server.get(f"{gallery}/subjects?{query}")
        assert (answer.status_code, problem(answer)["field"]) == (422, field)

    def test_routes_without_a_query_have_none(self, server: Caller, gallery: str) -> None:
        enrol(server, gallery, "ada", 1)
        for method, path in (
            *(("GET", ""), ("DELETE", ""), ("GET", "/audit"), ("GET", "/subjects/ada"), ("DELETE", "/subjects/ada")),
            *(("POST", "/enrol"), ("POST", "/identify"), ("PATCH", "/subjects/ada"), ("GET", "/subjects/ada/export")),
        ):
            assert problem(server.request(method, f"{gallery}{path}?x=1"))["field"] == "x"
        assert server.get(f"{gallery}/subjects/ada").status_code == 200


class TestMerge:
    def test_all_samples_go_to_the_other(self, server: Caller) -> None:
        gallery = make(server, keep="chips", candidate_threshold=100)
        enrol(server, gallery, "ada", 1, name="Ada", metadata={"a": 1})
        enrol(server, gallery, "a. l.", 2, 3, name="gone", source="door")
        before = server.get(f"{gallery}/subjects/ada").json()
        merged = server.post(f"{gallery}/subjects/a.%20l./merge", {"into": "ada"})
        subject = merged.json()
        assert (merged.status_code, merged.headers["etag"]) == (200, f'"{subject["number"]}-{subject["version"]}"')
        assert (subject["id"], subject["name"], subject["samples"]) == ("ada", "Ada", 3)
        assert subject["version"] > before["version"]
        sources = [sample["source"] for sample in server.get(f"{gallery}/subjects/ada").json()["sample_list"]]
        assert sources == [None, "door", "door"]
        assert server.get(f"{gallery}/subjects/a.%20l.").status_code == 404
        (face,) = server.post(f"{gallery}/identify", {"embeddings": [vector(3)]}).json()["results"][0]["faces"]
        (candidate,) = face["candidates"]  # as far as the mean of three who are unlike
        sample = server.get(f"{gallery}/subjects/ada").json()["sample_list"][-1]["id"]
        assert (candidate["subject"], candidate["sample"]) == ("ada", sample)
        actions = [entry["action"] for entry in server.get(f"{gallery}/log").json()["entries"]]
        assert actions.count("forget") == 1

    def test_what_cannot_be_merged(self, server: Caller, gallery: str) -> None:
        enrol(server, gallery, "ada", 1)
        enrol(server, gallery, "grace", 2, qualities=[{"face_px": 90.0, "sharpness": 1.0, "score": 9.0}])
        path = f"{gallery}/subjects/ada/merge"
        for value, expected in (
            ({}, (422, "invalid_request", "into")),
            ({"into": ""}, (422, "invalid_request", "into")),
            ({"into": 1}, (422, "invalid_request", "into")),
            ({"into": "grace", "by": "me"}, (422, "invalid_request", "by")),
            ({"into": "ada"}, (422, "invalid_option", None)),
            ({"into": "nobody"}, (404, "subject_not_found", None)),
        ):
            members = problem(server.post(path, value))
            assert (members["status"], members["code"], members.get("field")) == expected
        assert problem(server.post(f"{gallery}/subjects/nobody/merge", {"into": "ada"}))["code"] == "subject_not_found"
        assert problem(server.post("/v1/galleries/none/subjects/a/merge", {"into": "b"}))["code"] == "gallery_not_found"
        server.request("PATCH", gallery, json={"policy": {"consent_required": True}})
        refused = problem(server.post(f"{gallery}/subjects/grace/merge", {"into": "ada"}))
        assert (refused["status"], refused["code"]) == (422, "consent_missing")
        assert server.get(gallery).json()["subjects"] == 2


class TestMove:
    def test_samples_go_to_another(self, server: Caller) -> None:
        gallery = make(server, keep="chips", candidate_threshold=100)
        enrol(server, gallery, "ada", 1)
        enrol(server, gallery, "grace", 2, 3, source="door")
        first, second = (sample["id"] for sample in server.get(f"{gallery}/subjects/grace").json()["sample_list"])
        path = f"{gallery}/subjects/grace/move"
        for value, expected in (
            ({"into": "ada"}, (422, "invalid_request", "samples")),
            ({"into": "ada", "samples": []}, (422, "invalid_request", "samples")),
            ({"into": "ada", "samples": ["1"]}, (422, "invalid_request", "samples.0")),
            ({"samples": [first]}, (422, "invalid_request", "into")),
            ({"into": "grace", "samples": [first]}, (422, "invalid_option", None)),
            ({"into": "nobody", "samples": [first]}, (404, "subject_not_found", None)),
            ({"into": "ada", "samples": [first, 2**70]}, (404, "sample_not_found", None)),
        ):
            members = problem(server.post(path, value))
            assert (members["status"], members["code"], members.get("field")) == expected
        moved = server.post(path, {"into": "ada", "samples": [first]})
        subject = moved.json()
        assert (moved.status_code, moved.headers["etag"]) == (200, f'"{subject["number"]}-{subject["version"]}"')
        assert (subject["id"], subject["samples"]) == ("ada", 2)
        assert [each["id"] for each in server.get(f"{gallery}/subjects/grace").json()["sample_list"]] == [second]
        (face,) = server.post(f"{gallery}/identify", {"embeddings": [vector(2)]}).json()["results"][0]["faces"]
        assert [each["subject"] for each in face["candidates"]][:1] == ["ada"]  # as far as the mean of two unlike ones
        last = server.get(f"{gallery}/log").json()["entries"][-2]
        assert (last["action"], last["count"], len(last["subjects"])) == ("move", 1, 2)


class TestRename:
    def test_a_subject_gets_another_id(self, server: Caller, gallery: str) -> None:
        enrol(server, gallery, "ada", 1)
        enrol(server, gallery, "grace", 2)
        tag = server.get(f"{gallery}/subjects/ada").headers["etag"]
        change = {"id": "Lovelac\xe9", "name": "Ame\u0301lie"}
        renamed = server.request("PATCH", f"{gallery}/subjects/ada", json=change, headers={"If-Match": tag})
        subject = renamed.json()
        assert (renamed.status_code, subject["id"], subject["name"]) == (200, "Lovelac\xe9", "Am\xe9lie")
        assert server.get(f"{gallery}/subjects/ada").status_code == 404
        for spelled in ("Lovelac%C3%A9", "Lovelace%CC%81"):
            shown = server.get(f"{gallery}/subjects/{spelled}")
            assert (shown.json()["number"], shown.headers["etag"]) == (subject["number"], renamed.headers["etag"])
        answer = server.request("PATCH", f"{gallery}/subjects/Lovelac%C3%A9", json={"id": "grace", "name": "G"})
        assert (answer.status_code, problem(answer)["code"]) == (409, "subject_exists")
        assert server.get(f"{gallery}/subjects/Lovelac%C3%A9").json()["name"] == "Am\xe9lie"

    @pytest.mark.parametrize("id_", [None, "", 1, "a" * 201])
    def test_ids_that_cannot_be(self, server: Caller, gallery: str, id_: object) -> None:
        enrol(server, gallery, "ada", 1)
        answer = server.request("PATCH", f"{gallery}/subjects/ada", json={"id": id_})
        assert (answer.status_code, problem(answer)["field"]) == (422, "id")
        answer = server.request("PATCH", f"{gallery}/subjects/ada", json={"id": "a/b"})
        assert (answer.status_code, problem(answer)["code"]) == (422, "invalid_option")


class TestConditions:
    @pytest.fixture
    def subject(self, server: Caller, gallery: str) -> str:
        enrol(server, gallery, "ada", 1)
        return f"{gallery}/subjects/ada"

    def test_every_change_changes_the_tag(self, server: Caller, gallery: str, subject: str) -> None:
        tags = [server.get(subject).headers["etag"]]
        tags.append(server.request("PATCH", subject, json={"name": "Ada"}).headers["etag"])
        assert server.get(subject).headers["etag"] == tags[-1]
        enrol(server, gallery, "ada", 2)
        tags.append(server.get(subject).headers["etag"])
        sample = server.get(subject).json()["sample_list"][0]["id"]
        server.request("DELETE", f"{subject}/samples/{sample}")
        tags.append(server.get(subject).headers["etag"])
        server.request("DELETE", subject)
        enrol(server, gallery, "ada", 3)
        tags.append(server.get(subject).headers["etag"])
        assert len(set(tags)) == len(tags)
        assert all(tag[0] == tag[-1] == '"' for tag in tags)

    def test_reading(self, server: Caller, subject: str) -> None:
        tag = server.get(subject).headers["etag"]
        for name, value, status in (
            ("If-None-Match", tag, 304),
            ("If-None-Match", f"W/{tag}", 304),
            ("If-None-Match", f'"x", {tag}', 304),
            ("If-None-Match", f'"x",,W/"y" , W/{tag},', 304),
            ("If-None-Match", "*", 304),
            ("If-None-Match", '"x"', 200),
            ("If-None-Match", '""', 200),
            ("If-None-Match", '"a,b"', 200),
            ("If-Match", tag, 200),
            ("If-Match", "*", 200),
            ("If-Match", f'"x", {tag}', 200),
            ("If-Match", f"W/{tag}", 412),
            ("If-Match", '"x"', 412),
        ):
            answer = server.get(subject, {name: value})
            assert answer.status_code == status, (name, value)
            if status != 412:
                assert answer.headers["etag"] == tag
            if status == 304:
                assert answer.content == b""
                assert "content-type" not in answer.headers

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    def test_changing(self, server: Caller, subject: str, method: str) -> None:
        tag = server.get(subject).headers["etag"]
        body = {"json": {"name": "x"}} if method == "PATCH" else {}
        for name, value in (
            ("If-Match", '"x"'),
            ("If-Match", f"W/{tag}"),
            ("If-Match", tag.replace("-", "-1")),
            ("If-None-Match", "*"),
            ("If-None-Match", tag),
            ("If-None-Match", f"W/{tag}"),
        ):
            answer = server.request(method, subject, headers={name: value}, **body)
            assert (answer.status_code, problem(answer)["code"]) == (412, "version_mismatch"), (name, value)
            assert tag in problem(answer)["detail"]
        headers = [("If-Match", '"x"'), ("If-Match", tag), ("If-None-Match", '"x"')]
        assert server.request(method, subject, headers=headers, **body).status_code == 200

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    def test_any_state_will_do(self, server: Caller, subject: str, method: str) -> None:
        body = {"json": {"name": "x"}} if method == "PATCH" else {}
        assert server.request(method, subject, headers={"If-Match": "*"}, **body).status_code == 200
        answer = server.request(method, f"{subject}-not", headers={"If-Match": "*"}, **body)
        assert (answer.status_code, problem(answer)["code"]) == (404, "subject_not_found")

    @pytest.mark.parametrize("value", ["17-3", '"', '"a', "W/", 'w/"a"', "**", '"a" "b"', '*, "a"', "", ",", '"a b"'])
    def test_what_is_no_tag(self, server: Caller, subject: str, value: str) -> None:
        for method, name in (("GET", "If-None-Match"), ("GET", "If-Match"), ("DELETE", "If-Match")):
            answer = server.request(method, subject, headers={name: value})
            assert (answer.status_code, problem(answer)["field"]) == (422, name)
        assert server.get(subject).status_code == 200


class TestChanges:
    def test_what_is_given_changes_what_is_not_stays_and_null_clears(self, server: Caller, gallery: str) -> None:
        all_of_it = {"name": "Ada", "metadata": {"a": 1}, "consent": "yes", "expires_at": "2090-01-01T00:00:00Z"}
        enrol(server, gallery, "ada", 1, **all_of_it)
        path = f"{gallery}/subjects/ada"
        for name, value in (
            ("name", "Ada Lovelace"),
            ("metadata", {"b": [None, {"c": "d"}]}),
            ("consent", "signed"),
            ("expires_at", "2091-01-01T00:00:00Z"),
        ):
            changed = server.request("PATCH", path, json={name: value}).json()
            all_of_it[name] = value
            assert {key: changed[key] for key in all_of_it} == all_of_it
        for name, empty in (("name", None), ("metadata", {}), ("consent", None), ("expires_at", None)):
            assert server.request("PATCH", path, json={name: None}).json()[name] == empty

    @pytest.mark.parametrize(
        ("value", "field"),
        [
            *(({}, None), ([], None), ({"name": 1}, "name"), ({"metadata": []}, "metadata"), ({"number": 1}, "number")),
            *(({"expires_at": "soon"}, "expires_at"), ({"name": "x" * 10_001}, "name"), ({"samples": 3}, "samples")),
        ],
    )
    def test_what_cannot_be_changed(self, server: Caller, gallery: str, value: object, field: str | None) -> None:
        enrol(server, gallery, "ada", 1)
        answer = server.request("PATCH", f"{gallery}/subjects/ada", json=value)
        assert (answer.status_code, problem(answer).get("field")) == (422, field)

    @pytest.mark.parametrize("value", [{"name": "a\0"}, {"metadata": {"a": "\0"}}, {"metadata": {"a": "x" * 100_001}}])
    def test_what_no_store_should_hold(self, server: Caller, gallery: str, value: dict[str, object]) -> None:
        enrol(server, gallery, "ada", 1)
        for answer in (
            server.request("PATCH", f"{gallery}/subjects/ada", json=value),
            server.post(f"{gallery}/enrol", {"embeddings": [vector(2)], **value}),
        ):
            assert (answer.status_code, problem(answer)["code"]) == (422, "invalid_option")

    def test_a_subject_is_forgotten_with_a_receipt(self, server: Caller, gallery: str) -> None:
        number = enrol(server, gallery, "ada", 1, 2).json()["subject"]["number"]
        receipt = server.request("DELETE", f"{gallery}/subjects/ada").json()
        assert (receipt["subject"], receipt["subjects"], receipt["samples"]) == ("ada", [number], 2)
        assert receipt["overwritten"] is True
        assert problem(server.request("DELETE", f"{gallery}/subjects/ada"))["code"] == "subject_not_found"
        found = server.post(f"{gallery}/identify", {"embeddings": [vector(1)]}).json()["results"][0]["faces"][0]
        assert found["unknown"] == "empty_gallery"


class TestPictures:
    def test_what_is_kept_is_shown(self, server: Caller, astronaut: Path) -> None:
        data = astronaut.read_bytes()
        for keep in ("images", "chips", "nothing"):
            gallery = make(server, keep=keep)
            body = {"subject": "eileen", "images": [{"base64": in_base64(data)}]}
            sample = server.post(f"{gallery}/enrol", body).json()["results"][0]["sample"]
            answer = server.get(f"{gallery}/subjects/eileen/samples/{sample}/picture")
            if keep == "nothing":
                assert (answer.status_code, problem(answer)["code"]) == (404, "sample_not_found")
                continue
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert answer.headers["content-disposition"] == f'attachment; filename="sample-{sample}.png"'
            assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == (
                "no-store",
                "nosniff",
            )
            assert (answer.content == data) == (keep == "images")
            export = server.get(f"{gallery}/subjects/eileen/export").json()
            assert base64.b64decode(export["sample_list"][0]["picture_data"]) == answer.content
            (_, line) = from_ndjson(server.get(f"{gallery}/export?pictures=true").content)
            assert base64.b64decode(line["picture"]) == answer.content
            (_, line) = from_ndjson(server.get(f"{gallery}/export").content)
            assert line["picture"] is None
            actions = [entry["action"] for entry in server.get(f"{gallery}/log").json()["entries"]]
            assert actions == ["create", "enrol", "picture", "export", "export", "export"]

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
    def test_types_by_the_first_bytes(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / "picture"
        PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, form)
        assert media_type_of(path.read_bytes()) == f"image/{form.lower()}"

    @pytest.mark.parametrize("data", [b"", b"<svg>", b"<html>", b"RIFF1234WAVE", b"1234ftypmp42"])
    def test_what_is_no_picture_is_not_shown_as_one(self, data: bytes) -> None:
        assert media_type_of(data) == "application/octet-stream"


class TestReports:
    def test_an_export_of_a_subject_is_all_of_it(self, server: Caller, gallery: str) -> None:
        enrol(server, gallery, "ada", 1, 2, name="Ada", metadata={"a": 1})
        enrol(server, gallery, "grace", 3)
        export = server.get(f"{gallery}/subjects/ada/export").json()
        subject = server.get(f"{gallery}/subjects/ada").json()
        assert (export["name"], export["metadata"], export["version"]) == ("Ada", {"a": 1}, subject["version"])
        assert [sample["id"] for sample in export["sample_list"]] == [sample["id"] for sample in subject["sample_list"]]
        assert export["sample_list"][0]["embedding"] == vector(1)
        assert [entry["action"] for entry in export["log"]] == ["enrol", "export"]
        assert problem(server.get(f"{gallery}/subjects/nobody/export"))["code"] == "subject_not_found"

    def test_an_audit(self, server: Caller, gallery: str) -> None:
        kinds = ("duplicates", "confusable", "outliers", "low_quality", "lookalikes")
        empty = {"subjects": 0, "samples": 0, **{kind: [] for kind in kinds}}
        assert server.get(f"{gallery}/audit").json() == empty
        enrol(server, gallery, "ada", 1)
        enrol(server, gallery, "ada again", 1, allow_conflict=True)
        enrol(server, gallery, "grace", 2, 3)
        report = server.get(f"{gallery}/audit").json()
        assert (report["subjects"], report["samples"]) == (3, 4)
        assert [(pair["a"], pair["b"]) for pair in report["duplicates"]] == [("ada", "ada again")]
        assert {outlier["subject"] for outlier in report["outliers"]} == {"grace"}

    def test_the_log_tells_who_did_what(self, server: Caller, gallery: str) -> None:
        number = enrol(server, gallery, "ada", 1).json()["subject"]["number"]
        server.post(f"{gallery}/identify", {"embeddings": [vector(1)]})
        server.request("PATCH", f"{gallery}/subjects/ada", json={"name": "Ada"})
        entries = server.get(f"{gallery}/log").json()["entries"]
        assert [(entry["action"], entry["actor"], entry["subjects"]) for entry in entries] == [
            ("create", "anonymous", []),
            ("enrol", "anonymous", [number]),
            ("identify", "anonymous", [number]),
            ("update", "anonymous", [number]),
        ]
        assert "ada" not in str(entries).lower()
        assert server.get("/v1/galleries/never-there/log").json() == {"entries": [], "next_cursor": None}
        assert problem(server.get("/v1/galleries/Never%20There/log"))["code"] == "gallery_not_found"
