"""The report of a proof: what was tried, what was captured, what was done meanwhile; canonical JSON, signed."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import fastness
from fastness.perimeter.installation import Step
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.kinds import KINDS, tcp_is_judged
from fastness.perimeter.live import Seen
from fastness.perimeter.port import ProbeResult
from fastness.perimeter.signing import raw

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


def summarise(
    kinds: tuple[KindProbed, ...], steps: tuple[Step, ...], capture: Captured, live: tuple[Seen, ...] | None
) -> Summary:
    """Count what the lists say; it holds when nothing got through, nothing failed, and nothing is missing."""
    probes = [probe for kind in kinds for probe in kind.probes]
    allowed = sum(not probe.refused for probe in probes)
    failed = sum(not step.held for step in steps)
    wrong = sum(not seen.holds for seen in live or ())
    whole = (
        tuple(kind.kind for kind in kinds) == KINDS
        and all(kind.probes for kind in kinds)
        and {"up", "stop"} <= {step.name for step in steps}
        and capture.packets_total > 0
    )
    bad = allowed or failed or wrong or capture.packets_outside or capture.packets_missed
    return Summary(
        probes_total=len(probes),
        probes_allowed=allowed,
        packets_total=capture.packets_total,
        packets_outside=capture.packets_outside,
        packets_missed=capture.packets_missed,
        steps_total=len(steps),
        steps_failed=failed,
        live_total=len(live or ()),
        live_failed=wrong,
        holds=whole and not bad,
    )


def signed(body: Body, key: Ed25519PrivateKey) -> bytes:
    """Return the report as it is written to a file."""
    public = base64.b64encode(raw(key.public_key())).decode()
    value = base64.b64encode(key.sign(canonical(body))).decode()
    return canonical(Report(body, Signature("Ed25519", public, value))) + b"\n"


def this_host() -> Host:
    """Describe this machine."""
    uname = platform.uname()
    try:
        landlock = Kernel().landlock_abi()
    except OSError:
        landlock = 0
    return Host(
        system=uname.system,
        kernel=uname.release,
        machine=uname.machine,
        python=platform.python_version(),
        landlock=landlock,
        tcp_judged=tcp_is_judged(),
        root=os.geteuid() == 0,
    )


def code_digest() -> str:
    """Return the SHA-256 of the installed package: of the names and digests of its files, in order."""
    root = Path(fastness.__file__).parent
    whole = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{digest}  {path.relative_to(root).as_posix()}\n".encode())
    return whole.hexdigest()
