"""What a report of a proof is made of, to the field; and the one way in which it is written down."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fastness.perimeter.installation import Step
from fastness.perimeter.live import Seen
from fastness.perimeter.port import ProbeResult

FORMAT: Final = "fastness-perimeter-report/1"
REPORT_BYTES_MAX: Final = 16_777_216


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every part of a report has in common: exactly its fields."""


class KindProbed(_Shape, frozen=True):
    """The probes of one kind of process."""

    kind: str
    probes: tuple[ProbeResult, ...]


class Outside(_Shape, frozen=True):
    """Packets that were for outside, all alike."""

    interface: str
    protocol: str
    source: str
    destination: str
    port: int
    packets: int


class Captured(_Shape, frozen=True):
    """What the capture counted, by interface and by protocol; `outside` is bounded, `packets_outside` is not."""

    interfaces: dict[str, int]
    protocols: dict[str, int]
    packets_total: int
    packets_outside: int
    packets_missed: int
    outside: tuple[Outside, ...]


class Host(_Shape, frozen=True):
    """The machine, as it describes itself. `tcp_judged`: Landlock also keeps open TCP sockets from being turned."""

    system: str
    kernel: str
    machine: str
    python: str
    landlock: int
    tcp_judged: bool
    root: bool


class Summary(_Shape, frozen=True):
    """The totals, all of which follow from the lists."""

    probes_total: int
    probes_allowed: int
    packets_total: int
    packets_outside: int
    packets_missed: int
    steps_total: int
    steps_failed: int
    live_total: int
    live_failed: int
    holds: bool


class Body(_Shape, frozen=True):
    """What is signed. `live` is what was seen of the running installation, None when none ran."""

    format: str
    made_ms: int
    version: str
    code_sha256: str
    host: Host
    addresses: tuple[str, ...]
    leak_planted: bool
    kinds: tuple[KindProbed, ...]
    steps: tuple[Step, ...]
    capture: Captured
    live: tuple[Seen, ...] | None
    summary: Summary


class Signature(_Shape, frozen=True):
    """Ed25519 over the canonical bytes of the body; both in base 64."""

    algorithm: str
    public_key: str
    value: str


class Report(_Shape, frozen=True):
    """The file."""

    body: Body
    signature: Signature


def canonical(value: Any) -> bytes:
    """Encode with sorted keys, no spaces, and nothing but whole numbers, text, booleans, lists and null."""
    return msgspec.json.encode(value, order="sorted")
