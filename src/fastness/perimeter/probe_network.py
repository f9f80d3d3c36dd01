"""Probes of the network: every way out of the machine, and the ways to its other processes.

Loopback comes before the outside: should a seal be broken, the first probes find out without a packet leaving.
Outside addresses are of the documentation ranges (RFC 5737, RFC 3849), which nobody has.
"""

from __future__ import annotations

import errno
import socket

from fastness.perimeter.probing import Ground, Probe

_OUTSIDE4, _OUTSIDE6 = "192.0.2.1", "2001:db8::1"
_TIMEOUT_S = 0.2
_FAMILIES_MAX = 64
_AF_ALG, _AF_VSOCK, _AF_XDP = 38, 40, 44


def _connect(family: int, address: object, kind: int = socket.SOCK_STREAM) -> None:
    with socket.socket(family, kind) as speaker:
        speaker.settimeout(_TIMEOUT_S)
        speaker.connect(address)  # type: ignore[arg-type]  # typeshed wants one tuple shape; families have several


def _send(family: int, address: tuple[str, int]) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as speaker:
        speaker.settimeout(_TIMEOUT_S)
        speaker.sendto(b"", address)


def _open(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def _open_any_family(_ground: Ground) -> None:
    """Open a socket of any family but AF_UNIX; raise the refusal only when every one is refused."""
    for family in range(_FAMILIES_MAX):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            if family != socket.AF_UNIX:
                try:
                    _open(family, kind)
                except OSError:
                    continue
                return
    raise OSError(errno.EAFNOSUPPORT, "every family is refused")


def _open_unix_datagram(_ground: Ground) -> None:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.close()


NETWORK_PROBES = (
    Probe(
        "tcp4-loopback",
        "namespaces",
        "connect to 127.0.0.1 over TCP",
        lambda ground: _connect(socket.AF_INET, ("127.0.0.1", ground.tcp_port)),
    ),
    Probe(
        "tcp6-loopback",
        "namespaces",
        "connect to ::1 over TCP",
        lambda ground: _connect(socket.AF_INET6, ("::1", ground.tcp_port)),
    ),
    Probe(
        "udp4-loopback",
        "namespaces",
        "send a UDP datagram to 127.0.0.1",
        lambda ground: _send(socket.AF_INET, ("127.0.0.1", ground.udp_port)),
    ),
    Probe(
        "udp6-loopback",
        "namespaces",
        "send a UDP datagram to ::1",
        lambda ground: _send(socket.AF_INET6, ("::1", ground.udp_port)),
    ),
    Probe(
        "abstract-socket",
        "namespaces",
        "connect to an abstract Unix socket of the host",
        lambda ground: _connect(socket.AF_UNIX, "\0" + ground.abstract),
        also=(errno.ECONNREFUSED,),  # somebody listens there, so: that name means nothing in here
    ),
    Probe(
        "tcp4-outside",
        "namespaces",
        "connect to another machine over TCP and IPv4",
        lambda _: _connect(socket.AF_INET, (_OUTSIDE4, 443)),
        leaves=True,
    ),
    Probe(
        "tcp6-outside",
        "namespaces",
        "connect to another machine over TCP and IPv6",
        lambda _: _connect(socket.AF_INET6, (_OUTSIDE6, 443)),
        leaves=True,
    ),
    Probe(
        "udp4-outside",
        "namespaces",
        "send a UDP datagram to another machine over IPv4",
        lambda _: _send(socket.AF_INET, (_OUTSIDE4, 443)),
        leaves=True,
    ),
    Probe(
        "udp6-outside",
        "namespaces",
        "send a UDP datagram to another machine over IPv6",
        lambda _: _send(socket.AF_INET6, (_OUTSIDE6, 443)),
        leaves=True,
    ),
    Probe(
        "dns-datagram",
        "namespaces",
        "send a datagram to a DNS server",
        lambda _: _send(socket.AF_INET, (_OUTSIDE4, 53)),
        leaves=True,
    ),
    Probe(
        "dns-lookup",
        "namespaces",
        "look up a name through the system's resolver",
        lambda _: socket.getaddrinfo("fastness.invalid", 443),
        also=(socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM),
        leaves=True,
    ),
    Probe(
        "neighbour-socket",
        "system calls",
        "connect to another replica's Unix socket",
        lambda ground: _connect(socket.AF_UNIX, ground.neighbour_socket),
    ),
    Probe(
        "unix-datagram",
        "system calls",
        "open Unix datagram sockets (system log, service notification)",
        _open_unix_datagram,
    ),
    Probe(
        "icmp4-datagram",
        "system calls",
        "open an ICMP ping socket",
        lambda _: _open(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    ),
    Probe(
        "icmp4-raw",
        "system calls",
        "open a raw ICMP socket",
        lambda _: _open(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    ),
    Probe(
        "icmp6-raw",
        "system calls",
        "open a raw ICMPv6 socket",
        lambda _: _open(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    ),
    Probe(
        "ip4-raw",
        "system calls",
        "open a raw IPv4 socket",
        lambda _: _open(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    ),
    Probe(
        "ip6-raw",
        "system calls",
        "open a raw IPv6 socket",
        lambda _: _open(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
    ),
    Probe(
        "packet",
        "system calls",
        "open a packet socket (link layer)",
        lambda _: _open(socket.AF_PACKET, socket.SOCK_RAW),
    ),
    Probe(
        "netlink",
        "system calls",
        "open a netlink socket (routes, firewall)",
        lambda _: _open(socket.AF_NETLINK, socket.SOCK_RAW),
    ),
    Probe(
        "vsock",
        "system calls",
        "open a socket to the hypervisor",
        lambda _: _open(_AF_VSOCK, socket.SOCK_STREAM),
    ),
    Probe(
        "kernel-crypto",
        "system calls",
        "open a kernel cryptography socket",
        lambda _: _open(_AF_ALG, socket.SOCK_SEQPACKET),
    ),
    Probe("xdp", "system calls", "open an express data path socket", lambda _: _open(_AF_XDP, socket.SOCK_RAW)),
    Probe("any-other-family", "system calls", "open a socket of any of 63 other families", _open_any_family),
)
