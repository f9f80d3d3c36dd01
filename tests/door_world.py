"""Doors for tests: a host with a door in front of engines, and the head that comes to it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_world import World
from fastness.fleet.door.connector import connect
from fastness.fleet.door.guests import Refused
from fastness.fleet.door.orders import ENGINE_PROTOCOL, DoorOrders, DoorRoute, remote_socket, server_name
from fastness.fleet.door.server import Door
from fastness.gateway.http.client import EngineConnections
from fastness.gateway.http.remote import RemoteEngines
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.claims import HostRole
from fastness.identity.cluster.membership import Membership

HOST = "bristol-07"


@dataclass(frozen=True)
class Guest:
    name: str
    gives_orders: bool


def judging(own: Membership) -> Callable[[bytes], Guest]:
    def judge(der: bytes) -> Guest:
        try:
            found = own.check(der, time.time())
        except NotTrusted as error:
            raise Refused(str(error)) from None
        return Guest(found.claims.name, found.claims.role is HostRole.HEAD)

    return judge


def checking(own: Membership) -> Callable[[bytes], None]:
    def check(der: bytes) -> None:
        try:
            own.check(der, time.time())
        except NotTrusted as error:
            raise OSError(str(error)) from None

    return check


class Hosts:
    """A cluster of a head and a node, as of now."""

    def __init__(self, path: Path) -> None:
        self.world = World(path, time.time())
        self.head = self.world.host("head", HostRole.HEAD)
        self.node = self.world.host(HOST)


async def tcp(place: str) -> socket.socket:
    return await connect(place, 2.0)


def remote_engines(head: Membership, connecting: Any = tcp) -> RemoteEngines:
    return RemoteEngines(head.client_context(), ENGINE_PROTOCOL, connecting, checking(head))


def route(path: Path, replica: str = "chat-1") -> DoorRoute:
    return DoorRoute(server_name(replica, HOST), str(path))


class Opened:
    """A door that listens, and what it told of those whom it refused."""

    def __init__(self, own: Membership, give_models: Any = None, take_letters: Any = None) -> None:
        self.refused: list[tuple[str, str]] = []
        context = own.server_context()
        self.door = Door(
            context,
            judging(own),
            lambda who, why: self.refused.append((who, why)),
            give_models,
            take_letters=take_letters,
        )

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.door.ports[0]}"

    def socket(self, replica: str = "chat-1") -> str:
        return remote_socket(self.place, replica, HOST)


@asynccontextmanager
async def opened(
    own: Membership, *routes: DoorRoute, give_models: Any = None, take_letters: Any = None, port: int = 0
) -> AsyncIterator[Opened]:
    found = Opened(own, give_models, take_letters)
    found.door.listen(["127.0.0.1"], port)
    found.door.obey(DoorOrders(1, None, routes))
    try:
        yield found
    finally:
        await found.door.close()


class ThroughDoor(EngineConnections):
    """Connections to engines that all stand behind one door: a path of a socket stands for its way there."""

    def __init__(self, where: str, remote: RemoteEngines, **kwargs: Any) -> None:
        super().__init__(remote=remote, **kwargs)
        self._where = where

    def _begin(self, call: Any) -> Any:
        call.socket = self._where
        return super()._begin(call)

    def forget(self, socket: str) -> None:
        super().forget(self._where)


async def handshake(place: str, context: Any, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = place.rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
