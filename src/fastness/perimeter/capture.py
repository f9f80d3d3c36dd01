"""The capture: every packet of this network, on every interface, counted once, and told apart by where it was going."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from fastness.perimeter.seal import NotSealed

OUTSIDE_MAX: Final = 100
"""So many different packets for outside are listed; all are counted."""
HEAD_BYTES: Final = 128
RECEIVE_BUFFER_BYTES: Final = 64 << 20
_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6 = 3, 0x0800, 0x86DD
_PACKET_OUTGOING = 4
_SOL_PACKET, _PACKET_STATISTICS, _SO_RCVBUFFORCE = 263, 6, 33
_PROTOCOLS: Final = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


@dataclass(frozen=True, slots=True)
class Packet:
    """Where a packet went: `inside` means 127.0.0.0/8 or ::1. `port` is 0 where the protocol has none."""

    protocol: str
    source: str
    destination: str
    port: int
    inside: bool


@dataclass(slots=True)
class Counts:
    """What was captured. `missed` were dropped by the kernel before they could be read: then nothing is proved."""

    by_interface: Counter[str] = field(default_factory=Counter)
    by_protocol: Counter[str] = field(default_factory=Counter)
    outside: Counter[tuple[str, Packet]] = field(default_factory=Counter)
    outside_total: int = 0
    missed: int = 0


class Capture:
    """Counts packets from `__enter__` to `__exit__`, in a thread; then `counts` is whole. Raises NotSealed."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="capture")
        try:
            self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        except OSError as error:
            raise NotSealed(
                f"packets cannot be captured: {errno.errorcode.get(error.errno or 0, error.errno)}; "
                "the kernel needs CONFIG_PACKET, and a container must permit AF_PACKET sockets in its own namespaces"
            ) from error
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            with suppress(OSError):
                self._tap.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
                break
        self._tap.settimeout(0.05)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        statistics = self._tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.counts.missed = struct.unpack("=II", statistics)[1]
        self._tap.close()

    def _listen(self) -> None:
        # After the end it reads on until there has been silence for one timeout: nothing under way is missed.
        while True:
            try:
                head, (interface, ethertype, direction, _, _) = self._tap.recvfrom(HEAD_BYTES)
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            if direction == _PACKET_OUTGOING:  # what loops back is seen again coming in
                self._count(interface, read_packet(ethertype, head))

    def _count(self, interface: str, packet: Packet) -> None:
        counts = self.counts
        counts.by_interface[interface] += 1
        counts.by_protocol[packet.protocol] += 1
        if not packet.inside:
            counts.outside_total += 1
            seen = (interface, packet)
            if seen in counts.outside or len(counts.outside) < OUTSIDE_MAX:
                counts.outside[seen] += 1


def read_packet(ethertype: int, head: bytes) -> Packet:
    """Read the first bytes of a packet, from its network header on; what cannot be read counts as going outside."""
    try:
        if ethertype == _ETH_P_IP:
            length, number = 4 * (head[0] & 0xF), head[9]
            fragment = struct.unpack_from("!H", head, 6)[0] & 0x1FFF
            source, destination = ipaddress.ip_address(head[12:16]), ipaddress.ip_address(head[16:20])
        elif ethertype == _ETH_P_IPV6:
            length, number, fragment = 40, head[6], 0
            source, destination = ipaddress.ip_address(head[8:24]), ipaddress.ip_address(head[24:40])
        else:
            return Packet(f"ethertype {ethertype:#06x}", "?", "?", 0, inside=False)
        port = 0
        if number in (6, 17, 132) and not fragment:
            (port,) = struct.unpack_from("!H", head, length + 2)
    except (IndexError, ValueError, struct.error):
        return Packet("unreadable", "?", "?", 0, inside=False)
    name = _PROTOCOLS.get(number, f"protocol {number}")
    return Packet(name, str(source), str(destination), port, inside=destination.is_loopback)
