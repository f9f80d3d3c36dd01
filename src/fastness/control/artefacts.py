"""The routes of imported models, adapters and bundles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from fastness.control import artefact_wire, wire
from fastness.control.admissions import Admissions
from fastness.control.carriage import Carriage
from fastness.control.failures import Log
from fastness.control.routes import Answer, ApiRoute, Table, bound, caller_of
from fastness.core.policy import Action
from fastness.store.port import Unavailable


class ArtefactApi:
    """The routes. Each returns an HTTP status and what to encode as its body."""

    def __init__(self, admissions: Admissions) -> None:
        self._admissions = admissions
        self._carriage = Carriage(admissions)

    async def listing(self, request: Request) -> Answer:
        """GET /artefacts."""
        wire.read_query(request)
        return 200, {"artefacts": [artefact_wire.artefact_view(one) for one in await self._admissions.all()]}

    async def take_in(self, request: Request) -> Answer:
        """POST /artefacts."""
        wire.read_query(request)
        new = await wire.read_body(request, artefact_wire.NewArtefact)
        return 201, artefact_wire.review_view(*await self._admissions.take_in(new.wish(), caller_of(request)))

    async def look(self, request: Request) -> Answer:
        """POST /artefacts/inspect: what an import would show, and nothing is kept."""
        wire.read_query(request)
        new = await wire.read_body(request, artefact_wire.NewArtefact)
        review = await self._admissions.look(new.wish())
        admission = self._admissions.new(review.inspected.artefact, caller_of(request))
        return 200, artefact_wire.review_view(admission, review, state="not imported")

    async def shown(self, request: Request) -> Answer:
        """GET /artefacts/{name}."""
        wire.read_query(request)
        return 200, artefact_wire.review_view(*await self._admissions.shown(request.path_params["name"]))

    async def admit(self, request: Request) -> Answer:
        """POST /artefacts/{name}/admit: one approval, by whoever asks."""
        wire.read_query(request)
        new = await wire.read_body(request, artefact_wire.NewApproval)
        name = request.path_params["name"]
        return 200, artefact_wire.outcome_view(await self._admissions.approve(name, new.ceiling, caller_of(request)))

    async def revoke(self, request: Request) -> Answer:
        """POST /artefacts/{name}/revoke."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        revoked = await self._admissions.revoke(request.path_params["name"], caller_of(request))
        return 200, artefact_wire.artefact_view(revoked)

    async def send(self, request: Request) -> Answer:
        """POST /bundles."""
        wire.read_query(request)
        new = await wire.read_body(request, artefact_wire.NewBundle)
        sent = await self._carriage.send(
            artefact_wire.absolute(new.output, "output"),
            new.names,
            caller_of(request),
            as_file=not new.directory,
            policy=new.policy,
            lifetime_s=new.lifetime_s,
        )
        return 201, artefact_wire.sent_view(sent)

    async def take(self, request: Request) -> Answer:
        """POST /bundles/import."""
        wire.read_query(request)
        new = await wire.read_body(request, artefact_wire.ArrivedBundle)
        path = artefact_wire.absolute(new.path, "path")
        taken = await self._carriage.take(path, caller_of(request), new.accept_template_sha256)
        return 201, artefact_wire.taken_view(taken)


ROUTES: Final[Table] = (
    ("GET", "/api/v1/artefacts", Action.READ, ArtefactApi.listing),
    ("POST", "/api/v1/artefacts", Action.ADMIT, ArtefactApi.take_in),
    ("POST", "/api/v1/artefacts/inspect", Action.ADMIT, ArtefactApi.look),
    ("GET", "/api/v1/artefacts/{name}", Action.READ, ArtefactApi.shown),
    ("POST", "/api/v1/artefacts/{name}/admit", Action.ADMIT, ArtefactApi.admit),
    ("POST", "/api/v1/artefacts/{name}/revoke", Action.ADMIT, ArtefactApi.revoke),
    ("POST", "/api/v1/bundles", Action.ADMIT, ArtefactApi.send),
    ("POST", "/api/v1/bundles/import", Action.ADMIT, ArtefactApi.take),
)
"""Every route of this file: method, path, the action policy must permit, what answers."""


def artefact_routes(admissions: Admissions) -> tuple[ApiRoute, ...]:
    """Return the routes, for `ControlDeps.extra_routes`."""
    return bound(ROUTES, ArtefactApi(admissions))


@asynccontextmanager
async def finished(admissions: Admissions, log: Log) -> AsyncIterator[None]:
    """Finish, as the application starts, what a crash cut off; a companion for `ControlDeps.companions`.

    What cannot be finished is logged and keeps nothing else from starting: it is not loaded meanwhile.
    """
    try:
        for name in await admissions.finish():
            log.record("warning", "admission.unfinished", model=name)
    except Unavailable:
        log.record("warning", "admission.unfinished", reason="store_unavailable")
    yield
