"""Whom this host trusts, as the doors and the gateways ask for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastness.fleet.door.guests import Guest
    from fastness.identity.cluster.membership import Membership


@dataclass(frozen=True, slots=True)
class CertifiedGuest:
    """A host that came, by its certificate."""

    name: str
    gives_orders: bool


def judging(membership: Membership) -> Callable[[bytes], Guest]:
    """Return what tells who somebody is whose certificate TLS has verified; it raises Refused."""
    from fastness.fleet.door.guests import Refused
    from fastness.identity.cluster.certificate import NotTrusted
    from fastness.identity.cluster.claims import HostRole

    def judge(der: bytes) -> Guest:
        try:
            found = membership.check(der, time.time())
        except NotTrusted as error:
            raise Refused(str(error)) from None
        return CertifiedGuest(found.claims.name, found.claims.role is HostRole.HEAD)

    return judge


def checking(membership: Membership) -> Callable[[bytes], None]:
    """Return what checks the certificate of a door that we reached; it raises OSError, and knows who was revoked."""
    from fastness.identity.cluster.certificate import NotTrusted

    refresh = refreshing(membership, lambda _reason: None)

    def check(der: bytes) -> None:
        refresh()
        try:
            membership.check(der, time.time())
        except NotTrusted as error:
            raise OSError(str(error)) from None

    return check


def refreshing(membership: Membership, tell: Callable[[str], None]) -> Callable[[], bool]:
    """Return what reads the list of revoked certificates again. One that cannot be read leaves the last in force."""
    from fastness.identity.cluster.certificate import NotTrusted

    def refresh() -> bool:
        try:
            return membership.refresh()
        except NotTrusted as error:
            tell(str(error))
            return False

    return refresh


def belongs(home: Path) -> bool:
    """Tell whether this host belongs to a cluster."""
    from fastness.identity.cluster.folder import CERTIFICATE, cluster_folder

    return (cluster_folder(home) / CERTIFICATE).exists()
