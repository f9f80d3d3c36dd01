"""Control as a gateway meets it: a Unix socket that answers wishes from a store, counts them, and can go away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from fastness.core.limit import Limit, Metric, Scope
from fastness.core.tenant import Principal
from fastness.gateway.leases import LeaseAnswer, LeaseCall, Leases
from fastness.store.memory import MemoryStore
from fastness.store.memory_limits import MemoryLimitStore
from fastness.traffic.quota import Gateway
from policed import Door, opened

NOON_S = 1_800_057_600 + 43_200
HEALTH = Scope("health")


class Control:
    def __init__(self, door: Door) -> None:
        self.door, self.now_s = door, NOON_S + 10.0
        self.store = MemoryLimitStore(MemoryStore())
        self.asked = 0
        self.away = False
        door.gateway.clock = lambda: self.now_s
        socket = str(door.home / "control.sock")
        door.gateway.leases = Leases(lambda: self.now_s, door.connections, socket, boot="boot-1")

    def limit(self, scope: Scope = HEALTH, **bounds: int) -> None:
        self.store.put_limit(Limit(scope, **bounds))
        self.publish()

    def held(self, metric: Metric, scope: Scope = HEALTH) -> int:
        """What the gateway holds, as control knows it."""
        return sum(one.held for one in self.store.lines((scope.id, metric, metric.window_s(self.now_s))))

    def publish(self) -> None:
        self.door.gateway.leases.replace(self.store._access.access().limits)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line = next(one for one in head.lower().split(b"\r\n") if one.startswith(b"content-length"))
                call = msgspec.json.decode(await reader.readexactly(int(line.split(b":")[1])), type=LeaseCall)
                self.asked += 1
                if self.away:
                    break
                gateway = Gateway(call.gateway, call.boot, call.sequence, 0, int(self.now_s))
                body = msgspec.json.encode(LeaseAnswer(list(self.store.lease(gateway, call.wishes))))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()


@asynccontextmanager
async def limited(home: Path, *principals: Principal, **traffic: int) -> AsyncIterator[tuple[Door, Control]]:
    async with opened(home, *principals, **traffic) as door:
        control = Control(door)
        server = await asyncio.start_unix_server(control.serve, str(home / "control.sock"))
        try:
            yield door, control
        finally:
            await door.gateway.leases.close()
            server.close()
