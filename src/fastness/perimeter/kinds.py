"""Every kind of process that an installation is made of, each probed under exactly the confinement that it has."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import fastness
from fastness.perimeter import proof
from fastness.perimeter.addresses import Address
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.landlock import NETWORK_SINCE_ABI
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import ProbeResult
from fastness.perimeter.probe_reach import table_of
from fastness.perimeter.witness import witness_of_reach

KINDS: Final = ("engine", "inspector", "gateway", "control", "supervisor", "broker", "door")
KINDS_BEFORE_DOORS: Final = KINDS[:-1]
"""Reports of versions that had no doors have no probes of them, and hold as they did."""
SEALED: Final = ("engine", "inspector")
SAMPLE: Final = Address("192.0.2.1", 443)
"""What the broker is probed with where nothing is configured: an address that nobody has (RFC 5737)."""
DOOR_PORT: Final = 7_443
"""What the door is probed with: the port where doors listen unless somebody chose another."""
_ROOT: Final = str(Path(fastness.__file__).resolve().parents[1])
_PROGRAM: Final = (
    f"import sys; sys.path.append({_ROOT!r}); from fastness.perimeter import probe_reach; "
    "sys.exit(probe_reach.main(sys.argv[1], tuple(map(int, sys.argv[2].split(','))), sys.argv[3] == 'names'))"
)


def probe_kind(kind: str, addresses: tuple[Address, ...] = ()) -> tuple[ProbeResult, ...]:
    """Run the probes of one kind; `addresses` are what the broker may speak to. Raises SealUnavailable, KeyError."""
    if kind in SEALED:
        return LocalPerimeter().prove().results
    spoken = addresses or (SAMPLE,)
    names = kind == "broker" and any(one.is_name for one in spoken)
    ports = [DOOR_PORT] if kind == "door" else sorted({one.port for one in spoken})
    table = table_of(kind, judged=tcp_is_judged(), names=names)
    spelled = (kind, ",".join(map(str, ports)), "names" if names else "addresses")
    with _ground(ports) as ground:
        argv = (sys.executable, "-I", "-S", "-c", _PROGRAM, *spelled)
        return proof.run_probes(argv, ground, table, witness_of_reach)


def tcp_is_judged() -> bool:
    """Tell whether this kernel's Landlock judges TCP (version 4, Linux 6.7)."""
    try:
        return Kernel().landlock_abi() >= NETWORK_SINCE_ABI
    except OSError:
        return False


@contextmanager
def _ground(ports: list[int]) -> Iterator[dict[str, object]]:
    """Make what is tried to be reached, here where it would be reached, and the sockets that a gateway holds."""
    with ExitStack() as stack:
        ground, _ = stack.enter_context(proof.prepared_ground())
        listener, target = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        stack.enter_context(socket.create_connection(listener.getsockname(), timeout=5.0))
        connection = stack.enter_context(listener.accept()[0])
        mailbox = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        mailbox.bind(("127.0.0.1", 0))
        yield ground | {
            "tcp_port": target.getsockname()[1],
            "udp_port": mailbox.getsockname()[1],
            "listener": listener.fileno(),
            "connection": connection.fileno(),
            "other_port": next(port for port in range(443, 65_536) if port not in ports),
        }
