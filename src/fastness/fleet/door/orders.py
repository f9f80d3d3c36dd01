"""What a supervisor tells its host's door, and what the door tells it: two files in the run directory, each whole.

A door that was told nothing lets nobody in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from fastness.core.ids import is_name

ORDERS: Final = "door.json"
"""What the supervisor tells the door."""
REPORT: Final = "door-report.json"
"""What the door tells the supervisor."""
CONNECTOR: Final = "connect.sock"
"""Where gateways of this host ask for connections to the doors of others."""
ENGINE_PROTOCOL: Final = "fastness-engine-1"
"""By ALPN: whoever comes speaks to the engine that the server name stands for, in frames."""
GANG_PROTOCOL: Final = "fastness-gang-1"
"""By ALPN: whoever comes is a member of the gang of the replica that the server name stands for."""
GANGS: Final = "gang.sock"
"""Where guards of families that are members of gangs bring their interfaces."""
MODEL_PROTOCOL: Final = "fastness-model-1"
"""By ALPN: whoever comes asks for weights by digest."""
LETTER_PROTOCOL: Final = "fastness-letter-1"
"""By ALPN: whoever comes exchanges letters with the head, in frames."""
DOMAIN: Final = "fastness.internal"
"""Certificates of hosts have *.HOST.fastness.internal among their names."""
_MODELS: Final = "models"
_LETTERS: Final = "letters"
_LABEL_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class DoorRoute:
    """Whoever asks for the server `name` is led to the engine on this Unix socket."""

    name: str
    socket: str


@dataclass(frozen=True, slots=True)
class HostPlace:
    """A host: its name, and where its door listens, as `address:port`."""

    host: str
    place: str


@dataclass(frozen=True, slots=True)
class WantedModel:
    """A model to be fetched: its weights by SHA-256, their size, and who has them, the nearest first."""

    digest: str
    size_bytes: int
    sources: tuple[HostPlace, ...]


@dataclass(frozen=True, slots=True)
class HostDoor:
    """The door of a host: the name of its node, that in its certificate, and where it listens, as `address:port`."""

    node: str
    host: str
    place: str


@dataclass(frozen=True, slots=True)
class DoorGang:
    """A gang of which a member is here: of which replica, under which term, its `rank`, and all members by rank."""

    replica: str
    term: int
    rank: int
    members: tuple[HostDoor, ...]


@dataclass(frozen=True, slots=True)
class DoorOrders:
    """All that a door may do. `version` grows.

    `until_s` is when all of it ends, by this machine's CLOCK_MONOTONIC, if no newer orders come; None: never. `places`
    are those that the gateways of this host may be connected to, as `address:port`. On a node `head` is where the door
    of its head is; with `carries` it brings letters there and back.
    """

    version: int
    until_s: float | None = None
    routes: tuple[DoorRoute, ...] = ()
    places: tuple[str, ...] = ()
    wanted: tuple[WantedModel, ...] = ()
    head: HostPlace | None = None
    carries: bool = False
    gangs: tuple[DoorGang, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchState:
    """How far a model is: bytes on this disk, from which host they come now, and what went wrong last, if it did.

    `done`: it is whole, verified, and in its place.
    """

    digest: str
    done_bytes: int
    size_bytes: int
    source: str = ""
    trouble: str = ""
    done: bool = False


@dataclass(frozen=True, slots=True)
class DoorReport:
    """What a door says: the orders that it obeys, and how far each wanted model is."""

    version: int
    fetches: tuple[FetchState, ...] = ()


def server_name(replica: str, host: str) -> str:
    """Return the server name by which the door of `host` knows a replica."""
    fits = is_name(replica) and replica not in (_MODELS, _LETTERS)
    label = replica if fits else "r-" + hashlib.sha256(replica.encode()).hexdigest()[:_LABEL_CHARS]
    return f"{label}.{host}.{DOMAIN}"


def models_name(host: str) -> str:
    """Return the server name under which a host gives models away."""
    return f"{_MODELS}.{host}.{DOMAIN}"


def letters_name(host: str) -> str:
    """Return the server name under which a head takes letters."""
    return f"{_LETTERS}.{host}.{DOMAIN}"


def remote_socket(place: str, replica: str, host: str) -> str:
    """Return what stands for the Unix socket of a replica whose host is another one: `tls://PLACE/SERVER-NAME`."""
    return f"tls://{place}/{server_name(replica, host)}"
