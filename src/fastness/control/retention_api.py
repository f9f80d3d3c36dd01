"""The routes of retention: what is kept, and the two people that it takes to open, export or destroy it.

What is asked about content asks policy again, with its labels, in the commands: a route's own action is the least.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request

from fastness.control import wire
from fastness.control.disclosing import Disclosing
from fastness.control.disclosures import Disclosures
from fastness.control.retention import Retentions
from fastness.control.retention_wire import (
    ExportTo,
    NewDisclosure,
    NewRetention,
    Search,
    disclosure_detail,
    disclosure_view,
    found_view,
    opened_view,
    retention_view,
    text_of,
)
from fastness.control.routes import Answer, Table, caller_of
from fastness.core.policy import Action
from fastness.sealed.safe import FOUND_MAX


class RetentionApi:
    """The routes. Each returns an HTTP status and what to encode as its body."""

    def __init__(
        self, retentions: Retentions, disclosures: Disclosures, disclosing: Disclosing, clock: Callable[[], float]
    ) -> None:
        self._retentions = retentions
        self._disclosures = disclosures
        self._disclosing = disclosing
        self._clock = clock

    async def retention(self, request: Request) -> Answer:
        """GET /retention."""
        wire.read_query(request)
        return 200, {"retention": [retention_view(one) for one in await self._retentions.all()]}

    async def set(self, request: Request) -> Answer:
        """POST /retention."""
        wire.read_query(request)
        new = await wire.read_body(request, NewRetention)
        kept = await self._retentions.set(new.tenant, new.retention, new.days, caller_of(request), new.release)
        return 200, retention_view(kept)

    async def find(self, request: Request) -> Answer:
        """POST /retention/find."""
        wire.read_query(request)
        asked = await wire.read_body(request, Search)
        found = await self._disclosures.find(asked.tenant, asked.selection.selection(), caller_of(request))
        return 200, {"found": [found_view(one.head) for one in found[:FOUND_MAX]], "more": len(found) > FOUND_MAX}

    async def asked(self, request: Request) -> Answer:
        """GET /retention/requests."""
        wire.read_query(request)
        now_s = self._clock()
        return 200, {"requests": [disclosure_view(one, now_s) for one in await self._disclosures.all()]}

    async def one(self, request: Request) -> Answer:
        """GET /retention/requests/{id}."""
        wire.read_query(request)
        found = await self._disclosures.shown(request.path_params["id"], caller_of(request))
        return 200, disclosure_detail(found, self._clock())

    async def ask(self, request: Request) -> Answer:
        """POST /retention/requests."""
        wire.read_query(request)
        new = await wire.read_body(request, NewDisclosure)
        return 201, disclosure_view(await self._disclosures.ask(new.wish(), caller_of(request)), self._clock())

    async def approve(self, request: Request) -> Answer:
        """POST /retention/requests/{id}/approve."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        approved = await self._disclosures.approve(request.path_params["id"], caller_of(request))
        return 200, disclosure_view(approved, self._clock())

    async def open(self, request: Request) -> Answer:
        """POST /retention/requests/{id}/open."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        opened = await self._disclosing.open(request.path_params["id"], caller_of(request))
        return 200, {"opened": [opened_view(one) for one in opened]}

    async def export(self, request: Request) -> Answer:
        """POST /retention/requests/{id}/export."""
        wire.read_query(request)
        to = await wire.read_body(request, ExportTo)
        content = await self._disclosing.export(request.path_params["id"], caller_of(request), to.reader)
        return 200, {"sha256": hashlib.sha256(content).hexdigest(), "file": text_of(content)}

    async def shred(self, request: Request) -> Answer:
        """POST /retention/requests/{id}/shred."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        certificate = await self._disclosing.shred(request.path_params["id"], caller_of(request))
        return 200, msgspec.Raw(certificate.rstrip(b"\n"))


_READ, _MANAGE, _SHRED = Action.READ, Action.MANAGE_ACCESS, Action.SHRED_SEALED
ROUTES: Final[Table] = (
    ("GET", "/api/v1/retention", _READ, RetentionApi.retention),
    ("POST", "/api/v1/retention", _MANAGE, RetentionApi.set),
    ("POST", "/api/v1/retention/find", _READ, RetentionApi.find),
    ("GET", "/api/v1/retention/requests", _READ, RetentionApi.asked),
    ("POST", "/api/v1/retention/requests", _READ, RetentionApi.ask),
    ("GET", "/api/v1/retention/requests/{id}", _READ, RetentionApi.one),
    ("POST", "/api/v1/retention/requests/{id}/approve", _READ, RetentionApi.approve),
    ("POST", "/api/v1/retention/requests/{id}/open", _READ, RetentionApi.open),
    ("POST", "/api/v1/retention/requests/{id}/export", _READ, RetentionApi.export),
    ("POST", "/api/v1/retention/requests/{id}/shred", _SHRED, RetentionApi.shred),
)
"""Every route of this file: method, path, the action policy must permit at least, what answers. A test compares it with
docs/reference/retention-api.md."""
