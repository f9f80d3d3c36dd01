"""Probes of our own processes: every way to speak to somebody that is not on this machine.

`python … probe_reach.main()` is told on its command line which kind it is, takes that kind's reach from itself by the
very function that the process calls, and tries. Standard library only.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

from fastness.perimeter import probe
from fastness.perimeter.probe_kernel import KERNEL_PROBES
from fastness.perimeter.probe_network import NETWORK_PROBES
from fastness.perimeter.probing import Ground, Probe
from fastness.perimeter.reach import keep_to, speak_to, stay_local
from fastness.perimeter.seal import NotSealed

_OUTSIDE4, _OUTSIDE6 = "192.0.2.1", "2001:db8::1"
_MSG_FASTOPEN = 0x2000_0000
_TIMEOUT_S = 0.2
_PIDFD_GETFD = 438  # added to every architecture under the same number
_IN_A_CHILD = "import socket, sys\ntry: socket.socket(socket.AF_INET)\nexcept OSError as error: sys.exit(error.errno)"

# An engine has no business with these; our own processes meet each other there.
_PERMITTED = frozenset({"abstract-socket", "neighbour-socket", "unix-datagram"})
_FROM_KERNEL = frozenset({"io-uring", "bpf", "x32", "trace-parent", "read-parent"})
_OF_THE_BROKER_TOO = frozenset(
    {"icmp4-datagram", "icmp4-raw", "icmp6-raw", "ip4-raw", "ip6-raw", "packet", "netlink", "vsock", "kernel-crypto"}
    | {"xdp", *_FROM_KERNEL}
)
_DATAGRAMS = frozenset({"udp4-loopback", "udp6-loopback", "udp4-outside", "udp6-outside", "dns-datagram"})


def _turn_listener(ground: Ground) -> None:
    """A listening socket that is shut down becomes one that can be connected."""
    with socket.socket(fileno=os.dup(ground.listener)) as listener:
        listener.settimeout(_TIMEOUT_S)
        listener.shutdown(socket.SHUT_RDWR)
        listener.connect((_OUTSIDE4, 443))


def _turn_connection(ground: Ground) -> None:
    """A connection to the family "unspecified" is none any more, and can be made anew."""
    import ctypes

    with socket.socket(fileno=os.dup(ground.connection)) as connection:
        connection.settimeout(_TIMEOUT_S)
        ctypes.CDLL(None).connect(connection.fileno(), bytes(16), 16)
        connection.connect((_OUTSIDE4, 443))


def _send_open(ground: Ground) -> None:
    with socket.socket(fileno=os.dup(ground.connection)) as connection:
        connection.sendto(b"x", _MSG_FASTOPEN | socket.MSG_DONTWAIT, (_OUTSIDE4, 443))


def _take_descriptor(ground: Ground) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.pidfd_open(ground.parent_pid)
    try:
        taken = libc.syscall(ctypes.c_long(_PIDFD_GETFD), parent, 0, 0)
        if taken < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.close(taken)
    finally:
        os.close(parent)


def _open_in_child(_ground: Ground) -> None:
    child = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", _IN_A_CHILD], {})
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(status, os.strerror(status))


def _connect(family: int, host: str, port: int) -> None:
    with socket.socket(family) as speaker:
        speaker.settimeout(_TIMEOUT_S)
        speaker.connect((host, port))


def _bind(port: int) -> None:
    with socket.socket(socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))


def _own(probes: tuple[Probe, ...], wanted: frozenset[str]) -> tuple[Probe, ...]:
    """Return the named probes, as ones that the reach of a process refuses."""
    return tuple(
        Probe(one.id, "reach", one.attempt, one.run, also=one.also, leaves=one.leaves)
        for one in probes
        if one.id in wanted
    )


_LOCAL = (
    *_own(NETWORK_PROBES, frozenset(one.id for one in NETWORK_PROBES) - _PERMITTED),
    *_own(KERNEL_PROBES, _FROM_KERNEL),
    Probe("take-descriptor", "reach", "take a socket out of another process", _take_descriptor),
    Probe("child-socket", "reach", "have a program that it starts open a socket", _open_in_child),
)
_LISTENER = (
    Probe("turn-listener", "reach", "connect with the socket that it listens on", _turn_listener, leaves=True),
)
_CONNECTION = (
    Probe("turn-connection", "reach", "connect elsewhere with a client's connection", _turn_connection, leaves=True),
    Probe("send-open", "reach", "connect by sending (TCP fast open)", _send_open, leaves=True),
)
_BROKER = (
    *_own(NETWORK_PROBES, _OF_THE_BROKER_TOO),
    *_own(KERNEL_PROBES, _OF_THE_BROKER_TOO),
    Probe("take-descriptor", "reach", "take a socket out of another process", _take_descriptor),
)
_OTHER_PORT = (
    Probe(
        "tcp4-other-port",
        "reach",
        "connect to a port that is not configured over IPv4",
        lambda ground: _connect(socket.AF_INET, _OUTSIDE4, ground.other_port),
        leaves=True,
    ),
    Probe(
        "tcp6-other-port",
        "reach",
        "connect to a port that is not configured over IPv6",
        lambda ground: _connect(socket.AF_INET6, _OUTSIDE6, ground.other_port),
        leaves=True,
    ),
)
_DOOR = (
    Probe(
        "listen-elsewhere", "reach", "listen on a port that is not the door's", lambda ground: _bind(ground.other_port)
    ),
)


def table_of(kind: str, *, judged: bool, names: bool) -> tuple[Probe, ...]:
    """Return what a process of `kind` must not be able to do; `judged` where Landlock judges TCP, as Linux 6.7 does.

    A broker that looks up `names` may send datagrams. Raises KeyError.
    """
    few = _OTHER_PORT if judged else ()
    datagrams = _own(NETWORK_PROBES, _DATAGRAMS)
    broker = _BROKER + (() if names else datagrams) + few
    turned = _LISTENER if judged else ()
    return {
        "gateway": _LOCAL + turned + (_CONNECTION if judged else ()),
        "control": _LOCAL,
        "supervisor": _LOCAL + turned,
        "broker": broker,
        "door": _BROKER + datagrams + few + (_DOOR if judged else ()),
    }[kind]


def main(kind: str, ports: tuple[int, ...], names: bool) -> int:
    """Become a process of `kind`, as far as its reach goes, and try its table."""
    try:
        if kind == "door":
            judged = keep_to(ports)
        else:
            judged = speak_to(ports, names=names) if kind == "broker" else stay_local()
    except NotSealed as error:
        sys.stderr.write(f"{error}\n")
        return errno.EPERM
    return probe.main(table_of(kind, judged=judged, names=names))
