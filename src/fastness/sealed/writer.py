"""How a gateway seals: a thread of its own encrypts, writes and syncs; the event loop waits for nothing but its word.

The thread begins with the first content: a gateway whose tenants keep nothing has none. What arrives while it waits for
the disk becomes its next batch and shares one sync.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from fastness.core.retention import DAY_S, SealingKey, SealingSnapshot
from fastness.sealed.place import place_of
from fastness.sealed.port import Kept, SealedUnavailable
from fastness.sealed.segment import CONTENT_BYTES_MAX, Content, Head, SegmentWriter

BATCH_MAX: Final = 256
"""Requests that share one sync."""
RETRY_S: Final = 1.0
"""So long after a refusal of the disk nobody is asked in; then the next one tries it."""
Done = Callable[[str | SealedUnavailable], None]
"""Told where the content is, as `place_of` says it, or why it is not sealed."""


class _Named(msgspec.Struct):
    """The fields of a body that name the end user, whatever else is in it."""

    safety_identifier: str | None = None
    user: str | None = None


_NAMED: Final = msgspec.json.Decoder(_Named)


class Sealer:
    """Seals content below `directory`. For one event loop; `writer` names this process among those that ever wrote.

    At most `waiting_bytes_max` of content wait; a segment ends at `segment_bytes_max`.
    """

    def __init__(
        self,
        directory: Path,
        writer: str,
        waiting_bytes_max: int,
        segment_bytes_max: int,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._directory = directory
        self._writer = f"{writer}-{entropy(4).hex()}"
        self._waiting_bytes_max = waiting_bytes_max
        self._segment_bytes_max = segment_bytes_max
        self._clock = clock
        self._entropy = entropy
        self._full = False
        self._keys: dict[str, list[SealingKey]] = {}
        self._waiting_bytes = 0
        self._queue: queue.SimpleQueue[tuple[Kept, SealingKey, Done] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._segments: dict[str, SegmentWriter] = {}
        self._unsynced: dict[str, list[tuple[Done, str]]] = {}
        self._begun = 0
        self._refused: SealedUnavailable | None = None
        self._refused_s = 0.0

    def replace(self, snapshot: SealingSnapshot) -> None:
        """From now on, these keys."""
        found: dict[str, list[SealingKey]] = {}
        for key in snapshot.keys:
            found.setdefault(key.tenant, []).append(key)
        self._full, self._keys = snapshot.full, found

    def check(self, tenant: str) -> None:
        """Raise SealedUnavailable when content of this tenant could not be sealed now."""
        self._key_of(tenant)
        if self._refused is not None and abs(self._clock() - self._refused_s) < RETRY_S:
            raise self._refused

    async def keep(self, kept: Kept) -> str:
        """Seal content, and return where it is; it is durable by then. Raises SealedUnavailable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        self.keep_then(kept, lambda told: _tell(future, told))
        return await future

    def keep_then(self, kept: Kept, done: Done) -> None:
        """Seal content, and call `done` on the event loop once it is durable, or is not. Raises SealedUnavailable."""
        key, size_bytes = self._key_of(kept.tenant), len(kept.body) + len(kept.answer)
        if size_bytes > CONTENT_BYTES_MAX:
            raise SealedUnavailable(f"it has {size_bytes} bytes of at most {CONTENT_BYTES_MAX}")
        if self._waiting_bytes + size_bytes > self._waiting_bytes_max:
            raise SealedUnavailable(f"{self._waiting_bytes} bytes of content wait for the disk already")
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sealer", daemon=True)
            self._thread.start()
        self._waiting_bytes += size_bytes

        def told(outcome: str | SealedUnavailable) -> None:
            self._waiting_bytes -= size_bytes
            self._refused = outcome if isinstance(outcome, SealedUnavailable) else None
            self._refused_s = self._clock()
            done(outcome)

        self._queue.put((kept, key, lambda outcome: _call(loop, told, outcome)))

    async def close(self) -> None:
        """Seal what waits, and stop."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
            await asyncio.sleep(0)  # what it told last arrives

    def _key_of(self, tenant: str) -> SealingKey:
        if self._full:
            raise SealedUnavailable("there is no room for more sealed content")
        today = int(self._clock()) // DAY_S
        mine = [key for key in self._keys.get(tenant, ()) if key.day <= today]
        if not mine:
            raise SealedUnavailable(f"tenant {tenant} has no key for today at this gateway")
        return max(mine, key=lambda key: key.day)

    def _work(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get())
            ended = None in batch
            self._seal([one for one in batch if one is not None])
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()

    def _seal(self, batch: list[tuple[Kept, SealingKey, Done]]) -> None:
        for kept, key, done in batch:
            try:
                place = self._append(kept, key)
            except OSError as error:
                done(_refused(error))
                self._fail(key.id, error)
            except Exception as error:  # noqa: BLE001 - the thread lives on; a message may quote content
                done(SealedUnavailable(f"a defect: {type(error).__name__}"))
            else:
                self._unsynced.setdefault(key.id, []).append((done, place))
        for key_id in list(self._unsynced):
            self._sync(key_id)

    def _sync(self, key_id: str) -> None:
        """Make durable what was written under a key, and tell those who wait for it."""
        segment = self._segments.get(key_id)
        try:
            if segment is not None:
                segment.sync()
        except OSError as error:
            self._fail(key_id, error)
        for done, place in self._unsynced.pop(key_id, ()):
            done(place)

    def _fail(self, key_id: str, error: OSError) -> None:
        """Begin another segment next time: what a disk made of this one's end is not known."""
        self._drop(key_id)
        for done, _ in self._unsynced.pop(key_id, ()):
            done(_refused(error))

    def _append(self, kept: Kept, key: SealingKey) -> str:
        segment = self._segments.get(key.id)
        if segment is not None and segment.size_bytes >= self._segment_bytes_max:
            segment.sync()
            self._drop(key.id)
            segment = None
        if segment is None:
            segment = self._begin(key)
        head = Head(
            request_id=kept.request_id,
            time_ms=kept.time_ms,
            key=kept.key,
            marking=kept.marking,
            policy=kept.policy,
            operation=kept.operation,
            model=kept.model,
            content_bytes=len(kept.body) + len(kept.answer),
            end_user=_pseudonym(key, kept.body),
        )
        content = Content(kept.body, kept.answer, kept.whole, kept.said, kept.salts)
        at = segment.append(head, msgspec.msgpack.encode(content), kept.record_key)
        return place_of(segment.path, at)

    def _begin(self, key: SealingKey) -> SegmentWriter:
        for other in [one.key for one in self._segments.values() if one.key.tenant == key.tenant]:
            self._sync(other.id)  # its day is over, or the retention is another
            self._drop(other.id)
        folder = self._directory / key.tenant / key.id
        self._begun += 1
        segment = SegmentWriter(folder / f"{self._writer}-{self._begun:06d}.seg", key, self._writer, self._entropy)
        self._segments[key.id] = segment
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return segment

    def _drop(self, key_id: str) -> None:
        segment = self._segments.pop(key_id, None)
        if segment is not None:
            segment.close()


def pseudonym(index: str, end_user: str) -> str:
    """Return what stands for an end user in a tenant's sealed store; `index` is the tenant's index key, in hex."""
    return hmac.digest(bytes.fromhex(index), end_user.encode(), hashlib.sha256).hex()


def _pseudonym(key: SealingKey, body: bytes) -> str | None:
    try:
        named = _NAMED.decode(body)
    except msgspec.MsgspecError:
        return None
    end_user = named.safety_identifier or named.user
    return pseudonym(key.index, end_user) if end_user else None


def _refused(error: OSError) -> SealedUnavailable:
    return SealedUnavailable(f"the disk refuses sealed content: {os.strerror(error.errno or 0)}")


def _tell(future: asyncio.Future[str], told: str | SealedUnavailable) -> None:
    if future.done():
        return
    if isinstance(told, str):
        future.set_result(told)
    else:
        future.set_exception(told)


def _call(loop: asyncio.AbstractEventLoop, told: Done, outcome: str | SealedUnavailable) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(told, outcome)
