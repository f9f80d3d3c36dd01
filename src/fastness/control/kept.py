"""Files and batches of all tenants, for operators. What keeps them is a room of its own: it is handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from starlette.requests import Request

from fastness.control import wire
from fastness.control.problem import Problem
from fastness.control.routes import Answer, Table
from fastness.core.batch import BatchSeen, FileSeen
from fastness.core.policy import Action


class Kept(Protocol):
    """What there is: the room's `Overview`."""

    def files(self) -> Sequence[FileSeen]:
        """Return all files, the oldest first."""
        ...

    def batches(self) -> Sequence[BatchSeen]:
        """Return all batches, the oldest first."""
        ...

    async def cancel(self, name: str) -> BatchSeen:
        """Cancel a batch; raises Refusal."""
        ...


class KeptApi:
    """The routes. `kept` returns None while nothing is kept here, because no installation runs."""

    def __init__(self, kept: Callable[[], Kept | None]) -> None:
        self._kept = kept

    async def files(self, request: Request) -> Answer:
        """GET /files."""
        tenant = wire.read_query(request, "tenant").get("tenant")
        return 200, {"files": [one for one in self._here().files() if tenant in (None, one.tenant)]}

    async def batches(self, request: Request) -> Answer:
        """GET /batches."""
        tenant = wire.read_query(request, "tenant").get("tenant")
        return 200, {"batches": [one for one in self._here().batches() if tenant in (None, one.tenant)]}

    async def batch(self, request: Request) -> Answer:
        """GET /batches/{id}."""
        wire.read_query(request)
        name = request.path_params["id"]
        found = next((one for one in self._here().batches() if one.id == name), None)
        if found is None:
            raise Problem("not_found", f"There is no batch {name[:80]!r}.", "fastness batches lists them.", param="id")
        return 200, found

    async def cancel(self, request: Request) -> Answer:
        """POST /batches/{id}/cancel."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        return 200, await self._here().cancel(request.path_params["id"])

    def _here(self) -> Kept:
        kept = self._kept()
        if kept is None:
            raise Problem(
                "batches_unavailable", "Files and batches are seen while an installation runs.", "Start it: fastness up"
            )
        return kept


ROUTES: Final[Table] = (
    ("GET", "/api/v1/files", Action.READ, KeptApi.files),
    ("GET", "/api/v1/batches", Action.READ, KeptApi.batches),
    ("GET", "/api/v1/batches/{id}", Action.READ, KeptApi.batch),
    ("POST", "/api/v1/batches/{id}/cancel", Action.DEPLOY, KeptApi.cancel),
)
"""Every route of this file: method, path, the action policy must permit, what answers."""
