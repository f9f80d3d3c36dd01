"""The room without its socket, on a disk of a test, in front of a gateway that says what a test wants."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastness.batches.asking import Reply
from fastness.batches.keeping import Keeping
from fastness.batches.line_work import LineWork
from fastness.batches.multipart import Form
from fastness.batches.records import Asker, BatchRecord
from fastness.batches.runner import Runner
from fastness.batches.shelf import Shelf
from fastness.batches.vault import Vault
from fastness.config import BatchSettings
from fastness.core.batch import NewBatch
from fastness.ledger.memory import MemoryLedger

CHAT = "/v1/chat/completions"
ANN = Asker("key_ann", "health", "api_key", "OFFICIAL", "req_1")
OK = Reply(200, b'{"choices":[]}', "req_9")
SECRET = b"what the patient said"


class Log:
    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def record(self, _level: str, event: str, **fields: Any) -> None:
        self.records.append((event, fields))


class Room:
    """The room without its socket, on a disk of its own; a new one on the same disk is a new start."""

    def __init__(self, root: Path, answer: Callable[[str], Reply], secret: bytes = b"s" * 32, **bounds: int) -> None:
        self.answer = answer
        self.over = ""
        self.asked: Counter[str] = Counter()
        self.now = 1_000.0
        self.ledger, self.log = MemoryLedger("control"), Log()
        vault = Vault(secret, os.urandom)
        self.shelf = Shelf(root / "batches", vault)
        self.unreadable: list[str] = []
        self.shelf.load(self.unreadable.append)
        settings = BatchSettings(**bounds)
        self.runner = Runner(self.shelf, settings, LineWork(self, 4), self.ledger, self.log, lambda: self.now)
        self.keeping = Keeping(self.shelf, vault, self.runner, settings, self.ledger, lambda: self.now)

    async def ask(self, batch: BatchRecord, line: Any) -> Reply:
        await asyncio.sleep(0)
        self.asked[line.custom_id] += 1
        return Reply(429, retry_after_s=3) if batch.id == self.over else self.answer(line.custom_id)

    async def make(self, count: int, asker: Asker = ANN) -> str:
        file = await self.keeping.upload(asker, form(content(count)))
        return (await self.keeping.create(asker, NewBatch(file.id, CHAT))).id

    async def end(self, batch: str, limit_s: float = 60.0) -> BatchRecord:
        work = asyncio.create_task(self.runner.run())
        try:
            async with asyncio.timeout(limit_s):
                while not self.shelf.batches[batch].progress.ended:
                    await asyncio.sleep(0.002)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await asyncio.to_thread(int)  # what a thread was at is done: none goes on beside the next room
        return self.shelf.batches[batch]

    def lines(self, file: str) -> dict[str, dict[str, Any]]:
        text = b"".join(self.keeping.content(self.keeping.file(ANN, file)))
        found = [json.loads(line) for line in text.splitlines()]
        assert len({one["custom_id"] for one in found}) == len(found), "a line is there twice"
        return {one["custom_id"]: one for one in found}


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def on_one_thread() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await work()

    asyncio.run(on_one_thread())


def content(count: int) -> bytes:
    lines = [
        {"custom_id": f"n{number}", "method": "POST", "url": CHAT, "body": {"model": "m", "x": SECRET.decode()}}
        for number in range(count)
    ]
    return "\n".join(map(json.dumps, lines)).encode()


def form(content: bytes, name: str = "what-it-is-called.jsonl", **fields: str) -> Form:
    return Form({"purpose": "batch"} | fields, name, memoryview(content))
