"""The desk where receipts are made: found at once, waited for until they are signed, and quick."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from fastness.config import LedgerSettings
from fastness.control import receipts as desk_module
from fastness.control.problem import Problem
from fastness.control.receipts import ROUTES, ReceiptBody, ReceiptDesk
from fastness.core.event import Event, EventType
from fastness.ledger.file import FileLedger
from fastness.ledger.receipts.receipt import Archive
from fastness.ledger.verify_alone import read_trust, verify_receipt
from receipt_world import SECRET, T0, WEIGHTS, Unsynced, World, answered, made_world, request_id

DOCS = Path(__file__).parents[3] / "docs"


class Recorded(list[tuple[str, str]]):
    def record(self, level: str, event: str, **_: Any) -> None:
        self.append((level, event))


@pytest.fixture
def world(tmp_path) -> World:
    return made_world(tmp_path)


def test_a_model_that_came_with_fastness_has_a_chain_that_says_so(archive, world) -> None:
    fields = {"model": "small", "model_digest": WEIGHTS, "licence": "Apache-2.0", "version": "0.1.0"}

    async def test() -> None:
        desk = ReceiptDesk(archive, lambda: None, Recorded())
        assert not await desk.knows("control", EventType.MODEL_SHIPPED, WEIGHTS)
        await asyncio.to_thread(world.record, "control", [Event(EventType.MODEL_SHIPPED, T0, fields)])
        assert await desk.knows("control", EventType.MODEL_SHIPPED, WEIGHTS)
        assert not await desk.knows("control", EventType.MODEL_SHIPPED, "ef" * 32)
        found = await desk.receipt(name(3), "health", chain=True)
        assert found is not None
        claims = verify_receipt(found, read_trust(world.trust()), {})
        admission = next(one for one in claims if one.about == "admission")
        assert admission.verdict == "asserted"
        assert f"sha256:{WEIGHTS} came with Fastness 0.1.0, which names it so (2025-11-22 " in admission.text
        assert admission.by == "by the installation, when it began; nobody there was asked"

    asyncio.run(test())


@pytest.fixture
def archive(world) -> Archive:
    home = world.home
    return Archive(home / "ledger", home / "receipts", home / "cosigned", lambda _: SECRET, lambda _: None)


def name(number: int) -> str:
    return f"gateway-0.{request_id(number).removeprefix('req_')}"


def test_an_answer_that_was_just_recorded_is_found_before_the_index_knows_it(archive, world) -> None:
    async def test() -> None:
        desk = ReceiptDesk(archive, lambda: None, Recorded())
        assert await desk.receipt(name(3), "health", chain=False)
        assert await desk.receipt(name(777), "health", chain=False) is None
        assert await desk.receipt(name(3), "justice", chain=False) is None
        directory = world.home / "ledger/gateway-0"
        ledger = FileLedger.open(
            directory, "gateway-0", LedgerSettings(), lambda: T0, Unsynced(), signing=world.signing
        )
        await ledger.commit(answered(777))
        found = await desk.receipt(name(777), "health", chain=True)
        await ledger.close()
        assert found is not None
        claims = verify_receipt(found, read_trust(world.trust()), {})
        assert claims[0].verdict == "proved"

    asyncio.run(test())


def test_what_no_checkpoint_covers_is_waited_for_and_then_unavailable(archive, world, monkeypatch) -> None:
    monkeypatch.setattr(desk_module, "FIND_TIMEOUT_S", 0.3)

    async def test() -> None:
        desk = ReceiptDesk(archive, lambda: None, Recorded())
        directory = world.home / "ledger/gateway-0"
        ledger = FileLedger.open(directory, "gateway-0", LedgerSettings(), lambda: T0, Unsynced())  # signs nothing
        await ledger.commit(answered(500))
        await ledger.close()
        with pytest.raises(Problem) as refused:
            await desk.receipt(name(500), "health", chain=False)
        assert refused.value.code == "receipts_unavailable" and "not signed yet" in str(refused.value)

    asyncio.run(test())


def test_a_log_that_cannot_be_read_is_unavailable_and_told(archive, world, monkeypatch) -> None:
    async def test() -> None:
        log = Recorded()
        desk = ReceiptDesk(archive, lambda: None, log)
        assert await desk.receipt(name(3), "health", chain=False)
        for path in (world.home / "ledger/gateway-0/tree").iterdir():
            path.write_bytes(b"")
        with pytest.raises(Problem) as refused:
            await desk.receipt(name(3), "health", chain=False)
        assert refused.value.code == "receipts_unavailable"
        assert log == [("error", "receipt.problem")]

    asyncio.run(test())


def test_the_index_is_kept_beside_and_ends_with_its_block(archive) -> None:
    async def test() -> None:
        desk = ReceiptDesk(archive, lambda: None, Recorded())
        async with desk.keep_index():
            async with asyncio.timeout(60):
                while "gateway-0" not in archive._indexes or archive._indexes["gateway-0"].entries < 31:
                    await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(test())


@pytest.mark.slow
def test_one_receipt_takes_less_than_5_ms_of_processor_time_also_an_old_one(tmp_path) -> None:
    world = made_world(tmp_path, answers=20_000)
    archive = world.archive()
    from fastness.ledger.receipts.receipt import ReceiptId

    wanted = [ReceiptId("gateway-0", request_id(number)) for number in range(0, 20_000, 200)]
    began = time.process_time()
    for one in wanted:
        found = archive.receipt(one, "health", chain=False)
        assert found is not None and len(found) <= 4_096
    assert (time.process_time() - began) / len(wanted) < 0.005


def test_the_page_of_the_management_api_has_the_route_and_its_fields() -> None:
    page = (DOCS / "reference/management-api.md").read_text()
    for method, path, *_ in ROUTES:
        assert f"### `{method} {path}`" in page
    assert [one for one in ReceiptBody.__struct_fields__ if not re.search(rf"`{one}`", page)] == []
