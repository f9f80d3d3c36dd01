"""A PostgreSQL of a test's own: in its own directory, on a Unix socket only, with a password that is looked for."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

PASSWORD = "never-shown-4711"
# Tests kill the server and never the machine, so what the system has written is there again.
SETTINGS = ("listen_addresses=", "fsync=off", "max_connections=60", "shared_buffers=16MB", "log_statement=none")


def require_programs() -> Path:
    """Where PostgreSQL's programs are; skips where there are none, which with CI=true is a failure."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda one: int(one.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    why = "needs PostgreSQL's server (make postgresql, or make test, installs Debian's)"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


class Server:
    """One cluster, owned by an unprivileged user where we are root: PostgreSQL refuses to run as root."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs, self.directory = programs, directory
        owner = next((one for one in pwd.getpwall() if one.pw_name == "postgres"), pwd.getpwnam("nobody"))
        self._as: dict[str, object] = {"stdout": subprocess.DEVNULL, "cwd": directory}
        secret = directory / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            self._as |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(directory, owner.pw_uid, owner.pw_gid)
            os.chown(secret, owner.pw_uid, owner.pw_gid)
        self.passfile = directory / "passfile"
        self.passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
        self.passfile.chmod(0o600)
        made = ["--username=fastness", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-locale"]
        self._run("initdb", "--no-sync", "--pgdata=cluster", *made)
        self._made = 0
        self.start()

    def start(self) -> None:
        options = [part for one in (*SETTINGS, f"unix_socket_directories={self.directory}") for part in ("-c", one)]
        deadline = time.monotonic() + 60
        with (self.directory / "server.log").open("ab") as log:
            while True:
                # After a kill its children may hold the shared memory for a moment: then it ends, and is tried again.
                self.process = subprocess.Popen(
                    [self._programs / "postgres", "-D", "cluster", *options], stderr=log, **self._as
                )
                while self.process.poll() is None:
                    if self._answers():
                        return
                    time.sleep(0.02)
                assert time.monotonic() < deadline, (self.directory / "server.log").read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """End the server, and so all its connections, without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=30)

    def url(self, database: str = "postgres", passfile: Path | None = None) -> str:
        secret = passfile or self.passfile
        return f"postgresql://fastness@/{database}?host={self.directory}&passfile={secret}"

    def new(self, more: str = "TEMPLATE template0") -> str:
        """The URL of a new, empty database."""
        self._made += 1
        name = f"test_{self._made}"
        with plain(self.url()) as engine, engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text(f"CREATE DATABASE {name} {more}"))
        return self.url(name)

    def ready(self) -> str:
        """The URL of a new database whose schema is up to date, which is quicker."""
        return self.new(f"TEMPLATE {self._template}")

    @cached_property
    def _template(self) -> str:
        from fastness.store.database import Database

        url = self.new()
        Database.open(url).close()
        return str(make_url(url).database)

    def _answers(self) -> bool:
        done = self._run("pg_isready", "-q", "-h", str(self.directory), check=False)
        return done.returncode == 0

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self._programs / program, *arguments], check=check, **self._as)


@contextmanager
def plain(url: str) -> Iterator[Engine]:
    """A database as any other tool would open it."""
    target = make_url(url)
    if target.get_backend_name() == "postgresql":
        target = target.set(drivername="postgresql+psycopg")
    engine = create_engine(target)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def running_server() -> Iterator[Server]:
    programs = require_programs()
    # Not below pytest's directory: no other user may enter it, and the path of a socket has to be short.
    directory = Path(tempfile.mkdtemp(prefix="fastness-pg-"))
    try:
        server = Server(programs, directory)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
