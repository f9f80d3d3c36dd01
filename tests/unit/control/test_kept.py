"""Files and batches as operators see them: of all tenants or one, and a word when nothing runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import asdict, replace
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from fastness.control.kept import KeptApi
from fastness.control.problem import Problem
from fastness.core.batch import BatchSeen, FileSeen

ONE = BatchSeen(
    *("batch_1", "health", "OFFICIAL", "key_1", "/v1/embeddings", "in_progress", 9, 3, 1, 10, 20),
    *(None, "file-1", None, None),
)
FILE = FileSeen("file-1", "health", "OFFICIAL", "batch", 99, 10, 20)


class Room:
    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def files(self) -> list[FileSeen]:
        return [FILE, replace(FILE, id="file-2", tenant="justice")]

    def batches(self) -> list[BatchSeen]:
        return [ONE, replace(ONE, id="batch_2", tenant="justice")]

    async def cancel(self, name: str) -> BatchSeen:
        self.cancelled.append(name)
        return replace(ONE, status="cancelling")


def asked(answer: Callable[[Request], Coroutine[Any, Any, tuple[int, Any]]], query: str = "", **path: str) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "headers": [], "query_string": query.encode(), "path_params": path}
    status, body = asyncio.run(answer(Request(scope, receive)))
    assert status == 200
    return json.loads(msgspec.json.encode(body))


def test_operators_see_all_tenants_or_one():
    api = KeptApi(Room)
    assert [one["id"] for one in asked(api.files)["files"]] == ["file-1", "file-2"]
    assert asked(api.files, "tenant=health")["files"] == [asdict(FILE)]
    assert [one["id"] for one in asked(api.batches, "tenant=justice")["batches"]] == ["batch_2"]
    assert asked(api.batch, id="batch_1") == asdict(ONE)
    with pytest.raises(Problem, match="no batch"):
        asked(api.batch, id="batch_9")


def test_operators_can_cancel():
    room = Room()
    assert asked(KeptApi(lambda: room).cancel, id="batch_1")["status"] == "cancelling"
    assert room.cancelled == ["batch_1"]


def test_while_nothing_runs_that_is_said():
    with pytest.raises(Problem) as raised:
        asked(KeptApi(lambda: None).files)
    assert (raised.value.code, raised.value.hint) == ("batches_unavailable", "Start it: fastness up")
