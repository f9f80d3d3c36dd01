"""Proofs of the perimeter, as the ledger remembers them: judged anew here, never taken at somebody's word."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request

from fastness.control import wire
from fastness.control.problem import Problem
from fastness.control.routes import Answer, Table
from fastness.core.event import Event, EventType
from fastness.core.policy import Action
from fastness.ledger.port import Ledger
from fastness.perimeter.judgement import ReportRefused, judge
from fastness.perimeter.report_shape import Report, Summary
from fastness.perimeter.signing import KeyUnusable, read_public_key

REPORT_BYTES_MAX: Final = 4_194_304
_REPORT: Final = msgspec.json.Decoder(Report)


class NewProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole text of a report, as `fastness perimeter prove` wrote it."""

    report: str


class ProofView(msgspec.Struct, frozen=True):
    """What the ledger now holds."""

    report_sha256: str
    probes_total: int
    probes_allowed: int
    packets_total: int
    packets_outside: int
    holds: bool


class ProofApi:
    """The routes of proofs. `public_key` is the file with the public half of this installation's key.

    Reports are kept in the directory `kept`, for bundles of evidence.
    """

    def __init__(self, ledger: Ledger, public_key: Path, kept: Path, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._public_key = public_key
        self._kept = kept
        self._clock = clock

    async def record(self, request: Request) -> Answer:
        """POST /perimeter/proofs."""
        wire.read_query(request)
        content = (await wire.read_body(request, NewProof, REPORT_BYTES_MAX)).report.encode()
        summary = await asyncio.to_thread(self._judged, content)
        view = ProofView(
            report_sha256=hashlib.sha256(content).hexdigest(),
            probes_total=summary.probes_total,
            probes_allowed=summary.probes_allowed,
            packets_total=summary.packets_total,
            packets_outside=summary.packets_outside,
            holds=summary.holds,
        )
        await asyncio.to_thread(self._keep, view.report_sha256, content)
        when_ms = int(self._clock() * 1_000)
        await self._ledger.commit(Event(EventType.PERIMETER_PROVED, when_ms, msgspec.structs.asdict(view)))
        return 201, view

    def _keep(self, digest: str, content: bytes) -> None:
        self._kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._kept / f"{digest}.json").write_bytes(content)

    def _judged(self, content: bytes) -> Summary:
        try:
            judge(content, read_public_key(self._public_key))
        except (ReportRefused, KeyUnusable, FileNotFoundError) as error:
            raise Problem(
                "invalid_value",
                f"This report is not recorded: {error}.",
                "Send the file as `fastness perimeter prove` wrote it, on this installation.",
                param="report",
            ) from error
        return _REPORT.decode(content).body.summary


ROUTES: Final[Table] = (("POST", "/api/v1/perimeter/proofs", Action.MANAGE_ACCESS, ProofApi.record),)
"""Every route of this file: method, path, the action policy must permit, what answers."""
