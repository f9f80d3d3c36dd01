"""identity.toml: whom the installation trusts to say who somebody is. Strict: what is not understood is an error."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from fastness.config import ConfigError
from fastness.core.identity import IdentitySnapshot, Issuer, Service
from fastness.core.ids import is_name
from fastness.core.marking import Label, Lattice, UnknownMarking
from fastness.identity.algorithms import ALGORITHMS

FILE_BYTES_MAX: Final = 262_144
ISSUERS_MAX: Final = 16
SERVICES_MAX: Final = 1_024
ROLES_MAX: Final = 64
TEXT_CHARS_MAX: Final = 512
URI_CHARS_MAX: Final = 255
KEYS_AGE_S: Final = range(60, 31_536_001)
RESERVED_ROLES: Final = frozenset({"operator"})
"""The role of whoever sits at the machine: no credential from outside may bring it."""
_ROLE: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+")
_ISSUER: Final = frozenset(
    {"url", "audience", "algorithms", "tenant", "roles_claim", "roles", "clearance", "keys_max_age_s", "jwks_url"}
)
_SERVICE: Final = frozenset({"uri", "tenant", "roles", "clearance"})


def read_identities(content: bytes, source: str, lattice: Lattice | None = None) -> IdentitySnapshot:
    """Return what `content` says, as version 0 and without keys. `source` is the file's name, for messages.

    Clearances are checked against `lattice` when there is one. Raises ConfigError that names the place and the reason.
    """
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{source} has {len(content)} bytes; {FILE_BYTES_MAX} are read at most")
    try:
        tree = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} cannot be read as TOML: {error}") from error
    _only(tree, frozenset({"issuer", "service"}), source)
    issuers = tuple(_issuer(one, lattice) for one in _tables(tree, "issuer", ISSUERS_MAX, source))
    services = tuple(_service(one, lattice) for one in _tables(tree, "service", SERVICES_MAX, source))
    _unlike([one.url for one in issuers], f"{source}: two issuers have the url")
    _unlike([one.uri for one in services], f"{source}: two services have the uri")
    return IdentitySnapshot(0, issuers, services)


def check_url(url: str) -> str:
    """Return `host:port` of a URL that keys may come from; raises ValueError saying what is wrong with it.

    It is https, or http to a loopback address, and nothing in it could be read in two ways: printable ASCII, no user,
    no query, no fragment.
    """
    if not 0 < len(url) <= TEXT_CHARS_MAX or not re.fullmatch(r"[!-~]+", url) or set(url) & set('\\"<>^`{|}'):
        raise ValueError(f"needed: a URL of at most {TEXT_CHARS_MAX} printable ASCII characters")
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port  # ValueError for a port that is none
    if parts.scheme not in {"https", "http"} or not host or "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError("needed: https://host/path, without user, query and fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("plain http is only for loopback addresses (http://127.0.0.1…); needed: https")
    named = f"[{ipaddress.ip_address(host)}]" if ":" in host else host
    return f"{named}:{port or (443 if parts.scheme == 'https' else 80)}"


class _Table:
    """One table of the file, at `where`. Each reader takes a key and raises ConfigError naming both."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def wrong(self, key: str, needed: str) -> ConfigError:
        came = repr(self.values[key])[:80] if key in self.values else "nothing"
        return ConfigError(f"{self.where}: `{key}` needs {needed}; {came} came")

    def text(self, key: str, default: str | None = None, chars_max: int = TEXT_CHARS_MAX) -> str:
        found = self.values.get(key, default)
        if not isinstance(found, str) or not 0 < len(found) <= chars_max or not found.isprintable():
            raise self.wrong(key, f"a text of 1 to {chars_max} printable characters")
        return found

    def texts(self, key: str, accept: Callable[[str], bool], needed: str) -> tuple[str, ...]:
        found = self.values.get(key)
        if not isinstance(found, list) or not 0 < len(found) <= ROLES_MAX:
            raise self.wrong(key, f"a list of 1 to {ROLES_MAX}: {needed}")
        if not all(isinstance(one, str) and accept(one) for one in found) or len(set(found)) != len(found):
            raise self.wrong(key, f"each once: {needed}")
        return tuple(found)

    def tenant(self) -> str:
        if not is_name(found := self.text("tenant")):
            raise self.wrong("tenant", "the id of a tenant")
        return found

    def url(self, key: str) -> str:
        try:
            check_url(found := self.text(key))
        except ValueError as error:
            raise ConfigError(f"{self.where}: `{key}`: {error}") from None
        return found

    def clearance(self, lattice: Lattice | None) -> Label | None:
        if "clearance" not in self.values:
            return None
        name, _, rest = self.text("clearance").partition(";")
        written = Label(name.strip(), tuple(sorted({one.strip() for one in rest.split(",") if one.strip()})))
        try:
            return written if lattice is None else lattice.check(written)
        except UnknownMarking as error:
            raise ConfigError(f"{self.where}: `clearance`: {error}") from None

    def seconds(self, key: str, default: int, bounds: range) -> int:
        found = self.values.get(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or found not in bounds:
            raise self.wrong(key, f"whole seconds from {bounds.start} to {bounds.stop - 1}")
        return found


def _issuer(table: _Table, lattice: Lattice | None) -> Issuer:
    _only(table.values, _ISSUER, table.where)
    roles = table.values.get("roles", {})
    if not isinstance(roles, dict) or len(roles) > ROLES_MAX:
        raise table.wrong("roles", f"a table of at most {ROLES_MAX} roles")
    for theirs, ours in roles.items():
        if not 0 < len(theirs) <= TEXT_CHARS_MAX or not isinstance(ours, str) or not _is_role(ours):
            raise ConfigError(f"{table.where}: `roles`: {theirs[:80]!r} needs {_ROLE_NEEDED}")
    return Issuer(
        url=table.url("url"),
        audience=table.text("audience"),
        algorithms=table.texts("algorithms", ALGORITHMS.__contains__, f"any of {', '.join(ALGORITHMS)}"),
        tenant=table.tenant(),
        roles_claim=table.text("roles_claim", "roles"),
        roles=tuple(roles.items()),
        clearance=table.clearance(lattice),
        keys_max_age_s=table.seconds("keys_max_age_s", 604_800, KEYS_AGE_S),
        jwks_url=table.url("jwks_url") if "jwks_url" in table.values else "",
    )


def _service(table: _Table, lattice: Lattice | None) -> Service:
    _only(table.values, _SERVICE, table.where)
    uri = table.text("uri", chars_max=URI_CHARS_MAX)
    if not _URI.fullmatch(uri):
        raise table.wrong("uri", "a URI in printable ASCII, such as spiffe://state.example/letters")
    return Service(uri, table.tenant(), table.texts("roles", _is_role, _ROLE_NEEDED), table.clearance(lattice))


_ROLE_NEEDED: Final = (
    "a role of ours: developer, admin, approver, auditor, or another that policy speaks of (small letters, digits, - "
    f"and _), but not {', '.join(RESERVED_ROLES)}"
)


def _is_role(text: str) -> bool:
    return _ROLE.fullmatch(text) is not None and text not in RESERVED_ROLES


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tables(tree: Mapping[str, Any], name: str, count_max: int, source: str) -> list[_Table]:
    found = tree.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ConfigError(f"{source}: `{name}` is a list of tables. Write [[{name}]], with two brackets")
    if len(found) > count_max:
        raise ConfigError(f"{source}: there are {len(found)} [[{name}]]; {count_max} are read at most")
    return [_Table(one, f"{source}, {name} {number}") for number, one in enumerate(found, 1)]


def _only(values: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else f" There are {', '.join(sorted(known))}."
            raise ConfigError(f"{where}: `{name[:80]}` is unknown.{hint}")


def _unlike(found: list[str], what: str) -> None:
    for one in found:
        if found.count(one) > 1:
            raise ConfigError(f"{what} {one!r}. Needed: one of each")
