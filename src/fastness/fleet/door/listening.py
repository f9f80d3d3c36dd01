"""The sockets that a door listens on, for other hosts and for processes of this one."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path


def listening(address: str, port: int) -> socket.socket:
    """Return a socket bound to an IP address, without asking the resolver: a door may not. Raises OSError."""
    found = ipaddress.ip_address(address)
    listener = socket.socket(socket.AF_INET6 if found.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if found.version == 6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((str(found), port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"The door cannot listen on {address} port {port}: {error.strerror}. It needs an address of this host "
            "(cluster.address; without it, those of its certificate) and a free port (cluster.port)"
        ) from None
    return listener


def listening_here(path: Path, backlog: int) -> socket.socket:
    """Return a Unix socket that listens at `path`, for this user alone; what lay there is removed. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(backlog)
    return listener
