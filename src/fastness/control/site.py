"""What the supervisor is given, and what it tells: the parts of one installation, as the composition root made them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fastness.config import Settings
from fastness.control.declaration import Declared
from fastness.control.neighbours import Neighbours
from fastness.core.deployment import Adapter
from fastness.core.marking import Node
from fastness.core.model import ModelCard
from fastness.core.node import FleetNode
from fastness.core.observation import NodeOrders
from fastness.core.own_process import OwnProcess
from fastness.core.replica import Replica
from fastness.fleet.node import LocalNode
from fastness.fleet.supervised import Supervised
from fastness.ledger.port import Ledger
from fastness.telemetry.log import JsonLog

if TYPE_CHECKING:
    from fastness.control.gateways import Gateways


class StartRefused(Exception):  # noqa: N818 - an outcome
    """The installation cannot start. The message says what was needed, what there is, and what to try."""


class Progress(Protocol):
    """Where the supervisor tells a person what it does; see cli/composition.py."""

    def stage(self, name: str, detail: str) -> None:
        """Begin a stage."""
        ...

    def progress(self, name: str, done_bytes: int, total_bytes: int) -> None:
        """Tell how far it is."""
        ...

    def done(self, name: str, detail: str, elapsed_s: float, result: str = "ready") -> None:
        """End a stage."""
        ...

    def warn(self, text: str) -> None:
        """Tell something a person should know."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """A model that was found and verified, and the file its weights are in.

    `ceiling` is what it was admitted for, as text; None: the profile's default marking. `adapters` run on it.
    """

    card: ModelCard
    weights: Path
    ceiling: str | None = None
    adapters: tuple[Adapter, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """What the composition root gives the supervisor. The callables that block are run in threads.

    `known` finds a model that may be loaded here by its name, with what it was admitted for, and `known_adapter` an
    adapter. `revoked` returns the names of all that was revoked. `node` makes the node that keeps engines up: nothing
    is prepared before the event is set; it is told of each change, of a replica where one changed by itself.
    `kept_orders` are those of the run before, `new_orders` returns what control has sent since.
    `offer` is what this machine offers, as a node at this place, `digests` which models are on its disk.
    `why` asks control why a deployment has fewer replicas than it wants; empty where it says nothing. `controls` makes
    the control processes, and is given whom to tell of each change of one. `neighbours` are the nodes on other hosts,
    where there are any. `companions` tells how those are that were begun before, and keep themselves up.
    """

    settings: Settings
    declared: Declared
    run_directory: Path
    ledger: Ledger
    log: JsonLog
    clock: Callable[[], float]
    ensure_model: Callable[[str, Callable[[str, int, int], None]], Model]
    is_revoked: Callable[[str], bool]
    revoked: Callable[[], frozenset[str]]
    prove_seal: Callable[[], str]
    known: Callable[[str], tuple[ModelCard, str | None] | None]
    known_adapter: Callable[[str], Adapter | None]
    node: Callable[[bool, asyncio.Event, Callable[[Replica | None], None]], LocalNode]
    kept_orders: Callable[[], NodeOrders | None]
    new_orders: Callable[[], NodeOrders | None]
    offer: Callable[[Node], FleetNode]
    digests: Callable[[], tuple[str, ...]]
    first_admin: Callable[[], Awaitable[str | None]]
    why: Callable[[str], Awaitable[str]]
    controls: Callable[[Callable[[], None]], tuple[Supervised, ...]]
    gateways: Gateways
    neighbours: Neighbours | None = None
    companions: Callable[[], tuple[OwnProcess, ...]] = tuple


@dataclass(frozen=True, slots=True)
class Up:
    """What runs, once it is ready."""

    base_url: str
    admin_key: str | None
    pid: int
    elapsed_s: float
    models: tuple[ModelCard, ...]
    proof: str
    sealed: bool
