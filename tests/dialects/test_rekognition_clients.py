"""Clients of AWS Rekognition, unmodified, in processes of their own: boto3, awscli, @aws-sdk/client-rekognition."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from clients import client_command, client_python, node_modules, run_client
from command_line import Shell
from serving import Caller, listening, sqlite_url

from visavis import Recognizer
from visavis.config import Settings
from visavis.server.dialects.rekognition.calls import OPERATIONS
from visavis.server.keys import KeyStore

pytestmark = pytest.mark.thorough
SCRIPTS = Path(__file__).parent / "clients"


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass(frozen=True)
class Account:
    """A server, a key for it in the variables that clients read, and images: two of one person, another, nobody."""

    variables: Mapping[str, str]
    images: tuple[str, ...]

    def run(self, *command: str) -> str:
        return run_client(*command, **self.variables)


@pytest.fixture(scope="module")
def images(
    astronaut: Path, astronaut_again: bytes, hopper: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("images")
    (folder / "again.jpg").write_bytes(astronaut_again)
    PIL.Image.fromarray(np.full((300, 300, 3), 120, np.uint8)).save(folder / "nobody.png")
    return str(astronaut), str(folder / "again.jpg"), str(hopper), str(folder / "nobody.png")


@pytest.fixture
def account(recognizer: Recognizer, images: tuple[str, ...], tmp_path: Path) -> Iterator[Account]:
    keys = KeyStore(tmp_path / "keys.sqlite")
    record, _ = keys.create("clients", "admin")
    secret = keys.signing_secret(record.id)
    keys.close()
    store = sqlite_url(tmp_path / "galleries.db")
    settings = Settings(port=0, dialects=("rekognition",), auth="on", keys_file=keys.path, store=store)
    with listening(settings, recognizer) as server:
        variables = {
            "AWS_ENDPOINT_URL_REKOGNITION": f"http://127.0.0.1:{server.port}/rekognition",
            "AWS_ACCESS_KEY_ID": record.id,
            "AWS_SECRET_ACCESS_KEY": secret,
            **dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "eu-west-1"),
            **dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), str(tmp_path / "none")),
        }
        yield Account(variables, images)


def test_boto3(account: Account) -> None:
    called = account.run(client_python(), str(SCRIPTS / "rekognition.py"), *account.images)
    assert set(json.loads(called)) == OPERATIONS.keys()


def test_the_javascript_client(account: Account, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules())
    script = shutil.copy(SCRIPTS / "rekognition.mjs", tmp_path)
    called = account.run("node", str(script), *account.images[:2])
    assert set(json.loads(called)) == OPERATIONS.keys()


def test_awscli(account: Account) -> None:
    aws, called = client_command("aws"), set()
    portrait, again, *_ = (f"fileb://{path}" for path in account.images)

    def ask(operation: str, *options: str) -> dict[str, object]:
        called.add("".join(map(str.title, operation.split("-"))))
        found: dict[str, object] = json.loads(account.run(aws, "rekognition", operation, *options) or "{}")
        return found

    here, user = ("--collection-id", "From_CLI"), ("--user-id", "eileen")
    ask("create-collection", *here)
    assert ask("list-collections")["CollectionIds"] == ["From_CLI"]
    assert len(str(ask("detect-faces", "--image-bytes", portrait, "--attributes", "ALL"))) > 100
    compared = ask("compare-faces", "--source-image-bytes", portrait, "--target-image-bytes", again)
    assert compared["UnmatchedFaces"] == []
    indexed = json.dumps(ask("index-faces", *here, "--image-bytes", portrait, "--external-image-id", "eileen"))
    face = json.loads(indexed)["FaceRecords"][0]["Face"]["FaceId"]
    assert face in str(ask("list-faces", *here))
    assert face in str(ask("search-faces-by-image", *here, "--image-bytes", again))
    assert ask("search-faces", *here, "--face-id", face)["FaceMatches"] == []
    ask("create-user", *here, *user)
    ask("associate-faces", *here, *user, "--face-ids", face)
    assert ask("list-users", *here)["Users"] == [{"UserId": "eileen", "UserStatus": "ACTIVE"}]
    assert "eileen" in str(ask("search-users-by-image", *here, "--image-bytes", again))
    assert "eileen" in str(ask("search-users", *here, "--face-id", face))
    ask("disassociate-faces", *here, *user, "--face-ids", face)
    assert ask("delete-faces", *here, "--face-ids", face)["DeletedFaces"] == [face]
    ask("delete-user", *here, *user)
    assert ask("describe-collection", *here)["FaceCount"] == 0
    ask("delete-collection", *here)
    assert called == OPERATIONS.keys()
    with pytest.raises(AssertionError, match="ResourceNotFoundException"):
        ask("describe-collection", *here)


FILL = """
import sys, boto3
client, (eileen, grace) = boto3.client("rekognition"), (open(path, "rb").read() for path in sys.argv[1:])
client.create_collection(CollectionId="Source")
faces = [
    client.index_faces(CollectionId="Source", Image={"Bytes": image}, ExternalImageId=name)["FaceRecords"][0]["Face"]
    for image, name in ((eileen, "a.png"), (grace, "grace.jpg"), (grace, "nowhere"))
]
client.create_user(CollectionId="Source", UserId="eileen")
client.associate_faces(CollectionId="Source", UserId="eileen", FaceIds=[faces[0]["FaceId"]])
"""


def test_a_collection_is_imported_with_own_images(
    account: Account, cli: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By boto3, from a server that speaks as AWS does."""
    portrait, _, other, _ = account.images
    account.run(client_python(), "-c", FILL, portrait, other)
    (packages,) = Path(client_python()).parents[1].glob("lib/python3*/site-packages")
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    for name, value in account.variables.items():
        monkeypatch.setenv(name, value)
    told = cli("gallery", "import", "staff", "rekognition:Source")
    assert told.code == 2
    assert "has 3 faces, and AWS tells nobody their vectors" in told.err
    (tmp_path / "own").mkdir()
    shutil.copy(portrait, tmp_path / "own" / "a.png")
    shutil.copy(other, tmp_path / "own" / "grace.jpg")
    command = ("gallery", "import", "staff", "rekognition:Source", "--images", "own", "--json")
    told = cli(*command)
    assert "(nowhere): no image is called so" in told.err
    assert json.loads(told.out) == {
        "enrolled": 2,
        "subjects": 2,
        "already_there": 0,
        "refused": {"image_not_found": 1},
    }
    assert json.loads(cli(*command).out)["already_there"] == 2
    known = (
        cli("gallery", "show", "staff", "--json").out + cli("identify", portrait, "--gallery", "staff", "--json").out
    )
    assert "eileen" in known
    told = cli("gallery", "import", "staff", "rekognition:Nothing", "--images", "own")
    assert (told.code, "ResourceNotFoundException" in told.err) == (2, True)


@pytest.fixture
def s3(images: tuple[str, ...], tmp_path: Path) -> Iterator[str]:
    """A real S3 server that has a photo in the bucket photos, for whom it knows."""
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    who = {"name": "visavis", "credentials": [{"accessKey": "reader", "secretKey": "secret"}], "actions": ["Admin"]}
    (tmp_path / "s3.json").write_text(json.dumps({"identities": [who]}))
    command = [client_command("weed"), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={tmp_path}"]
    ports = free_ports(len(names))
    command += [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    command += [f"-s3.config={tmp_path / 's3.json'}", "-master.volumeSizeLimitMB=16"]
    url = f"http://127.0.0.1:{ports[names.index('s3.port')]}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            run_client(client_python(), "-c", STORE, url, images[0])
            yield url
        finally:
            process.terminate()


STORE = """
import sys, time, boto3
from botocore.config import Config
config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
key = {"aws_access_key_id": "reader", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
s3 = boto3.client("s3", endpoint_url=sys.argv[1], config=config, **key)
for left in range(60)[::-1]:
    try:
        s3.create_bucket(Bucket="photos")
        break
    except Exception:
        if not left:
            raise
        time.sleep(1)
s3.put_object(Bucket="photos", Key="a b/\u00e9+~.png", Body=open(sys.argv[2], "rb").read())
"""


def test_objects_of_s3(s3: str, recognizer: Recognizer) -> None:
    def faces(name: str, **settings: Any) -> dict[str, Any]:  # noqa: ANN401  # of several types
        call = {"Image": {"S3Object": {"Bucket": "photos", "Name": name}}}
        base = Settings(dialects=("rekognition",), s3_endpoint=s3, s3_key="reader:secret", fetch_allow=("127.0.0.1",))
        with Caller(replace(base, **settings), recognizer) as caller:
            headers = {"X-Amz-Target": "RekognitionService.DetectFaces"}
            found: dict[str, Any] = caller.post("/rekognition", call, headers).json()
        return found

    assert len(faces("a b/é+~.png")["FaceDetails"]) == 1
    for name, settings in (
        ("nowhere.png", {}),
        ("a b/é+~.png", {"s3_key": "reader:wrong"}),
        ("a b/é+~.png", {"fetch_allow": ()}),
    ):
        assert faces(name, **settings)["__type"] == "InvalidS3ObjectException"
