"""The desk where receipts are made: it keeps the index of every log, and gateways ask it for what tenants ask them.

It lives in the control process: reading logs is no work for the loop of a gateway. Answers do not need it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
from starlette.requests import Request

from fastness.control import wire
from fastness.control.failures import Log
from fastness.control.problem import Problem
from fastness.control.routes import LOCAL, Answer, Table, caller_of
from fastness.core.event import EventType
from fastness.core.policy import Action
from fastness.ledger.port import LedgerUnavailable
from fastness.ledger.receipts.receipt import Archive, NotSigned, parse_id
from fastness.ledger.stored_tree import TreeDamaged

TICK_S: Final = 1.0
"""How often what was recorded is taken in; whoever asks does not wait for that."""
FIND_TIMEOUT_S: Final = 2.0
"""How long one asks for an entry that is not there yet, or that no checkpoint covers yet."""
LOOK_AGAIN_S: Final = 0.05


class ReceiptBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/receipts/find. With `chain`, entries that tell how the answer came about come along."""

    id: str
    tenant: str
    chain: bool = False


class ReceiptDesk:
    """Makes receipts out of an archive, one at a time. `forget` destroys what no receipt may be made of any more."""

    def __init__(self, archive: Archive, forget: Callable[[], None], log: Log) -> None:
        self._archive, self._forget, self._log = archive, forget, log
        self._turn = asyncio.Lock()
        self._behind = True
        self._problem = ""

    @asynccontextmanager
    async def keep_index(self) -> AsyncIterator[None]:
        """Take in what is recorded, until the block ends."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def find(self, request: Request) -> Answer:
        """POST /receipts/find: for the gateways of this installation, which come without a credential."""
        wire.read_query(request)
        if caller_of(request) != LOCAL:
            raise Problem(
                "permission_denied",
                f"Receipts are made for the gateways of this installation; {caller_of(request).id} asked.",
                "GET /v1/receipts/ID at a gateway, with a key of the tenant that got the answer.",
            )
        wanted = await wire.read_body(request, ReceiptBody)
        found = await self.receipt(wanted.id, wanted.tenant, chain=wanted.chain)
        if found is None:
            raise Problem("not_found", f"There is no receipt {wanted.id[:80]!r}.", "", param="id")
        return 200, msgspec.Raw(found)

    async def receipt(self, text: str, tenant: str, *, chain: bool) -> bytes | None:
        """Return a receipt; None when this tenant has none such. Raises Problem (receipts_unavailable)."""
        wanted, until = parse_id(text), time.monotonic() + FIND_TIMEOUT_S
        if wanted is None:
            return None
        looked_at_all = False
        while True:
            why = "the index is being made"
            try:
                async with self._turn:
                    found = await asyncio.to_thread(self._archive.receipt, wanted, tenant, chain=chain)
                    if found is not None or looked_at_all:
                        return found
                    self._behind = await asyncio.to_thread(self._archive.catch_up)
                    looked_at_all = not self._behind  # at the next look, that is
            except NotSigned:
                why = "the checkpoint that covers its entry is not signed yet"
                await asyncio.sleep(LOOK_AGAIN_S)
            except (LedgerUnavailable, TreeDamaged, OSError, ValueError, LookupError) as error:
                self._log.record("error", "receipt.problem", reason=type(error).__name__)
                why = "a log, its index or the key of what is sealed cannot be read; the operator's log says which"
                raise _unavailable(why) from None
            if time.monotonic() > until:
                raise _unavailable(why)

    async def knows(self, log: str, kind: EventType, *values: object) -> bool:
        """Tell whether there is such an entry (see Archive), in all that is recorded. Raises what reading raises."""
        behind = True
        while behind:
            async with self._turn:
                behind = await asyncio.to_thread(self._archive.catch_up)
        return self._archive.knows(log, kind.value, *values)

    async def _follow(self) -> None:
        while True:
            problem = ""
            try:
                async with self._turn:
                    self._behind = await asyncio.to_thread(self._archive.catch_up)
                    await asyncio.to_thread(self._forget)
            except (LedgerUnavailable, OSError, ValueError) as error:
                self._behind, problem = False, type(error).__name__
            if problem and problem != self._problem:
                self._log.record("error", "receipt.problem", reason=problem)
            self._problem = problem
            await asyncio.sleep(0 if self._behind else TICK_S)


def _unavailable(why: str) -> Problem:
    return Problem("receipts_unavailable", f"The receipt cannot be made now: {why}.", "Try again in a moment.")


ROUTES: Final[Table] = (("POST", "/api/v1/receipts/find", Action.READ, ReceiptDesk.find),)
"""Every route of this file. A test compares it with docs/reference/management-api.md."""
