"""An installation whose store is a PostgreSQL on a Unix socket: it works, and goes on serving while that is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import CHAT, Installation, eventually, start, stop
from killing import QUICK, child, forget, kill, management
from postgresql_server import PASSWORD, Server, running_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as one:
        yield one


def answers(installation: Installation, key: str) -> bool:
    messages = [{"role": "user", "content": "Say yes."}]
    with installation.client(key) as client:
        done = client.chat.completions.create(model=CHAT, messages=messages, max_tokens=3)
    return bool(done.choices[0].message.content)


def new_key(installation: Installation) -> str:
    done = installation.run("keys", "create", "--tenant", "health", "--name", "ci", "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["key"])


def written_below(home: Path) -> bytes:
    return b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file() and "models" not in file.parts)


def test_it_serves_while_its_postgresql_is_killed_and_takes_commands_once_that_is_back(server, tmp_path, monkeypatch):
    url = server.new()
    monkeypatch.setenv("FASTNESS__STORE__URL", url)
    here = start(tmp_path, environ=QUICK)
    try:
        assert here.run("tenants", "create", "health").returncode == 0
        key = new_key(here)
        eventually(lambda: answers(here, key), "the new key is known")
        control = child(here, "control")

        server.kill()
        with management(here) as api:
            refused = api.post("/tenants", json={"id": "tax"})
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        said = here.run("tenants", "create", "tax")
        assert said.returncode == 1
        assert f"The store {url} cannot be used" in said.stderr
        for _ in range(5):
            assert answers(here, key)

        server.start()
        assert here.run("tenants", "create", "tax").returncode == 0, "at once, on a new connection"
        later = new_key(here)
        eventually(lambda: answers(here, later), "the key that was made after is known")
        assert child(here, "control") == control, "it never had to be started again"
        server.kill()
        kill(control)
        assert answers(here, later), "neither is needed for an answer"
        server.start()
        eventually(lambda: here.run("tenants", "create", "roads").returncode == 0, "control is back")
        shown = here.run("config", "show").stdout
        assert url in shown
        assert not (tmp_path / "fastness.db").exists()
    finally:
        assert stop(here) == 0
        forget(tmp_path)
    assert PASSWORD.encode() not in written_below(tmp_path) + shown.encode()
