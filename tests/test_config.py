"""Settings: their defaults, how the environment sets them, and what is refused."""

from dataclasses import fields
from pathlib import Path

import pytest

from visavis import InvalidOption
from visavis.config import Settings
from visavis.options import options_of


def test_no_variable_no_change() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"PATH": "/bin", "VISAVIS_PORT": ""}) == Settings()


def test_each_setting_is_declared_with_its_text() -> None:
    declared = options_of(Settings)
    assert list(declared) == [setting.name for setting in fields(Settings)]
    assert all(option.text.endswith(".") for _, option in declared.values())
    # Secrets, and what is not the server's, are no options of the command.
    assert {name for name, (_, option) in declared.items() if not option.metavar} == {
        *("keys", "gallery_key", "mirror", "proxy", "s3_key")
    }


def test_every_setting_has_its_variable() -> None:
    secret = "a-secret-of-24-characters"  # noqa: S105  # an example
    environment = {
        "HOST": "::1",
        "PORT": "0",
        "PACK": "sface",
        "RUNTIME": "onnxruntime",
        "PRECISION": "f32",
        "THREADS": "2",
        "WORKERS": "3",
        "PROCESSES": "4",
        "QUEUE": "0",
        "MIN_FACE": "40",
        "ALLOW_CHILDREN": "True",
        "FMR": "1e-3",
        "MAX_BYTES": "5",
        "MAX_PIXELS": "6",
        "MAX_BODY_BYTES": "7",
        "MAX_IMAGES": "8",
        "MAX_SEARCHED_PIXELS": "9",
        "READ_TIMEOUT_S": "0.5",
        "GRACE_S": "2.5",
        "KEEP_ALIVE_S": "90",
        "FETCH_ALLOW": "a, 10.0.0.0/8,",
        "FETCH_TIMEOUT_S": "9",
        "AUTH": "on",
        "HOSTS": "faces.example,faces",
        "TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
        "TLS_CERT": "c.pem",
        "TLS_KEY": "k.pem",
        "DIALECT_GALLERY": "people",
        "IMMICH_UPSTREAM": "http://immich-machine-learning:3003",
        "KEYS": f"read:{secret},admin:{secret}:x",
        "KEYS_FILE": "k.sqlite",
        "RATE": "5/minute",
        "SEARCH_RATE": "50/minute",
        "CORS": "*",
        "LOG_FORMAT": "text",
        "DIALECTS": "compreface, deepstack",
        "COMPREFACE_DEMO_KEYS": "on",
        "UI": "off",
        "CACHE_DIR": "models",
        "MODELS_DIR": "pulled",
        "MIRROR": "https://mirror.example/",
        "S3_ENDPOINT": "http://minio:9000",
        "S3_KEY": "id:secret",
        "PROXY": "http://proxy.example:3128",
        "STORE": "postgresql://visavis:the-password@db/visavis",
        "GALLERY_KEY": "ab" * 32,
        "GALLERY_KEY_FILE": "",
    }
    assert {name.lower() for name in environment} == {setting.name for setting in fields(Settings)}
    del environment["GALLERY_KEY_FILE"]  # which goes without the other
    settings = Settings.from_env({f"VISAVIS_{name}": value for name, value in environment.items()})
    assert settings == Settings(
        host="::1",
        port=0,
        runtime="onnxruntime",
        precision="f32",
        threads=2,
        workers=3,
        processes=4,
        queue=0,
        min_face=40.0,
        allow_children=True,
        fmr=0.001,
        max_bytes=5,
        max_pixels=6,
        max_body_bytes=7,
        max_images=8,
        max_searched_pixels=9,
        read_timeout_s=0.5,
        grace_s=2.5,
        keep_alive_s=90.0,
        fetch_allow=("a", "10.0.0.0/8"),
        fetch_timeout_s=9.0,
        auth="on",
        hosts=("faces.example", "faces"),
        trusted_proxies=("127.0.0.1", "10.0.0.0/8"),
        tls_cert=Path("c.pem"),
        tls_key=Path("k.pem"),
        dialect_gallery="people",
        immich_upstream="http://immich-machine-learning:3003",
        keys=(("read", secret), ("admin", f"{secret}:x")),
        keys_file=Path("k.sqlite"),
        rate="5/minute",
        search_rate="50/minute",
        cors=("*",),
        log_format="text",
        dialects=("compreface", "deepstack"),
        compreface_demo_keys=True,
        ui=False,
        cache_dir=Path("models"),
        models_dir=Path("pulled"),
        mirror="https://mirror.example/",
        s3_endpoint="http://minio:9000",
        s3_key="id:secret",
        proxy="http://proxy.example:3128",
        store="postgresql://visavis:the-password@db/visavis",
        gallery_key="ab" * 32,
    )
    assert not [hidden for hidden in (secret, "the-password", "abab") if hidden in repr(settings)]
    assert Settings.from_env({"VISAVIS_GALLERY_KEY_FILE": "key"}).gallery_key_file == Path("key")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PORT", "x"), ("PORT", "-1"), ("PORT", "65536"), ("QUEUE", "-1"), ("QUEUE", "1.5"), ("THREADS", "0")),
        *(("WORKERS", "0"), ("PROCESSES", "0"), ("MAX_BODY_BYTES", "0"), ("MAX_IMAGES", "0"), ("READ_TIMEOUT_S", "0")),
        ("KEEP_ALIVE_S", "0"),
        *(("READ_TIMEOUT_S", "nan"), ("FETCH_TIMEOUT_S", "inf"), ("AUTH", "maybe"), ("LOG_FORMAT", "xml")),
        *(("RUNTIME", "torch"), ("PRECISION", "f64"), ("MIN_FACE", "small"), ("NONSENSE", "1"), ("MAX_PIXEL", "1")),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidOption, match=f"^VISAVIS_{name}: "):
        Settings.from_env({f"VISAVIS_{name}": value})


@pytest.mark.parametrize("text", ["the-secret", "root:the-secret", "read:", ":the-secret"])
def test_a_refused_key_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"^VISAVIS_KEYS: expected SCOPE:SECRET") as caught:
        Settings.from_env({"VISAVIS_KEYS": text})
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *(("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("example.com", False)),  # noqa: S104  # not bound
        ("localhost.evil", False),
    ],
)
def test_keys_are_required_where_others_can_connect(host: str, *, loopback: bool) -> None:
    assert Settings(host=host).keys_required is not loopback
    assert Settings(host=host, auth="on").keys_required
    assert not Settings(host=host, auth="off").keys_required
    assert Settings(host=host, trusted_proxies=("127.0.0.1",)).keys_required


def test_the_key_of_galleries_is_given_once_and_not_repeated() -> None:
    with pytest.raises(InvalidOption, match=r"^VISAVIS_GALLERY_KEY: .*use one of them") as caught:
        Settings.from_env({"VISAVIS_GALLERY_KEY": "the-secret", "VISAVIS_GALLERY_KEY_FILE": "key"})
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["VISAVIS_TLS_CERT", "VISAVIS_TLS_KEY"])
def test_half_of_a_certificate_and_its_key_is_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match="tls_cert and tls_key belong together"):
        Settings.from_env({name: "file.pem"})


def test_a_server_listens_somewhere() -> None:
    with pytest.raises(InvalidOption, match="host"):
        Settings(host="")


@pytest.mark.parametrize("name", ["VISAVIS_GALLERY_KEY", "VISAVIS_GALLERY_KEY_FILE"])
def test_an_empty_key_is_no_missing_key(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{name}: .*set, and empty"):
        Settings.from_env({name: ""})
