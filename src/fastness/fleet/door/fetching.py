"""Fetching models from other hosts: by digest, in pieces, from whoever has them, and verified before anybody sees them.

What has come lies beside the models (see `on_disk`) and is gone on with after whatever interrupted it. Whole, it is
hashed; only then does it get the name under which engines look for it. Bytes that came from one host alone and are
wrong are that host's: it is asked no more for a while.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastness.core.file_list import LIST_BYTES_MAX
from fastness.fleet.door.on_disk import CHUNK_BYTES, Landing, LandingFile, LandingFolder, discard, is_here, landing
from fastness.fleet.door.orders import FetchState, HostPlace, WantedModel
from fastness.fleet.door.threads import in_thread

FETCHED_MAX: Final = 2
"""Models fetched at the same time; the others wait."""
STALL_TIMEOUT_S: Final = 10.0
"""A source that sends nothing for so long is given up for another."""
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
"""Between two rounds in which no source had anything to give."""
DISTRUST_S: Final = 3_600.0
"""For so long a host is not asked for a model of which it gave wrong bytes."""
LINE_BYTES_MAX: Final = 512
EARLIER: Final = "an earlier start"
"""Whoever gave what lay here when this process began."""
_ANSWER: Final = re.compile(r"(SIZE|FILES) (0|[1-9][0-9]{0,17})(?: ([1-9][0-9]{0,6}))?")

Reach = Callable[[HostPlace], Awaitable[tuple[asyncio.StreamReader, asyncio.WriteTransport]]]
"""Connects to the door of a host, which is proved to be its own; raises OSError."""
Tell = Callable[[str, str, str], None]
"""Takes an event, a digest or a host it is about, and why."""


class NotGiven(Exception):  # noqa: N818 - an outcome
    """A source gives nothing, or gives up; the message says why."""


class Fetching:
    """Keeps fetching what is wanted into `folder`, until told that it is not."""

    def __init__(self, folder: Path, reach: Reach, tell: Tell) -> None:
        self._folder, self._reach, self._tell = folder, reach, tell
        self._lanes: dict[str, _Lane] = {}
        self._room = asyncio.Semaphore(FETCHED_MAX)

    def want(self, models: tuple[WantedModel, ...]) -> None:
        """Fetch these, and no others. What was begun of others stays on the disk."""
        wanted = {one.digest: one for one in models}
        for digest in self._lanes.keys() - wanted.keys():
            self._lanes.pop(digest).task.cancel()
        for digest, model in wanted.items():
            lane = self._lanes.get(digest)
            if lane is None:
                lane = self._lanes[digest] = _Lane(self._folder, model, self._reach, self._tell, self._room)
            lane.model = model

    def states(self) -> tuple[FetchState, ...]:
        """Return how far each wanted model is."""
        return tuple(lane.state() for lane in self._lanes.values())

    async def close(self) -> None:
        """Stop."""
        tasks = [lane.task for lane in self._lanes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Lane:
    """One model on its way here."""

    def __init__(self, folder: Path, model: WantedModel, reach: Reach, tell: Tell, room: asyncio.Semaphore) -> None:
        self.model, self._reach, self._tell, self._room = model, reach, tell, room
        self._folder = folder
        self._landing: Landing | None = None
        self._done_bytes, self._source, self._trouble, self._done = 0, "", "", False
        self._gave: set[str] = set()
        """Which hosts gave bytes of what lies here."""
        self._alone = False
        """Whoever has to give all of it, since of several somebody gave wrong bytes."""
        self._distrusted: dict[str, float] = {}
        self.task = asyncio.get_running_loop().create_task(self._keep())

    def state(self) -> FetchState:
        """Return how far it is."""
        model = self.model
        return FetchState(model.digest, self._done_bytes, model.size_bytes, self._source, self._trouble, self._done)

    async def _keep(self) -> None:
        wait_s = RETRY_FIRST_S
        while not self._done:
            before = self._done_bytes
            async with self._room:
                try:
                    await self._round()
                except OSError as error:  # of this disk
                    self._fail(f"{self._folder} cannot be written: {error.strerror or error}")
                except Exception as error:  # noqa: BLE001 - it is told, and tried again
                    self._fail(f"it could not be fetched: {error!r}")
                finally:
                    self._source = ""
            if not self._done:
                wait_s = RETRY_FIRST_S if self._done_bytes > before else min(2 * wait_s, RETRY_MAX_S)
                await asyncio.sleep(wait_s)

    async def _round(self) -> None:
        """Ask one source after the other, the nearest first, until it is whole and right, or none has any more."""
        model = self.model
        if await in_thread(is_here, self._folder, model.digest):
            self._done, self._done_bytes = True, model.size_bytes
            return
        self._landing = await in_thread(landing, self._folder, model.digest, model.size_bytes)
        self._done_bytes = await in_thread(self._landing.begun) if self._landing else 0
        if self._done_bytes and not self._gave:
            self._gave.add(EARLIER)
        self._need_space()
        for source in self._asked():
            if self._landing is None or self._done_bytes < self.model.size_bytes:
                try:
                    await self._take(source)
                except NotGiven as error:
                    self._fail(f"{source.host}: {error}")
                    continue
            if await self._verified():
                return

    def _need_space(self) -> None:
        found = os.statvfs(self._folder)
        free_bytes, missing_bytes = found.f_bavail * found.f_frsize, self.model.size_bytes - self._done_bytes
        if free_bytes < missing_bytes:
            raise OSError(f"{missing_bytes:,} bytes are missing, and {free_bytes:,} are free on that disk")

    def _asked(self) -> list[HostPlace]:
        """Those to ask now. Where only one may have given it, it is the first that is still trusted."""
        now = asyncio.get_running_loop().time()
        trusted = [one for one in self.model.sources if self._distrusted.get(one.host, 0.0) <= now]
        if not trusted:
            self._fail("no host that is trusted has it" if self.model.sources else "no host has it")
        return trusted

    async def _take(self, source: HostPlace) -> None:
        """Take from one source what is still missing; raises NotGiven."""
        if self._alone and self._gave - {source.host}:
            self._discard()
        self._source = source.host
        transport = None
        try:
            reader, transport = await self._reach(source)
            transport.write(f"GET {self.model.digest} {self._done_bytes}\n".encode())
            await self._receive(reader, await self._expect(reader, source.host), source.host)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise NotGiven(str(error) or "it fell silent") from None
        finally:
            if transport is not None:
                transport.abort()

    async def _expect(self, reader: asyncio.StreamReader, host: str) -> Landing:
        """Read what a source says before the bytes: that it has one file, or the list of the files that it has."""
        line = await asyncio.wait_for(reader.readuntil(b"\n"), STALL_TIMEOUT_S)
        said = line[:LINE_BYTES_MAX].decode("utf-8", "replace").strip()
        if said.startswith("NONE "):
            raise NotGiven(f"it says {said[5:205]!r}")
        read = _ANSWER.fullmatch(said)
        if read is None or (read[1] == "FILES") != bool(read[3]):
            raise NotGiven("it does not speak as doors do")
        if int(read[2]) != self.model.size_bytes:
            raise NotGiven(f"it has {read[2]} bytes under that digest; {self.model.size_bytes} were admitted")
        text = b""
        if read[3]:
            if int(read[3]) > LIST_BYTES_MAX:
                raise NotGiven(f"its list of files has {read[3]} bytes, of {LIST_BYTES_MAX}")
            text = await asyncio.wait_for(reader.readexactly(int(read[3])), STALL_TIMEOUT_S)
            self._gave.add(host)
        return await in_thread(self._land, text)

    def _land(self, text: bytes) -> Landing:
        """Return where it comes down: where it was begun, if it is gone on with by the same list; raises NotGiven."""
        model, begun = self.model, self._landing
        if begun is None:
            made = LandingFolder.begin(self._folder, model.digest, text, model.size_bytes) if text else None
            self._landing = begun = made or LandingFile(self._folder, model.digest)
        elif begun.is_listed(text) if isinstance(begun, LandingFolder) else not text:
            return begun
        else:
            self._alone = True
            self._discard()
            raise NotGiven("it has other files than those that were begun with")
        return begun

    async def _receive(self, reader: asyncio.StreamReader, to: Landing, host: str) -> None:
        try:
            while self._done_bytes < self.model.size_bytes:
                chunk = await asyncio.wait_for(reader.read(CHUNK_BYTES), STALL_TIMEOUT_S)
                if not chunk:
                    raise NotGiven("it broke off")
                chunk = chunk[: self.model.size_bytes - self._done_bytes]
                self._gave.add(host)
                await in_thread(to.write, chunk, self._done_bytes)
                self._done_bytes += len(chunk)
                self._trouble = ""
        finally:
            await in_thread(to.settle)

    async def _verified(self) -> bool:
        """Hash what has come, and give it its name if it is what was admitted; else throw it away."""
        self._source = ""
        assert self._landing is not None
        found = await in_thread(self._landing.digest)
        if found == self.model.digest:
            await in_thread(self._landing.give_name)
            self._done, self._trouble = True, ""
            self._tell("model.fetched", self.model.digest, " ".join(sorted(self._gave)))
            return True
        givers = sorted(self._gave)
        if len(givers) == 1 and givers != [EARLIER]:
            self._distrusted[givers[0]] = asyncio.get_running_loop().time() + DISTRUST_S
        self._alone = True
        who = " and ".join(givers)
        self._fail(f"what came from {who} has SHA-256 {found}: it was thrown away")
        self._tell("model.corrupt", self.model.digest, who)
        self._discard()
        return False

    def _discard(self) -> None:
        discard(self._folder, self.model.digest)
        self._landing = None
        self._gave.clear()
        self._done_bytes = 0

    def _fail(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            self._tell("model.not_fetched", self.model.digest, why)
