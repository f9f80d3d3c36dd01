"""The gateways of an installation by name. A name is also that of a gateway's ledger, its log and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PREFIX: Final = "gateway-"
FIRST: Final = f"{PREFIX}0"


def gateway_names(count: int) -> tuple[str, ...]:
    """Return the names of so many gateways, the first one first."""
    return tuple(f"{PREFIX}{number}" for number in range(count))


def socket_of(gateway: str) -> str:
    """Return the name of the Unix socket, in the run directory, at which a gateway is asked by our own processes."""
    return f"{gateway}.sock"


def sockets_in(run_directory: Path) -> tuple[Path, ...]:
    """Return the sockets of the gateways that have begun there, by the gateways' numbers."""
    found = ((file.stem.removeprefix(PREFIX), file) for file in run_directory.glob(socket_of(f"{PREFIX}*")))
    return tuple(file for _, file in sorted((int(number), file) for number, file in found if number.isdecimal()))
