"""The route that writes a bundle of evidence. What is in one: docs/reference/evidence-bundle.md."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request

from fastness.control import wire
from fastness.control.artefact_wire import absolute
from fastness.control.bundling.bundle import Bundle, make_bundle, write_bundle
from fastness.control.bundling.members import Lacking
from fastness.control.bundling.sources import Sources
from fastness.control.problem import Problem
from fastness.control.routes import Answer, Table, caller_of
from fastness.core.event import Event, EventType, Scalar
from fastness.core.policy import Action
from fastness.ledger.port import Ledger, LedgerCorrupt
from fastness.ledger.stored_tree import TreeDamaged
from fastness.perimeter.signing import KeyUnusable

_Ms = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class NewEvidence(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/evidence."""

    output: str
    from_ms: _Ms = 0
    to_ms: _Ms | None = None


class EvidenceView(msgspec.Struct, frozen=True):
    """A bundle that was written."""

    output: str
    from_ms: int
    to_ms: int
    size_bytes: int
    sha256: str
    manifest_sha256: str
    members: int
    unknown: tuple[Lacking, ...]


class EvidenceApi:
    """The route. `key` returns the installation's own."""

    def __init__(
        self,
        sources: Sources,
        ledger: Ledger,
        key: Callable[[], Ed25519PrivateKey],
        version: str,
        clock: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._ledger = ledger
        self._key = key
        self._version = version
        self._clock = clock
        self._order = asyncio.Lock()

    async def export(self, request: Request) -> Answer:
        """POST /evidence."""
        wire.read_query(request)
        new = await wire.read_body(request, NewEvidence)
        output, now_ms = absolute(new.output, "output"), int(self._clock() * 1_000)
        to_ms = now_ms if new.to_ms is None else min(new.to_ms, now_ms)
        if new.from_ms >= to_ms:
            raise Problem(
                "invalid_value", "The period ends before it begins.", "Give an earlier --from.", param="from_ms"
            )
        async with self._order:
            bundle = await asyncio.to_thread(self._made, new.from_ms, to_ms)
            manifest_sha256 = hashlib.sha256(bundle.manifest).hexdigest()
            said: dict[str, Scalar] = {
                "from_ms": new.from_ms,
                "to_ms": to_ms,
                "manifest_sha256": manifest_sha256,
                "files": bundle.members,
                "by": caller_of(request).id,
            }
            event = Event(EventType.EVIDENCE_EXPORTED, now_ms, said)
            await self._ledger.commit(event)
            try:
                await asyncio.to_thread(write_bundle, output, bundle)
            except OSError as error:
                raise Problem(
                    "invalid_value",
                    f"{output} cannot be written: {error.strerror}.",
                    "Name another file; nothing is overwritten.",
                    param="output",
                ) from None
        return 201, EvidenceView(
            output=str(output),
            from_ms=new.from_ms,
            to_ms=to_ms,
            size_bytes=len(bundle.content),
            sha256=hashlib.sha256(bundle.content).hexdigest(),
            manifest_sha256=manifest_sha256,
            members=bundle.members,
            unknown=tuple(Lacking(what, why) for what, why in bundle.unknown),
        )

    def _made(self, from_ms: int, to_ms: int) -> Bundle:
        try:
            return make_bundle(from_ms, to_ms, self._sources, self._key, self._version)
        except (LedgerCorrupt, TreeDamaged, KeyUnusable, OSError) as error:
            raise Problem(
                "store_unavailable", f"No bundle was made: {str(error).rstrip('.')}.", "fastness ledger verify"
            ) from None


ROUTES: Final[Table] = (("POST", "/api/v1/evidence", Action.READ, EvidenceApi.export),)
"""Every route of this file: method, path, the action policy must permit, what answers."""
