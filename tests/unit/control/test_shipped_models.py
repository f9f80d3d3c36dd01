"""The ledger says once of each model that came with Fastness that it did, also where it was running before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastness.control import shipped_models
from fastness.control.shipped_models import record_shipped
from fastness.core.event import Event, EventType
from fastness.ledger.memory import MemoryLedger
from fastness.ledger.port import LedgerUnavailable
from fastness.registry.library import ModelLibrary


class Log(list[str]):
    def record(self, _level: str, event: str, **_: Any) -> None:
        self.append(event)


class Failing(MemoryLedger):
    def __init__(self, times: int) -> None:
        super().__init__("control")
        self.times = times

    async def commit(self, event: Event) -> Any:
        if self.times:
            self.times -= 1
            raise LedgerUnavailable("is full")
        return await super().commit(event)


async def run(ledger: MemoryLedger, shipped: Any, log: Log) -> None:
    looked: set[object] = set()

    async def knows(name: str, kind: EventType, *values: object) -> bool:
        looked.add(values)
        said = [one.fields for one in ledger.entries() if one.type == kind]
        return name == "control" and any((one["model_digest"],) == values for one in said)

    async with record_shipped(knows, ledger, shipped, "9.9.9", lambda: 7.0, log), asyncio.timeout(60):
        while len(looked) < len(shipped) or len(ledger.entries()) < len(shipped):
            await asyncio.sleep(0)


def test_each_is_recorded_once_whatever_is_started_how_often(tmp_path) -> None:
    shipped, log = ModelLibrary(tmp_path).shipped(), Log()
    ledger = Failing(0)
    for _ in range(3):
        asyncio.run(run(ledger, shipped, log))
    said = [one.fields for one in ledger.entries()]
    assert [one["model"] for one in said] == ["minilm-l6-v2", "smollm2-135m-instruct"]
    assert [one["model_digest"] for one in said] == [card.digest for card in shipped]
    assert {one["version"] for one in said} == {"9.9.9"}
    assert {one.type for one in ledger.entries()} == {EventType.MODEL_SHIPPED}
    assert log == []


def test_what_cannot_be_recorded_is_told_and_tried_again(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped_models, "AGAIN_S", 0.0)
    shipped, log, ledger = ModelLibrary(tmp_path).shipped(), Log(), Failing(2)
    asyncio.run(run(ledger, shipped, log))
    assert len(ledger.entries()) == 2
    assert log == ["shipped.not_recorded"] * 2
