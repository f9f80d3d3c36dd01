"""What the installation's authority says of a host, inside its certificate: canonical JSON, read strictly."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from fastness.core.ids import is_name
from fastness.core.node import POOL
from fastness.identity.strict_json import read_object

ADDRESSES_MAX: Final = 16
LABELS_MAX: Final = 64
TEXT_CHARS_MAX: Final = 256
CLAIMS_BYTES_MAX: Final = 16_384
"""All claims of one host."""
LOOPBACK: Final = "127.0.0.1"
"""In every certificate: Ray's processes of one host speak to each other there, under the same certificate."""
_VERSION: Final = 1
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")


class ClaimsRefused(ValueError):  # noqa: N818 - an outcome
    """Claims that cannot be certified or read; the message says what was needed and what came."""


class HostRole(StrEnum):
    """What a host is: `head` gives orders and has gateways, `node` runs engines. A head may run engines, too."""

    HEAD = "head"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class HostClaims:
    """A host as the authority vouches for it. `addresses` are IP addresses it may be reached at, sorted as given.

    `jurisdiction`, `operator` (empty: undeclared) and `ceiling` are its place, as text of the profile's; `pool`,
    `domain` and `labels` are as in FleetNode. Raises ClaimsRefused for what no certificate may say.
    """

    name: str
    role: HostRole
    addresses: tuple[str, ...]
    jurisdiction: str
    ceiling: str
    operator: str = ""
    pool: str = POOL
    domain: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check every bound: what is made here can be read back, and nothing else can be."""
        if not is_name(self.name) or self.name == "localhost":
            raise _refused("name", "1 to 63 lower-case letters, digits or hyphens, and not localhost", self.name)
        _check_addresses(self.addresses)
        for name in ("jurisdiction", "ceiling", "operator", "pool", "domain"):
            text = getattr(self, name)
            if len(text) > TEXT_CHARS_MAX or not (text.isprintable() and text.isascii()):
                raise _refused(name, f"at most {TEXT_CHARS_MAX} printable ASCII characters", text)
            if not text and name in ("jurisdiction", "ceiling", "pool"):
                raise _refused(name, "some text", text)
        _check_labels(self.labels)

    def to_json(self) -> bytes:
        """Return the canonical JSON of these claims."""
        content = {one.name: getattr(self, one.name) for one in fields(self)} | {"version": _VERSION}
        content["labels"] = dict(self.labels)
        return json.dumps(content, separators=(",", ":"), sort_keys=True).encode("ascii")

    @staticmethod
    def from_json(content: bytes) -> HostClaims:
        """Read what `to_json` wrote, to the byte; raises ClaimsRefused for anything else."""
        if len(content) > CLAIMS_BYTES_MAX:
            raise ClaimsRefused(f"Claims of a host have {CLAIMS_BYTES_MAX} bytes at most; {len(content)} came.")
        try:
            claims = _build(read_object(content))
        except ClaimsRefused:
            raise
        except (ValueError, TypeError, KeyError) as error:
            raise ClaimsRefused(f"These are no claims of a host as this version writes them: {error}.") from None
        if claims.to_json() != content:
            raise ClaimsRefused("These claims of a host are not in canonical form, so nobody of ours wrote them.")
        return claims


def read_address(text: str) -> str:
    """Return an IP address in its shortest form; raises ClaimsRefused."""
    return str(_ip(text))


def _check_addresses(addresses: tuple[str, ...]) -> None:
    if not 1 <= len(addresses) <= ADDRESSES_MAX:
        raise _refused("addresses", f"1 to {ADDRESSES_MAX} IP addresses", len(addresses))
    for address in addresses:
        if str(_ip(address)) != address:
            raise _refused("addresses", "IP addresses in their shortest form", address)
    if len(set(addresses)) != len(addresses):
        raise _refused("addresses", "each address once", ", ".join(addresses))


def _check_labels(labels: tuple[tuple[str, str], ...]) -> None:
    keys = [key for key, _ in labels]
    if len(keys) > LABELS_MAX or keys != sorted(set(keys)):
        raise _refused("labels", f"at most {LABELS_MAX}, each key once, sorted", ", ".join(keys))
    for key, value in labels:
        if not _LABEL.fullmatch(key) or (value and not _LABEL.fullmatch(value)):
            raise _refused("labels", "keys and values of 1 to 63 letters, digits and . _ / -", f"{key}={value}")


def _build(found: Mapping[str, Any]) -> HostClaims:
    if found["version"] != _VERSION:
        raise ClaimsRefused(f"Claims of version {_VERSION} are read here; those of the certificate are another.")
    wanted = {one.name for one in fields(HostClaims)} | {"version"}
    if found.keys() != wanted:
        raise ClaimsRefused(f"Claims of a host are {', '.join(sorted(wanted))}; the certificate has others.")
    texts = {name: found[name] for name in ("name", "jurisdiction", "ceiling", "operator", "pool", "domain")}
    addresses, labels = found["addresses"], found["labels"]
    if not isinstance(addresses, list) or not isinstance(labels, dict):
        raise ClaimsRefused("`addresses` has to be a list, and `labels` an object.")
    if not all(isinstance(one, str) for one in (*texts.values(), *addresses, *labels.values())):
        raise ClaimsRefused("Every claim has to be text.")
    return HostClaims(
        role=HostRole(found["role"]), addresses=tuple(addresses), labels=tuple(sorted(labels.items())), **texts
    )


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise _refused("addresses", "IP addresses such as 10.0.0.7", text) from None
    if found.is_unspecified or found.is_multicast or "%" in text:
        raise _refused("addresses", "addresses that one host has", text)
    return found


def _refused(name: str, needed: str, came: object) -> ClaimsRefused:
    return ClaimsRefused(f"`{name}` of a host needs {needed}; came {str(came)[:80]!r}.")
