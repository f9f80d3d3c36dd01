"""The models of the head, as it hands them on to nodes. Imported where a head is composed: it is not light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastness.config import Settings
from fastness.control.handing_on import ModelHost
from fastness.control.neighbours import place_of
from fastness.main.node import digests

if TYPE_CHECKING:
    from fastness.identity.cluster.membership import Membership
    from fastness.registry.library import ModelLibrary


class ModelsOfHead:
    """The models of this host, as ModelsKnown has them."""

    def __init__(self, library: ModelLibrary, settings: Settings, membership: Membership) -> None:
        self._library, self._home = library, settings.home
        claims = membership.claims
        self._name, self._domain = claims.name, claims.domain
        self._place = place_of(claims.addresses[0], settings.cluster.port)

    def size_bytes(self, model: str, digest: str) -> int | None:
        """See ModelsKnown."""
        known = self._library.known(model)
        if known is not None:
            return known[0].size_bytes if known[0].digest == digest else None
        adapter = self._library.adapter(model)
        return adapter.size_bytes if adapter is not None and adapter.digest == digest else None

    def record(self, model: str) -> str:
        """See ModelsKnown."""
        return self._library.record_text(model)

    def here(self) -> ModelHost:
        """See ModelsKnown."""
        return ModelHost(self._name, self._place, self._domain, digests(self._home))
