"""What goes wrong in a simulation, when, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What breaks. A scenario file names them so."""

    POWER = "power"
    """A node loses its power, and has it again after `for_s`. A failure domain: all nodes of it; `40%`: so many."""
    DARK = "dark"
    """A node hears nobody, and nobody hears it."""
    UNLINKED = "unlinked"
    """A node and the control plane do not hear each other; gateways reach it."""
    CRASH = "crash"
    """An engine dies."""
    HANG = "hang"
    """An engine answers nothing any more."""
    CRASHES = "crashes"
    """Engines that begin die soon after, on a node or of a revision (`name@2`)."""
    NEVER_READY = "never-ready"
    """Engines that begin do not become ready."""
    SLOW = "slow"
    """Engines that begin take `amount` times as long."""
    ORDERS_LOST = "orders-lost"
    """So many of all orders are lost (`amount`, a part of 1)."""
    ORDERS_LATE = "orders-late"
    """Orders take up to `amount` seconds, so that some overtake others."""
    REPORTS_LATE = "reports-late"
    """The reports of a node come `amount` seconds late."""
    GATEWAY = "gateway"
    """A gateway dies."""
    PAUSE = "pause"
    """The control plane stands still, and goes on with what it knew."""
    DOWN = "down"
    """The control plane dies, and comes back with nothing but its log."""
    TORN = "torn"
    """The control plane dies while it records a plan."""
    CUT_OFF = "cut-off"
    """The control plane hears no node; gateways do."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong at `at_s`, for `for_s` seconds. `target` empty: chosen by the seed."""

    at_s: float
    kind: Kind
    target: str = ""
    for_s: float = 60.0
    amount: float = 0.0
