"""What a probe is: one attempt, the layer that is expected to refuse it, and the ground it is tried on.

Standard library only, and little of it: every start waits for the proof.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

# What the kernel answers when a layer refuses. Anything else, a refused connection too, means that it went through.
REFUSALS = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EXDEV}
)


class Ground:
    """Where the probes try: paths made for them, and the process that started them.

    `own` is the one writable directory; `secret` a file, `neighbour` another replica's directory with a listening
    `neighbour_socket`, and `abstract` a listening abstract socket, none of which may be touched. `descriptor` was
    open in the parent. `tcp_port` and `udp_port` are tried on the loopback addresses only. `listener` and `connection`
    are TCP sockets that our own processes hold by right, and `other_port` one that no broker may speak to; without
    them they are -1.
    """

    __slots__ = (
        "abstract",
        "connection",
        "descriptor",
        "listener",
        "memory_bytes_max",
        "neighbour",
        "neighbour_socket",
        "other_port",
        "own",
        "parent_pid",
        "secret",
        "tcp_port",
        "udp_port",
    )

    own: str
    secret: str
    neighbour: str
    neighbour_socket: str
    abstract: str
    listener: int
    connection: int
    other_port: int
    descriptor: int
    memory_bytes_max: int
    parent_pid: int
    tcp_port: int
    udp_port: int

    def __init__(self, **values: object) -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])


class Probe:
    """One row of the closed table: what is tried, and the layer that is expected to refuse it.

    `also` are errno values that mean a refusal for this probe only. One that `leaves` would reach another machine: it
    is not tried, and fails, once any probe before it was allowed.
    """

    __slots__ = ("also", "attempt", "id", "layer", "leaves", "run")

    def __init__(
        self,
        identifier: str,
        layer: str,
        attempt: str,
        run: Callable[[Ground], object],
        *,
        also: tuple[int, ...] = (),
        leaves: bool = False,
    ) -> None:
        self.id = identifier
        self.layer = layer
        self.attempt = attempt
        self.run = run
        self.also = also
        self.leaves = leaves

    def outcome(self, ground: Ground) -> tuple[bool, str]:
        """Try it; return whether it was refused, and the kernel's answer."""
        try:
            self.run(ground)
        except OSError as error:
            number = error.errno or 0
            return number in REFUSALS or number in self.also, _name(error, number)
        except Exception as error:  # noqa: BLE001 - a probe that breaks proves nothing, and must not stop the others
            return False, f"{type(error).__name__}: {error}"
        return False, "allowed"


def _name(error: OSError, number: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"resolver: {error.strerror}"
    return errno.errorcode.get(number, f"error {number}")
