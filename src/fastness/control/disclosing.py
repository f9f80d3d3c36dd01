"""What is done once two people want it: showing content, giving it out as a file, destroying it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fastness.control.deterministic_zip import written
from fastness.control.disclosures import Disclosures
from fastness.control.ledger_entries import LedgerLine, lines_of
from fastness.control.problem import Problem
from fastness.control.sealing import Sealing
from fastness.control.shred_certificate import FORMAT, DestroyedKey, Shredding, digest_of, signed
from fastness.core.event import EventType
from fastness.core.retention import Disclosure, Purpose
from fastness.core.tenant import Principal
from fastness.sealed.addressed import NotAReader, address, read_reader
from fastness.sealed.box import Damaged
from fastness.sealed.keyring import Day
from fastness.sealed.safe import Found, Safe
from fastness.sealed.segment import Content, Head
from fastness.store.snapshot_file import write_snapshot

CONTENT_BYTES_MAX: Final = 268_435_456
"""Content that is shown or exported at once."""
WITHDRAWN_S: Final = 0.3
"""So long gateways need, at most, to notice that a key is not to be used any more."""
EXPORT_FORMAT: Final = "fastness-export/1"

Prove = Callable[[LedgerLine], bytes | None]
"""Returns the proof (C2SP tlog-proof) that an entry is in its log; None while there is none. Blocks."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One request, opened."""

    head: Head
    content: Content


class Disclosing:
    """Raises Problem, and what the store, the ledger and the disk raise. `home` is where ledger and key are."""

    def __init__(
        self, disclosures: Disclosures, sealing: Sealing, home: Path, key: Callable[[], Ed25519PrivateKey], prove: Prove
    ) -> None:
        self._disclosures = disclosures
        self._sealing = sealing
        self._home = home
        self._key = key
        self._prove = prove

    async def open(self, disclosure_id: str, by: Principal) -> list[Opened]:
        """Show the content to who asked for it."""
        disclosure, found = await self._disclosures.begin(disclosure_id, Purpose.OPEN, by)
        _check_size(found)
        await self._break_glass(disclosure, by)
        await self._disclosures.record(
            EventType.DISCLOSURE_OPENED, disclosure, by=by.id, approved_by=disclosure.approved_by
        )
        opened = await asyncio.to_thread(self._opened, found)
        await self._disclosures.finish(disclosure)
        return opened

    async def export(self, disclosure_id: str, by: Principal, reader_pem: str | None) -> bytes:
        """Return a file with the content, and what proves it; sealed to a reader, if one is named."""
        disclosure, found = await self._disclosures.begin(disclosure_id, Purpose.EXPORT, by)
        _check_size(found)
        try:
            reader = None if reader_pem is None else read_reader(reader_pem.encode())
        except NotAReader as error:
            raise Problem("invalid_value", f"`reader`: {error}.", "Send a public key in PEM.", param="reader") from None
        await self._break_glass(disclosure, by)
        content = await asyncio.to_thread(self._exported, disclosure, found)
        if reader is not None:
            content = address(content, reader, self._disclosures.parts.entropy)
        digest = hashlib.sha256(content).hexdigest()
        await self._disclosures.record(
            EventType.DISCLOSURE_EXPORTED,
            disclosure,
            by=by.id,
            approved_by=disclosure.approved_by,
            file_sha256=digest,
            encrypted=reader is not None,
        )
        await self._disclosures.finish(disclosure)
        return content

    async def shred(self, disclosure_id: str, by: Principal) -> bytes:
        """Destroy the keys, try to open what was under them, record it, and return the certificate."""
        disclosure, found = await self._disclosures.begin(disclosure_id, Purpose.SHRED, by)
        if disclosure.everything:
            days, requests, after = await self._shred_tenant(disclosure.tenant)
        else:
            days, requests = (), disclosure.requests
            await asyncio.to_thread(self._safe.destroy, found)
            after = await asyncio.to_thread(self._safe.opens, found)
        keys = tuple(DestroyedKey(day.key.id, day.key.day, _digest(day.key.public)) for day in days)
        position = await self._disclosures.record(
            EventType.RETENTION_SHREDDED,
            disclosure,
            by=by.id,
            approved_by=disclosure.approved_by,
            everything=disclosure.everything,
            requests_sha256=digest_of(requests),
            keys=len(keys),
            opened_after=after,
        )
        body = Shredding(
            format=FORMAT,
            disclosure=disclosure.id,
            tenant=disclosure.tenant,
            everything=disclosure.everything,
            requests=() if disclosure.everything else disclosure.requests,
            requests_total=len(requests),
            requests_sha256=digest_of(requests),
            keys=keys,
            tenant_key_destroyed=disclosure.everything,
            opened_after=after,
            asked_by=disclosure.asked_by,
            approved_by=disclosure.approved_by or "",
            at_ms=int(self._disclosures.parts.clock() * 1_000),
            log=position.log,
            index=position.index,
        )
        certificate = signed(body, await asyncio.to_thread(self._key))
        await asyncio.to_thread(self._keep, disclosure.id, certificate)
        await self._disclosures.finish(disclosure)
        return certificate

    async def _shred_tenant(self, tenant: str) -> tuple[tuple[Day, ...], tuple[str, ...], int]:
        """Destroy every key of a tenant; content that is just being sealed is refused meanwhile."""
        async with self._sealing.withdrawn(tenant):
            await asyncio.sleep(WITHDRAWN_S)
            days = tuple(await asyncio.to_thread(lambda: list(self._safe.keyring.days(tenant))))
            requests = await asyncio.to_thread(self._safe.requests, tenant)
            await asyncio.to_thread(self._safe.keyring.destroy_tenant, tenant)
            held = await asyncio.to_thread(self._safe.held, tenant)
        return days, requests, held.requests

    async def _break_glass(self, disclosure: Disclosure, by: Principal) -> None:
        if disclosure.break_glass:
            await self._disclosures.record(
                EventType.BREAKGLASS_OPENED, disclosure, by=by.id, approved_by=disclosure.approved_by
            )

    @property
    def _safe(self) -> Safe:
        return self._disclosures.parts.safe

    def _opened(self, found: Sequence[Found]) -> list[Opened]:
        try:
            return [Opened(one.head, self._safe.open(one)) for one in found]
        except Damaged as error:
            raise Problem(
                "store_unavailable", f"Sealed content does not open: {error}.", "fastness retention show"
            ) from None

    def _exported(self, disclosure: Disclosure, found: Sequence[Found]) -> bytes:
        opened = self._opened(found)
        entries = lines_of(self._home / "ledger", {one.head.request_id for one in opened})
        members: dict[str, bytes] = {}
        for one in opened:
            at = f"requests/{one.head.request_id}"
            members[f"{at}/request.json"] = one.content.request
            members[f"{at}/answer"] = one.content.answer
            members[f"{at}/said.json"] = one.content.said
            members[f"{at}/sealed.json"] = msgspec.json.encode(
                {"head": one.head, "whole": one.content.whole, "salts": one.content.salts}, order="sorted"
            )
            if (entry := entries.get(one.head.request_id)) is not None:
                members[f"{at}/entry.json"] = entry.line
                if (proof := self._prove(entry)) is not None:
                    members[f"{at}/entry.tlog-proof"] = proof
        about = {
            "format": EXPORT_FORMAT,
            "disclosure": disclosure.id,
            "digest": disclosure.digest,
            "tenant": disclosure.tenant,
            "asked_by": disclosure.asked_by,
            "approved_by": disclosure.approved_by,
            "missing": sorted(set(disclosure.requests) - {one.head.request_id for one in opened}),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
        }
        members["manifest.json"] = msgspec.json.encode(about, order="sorted")
        return written(members)

    def _keep(self, name: str, certificate: bytes) -> None:
        folder = self._home / "retention/certificates"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_snapshot(folder / f"{name}.json", msgspec.Raw(certificate.rstrip(b"\n")))


def _check_size(found: Sequence[Found]) -> None:
    size_bytes = sum(one.head.content_bytes for one in found)
    if size_bytes > CONTENT_BYTES_MAX:
        raise Problem(
            "limit_exceeded",
            f"That is {size_bytes:,} bytes of content; at most {CONTENT_BYTES_MAX:,} are opened at once.",
            "Ask for less: narrow the selection by time, key or end user.",
        )


def _digest(public: str) -> str:
    return hashlib.sha256(bytes.fromhex(public)).hexdigest()
