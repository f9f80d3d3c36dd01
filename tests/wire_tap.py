"""Every packet between hosts: who spoke to whom on which port, how connections began, whether anything is legible."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from hosts_world import Hosts, enter

ETH_P_ALL, ETH_P_IP, ETH_P_ARP = 0x0003, 0x0800, 0x0806
SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 263, 6, 33
SYN, ACK = 0x02, 0x10
Way = tuple[str, int, str, int]
"""Source, its port, destination, its port."""


@dataclass
class Seen:
    """What was on the wires. `begun` has the first bytes of each direction of each connection."""

    packets: int = 0
    missed: int = 0
    servers: Counter[tuple[str, int]] = field(default_factory=Counter)
    begun: dict[Way, bytes] = field(default_factory=dict)
    other: Counter[str] = field(default_factory=Counter)
    addresses: set[str] = field(default_factory=set)
    legible: Counter[bytes] = field(default_factory=Counter)


class WireTap:
    """Listens on the switch. `secrets` are looked for in every packet."""

    def __init__(self, net: Hosts, secrets: tuple[bytes, ...]) -> None:
        self.seen, self.secrets = Seen(), secrets
        self._pid, self._over, self._open = net.switch.holder.pid, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._open.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        enter(self._pid)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
            tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
            tap.settimeout(0.1)
            self._open.set()
            while not self._over.is_set():
                try:
                    frame, (name, _, direction, *_) = tap.recvfrom(65_536)
                except TimeoutError:
                    continue
                if direction != socket.PACKET_OUTGOING and name.startswith("to-"):
                    self._take(frame)
            self.seen.missed = struct.unpack("=II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]

    def _take(self, frame: bytes) -> None:
        self.seen.packets += 1
        for secret in self.secrets:
            if secret in frame:
                self.seen.legible[secret] += 1
        kind, packet = struct.unpack_from("!H", frame, 12)[0], frame[14:]
        if kind == ETH_P_ARP:
            return
        if kind != ETH_P_IP or packet[9] != socket.IPPROTO_TCP:
            self.seen.other[f"{kind:#06x} {packet[9] if kind == ETH_P_IP else ''}"] += 1
            return
        source, target = str(ipaddress.ip_address(packet[12:16])), str(ipaddress.ip_address(packet[16:20]))
        self.seen.addresses |= {source, target}
        segment = packet[4 * (packet[0] & 0xF) : struct.unpack_from("!H", packet, 2)[0]]
        from_port, to_port, _, _, offset, flags = struct.unpack_from("!HHIIBB", segment)
        way, content = (source, from_port, target, to_port), segment[4 * (offset >> 4) :]
        if flags & (SYN | ACK) == SYN:
            self.seen.servers[target, to_port] += 1
            self.seen.begun.pop(way, None)
            self.seen.begun.pop((target, to_port, source, from_port), None)
        elif content:
            self.seen.begun.setdefault(way, content[:8])
