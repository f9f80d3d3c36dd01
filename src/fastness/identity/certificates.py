"""Client certificates: a URI of the subject alternative names, which must be a known service's, to the letter.

The TLS library has checked the chain and the dates before; nothing here looks at a certificate's other names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastness.core.error import Refusal
from fastness.core.identity import Service
from fastness.core.tenant import Credential, Principal, Tenant
from fastness.identity.principal import principal_of

URIS_MAX: Final = 16
"""URIs of one certificate. SPIFFE allows one."""
_ASK: Final = "Operator: its URI belongs under [[service]] in identity.toml."


class Services:
    """The services that may prove themselves by a certificate. Knows none until `replace` was called."""

    def __init__(self) -> None:
        self._known: dict[str, Principal | str] = {}

    def replace(self, services: tuple[Service, ...], tenants: Mapping[str, Tenant]) -> None:
        """Know these services from now on. A principal that did not change stays the same object."""
        before = self._known
        self._known = {}
        for service in services:
            made, old = _principal(service, tenants.get(service.tenant)), before.get(service.uri)
            self._known[service.uri] = old if old is not None and old == made else made

    def authenticate(self, uris: tuple[str, ...]) -> Principal:
        """Return the one service that a certificate with these URIs stands for; raises Refusal."""
        if len(uris) > URIS_MAX:
            raise _refused(f"it has {len(uris)} URIs, and {URIS_MAX} are read at most")
        named = {uri for uri in uris if uri in self._known}
        if not named:
            raise _refused(f"none of its URIs is a service that is known here. {_ASK}")
        if len(named) > 1:
            raise _refused("it stands for several services at once. Needed: one certificate for each")
        found = self._known[named.pop()]
        if isinstance(found, str):
            raise _refused(found)
        return found


def _principal(service: Service, tenant: Tenant | None) -> Principal | str:
    if tenant is None or tenant.revoked_s is not None:
        return f"the tenant {service.tenant} of its service was revoked, or never was"
    return principal_of(
        tenant, f"mtls:{service.uri}", frozenset(service.roles), Credential.CERTIFICATE, clearance=service.clearance
    )


def _refused(why: str) -> Refusal:
    return Refusal("invalid_certificate", f"The client certificate stands for nobody: {why}.")
