"""The addresses that an installation may speak to, read from its settings."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

ADDRESSES_MAX: Final = 64
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_SHAPE: Final = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^:\[\]/@\s]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """One `host:port`: `host` is a name in lower case or an IP address in its shortest form, without brackets."""

    host: str
    port: int

    @property
    def is_name(self) -> bool:
        """Tell whether it must be looked up."""
        return _as_ip(self.host) is None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Read `host:port` separated by spaces; raises ValueError that says which is not one."""
    words = text.split()
    if len(words) > ADDRESSES_MAX:
        raise ValueError(f"perimeter.addresses may name {ADDRESSES_MAX} addresses; came {len(words)}")
    return tuple(dict.fromkeys(parse_address(word) for word in words))


def parse_address(word: str) -> Address:
    """Read one `host:port`; raises ValueError."""
    found = _SHAPE.fullmatch(word)
    if found and 0 < int(found["port"]) < 65_536:
        host = found["six"] or found["host"].lower()
        address = _as_ip(host)
        # A name may not end in a number: 127.1 and 0x7f.1 are addresses to some resolvers.
        named = _NAME.fullmatch(host) and not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2])
        if address is not None and (address.version == 6) == bool(found["six"]):
            return Address(str(address), int(found["port"]))
        if named and address is None and not found["six"]:
            return Address(host, int(found["port"]))
    raise ValueError(f"{word[:80]!r} is not host:port, such as login.example:443 or [2001:db8::1]:443")


def reaches_inward(host: str, resolved: str) -> bool:
    """Tell whether a name that was looked up leads to this machine or link, where only a literal address may lead."""
    if host == "localhost" or _as_ip(host) is not None:
        return False
    address = ipaddress.ip_address(resolved.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified


def _as_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
