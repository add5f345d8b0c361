"""The store behind a server: its settings, its faults, and those forgotten whose time is over."""

import asyncio
import base64
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from serving import PATIENCE_S, Caller, from_ndjson, ndjson, problem, sqlite_url, vector

from visavis import Recognizer
from visavis.config import Settings
from visavis.errors import (
    DriverMissing,
    GalleryLocked,
    InvalidOption,
    SetupError,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreOutdated,
    StoreReadOnly,
    StoreUnavailable,
)
from visavis.galleries.store import Store
from visavis.server import galleries
from visavis.server.app import create_app
from visavis.server.galleries import StoreCheck, check_store, gallery_store, keep_expiring
from visavis.service.galleries import Galleries

KEY = bytes(range(32))
ADMIN = "a-secret-of-24-characters"
NDJSON = {"Content-Type": "application/x-ndjson"}


def settings(path: Path, **more: Any) -> Settings:  # noqa: ANN401  # as Settings takes them
    return Settings(store=sqlite_url(path), **more)


class FaultyStore:
    """Fails in one way, whatever is asked of it."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        def fail(*_arguments: object, **_options: object) -> object:
            self.calls += 1
            raise self.error

        return fail

    def as_store(self) -> Store:
        return cast("Store", self)


class TestKeys:
    @pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper(), base64.b64encode(KEY).decode()])
    def test_a_key_makes_galleries_encrypted(self, recognizer: Recognizer, tmp_path: Path, text: str) -> None:
        path = tmp_path / "galleries.db"
        with Caller(settings(path, gallery_key=text), recognizer) as server:
            assert server.post("/v1/galleries", {"name": "team"}).json()["encrypted"] is True
            body = {"subject": "ada", "embeddings": [vector(1)], "name": "Ada Lovelace"}
            assert server.post("/v1/galleries/team/enrol", body).status_code == 201
        key_file = tmp_path / "key"
        key_file.write_text(f"{KEY.hex()}\n")
        with Caller(settings(path, gallery_key_file=key_file), recognizer) as server:
            assert server.get("/v1/galleries/team/subjects/ada").json()["name"] == "Ada Lovelace"
        with Caller(settings(path), recognizer) as server:
            answer = server.get("/v1/galleries/team/subjects/ada")
            assert (answer.status_code, problem(answer)["code"]) == (500, "gallery_locked")
            assert "VISAVIS" not in answer.text

    @pytest.mark.parametrize("text", ["", "the-secret", "ab" * 31, "ab" * 33, "zz" * 32, "é" * 32])
    def test_what_is_no_key_is_refused_and_not_repeated(self, tmp_path: Path, text: str) -> None:
        key_file = tmp_path / "key"
        key_file.write_text(text)
        for name, wrong in (
            ("GALLERY_KEY", {"gallery_key": text}),
            ("GALLERY_KEY_FILE", {"gallery_key_file": key_file}),
        ):
            with pytest.raises(InvalidOption, match=f"^VISAVIS_{name}: ") as caught:
                gallery_store(settings(tmp_path / "galleries.db", **wrong))
            assert not text or text not in str(caught.value)

    @pytest.mark.parametrize("name", ["missing", ".", "key/key"])
    def test_a_key_file_that_cannot_be_read(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "key").write_text(KEY.hex())
        with pytest.raises(InvalidOption, match=r"^VISAVIS_GALLERY_KEY_FILE: .* cannot be read: "):
            gallery_store(settings(tmp_path / "galleries.db", gallery_key_file=tmp_path / name))

    def test_a_key_file_without_end_is_not_read_to_its_end(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidOption, match=r"^VISAVIS_GALLERY_KEY_FILE: "):
            gallery_store(settings(tmp_path / "galleries.db", gallery_key_file=Path("/dev/zero")))


class TestStart:
    def test_a_file_that_is_not_there_is_not_made(self, recognizer: Recognizer, tmp_path: Path) -> None:
        path = tmp_path / "galleries.db"
        check_store(settings(path))
        with Caller(settings(path), recognizer) as server:
            assert server.get("/v1/galleries").status_code == 200
            assert server.get("/v1/galleries/team/subjects").status_code == 404
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "url", ["", "galleries.db", "sqlite://", "mysql://user:the-password@host/db", "sqlite:///"]
    )
    def test_another_kind_of_store(self, url: str) -> None:
        with pytest.raises(InvalidOption, match=r"^VISAVIS_STORE: ") as caught:
            check_store(Settings(store=url))
        assert "the-password" not in str(caught.value)

    def test_a_server_that_does_not_answer(self) -> None:
        with pytest.raises(SetupError) as caught:
            check_store(Settings(store="postgresql://visavis:the-password@127.0.0.1:1/visavis"))
        assert type(caught.value) in (StoreUnavailable, DriverMissing)
        assert "the-password" not in str(caught.value)

    @pytest.mark.parametrize(
        ("spoil", "error"),
        [
            (lambda path: path.write_bytes(b"these are not the faces that you are looking for" * 100), StoreForeign),
            (lambda path: path.write_bytes(path.read_bytes()[:5000] + b"\xff" * 4000), StoreDamaged),
            (lambda path: _set(path, "user_version", 1000), StoreOutdated),
            (lambda path: _set(path, "application_id", 7), StoreForeign),
        ],
    )
    def test_a_store_that_cannot_be_used_stops_the_server(
        self,
        recognizer: Recognizer,
        tmp_path: Path,
        spoil: Any,  # noqa: ANN401  # one of several
        error: type[SetupError],
    ) -> None:
        path = tmp_path / "galleries.db"
        with Caller(settings(path), recognizer) as server:
            server.post("/v1/galleries", {"name": "team"})
        spoil(path)
        with pytest.raises(error):
            check_store(settings(path))
        with pytest.raises(error):
            asyncio.run(_start(settings(path), recognizer))

    def test_the_command_says_so_before_it_listens(
        self, tmp_path: Path, cache_dir: Path, recognizer: Recognizer
    ) -> None:
        assert recognizer is not None  # the cache holds the models
        path = tmp_path / "galleries.db"
        path.write_text("something else" * 1000)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
        for processes in ("1", "2"):
            process = subprocess.run(
                [sys.executable, "-m", "visavis", "serve", "--port", "0", "--processes", processes],
                env={**clean, "VISAVIS_CACHE_DIR": str(cache_dir), "VISAVIS_STORE": sqlite_url(path)},
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            assert (process.returncode, process.stdout) == (2, "")
            assert str(path) in process.stderr
            assert "Traceback" not in process.stderr


async def _start(settings: Settings, recognizer: Recognizer) -> None:
    app = create_app(settings, recognizer)
    async with app.router.lifespan_context(app):
        raise AssertionError("it started")


def _set(path: Path, pragma: str, value: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA {pragma} = {value}")
    connection.close()


class TestFaults:
    @pytest.mark.parametrize(
        ("error", "status", "retry"),
        [
            (StoreUnavailable("db.internal:5432 does not answer"), 503, "5"),
            (StoreFull("no room left in /srv/faces"), 507, None),
            (StoreDamaged("/srv/faces is damaged"), 500, None),
            (StoreReadOnly("/srv/faces cannot be written"), 500, None),
            (GalleryLocked("set VISAVIS_GALLERY_KEY"), 500, None),
        ],
    )
    def test_each_has_its_status_and_tells_nothing_of_the_inside(
        self,
        recognizer: Recognizer,
        caplog: pytest.LogCaptureFixture,
        error: SetupError,
        status: int,
        retry: str | None,
    ) -> None:
        with Caller(Settings(), recognizer) as server:
            server.app.state.galleries = Galleries(FaultyStore(error).as_store(), recognizer)
            body = {"subject": "ada", "embeddings": [vector(1)]}
            for answer in (
                server.get("/v1/galleries"),
                server.get("/v1/galleries/team/subjects/ada"),
                server.post("/v1/galleries/team/enrol", body),
                server.request("POST", "/v1/galleries/team/import", content=ndjson(body), headers=NDJSON),
                server.get("/v1/galleries/team/export"),
                server.request("DELETE", "/v1/galleries/team"),
            ):
                members = problem(answer)
                assert (answer.status_code, members["code"]) == (status, error.code)
                assert answer.headers.get("retry-after") == retry
                assert not [word for word in ("internal", "srv", "VISAVIS") if word in members["detail"]]
        assert str(error) in caplog.text

    def test_a_store_that_goes_in_the_middle_of_an_import(
        self, recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Caller(settings(tmp_path / "galleries.db"), recognizer) as server:
            server.post("/v1/galleries", {"name": "team", "policy": {"allow_children": True}})
            store = server.app.state.galleries.store
            enrol, calls = store.enrol, []

            def fail_at_the_second(*arguments: object) -> object:
                calls.append(arguments)
                if len(calls) == 2:
                    raise StoreUnavailable("db.internal does not answer")
                return enrol(*arguments)

            monkeypatch.setattr(store, "enrol", fail_at_the_second)
            lines = [{"subject": f"s{seed}", "embedding": vector(seed)} for seed in range(700)]
            answer = server.request("POST", "/v1/galleries/team/import", content=ndjson(*lines), headers=NDJSON)
            told = from_ndjson(answer.content)
            assert [line["line"] for line in told[:-1]] == list(range(1, 501))
            assert told[-1]["error"]["code"] == "store_unavailable"
            assert {**told[-1], "error": None} == {
                "done": False,
                "enrolled": 500,
                "repeated": 0,
                "failed": 0,
                "error": None,
            }
            assert "internal" not in answer.text
            assert server.get("/v1/galleries/team").json()["samples"] == 500
        assert "db.internal does not answer" in caplog.text


class TestReadiness:
    def test_a_store_that_breaks_and_is_mended(
        self,
        recognizer: Recognizer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(galleries, "_ASKED_EVERY_S", 0.0)
        caplog.set_level(logging.INFO, "visavis.server")
        path, broken = tmp_path / "galleries.db", tmp_path / "broken.db"
        broken.write_bytes(b"these are not the faces that you are looking for" * 1000)
        admin, reader = f"a{ADMIN}", f"r{ADMIN}"
        keys = {"admin": {"X-API-Key": admin}, "read": {"X-API-Key": reader}, "none": {}, "wrong": {"X-API-Key": "x"}}
        with Caller(replace(settings(path), keys=(("admin", admin), ("read", reader))), recognizer) as server:
            assert server.post("/v1/galleries", {"name": "team"}, keys["admin"]).status_code == 201
            assert server.get("/readyz").status_code == 200
            path.rename(tmp_path / "mended.db")
            broken.rename(path)
            for who, headers in [*keys.items()] * 2:
                answer = server.get("/readyz", headers)
                assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
                assert ("is no SQLite file" in answer.json().get("reason", "")) == (who == "admin"), who
                assert str(path) not in answer.text or who == "admin"
            assert server.request("HEAD", "/readyz").status_code == 503
            assert server.get("/healthz").status_code == 200
            (tmp_path / "mended.db").rename(path)
            assert server.get("/readyz").json() == {"status": "ready"}
        told = [record.getMessage() for record in caplog.records if "ready:" in record.getMessage()]
        assert ["is no SQLite file" in message for message in told] == [True, False]  # once each

    def test_a_store_is_not_asked_as_often_as_the_server_is(self) -> None:
        asked: list[None] = []

        async def run() -> set[str | None]:
            check = StoreCheck(lambda: asked.append(None))
            return set(await asyncio.gather(*(check.wrong() for _ in range(100))))

        assert asyncio.run(run()) == {None}
        assert len(asked) == 1

    def test_a_store_that_hangs_hangs_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("_ASKED_EVERY_S", "_ANSWER_WITHIN_S", "_HANGS_AFTER_S"):
            monkeypatch.setattr(galleries, name, 0.001)
        let, asked = threading.Event(), list[None]()

        def ask() -> None:
            asked.append(None)
            assert let.wait(PATIENCE_S)

        async def run() -> None:
            check = StoreCheck(ask)
            while await check.wrong() is None or not asked:  # at first there is hope
                pass
            assert [await check.wrong() for _ in range(20)] == ["the store does not answer"] * 20
            assert len(asked) == 1  # and so one thread
            monkeypatch.setattr(galleries, "_ANSWER_WITHIN_S", PATIENCE_S)
            let.set()
            assert await check.wrong() is None

        asyncio.run(run())


class TestExpiry:
    def test_it_goes_on_whatever_happens(self, caplog: pytest.LogCaptureFixture) -> None:
        outcomes: list[int | Exception] = [
            0,
            StoreUnavailable("not there"),
            StoreUnavailable("still not there"),
            ValueError("something else"),
            3,
            StoreUnavailable("away again"),
            2,
        ]
        counted: list[int] = []

        loop: asyncio.AbstractEventLoop
        all_tried: asyncio.Event

        class Scripted:
            def expire(self) -> int:
                outcome = outcomes.pop(0)
                if not outcomes:
                    loop.call_soon_threadsafe(all_tried.set)
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

        async def run() -> None:
            nonlocal loop, all_tried
            loop, all_tried = asyncio.get_running_loop(), asyncio.Event()
            scripted = cast("Galleries", Scripted())
            task = asyncio.create_task(keep_expiring(scripted, counted.append, every_s=0.001))
            await all_tried.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        with caplog.at_level(logging.INFO, "visavis.server"):
            asyncio.run(run())
        assert counted[:2] == [0, 3]
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert said[0] == "cannot forget those whose time is over: not there"
        assert len(said) == 3
        assert said[2].endswith("away again")
        told = [getattr(record, "facts", {}) for record in caplog.records if record.levelno == logging.INFO]
        assert {"subjects": 3} in told

    def test_a_server_begins_with_it(
        self, recognizer: Recognizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "galleries.db"
        with Caller(settings(path), recognizer) as server:
            server.post("/v1/galleries", {"name": "team"})
            body = {"subject": "ada", "embeddings": [vector(1)], "expires_at": "2020-01-01T00:00:00Z"}
            assert server.post("/v1/galleries/team/enrol", body).status_code == 201
        with caplog.at_level(logging.INFO, "visavis.server"), Caller(settings(path), recognizer) as server:
            while "visavis_expired_subjects_total 1.0" not in server.get("/metrics").text:
                pass
            entries = server.get("/v1/galleries/team/log").json()["entries"]
        assert [(entry["action"], entry["actor"]) for entry in entries][-1] == ("expire", "server")
        assert "ada" not in caplog.text
