"""One engine started as in production, loaded and what the machine had less of meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fastness.core.desired import Parameters
from fastness.core.model import ModelCard, ModelKind
from fastness.core.request import Generation, JsonConstraint, Message, Sampling
from fastness.engines.catalogue import dialect, engine
from fastness.engines.port import EngineCall, EngineTask
from fastness.fleet.probe import status_of
from fastness.fleet.process import Process
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement
from fastness.registry.sealed_copy import path_of, sealed_copy
from fastness.scheduling.fit import ModelShape

READY_S_MAX = 120.0
ANSWER_S_MAX = 1_800.0
SAMPLE_S = 0.02
OUTPUT_TOKENS = 12
FILLED_TOKENS_MAX = 2_048
"""Tokens read by all slots together, beyond the one that is always filled: more would read the same buffers again."""
PART_TOKENS = 64
SCHEMA = b'{"type":"object","properties":{"words":{"type":"array","items":{"type":"string"}}},"required":["words"]}'


@dataclass(frozen=True, slots=True)
class Taken:
    """What the machine had less of, at the highest moment. `copy_bytes` is the whole sealed copy of the weights."""

    copy_bytes: int
    own_bytes: int
    libraries_bytes: int
    tables_bytes: int
    ready_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.copy_bytes + self.own_bytes + self.libraries_bytes + self.tables_bytes


def measure(weights: Path, shape: ModelShape, parameters: Parameters) -> Taken:
    """Start it, load it, end it."""
    return asyncio.run(_measured(weights, shape, parameters))


async def _measured(weights: Path, shape: ModelShape, parameters: Parameters) -> Taken:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    card = ModelCard("fit", shape.kind, digest, shape.file_bytes, "none", shape.context_tokens, 0)
    copy = sealed_copy(card, weights)
    try:
        async with _served(card, copy, parameters) as (process, socket):
            watch = _Watch(process.pid)
            watcher = asyncio.create_task(watch.run())
            try:
                ready = watch.look()
                await _load(socket, shape, parameters)
            finally:
                watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await watcher
            watch.look()
            own, files, tables = watch.highest
            return Taken(shape.file_bytes, own, files, tables, ready)
    finally:
        os.close(copy)


@asynccontextmanager
async def _served(card: ModelCard, copy: int, parameters: Parameters) -> AsyncIterator[tuple[Process, Path]]:
    kind = engine(parameters.engine)
    with TemporaryDirectory(prefix="fit-") as folder:
        scratch = Path(folder)
        task = EngineTask(
            card,
            path_of(copy),
            scratch / "e.sock",
            scratch,
            parameters.slots,
            min(parameters.slot_context_tokens, card.context_tokens),
            parameters.threads,
            parameters.cache_type,
        )
        launch = kind.launch(task)
        confinement = Confinement((), (scratch,), launch.memory_bytes_max, 1_024, descriptors=(copy,))
        process = await Process.start(
            LocalPerimeter().sealed_argv(launch.argv, confinement), launch.environ, descriptors=(copy,)
        )
        try:
            began = time.monotonic()
            while not task.socket.exists() or await status_of(task.socket, kind.health(), 5.0) != 200:
                if time.monotonic() - began > READY_S_MAX:
                    raise RuntimeError("it did not become ready:\n" + "\n".join(process.lines))
                await asyncio.sleep(0.05)
            yield process, task.socket
        finally:
            await process.end(5.0)


class _Watch:
    """The highest seen of one process: anonymous memory, files (libraries, never the weights), page tables."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.highest = (0, 0, 0)

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(SAMPLE_S)

    def look(self) -> int:
        found = {
            line.split()[0]: int(line.split()[1]) << 10
            for line in self._status.read_text().splitlines()
            if line.startswith(("Rss", "VmPTE"))
        }
        now = (found["RssAnon:"], found["RssFile:"], found["VmPTE:"])
        if sum(now) > sum(self.highest):
            self.highest = now
        return sum(now)


async def _load(socket: Path, shape: ModelShape, parameters: Parameters) -> None:
    """Use everything: a context to its end, all slots at once, grammars, log probabilities; or whole texts to embed."""
    chance, spoken = random.Random(7), dialect(parameters.engine)
    context = min(parameters.slot_context_tokens, shape.context_tokens)
    highest = shape.vocabulary - 1

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(chance.randint(min(1_000, highest // 2), min(40_000, highest)) for _ in range(count))

    if shape.kind is ModelKind.EMBEDDING:
        texts = tuple(tokens(context - 2) for _ in range(2 * parameters.slots))
        await _all(_ask(socket, spoken.embedding((text,))) for text in texts)
        await _all(_ask(socket, spoken.embedding(texts[at : at + 4])) for at in range(0, len(texts), 4))
        return
    # No more tokens are read than it takes: one slot to its end, the others so far that each batch is full.
    whole = context - OUTPUT_TOKENS - 1
    part = max(min(whole, PART_TOKENS), min(whole, FILLED_TOKENS_MAX // parameters.slots))
    plain = Sampling(max_output_tokens=OUTPUT_TOKENS, top_logprobs=20, seed=1)
    prompts = [tokens(whole), *(tokens(part) for _ in range(parameters.slots - 1))]
    await _all(
        _ask(socket, spoken.generation(Generation(plain, prompt=prompt).placed(slot=slot)))
        for slot, prompt in enumerate(prompts)
    )
    chat = Sampling(max_output_tokens=OUTPUT_TOKENS, seed=1)
    said, form = (Message("user", "Name three colours."),), JsonConstraint(SCHEMA)
    await _all(
        _ask(socket, spoken.generation(Generation(chat, said, constraint=form).placed(slot=slot)))
        for slot in range(parameters.slots)
    )


async def _all(asked: object) -> None:
    await asyncio.gather(*asked)  # type: ignore[misc]


async def _ask(socket: Path, call: EngineCall) -> bytes:
    """POST to the engine and return the body; raises RuntimeError for anything but an answer."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=64 << 20)
    try:
        head = f"POST {call.path} HTTP/1.1\r\nhost: e\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(call.body)}\r\n\r\n".encode() + call.body)
        answer = await asyncio.wait_for(reader.read(), ANSWER_S_MAX)
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{call.path}: {answer[:400]!r}")
    return answer
