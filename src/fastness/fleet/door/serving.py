"""Giving models away: whoever the door let in asks for weights by digest, from an offset on, and gets the rest.

A request is one line, `GET SHA256 OFFSET`; the answer is a line and then the bytes from that offset on: `SIZE BYTES`
for a model that is one file, `FILES BYTES LIST-BYTES` and the list for one that is a folder, whose files come one after
the other as they are listed; or `NONE WHY`. Then the connection ends. Files are read in threads: the same process
relays tokens.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from fastness.fleet.door.open_model import CHUNK_BYTES, OpenModel
from fastness.fleet.door.threads import in_thread

REQUEST_BYTES_MAX: Final = 128
SERVED_MAX: Final = 16
"""Models given away at the same time; who comes then tries elsewhere, or later."""
REQUEST_TIMEOUT_S: Final = 5.0
_REQUEST: Final = re.compile(rb"GET ([0-9a-f]{64}) (0|[1-9][0-9]{0,17})\n")


class ModelsHere:
    """The weights below `folder`, by digest: `DIGEST.gguf` or `DIGEST/…`. What has that name was verified before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.served = 0
        """How many are given away now."""

    def give(self, gone: Callable[[], None]) -> asyncio.BaseProtocol:
        """Attend to somebody who came; `gone` is called once, at the end."""
        return _Giving(self, gone)

    def open(self, digest: str) -> OpenModel:
        """Return a model's weights, opened; raises OSError."""
        if (self._folder / digest).is_dir():
            return OpenModel.folder(self._folder / digest)
        return OpenModel.file(self._folder / f"{digest}.gguf")


class _Giving(asyncio.Protocol):
    """One who asks: a request in, bytes out, at the pace at which they are taken."""

    def __init__(self, models: ModelsHere, gone: Callable[[], None]) -> None:
        self._models, self._gone = models, gone
        self._transport: asyncio.Transport
        self._asked = b""
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._task: asyncio.Task[None] | None = None
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request, and not for ever."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=CHUNK_BYTES)
        self._late = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Read the request."""
        self._asked += data
        if self._task is not None or len(self._asked) > REQUEST_BYTES_MAX:
            self._transport.abort()
        elif self._asked.endswith(b"\n"):
            assert self._late is not None
            self._late.cancel()
            self._task = asyncio.get_running_loop().create_task(self._answer(self._asked))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the event loop's signature
        """It left, or has all of it."""
        if self._late is not None:
            self._late.cancel()
        if self._task is not None:
            self._task.cancel()
        self._gone()

    def pause_writing(self) -> None:
        """It takes no more for now."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._may_write.set()

    async def _answer(self, asked: bytes) -> None:
        read = _REQUEST.fullmatch(asked)
        if read is None:
            self._refuse("a request is GET, a SHA-256 in hex, and an offset")
        elif self._models.served >= SERVED_MAX:
            self._refuse(f"{SERVED_MAX} models are given away at the moment")
        else:
            self._models.served += 1
            try:
                await self._give(read[1].decode(), int(read[2]))
            finally:
                self._models.served -= 1

    async def _give(self, digest: str, offset: int) -> None:
        try:
            model = await in_thread(self._models.open, digest)
        except OSError:
            self._refuse("it is not here")
            return
        try:
            if offset > model.size_bytes:
                self._refuse(f"it has {model.size_bytes} bytes")
                return
            if model.listed:
                self._transport.write(b"FILES %d %d\n" % (model.size_bytes, len(model.listed)) + model.listed)
            else:
                self._transport.write(b"SIZE %d\n" % model.size_bytes)
            with suppress(OSError):  # a disk that fails: they go on elsewhere
                while chunk := await in_thread(model.read, offset):
                    offset += len(chunk)
                    self._transport.write(chunk)
                    await self._may_write.wait()
            self._transport.close()
        finally:
            model.close()

    def _refuse(self, why: str) -> None:
        self._transport.write(f"NONE {why}\n".encode())
        self._transport.close()
