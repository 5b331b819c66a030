"""A real PostgreSQL cluster of its own in a temporary folder: loopback, free port, an unprivileged user, no trace left.

Its text sorts by a language's rules (ICU) where the server can, as a utility's may: what relies on bytes must say so.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

PASSWORD = "'%ge heim\\@:/ü"  # what a URL, a connection string or a shell would take for something else
PATIENCE = 60.0  # seconds; only a broken server needs them
# No disk of ours dies in a test: what a killed server has written is in the kernel's memory, fsync or not.
SETTINGS = {"fsync": "off", "max_connections": "50", "logging_collector": "off", "log_min_messages": "warning"}

_AS_A_DAEMON: dict[str, Any] = {
    "env": {key: value for key, value in os.environ.items() if not key.startswith("PG")},
    "start_new_session": True,  # Ctrl-C is for us: we stop it
}


def programs() -> Path:
    """The folder of the server's programs. Skips the test that needs it, with the reason, where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    here = str(found[-1]) if found else shutil.which("initdb")
    if here is None:
        pytest.skip("PostgreSQL is not installed here (apt-get install postgresql)")
    return Path(here).resolve().parent


def _unprivileged() -> dict[str, Any]:
    """Whom the server runs as: it refuses root."""
    if os.getuid():
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


def _runs(pid: str) -> bool:
    """Whether a process is there and is more than its exit status, which waits for a parent that does not ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Cluster:
    """A running server. As a context it is stopped and its folder removed. The superuser is `meterline`."""

    def __init__(self, **settings: str) -> None:
        self._programs = programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="meterline-pg-", dir="/tmp"))  # a socket's path has 107 bytes
        if self._user:
            os.chown(self.folder, self._user["user"], self._user["group"])
        self.data = self.folder / "data"
        try:
            self._make()
            self._settings = SETTINGS | settings
            self.start_on_a_free_port()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        (self.folder / "password").write_text(PASSWORD + "\n")
        common = ["-D", self.data, "-U", "meterline", "-E", "UTF8", "--no-sync", "--auth-local=trust"]
        common += ["--auth-host=scram-sha-256", f"--pwfile={self.folder / 'password'}", "--locale=C.UTF-8"]
        language = ["--locale-provider=icu", "--icu-locale=en-US"]  # from version 15 on
        if self._run("initdb", *common, *language, check=False).returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            self._run("initdb", *common)

    def _run(self, program: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self._programs / program, *map(str, arguments)],
            check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", **self._user,
            **_AS_A_DAEMON,
        )  # fmt: skip
        if check and done.returncode:
            pytest.fail(f"{program} ended with {done.returncode}: {done.stdout}")
        return done

    # ------------------------------------------------------------------------- the server

    def start_on_a_free_port(self) -> None:
        """Start where nobody listens; another test may take the port between the look and the start."""
        for _ in range(5):
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                self.port: int = listener.getsockname()[1]
            if self._started():
                return
        pytest.fail(f"PostgreSQL does not start: {self.log()}")

    def start(self) -> None:
        """Start where it was before, and wait until it answers."""
        assert not self.runs()
        if not self._started():
            pytest.fail(f"PostgreSQL does not start: {self.log()}")

    def _started(self) -> bool:
        options = {**self._settings, "port": self.port, "unix_socket_directories": self.folder}
        options["listen_addresses"] = "127.0.0.1"
        chosen = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        command = [self._programs / "postgres", "-D", self.data, *chosen]
        with (self.folder / "log").open("ab") as log:
            # Our own child, not pg_ctl's: what is killed is gone only when its parent has asked how it ended.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user, **_AS_A_DAEMON)
        end = time.monotonic() + PATIENCE
        while self.runs():
            with contextlib.suppress(psycopg.OperationalError):
                self.execute("SELECT 1")
                return True
            if time.monotonic() > end:
                self.stop()
            time.sleep(0.02)
        return False

    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self, how: str = "immediate") -> None:
        """`fast` ends sessions and writes everything down, `immediate` ends as a crash does, `kill` asks nobody.

        Returns when no process of it is left.
        """
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(pid, {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}[how])
        self._process.wait(PATIENCE)
        end = time.monotonic() + PATIENCE
        while any(map(_runs, children)):
            assert time.monotonic() < end, "children of a killed PostgreSQL do not end"
            time.sleep(0.01)

    def log(self) -> str:
        """What the server said."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """Stop it and leave nothing behind."""
        if self.runs():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------- its databases

    @property
    def password_file(self) -> Path:
        """The superuser's password."""
        return self.folder / "password"

    def url(self, database: str) -> str:
        """By TCP: a password is asked for."""
        return f"postgresql+psycopg://meterline@127.0.0.1:{self.port}/{database}"

    def local_url(self, database: str) -> str:
        """By the socket, where the server believes who we say we are."""
        return f"postgresql+psycopg://meterline@:{self.port}/{database}?host={self.folder}"

    def execute(self, statement: str | sql.Composed, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement of the superuser, outside a transaction."""
        where = {"host": str(self.folder), "port": self.port, "user": "meterline", "dbname": database}
        with psycopg.connect(**where, autocommit=True) as connection:  # type: ignore[arg-type]
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def create(self, name: str, template: str = "template1") -> None:
        """A database."""
        text = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(text.format(sql.Identifier(name), sql.Identifier(template)))

    def drop(self, name: str) -> None:
        """Away with a database, also while somebody is connected."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def names(self) -> set[str]:
        """Its databases."""
        return {name for (name,) in self.execute("SELECT datname FROM pg_database")}
