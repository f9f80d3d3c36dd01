"""An auditor reads the logs at a gateway's port; nobody else learns of other departments there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.policy import Action, Decision, Query
from fastness.core.tenant import DEFAULT_TENANT, Principal
from fastness.gateway import ledger_pages
from fastness.gateway.ledger_pages import PAGES_MAX, LedgerPages
from policed import Answer, Door, Rules, opened, run, until

AUDITOR = Principal("key_ida", DEFAULT_TENANT, frozenset({"auditor"}))
THEIRS = Principal("key_tom", "tax", frozenset({"auditor"}))
DEVELOPER = Principal("key_dan", DEFAULT_TENANT, frozenset({"developer"}))
CHECKPOINT, HASHES, ENTRIES = (
    f"/ledger/gateway-0/{one}" for one in ("checkpoint", "tile/0/000.p/7", "tile/entries/000")
)


class Reading(Rules):
    def decide(self, query: Query) -> Decision:
        if query.action is Action.READ:
            allowed = "auditor" in query.principal.roles
            return Decision(allowed, "roles/3", None if allowed else "permission_denied", "an auditor", "a developer")
        return super().decide(query)


class Control:
    """Answers as the control process does, and notes what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path, self.heads = path, list[str]()
        self.free = asyncio.Event()
        self.free.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(4_096):
            self.heads.append(head.decode())
            await self.free.wait()
            path = head.split(b" ")[1].removeprefix(b"/api/v1/ledger/logs/gateway-0/")
            status = {b"tile/0/009": b"404 Not Found", b"tile/0/008": b"503 Service Unavailable"}.get(path, b"200 OK")
            writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(path), path))
        writer.close()


@asynccontextmanager
async def read(home: Path, *, public: bool = False) -> AsyncIterator[tuple[Door, Control]]:
    async with opened(home, AUDITOR, THEIRS, DEVELOPER) as door:
        control, settings = Control(home / "control.sock"), door.gateway.settings
        door.gateway.settings = replace(
            settings, ledger=replace(settings.ledger, hashes_for="everybody" if public else "auditors")
        )
        door.app._ledger_pages = LedgerPages(door.gateway, str(control.path))
        door.enforce(Reading())
        server = await asyncio.start_unix_server(control.serve, str(control.path))
        try:
            yield door, control
        finally:
            await door.connections.close()
            server.close()


def shown(answer: Answer) -> tuple[int, bytes]:
    return answer.status, answer.body


def test_an_auditor_of_the_installation_reads_logs_as_static_files(tmp_path) -> None:
    async def test() -> None:
        async with read(tmp_path) as (door, control):
            for path in (CHECKPOINT, HASHES, ENTRIES):
                answer = await door.send(path, key="ida")
                assert shown(answer) == (200, path.removeprefix("/ledger/gateway-0/").encode())
                assert answer.headers["x-content-type-options"] == "nosniff"
                caching = "max-age=1" if path == CHECKPOINT else "max-age=31536000, immutable"
                assert answer.headers["cache-control"] == f"private, {caching}"
            assert (await door.send(CHECKPOINT, key="ida")).headers["content-type"] == "text/plain; charset=utf-8"
            assert (await door.send(HASHES, key="ida", method="HEAD")).body == b""
            assert not [head for head in control.heads if "authorization" in head.lower()]
            assert door.ledger.entries() == []

    run(test)


def test_others_get_what_they_may_and_are_told_why_no_more(tmp_path) -> None:
    async def test() -> None:
        async with read(tmp_path) as (door, control):
            assert [(await door.send(one, key="tom")).status for one in (CHECKPOINT, HASHES)] == [200, 200]
            refused = await door.send(ENTRIES, key="tom")
            assert (refused.status, refused.code) == (403, "permission_denied")
            assert "key_tom is of tax" in refused.error["message"]
            assert [(await door.send(one, key="dan")).status for one in (CHECKPOINT, HASHES, ENTRIES)] == [403] * 3
            assert [(await door.send(one, key="nobody")).status for one in (CHECKPOINT, HASHES, ENTRIES)] == [401] * 3
            door.enforce(None)
            assert (await door.send(HASHES, key="ida")).code == "policy_unavailable"
            assert len(control.heads) == 2

    run(test)


def test_where_hashes_are_public_they_need_no_key_and_entries_still_do(tmp_path) -> None:
    async def test() -> None:
        async with read(tmp_path, public=True) as (door, _):
            for path in (CHECKPOINT, HASHES):
                answer = await door.send(path, key="nobody")
                assert answer.status == 200
                assert answer.headers["cache-control"].startswith("public, ")
            assert (await door.send(ENTRIES, key="nobody")).status == 401
            assert (await door.send(ENTRIES, key="ida")).status == 200

    run(test)


@pytest.mark.parametrize(
    "path",
    ["/ledger/", "/ledger/gateway-0", "/ledger/gateway-0/head.json", "/ledger/../tile/0/000", "/ledger/a/tile/0/..",
     "/ledger/A/checkpoint", "/ledger/a/b/checkpoint", "/ledger/a/tile/entries/", "/ledger/a/tile/0/000%2f",
     "/ledger/a/tile/x/0",
     "/ledger/%2e%2e/checkpoint", f"/ledger/a/tile/0/{'x000/' * 60}000"],
)  # fmt: skip
@pytest.mark.parametrize("public", [True, False])
def test_what_is_no_page_of_a_log_never_reaches_control(tmp_path, path, public) -> None:
    async def test() -> None:
        async with read(tmp_path, public=public) as (door, control):
            assert (await door.send(path, key="ida")).code in ("route_not_found", "malformed_http")
            assert (await door.send(f"{HASHES}?a=b", key="ida")).code == "invalid_value"
            assert (await door.send(HASHES, {}, key="ida")).code == "method_not_allowed"
            assert control.heads == []

    run(test)


def test_what_is_not_there_and_what_cannot_be_read_are_told_apart(tmp_path, monkeypatch) -> None:
    async def test() -> None:
        async with read(tmp_path) as (door, control):
            assert (await door.send("/ledger/gateway-0/tile/0/009", key="ida")).code == "not_found"
            assert (await door.send("/ledger/gateway-0/tile/0/008", key="ida")).code == "receipts_unavailable"
            monkeypatch.setattr(ledger_pages, "ANSWER_TIMEOUT_S", 0.01)
            control.free.clear()
            assert "does not answer" in (await door.send(HASHES, key="ida")).error["message"]
            control.free.set()

    run(test)


def test_only_so_many_pages_are_read_at_once_and_answers_are_given_meanwhile(tmp_path) -> None:
    async def test() -> None:
        async with read(tmp_path) as (door, control):
            control.free.clear()
            waiting = [asyncio.ensure_future(door.send(HASHES, key="ida")) for _ in range(PAGES_MAX)]
            await until(lambda: len(control.heads) == PAGES_MAX)
            answer = await door.send(HASHES, key="ida")
            assert (answer.status, answer.code) == (503, "receipts_unavailable")
            assert json.loads(answer.body)["error"]["message"].startswith("The ledger cannot be read now: 4 pages")
            assert (await door.chat(key="ida")).status == 200
            control.free.set()
            assert [(await one).status for one in waiting] == [200] * PAGES_MAX
            assert (await door.send(HASHES, key="ida")).status == 200

    run(test)
