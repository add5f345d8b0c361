"""The command ``visavis keys``: the secret goes to standard output, once; everything else to standard error."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from visavis.cli.main import main
from visavis.server.keys import KeyStore

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: Path) -> Run:
    """Run ``visavis keys`` in this process, on a file of this test's."""
    monkeypatch.setenv("VISAVIS_KEYS_FILE", str(path))

    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["keys", *arguments])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run


def find(path: Path, secret: str) -> str | None:
    store = KeyStore(path)
    record = store.find(secret)
    store.close()
    return record.scope if record else None


def test_create_prints_the_secret_and_nothing_else_on_standard_output(cli: Run, path: Path) -> None:
    code, out, err = cli("create", "--name", "door 3", "--scope", "enrol")
    secret = out.removesuffix("\n")
    assert code == 0
    assert find(path, secret) == "enrol"
    assert secret.split("_")[1] in err
    assert secret.split("_")[2] not in err
    assert "cannot be shown again" in err
    assert secret.split("_")[2] not in cli("list", "--json")[1]


def test_create_in_silence(cli: Run) -> None:
    assert cli("create", "--name", "a", "--scope", "read", "-q")[2] == ""


def test_create_as_json(cli: Run, path: Path) -> None:
    made = json.loads(cli("create", "--name", "Tür", "--scope", "admin", "--json")[1])
    assert find(path, made.pop("key")) == "admin"
    assert made | {"id": "", "created_at": ""} == {
        "id": "",
        "name": "Tür",
        "scope": "admin",
        "galleries": [],
        "created_at": "",
        "revoked_at": None,
        "expires_at": None,
        "used_at": None,
    }


def test_list_and_revoke(cli: Run, path: Path) -> None:
    secrets = [cli("create", "--name", name, "--scope", "read", "-q")[1].strip() for name in ("a", "b")]
    ids = [secret.split("_")[1] for secret in secrets]
    lines = cli("list")[1].splitlines()
    assert [line.split()[0] for line in lines] == ids
    assert all(" read " in line and " valid " in line for line in lines)

    code, out, _ = cli("revoke", ids[0])
    assert code == 0
    assert f"{ids[0]}  read" in out
    assert "revoked" in out
    assert (find(path, secrets[0]), find(path, secrets[1])) == (None, "read")
    listed = json.loads(cli("list", "--json")[1])
    assert [(key["id"], key["name"], key["revoked_at"] is None) for key in listed] == [
        (ids[0], "a", False),
        (ids[1], "b", True),
    ]
    assert json.loads(cli("revoke", ids[0], "--json")[1]) == listed[0]


def test_list_tells_expiry_and_last_use(cli: Run, path: Path) -> None:
    secret = cli("create", "--name", "a", "--scope", "metrics", "--expires-days", "30")[1].strip()
    assert find(path, secret) == "metrics"
    (told,) = json.loads(cli("list", "--json")[1])
    expires, used = (datetime.fromisoformat(told[name]) for name in ("expires_at", "used_at"))
    assert timedelta(days=29) < expires - used < timedelta(days=31)
    assert f"valid to {expires:%Y-%m-%d}  used {used:%Y-%m-%d}" in cli("list")[1]
    store = KeyStore(path)
    store.create("old", "read", expires_at=used - timedelta(days=1))
    store.close()
    assert f"expired {used - timedelta(days=1):%Y-%m-%d}" in cli("list")[1].splitlines()[1]
    for days in ("0", "36501", "1e9", "nan"):
        assert cli("create", "--name", "a", "--scope", "read", "--expires-days", days)[0] == 2


def test_a_key_for_some_galleries(cli: Run, path: Path) -> None:
    code, out, err = cli("create", "--name", "desk", "--scope", "enrol", "--gallery", "team", "--gallery", "staff")
    assert (code, find(path, out.strip())) == (0, "enrol")
    assert "scope enrol, only for team, staff." in err
    assert cli("list")[1].rstrip().endswith("desk  (only team, staff)")
    assert json.loads(cli("list", "--json")[1])[0]["galleries"] == ["team", "staff"]
    code, _, err = cli("create", "--name", "desk", "--scope", "enrol", "--gallery", "-team")
    assert (code, "a gallery's name is" in err) == (2, True)


def test_an_empty_list(cli: Run, path: Path) -> None:
    assert cli("list") == (0, "", f"visavis: there are no keys in {path}\n")
    assert cli("list", "--json")[1] == "[]\n"
    assert not path.exists()


def test_another_file(cli: Run, tmp_path: Path, path: Path) -> None:
    other = tmp_path / "other" / "keys"
    secret = cli("create", "--name", "a", "--scope", "read", "--keys-file", str(other))[1].strip()
    assert (find(other, secret), path.exists()) == ("read", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["revoke", "nonsense"], "there is no key 'nonsense'"),
        (["revoke"], "Missing argument 'ID'"),
        (["create", "--name", "a"], "Missing option '--scope'"),
        (["create", "--scope", "read"], "Missing option '--name'"),
        (["create", "--name", "a", "--scope", "root"], "'root' is not one of 'metrics', 'read', 'probe', 'enrol'"),
        (["create", "--name", " ", "--scope", "read"], "visavis: the name of a key must be"),
        (
            ["create", "--name", "a", "--scope", "read", "--keys-file", "/dev/null/keys"],
            "visavis: the keys in /dev/null/",
        ),
    ],
)
def test_what_cannot_be_done_says_why(cli: Run, arguments: list[str], message: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert message in err
