"""The dialect of AWS Rekognition by plain calls: signatures, errors, images, collections, faces, users."""

import hashlib
import hmac
import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import numpy as np
import PIL.Image
import pytest
from command_line import Shell
from conftest import many_faces, read_pixels
from hypothesis import strategies as st
from numpy.typing import NDArray
from serving import Caller, in_base64, sqlite_url
from starlette.requests import Request

from visavis import Recognizer
from visavis.config import Settings
from visavis.errors import InvalidOption
from visavis.server.app import create_app
from visavis.server.dialects.rekognition import calls
from visavis.server.dialects.rekognition.calls import OPERATIONS, Tokens
from visavis.server.dialects.rekognition.signature import Signature, signed_url
from visavis.server.dialects.rekognition.wire import Call, Refused
from visavis.server.keys import KeyStore
from visavis.server.pool import Answer

BOOTSTRAP = "a-secret-from-the-environment"
NOW = datetime(2026, 12, 1, 10, 20, 30, tzinfo=timezone.utc)
NOBODY_S = "00000000-0000-4000-8000-000000000000"
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FACES = st.sampled_from([NOBODY_S, "00000000-0000-0001-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff", "x"])
IMAGES = st.fixed_dictionaries({"Bytes": st.sampled_from(["", "aGVsbG8=", "iVBORw0KGgo="])})
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "CollectionId": st.sampled_from(["Fuzzed", "Staff", "none", ".", ""]),
    "UserId": st.sampled_from(["eileen", "b:1", "face~1", ""]),
    "FaceId": FACES,
    "FaceIds": st.lists(FACES, max_size=4),
    "ClientRequestToken": st.sampled_from(["a", "b", ""]),
    "NextToken": st.text(max_size=30),
    **dict.fromkeys(("Image", "SourceImage", "TargetImage"), IMAGES),
    **dict.fromkeys(("MaxResults", "MaxFaces", "MaxUsers"), st.integers(-1, 5000)),
    **dict.fromkeys(("FaceMatchThreshold", "UserMatchThreshold", "SimilarityThreshold"), st.floats(-1, 101)),
    "Attributes": st.lists(st.sampled_from(["ALL", "DEFAULT", "x"]), max_size=3),
}


class Aws:
    """Calls operations, signed or not."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    def send(self, operation: str, body: bytes, path: str = "/rekognition/", **headers: str) -> httpx.Response:
        target = {"X-Amz-Target": f"RekognitionService.{operation}", "Content-Type": "application/x-amz-json-1.1"}
        return self.caller.request("POST", path, content=body, headers={**target, **headers})

    def ask(self, operation: str, **wanted: object) -> dict[str, Any]:
        answer = self.send(operation, json.dumps(wanted).encode())
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/x-amz-json-1.1"
        assert answer.headers["x-amzn-requestid"]
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, operation: str, **wanted: object) -> str:
        return kind_of(self.send(operation, json.dumps(wanted).encode()))


def kind_of(answer: httpx.Response) -> str:
    members = answer.json()
    assert members["Message"]
    assert answer.status_code == (500 if members["__type"] == "InternalServerError" else 400)
    return str(members["__type"])


def signed(key: str, secret: str, operation: str, body: bytes, at: datetime) -> dict[str, str]:
    """Return the headers of a call to /rekognition/ on localhost, as the description of AWS has it."""
    date, target = at.strftime("%Y%m%dT%H%M%SZ"), f"RekognitionService.{operation}"
    scope = f"{date[:8]}/eu-west-1/rekognition/aws4_request"
    names = "host;x-amz-date;x-amz-target"
    payload = hashlib.sha256(body).hexdigest()
    canonical = f"POST\n/rekognition/\n\nhost:localhost\nx-amz-date:{date}\nx-amz-target:{target}\n\n{names}\n{payload}"
    told = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    made = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), told):
        made = hmac.new(made, part.encode(), hashlib.sha256).digest()
    credential = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={made.hex()}"
    return {"X-Amz-Date": date, "Authorization": credential}


def test_signatures_are_those_of_botocore() -> None:
    """Source: botocore 1.42, SigV4Auth and S3SigV4QueryAuth, with its clock at NOW."""
    headers = {
        "host": "localhost:8000",
        "x-amz-target": "RekognitionService.ListCollections",
        "content-type": "application/x-amz-json-1.1",
        "x-amz-date": "20261201T102030Z",
    }
    signature = Signature.read(
        "AWS4-HMAC-SHA256 Credential=5f0c93a1b2d4/20261201/eu-west-1/rekognition/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-target, "
        "Signature=160029269467830cc494b30ccd700deb96be2d788ec53770e7383fb7543cddd0"
    )
    assert signature is not None
    assert signature.key == "5f0c93a1b2d4"

    def fault(changed: dict[str, str], body: bytes = b"{}", path: bytes = b"/rekognition/", late_s: float = 0) -> str:
        raw = [(name.encode(), value.encode()) for name, value in {**headers, **changed}.items()]
        scope = {"type": "http", "method": "POST", "raw_path": path, "query_string": b"", "headers": raw}
        return signature.fault(Request(scope), body, "0123456789abcdef", NOW + timedelta(seconds=late_s))

    assert fault({}) == fault({}, late_s=900) == fault({}, late_s=-900) == ""
    assert fault({"x-amz-content-sha256": "x"})
    assert "15 minutes" in fault({}, late_s=901)
    assert "15 minutes" in fault({}, late_s=-901)
    assert "must be signed" in fault({"x-amz-security-token": "more"})
    for wrong in (
        fault({}, b"{ }"),
        fault({}, path=b"/rekognition"),
        fault({"x-amz-target": "RekognitionService.DeleteCollection"}),
        fault({"host": "elsewhere"}),
    ):
        assert "does not match" in wrong
    assert "moment" in fault({"x-amz-date": "now"})
    for path, version, signature_ in (
        ("a b/é~+.jpg", "a/b", "74c3aa82e96be05cff88e9643e169ce5357b8db55f926c9ded908bae9a08f3e5"),
        ("plain.jpg", None, "614e8daa161f7d92426ac20b3fcaca1543de9b46f2043dbebbfaf6117b71cf29"),
    ):
        url = signed_url("http://s3:9000", ("bucket", path, version), ("5f0c93a1b2d4", "0123456789abcdef"), now=NOW)
        assert url.endswith(f"&X-Amz-Signature={signature_}")
    assert signed_url("http://s3/at/", ("b", "é", "1"), None) == "http://s3/at/b/%C3%A9?versionId=1"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """IDs and secrets of keys by their scopes, and of one limited to the gallery other."""
    store = KeyStore(tmp_path_factory.mktemp("keys") / "keys.sqlite")
    made = {scope: store.create(scope, scope)[0].id for scope in ("read", "probe", "enrol", "admin")}
    made["limited"] = store.create("limited", "admin", ["other"])[0].id
    made["revoked"] = store.create("revoked", "admin")[0].id
    store.revoke(made["revoked"])
    assert store.find_signer(made["admin"]) is None  # no secret of any was told yet
    pairs = {name: (id_, store.signing_secret(id_)) for name, id_ in made.items()}
    assert len({secret for _, secret in pairs.values()}) == len(pairs)
    file = store.path.with_name("keys.sqlite.signing")
    assert file.stat().st_mode & 0o077 == 0
    kept = file.read_bytes() + store.path.read_bytes()
    assert not any(secret.encode() in kept for _, secret in pairs.values())
    store.close()
    return {**pairs, "file": (str(store.path), "")}


@pytest.fixture(scope="module")
def guarded(recognizer: Recognizer, keys: dict[str, tuple[str, str]]) -> Iterator[Aws]:
    file = Path(keys["file"][0])
    store = sqlite_url(file.with_name("galleries.db"))
    settings = Settings(dialects=("rekognition",), auth="on", keys_file=file, keys=(("admin", BOOTSTRAP),), store=store)
    with Caller(settings, recognizer) as caller:
        yield Aws(caller)


@pytest.fixture(scope="module")
def aws(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    with Caller(Settings(dialects=("rekognition",), auth="off", store=store), recognizer) as caller:
        yield Aws(caller)


@pytest.fixture(scope="module")
def eileen(astronaut: Path) -> dict[str, str]:
    return {"Bytes": in_base64(astronaut.read_bytes())}


@pytest.fixture(scope="module")
def again(astronaut_again: bytes) -> dict[str, str]:
    return {"Bytes": in_base64(astronaut_again)}


@pytest.fixture(scope="module")
def grace(hopper: Path) -> dict[str, str]:
    return {"Bytes": in_base64(hopper.read_bytes())}


def test_keys_that_sign(guarded: Aws, keys: dict[str, tuple[str, str]]) -> None:
    now = datetime.now(timezone.utc)

    def call(key: str, operation: str, body: bytes = b"{}", *, secret: str = "", sent: bytes | None = None) -> str:
        pair = keys.get(key, (key, BOOTSTRAP))
        answer = guarded.send(
            operation, body if sent is None else sent, **signed(pair[0], secret or pair[1], operation, body, now)
        )
        return "" if answer.status_code == 200 else kind_of(answer)

    made = b'{"CollectionId": "Team_A"}'
    assert call("enrol", "CreateCollection", made) == "AccessDeniedException"
    assert call("admin", "CreateCollection", made) == ""
    assert call("environment-1", "ListCollections") == ""
    assert call("read", "DescribeCollection", made) == ""
    assert call("limited", "DescribeCollection", made) == "AccessDeniedException"
    assert call("limited", "ListCollections") == ""
    assert call("read", "SearchFaces", made) == "AccessDeniedException"
    assert call("read", "ListCollections", secret=BOOTSTRAP) == "InvalidSignatureException"
    assert call("read", "ListCollections", sent=b'{"MaxResults": 1}') == "InvalidSignatureException"
    assert call("revoked", "ListCollections") == call("AKIANOBODY", "ListCollections") == "UnrecognizedClientException"
    assert kind_of(guarded.send("ListCollections", b"{}")) == "MissingAuthenticationTokenException"
    bearer = {"Authorization": f"Bearer {BOOTSTRAP}"}
    assert guarded.send("ListCollections", b"{}", **bearer).json()["CollectionIds"] == ["Team_A"]
    assert kind_of(guarded.send("ListCollections", b"{}", Authorization="Bearer x")) == "UnrecognizedClientException"
    assert kind_of(guarded.send("ListCollections", b"{}", Authorization="AWS4-HMAC-SHA256 x")) == (
        "IncompleteSignatureException"
    )
    listed = guarded.send("ListCollections", b"{}", **signed(*keys["limited"], "ListCollections", b"{}", now))
    assert listed.json()["CollectionIds"] == []


def test_calls_at_the_root_are_told_from_those_of_the_old_service(aws: Aws, astronaut: Path) -> None:
    assert aws.send("ListCollections", b"{}", "/").json().keys() == {"CollectionIds", "FaceModelVersions"}
    anybody = signed("any", "thing", "ListCollections", b"{}", datetime.now(timezone.utc))
    assert aws.send("ListCollections", b"{}", **anybody).status_code == 200  # where no key is needed
    assert kind_of(aws.send("Nothing", b"{}", "/")) == "UnknownOperationException"
    assert kind_of(aws.send("DetectFaces", b"{}", "/")) == "InvalidParameterException"
    pixels = np.asarray(read_pixels(astronaut)[55:175, 160:280]).tolist()
    old = aws.caller.post("/", {"truth": pixels, "check": pixels})
    assert (old.json(), old.headers["access-control-allow-origin"]) == ({"Match": "Yes"}, "*")
    assert aws.caller.post("/", {}).headers["content-type"] == "application/problem+json"
    assert aws.caller.get("/").text.startswith("<h1>")
    document = aws.caller.get("/openapi.json").json()
    (target,) = document["paths"]["/rekognition"]["post"]["parameters"]
    assert len(target["schema"]["enum"]) == 18


@pytest.mark.parametrize(
    ("operation", "body", "kind"),
    [
        ("ListCollections", b"", "SerializationException"),
        ("ListCollections", b"[1]", "SerializationException"),
        ("ListCollections", b'{"MaxResults": NaN}', "SerializationException"),
        ("ListCollections", b'{"MaxResults": 4097}', "InvalidParameterException"),
        ("ListCollections", b'{"NextToken": "x"}', "InvalidPaginationTokenException"),
        ("CreateCollection", b"{}", "InvalidParameterException"),
        ("CreateCollection", b'{"CollectionId": "../x"}', "InvalidParameterException"),
        ("DescribeCollection", b'{"CollectionId": "none"}', "ResourceNotFoundException"),
        ("DetectFaces", b'{"Image": {}}', "InvalidParameterException"),
        ("DetectFaces", b'{"Image": {"Bytes": "?"}}', "InvalidImageFormatException"),
        ("DetectFaces", b'{"Image": {"Bytes": "?"}, "ClientRequestToken": "a"}', "InvalidImageFormatException"),
        ("DetectFaces", b'{"Image": {"Bytes": "aGVsbG8="}}', "InvalidImageFormatException"),
        ("DetectFaces", b'{"Image": {"Bytes": "aGVsbG8=", "S3Object": {}}}', "InvalidParameterException"),
        ("DetectFaces", b'{"Image": {"S3Object": {"Bucket": "abc", "Name": "x"}}}', "InvalidS3ObjectException"),
        ("DetectFaces", b'{"Image": {"Bytes": "aGVsbG8="}, "Attributes": ["NOSE"]}', "InvalidParameterException"),
        ("CompareFaces", b'{"SimilarityThreshold": 101}', "InvalidParameterException"),
        ("SearchFaces", b'{"CollectionId": "none", "FaceId": "x"}', "InvalidParameterException"),
        ("SearchFaces", f'{{"CollectionId": "none", "FaceId": "{NOBODY_S}"}}'.encode(), "ResourceNotFoundException"),
        ("SearchUsers", b'{"CollectionId": "none"}', "InvalidParameterException"),
        ("DeleteFaces", b'{"CollectionId": "none", "FaceIds": []}', "InvalidParameterException"),
        ("CreateUser", b'{"CollectionId": "none", "UserId": "a"}', "ResourceNotFoundException"),
        ("CreateUser", b'{"CollectionId": "none", "UserId": "face~1"}', "InvalidParameterException"),
        ("DetectLabels", b"{}", "UnknownOperationException"),
    ],
)
def test_what_is_wrong_with_a_call(aws: Aws, operation: str, body: bytes, kind: str) -> None:
    assert kind_of(aws.send(operation, body)) == kind


def test_images(aws: Aws, eileen: dict[str, str], again: dict[str, str], grace: dict[str, str]) -> None:
    (face,) = aws.ask("DetectFaces", Image=eileen, Attributes=["ALL"])["FaceDetails"]
    assert {"BoundingBox", "Landmarks", "Pose", "Confidence", "FaceOccluded"} == set(face)
    box = face["BoundingBox"]
    assert all(box["Left"] < each["X"] < box["Left"] + box["Width"] for each in face["Landmarks"])
    alike = aws.ask("CompareFaces", SourceImage=eileen, TargetImage=again)
    assert alike["UnmatchedFaces"] == []
    assert 80 <= alike["FaceMatches"][0]["Similarity"] <= 100
    assert aws.ask("CompareFaces", SourceImage=eileen, TargetImage=grace)["FaceMatches"] == []
    large = {"Bytes": in_base64(bytes(5_242_881))}
    assert aws.refused("DetectFaces", Image=large) == "ImageTooLargeException"


def test_settings_of_s3() -> None:
    for wrong in ({"s3_endpoint": "minio"}, {"s3_endpoint": "http://minio", "s3_key": "only-one-word"}):
        with pytest.raises(InvalidOption, match="s3_"):
            create_app(Settings(dialects=("rekognition",), **wrong))  # type: ignore[arg-type]


def test_no_name_of_an_object_leads_out_of_its_bucket(recognizer: Recognizer) -> None:
    with Caller(Settings(dialects=("rekognition",), s3_endpoint="http://127.0.0.1:9/s3"), recognizer) as caller:
        for name in ("../other/a.jpg", "a/..", "./a", "a/../../../minio/admin"):
            answer = caller.request(
                "POST",
                "/rekognition",
                json={"Image": {"S3Object": {"Bucket": "staff", "Name": name}}},
                headers={"X-Amz-Target": "RekognitionService.DetectFaces"},
            )
            assert kind_of(answer) == "InvalidS3ObjectException"
            assert "no part of it may be . or .." in answer.json()["Message"]


def test_faces_and_users(aws: Aws, eileen: dict[str, str], again: dict[str, str], grace: dict[str, str]) -> None:
    """What clients of AWS do with faces, and that the native API sees the same people."""
    here, native = {"CollectionId": "Staff"}, "/v1/galleries/Staff"
    aws.ask("CreateCollection", **here)
    indexed = aws.ask("IndexFaces", **here, Image=eileen, ExternalImageId="eileen:1.png")
    first = indexed["FaceRecords"][0]["Face"]
    second = aws.ask("IndexFaces", **here, Image=again)["FaceRecords"][0]["Face"]
    hopper = aws.ask("IndexFaces", **here, Image=grace)["FaceRecords"][0]["Face"]
    page = aws.ask("ListFaces", **here, MaxResults=2)
    assert page["Faces"] == [first, second]
    assert aws.ask("ListFaces", **here, NextToken=page["NextToken"])["Faces"] == [hopper]
    other = aws.refused("ListFaces", CollectionId="Staff", UserId="x", NextToken=page["NextToken"])
    assert other == "InvalidPaginationTokenException"
    matches = aws.ask("SearchFaces", **here, FaceId=first["FaceId"])["FaceMatches"]
    assert [each["Face"] for each in matches] == [second]
    aws.ask("CreateUser", **here, UserId="eileen", ClientRequestToken="t")
    aws.ask("CreateUser", **here, UserId="eileen", ClientRequestToken="t")
    assert aws.refused("CreateUser", **here, UserId="eileen") == "ConflictException"
    changed = aws.refused("CreateUser", **here, UserId="e", ClientRequestToken="t")
    assert changed == "IdempotentParameterMismatchException"
    names = [each["FaceId"] for each in (first, second, hopper)]
    given = aws.ask("AssociateFaces", **here, UserId="eileen", FaceIds=[*names, NOBODY_S])
    assert [each["FaceId"] for each in given["AssociatedFaces"]] == names[:2]
    why = [each["Reasons"] for each in given["UnsuccessfulFaceAssociations"]]
    assert why == [["LOW_MATCH_CONFIDENCE"], ["FACE_NOT_FOUND"]]
    assert aws.ask("ListUsers", **here, ClientRequestToken="t")["Users"]  # a token that it does not know
    assert aws.ask("ListFaces", **here, UserId="eileen")["Faces"] == [
        {**each, "UserId": "eileen"} for each in (first, second)
    ]

    images = {"images": [{"base64": again["Bytes"]}]}
    seen = aws.caller.post(f"{native}/identify", images).json()["results"][0]["faces"][0]
    assert seen["match"]["subject"] == "eileen"
    aws.caller.post(
        f"{native}/enrol", {"subject": "grace", "images": [{"base64": grace["Bytes"]}], "allow_conflict": True}
    )
    users = aws.ask("ListUsers", **here)["Users"]
    assert [each["UserId"] for each in users] == ["eileen", "grace"]
    assert aws.ask("DescribeCollection", **here)["UserCount"] == 2
    found = aws.ask("SearchUsersByImage", **here, Image=grace)["UserMatches"]
    assert [each["User"]["UserId"] for each in found] == ["grace"]

    taken = aws.ask("DisassociateFaces", **here, UserId="eileen", FaceIds=names[:1])
    assert taken["DisassociatedFaces"] == [{"FaceId": names[0]}]
    assert aws.ask("ListFaces", **here, FaceIds=names[:1])["Faces"] == [first]  # by the ID that it had at first
    assert aws.ask("DeleteFaces", **here, FaceIds=names[:2])["DeletedFaces"] == names[:1]
    assert aws.caller.request("DELETE", f"{native}/subjects/eileen").status_code == 200
    assert aws.ask("SearchFacesByImage", **here, Image=again)["FaceMatches"] == []
    assert aws.ask("SearchUsersByImage", **here, Image=again)["UserMatches"] == []
    assert aws.ask("ListFaces", **here, FaceIds=names)["Faces"] == [hopper]


def test_who_is_forgotten_is_in_no_answer_of_before(aws: Aws, eileen: dict[str, str]) -> None:
    """Tokens are for calls that change users: what others answer is never kept."""
    here, token = {"CollectionId": "kept"}, {"ClientRequestToken": "again"}
    aws.ask("CreateCollection", **here)
    (indexed,) = aws.ask("IndexFaces", **here, Image=eileen, **token)["FaceRecords"]
    assert aws.ask("ListFaces", **here, **token)["Faces"] == [indexed["Face"]]
    aws.ask("DeleteFaces", **here, FaceIds=[indexed["Face"]["FaceId"]], **token)
    assert aws.ask("ListFaces", **here, **token)["Faces"] == []


def test_faces_of_users_are_kept_no_longer_than_these(aws: Aws, eileen: dict[str, str]) -> None:
    here, people = {"CollectionId": "ending"}, "/v1/galleries/ending/subjects"
    aws.ask("CreateCollection", **here)
    for user, forget in (("a", "DisassociateFaces"), ("b", "DeleteUser")):
        aws.ask("CreateUser", **here, UserId=user)
        faces = {"FaceIds": [aws.ask("IndexFaces", **here, Image=eileen)["FaceRecords"][0]["Face"]["FaceId"]]}
        aws.ask("AssociateFaces", **here, UserId=user, **faces)
        end = {"expires_at": "2099-01-01T00:00:00Z"}
        assert aws.caller.request("PATCH", f"{people}/{user}", json=end).status_code == 200
        aws.ask(forget, **here, UserId=user, **(faces if forget == "DisassociateFaces" else {}))
    alone = [each for each in aws.caller.get(people).json()["subjects"] if each["id"].startswith("face~")]
    assert [(each["samples"], each["expires_at"][:4]) for each in alone] == [(1, "2099"), (1, "2099")]


def test_what_a_policy_refuses_is_not_indexed(aws: Aws, eileen: dict[str, str]) -> None:
    aws.ask("CreateCollection", CollectionId="strict")
    changed = aws.caller.request("PATCH", "/v1/galleries/strict", json={"policy": {"min_face_px": 500}})
    assert changed.status_code == 200
    indexed = aws.ask("IndexFaces", CollectionId="strict", Image=eileen)
    assert indexed["FaceRecords"] == []
    assert indexed["UnindexedFaces"][0]["Reasons"] == ["SMALL_BOUNDING_BOX"]
    aws.caller.request("PATCH", "/v1/galleries/strict", json={"policy": {"consent_required": True, "min_face_px": 0}})
    assert aws.refused("IndexFaces", CollectionId="strict", Image=eileen) == "InvalidParameterException"
    assert aws.ask("DescribeCollection", CollectionId="strict")["FaceCount"] == 0


def test_more_faces_than_are_wanted(aws: Aws, astronaut_pixels: NDArray[np.uint8]) -> None:
    three = io.BytesIO()
    PIL.Image.fromarray(many_faces(astronaut_pixels, 1, 3)).save(three, "PNG")
    image = {"Bytes": in_base64(three.getvalue())}
    aws.ask("CreateCollection", CollectionId="crowd")
    indexed = aws.ask("IndexFaces", CollectionId="crowd", Image=image, MaxFaces=2)
    assert len(indexed["FaceRecords"]) == 2
    assert len({each["Face"]["ImageId"] for each in indexed["FaceRecords"]}) == 1
    assert [each["Reasons"] for each in indexed["UnindexedFaces"]] == [["EXCEEDS_MAX_FACES"]]


@pytest.mark.thorough
@hypothesis.given(data=st.data())
def test_no_body_is_a_fault_of_the_server_s(aws: Aws, data: st.DataObject) -> None:
    """Bodies made of members of all operations, with values that fit and that do not."""
    operation = data.draw(st.sampled_from(sorted(OPERATIONS)))
    body = data.draw(st.dictionaries(st.sampled_from(sorted(VALUES)), st.none(), max_size=6))
    sent = {name: data.draw(st.one_of(VALUES[name], ANY)) for name in body}
    sent |= {"CollectionId": "Fuzzed"} if data.draw(st.booleans()) else {}
    answer = aws.send(operation, json.dumps(sent).encode())
    assert answer.status_code in (200, 400), answer.text
    assert answer.status_code == 200 or kind_of(answer)


def test_an_import_without_boto3(cli: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    told = cli("gallery", "import", "staff", "rekognition:employees", "--images", ".")
    assert (told.code, told.out) == (2, "")
    assert 'pip install "visavis[rekognition]"' in told.err


def test_a_token_that_comes_twice_at_once_is_one_call_and_an_old_one_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens, done = Tokens(), list[int]()

    def do() -> Answer[Any]:
        done.append(1)
        time.sleep(0.05)  # in which the other would come in
        return Answer({"number": len(done)})

    both = [threading.Thread(target=tokens.once, args=(("key", "CreateUser", "t"), Call(), do)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(done) == 1
    other = Call(ClientRequestToken="t")
    with pytest.raises(Refused):
        tokens.once(("key", "CreateUser", "t"), other, do)
    monkeypatch.setattr(calls, "_TOKENS_S", -1)
    assert tokens.once(("key", "CreateUser", "t"), other, do).value == {"number": 2}
