"""The management API: routes and nothing else. What they do is in the files that they call.

It listens on a Unix socket of mode 0600 in a directory of mode 0700. Whoever may open the file is the user that runs
the installation, or root: with no credential they are its local operator. An API key in the `Authorization` header
says who they are otherwise, and policy what that principal may do (door.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request

from fastness.config import Explanation
from fastness.control import ledger_tiles, policy_api, served_wire, wire
from fastness.control.access import Access
from fastness.control.declaration import Served
from fastness.control.door import Authenticator, Door
from fastness.control.evidence import Evidence
from fastness.control.failures import Failures, Log, Silence, refuse_route
from fastness.control.ledger_tiles import LedgerTiles
from fastness.control.observed import Observed, tail_logs
from fastness.control.policies import Policies
from fastness.control.policy_api import PolicyApi
from fastness.control.problem import Problem, explain
from fastness.control.routes import Answer, ApiRoute, Table, bound, caller_of, starlette_routes
from fastness.control.upkeep import keep_published
from fastness.core.error import ERROR_CODES
from fastness.core.marking import Lattice
from fastness.core.model import ModelCard
from fastness.core.policy import Action
from fastness.core.tenant import ApiKey

LOG_LINES_MAX: Final = 10_000
ENTRIES_MAX: Final = 1_000
INDEX_MAX: Final = 10**15
FIND_FIELDS: Final = ("type", "request_id", "tenant", "key", "model", "replica", "code")


def _size_unknown(_card: ModelCard) -> int | None:
    return None


def _nothing_declared(_lattice: Lattice) -> Served:
    return Served()


@dataclass(frozen=True, slots=True)
class ControlDeps:
    """What main builds for the control process; `log` is telemetry's `JsonLog`, `entropy` is `os.urandom`.

    `admitted` lists the models on disk, in a thread: they are shown while no supervisor says which it serves.
    `replica_bytes` is what a replica of one takes, asked in a thread, too.
    `declared` is what it would serve under a profile, for questions of policy until then; it raises ConfigError when
    the settings here cannot be read by that profile.
    `authenticator` knows the principals behind an `Authorization` header. `extra_routes` are those of other files,
    mounted beside ours behind the same choke point. `companions` run while the application does, entered once a policy
    is in force.
    """

    access: Access
    policies: Policies
    authenticator: Authenticator
    run_directory: Path
    logs_directory: Path
    ledger_directory: Path
    settings: Mapping[str, Explanation]
    version: str
    clock: Callable[[], float]
    entropy: Callable[[int], bytes]
    log: Log = field(default_factory=Silence)
    admitted: Callable[[], tuple[ModelCard, ...]] = tuple
    replica_bytes: Callable[[ModelCard], int | None] = _size_unknown
    declared: Callable[[Lattice], Served] = _nothing_declared
    extra_routes: tuple[ApiRoute, ...] = ()
    companions: tuple[Callable[[], AbstractAsyncContextManager[object]], ...] = ()


class Api:
    """The routes. Each returns an HTTP status and what to encode as its body."""

    def __init__(self, deps: ControlDeps, observed: Observed) -> None:
        self._deps = deps
        self._access = deps.access
        self._policies = deps.policies
        self._observed = observed
        self._evidence = Evidence(deps.ledger_directory)

    async def status(self, request: Request) -> Answer:
        """GET /status."""
        wire.read_query(request)
        return 200, self._observed.status(self._deps.version, self._deps.clock())

    async def replicas(self, request: Request) -> Answer:
        """GET /replicas."""
        wire.read_query(request)
        return 200, served_wire.served_view(self._observed.routing())

    async def models(self, request: Request) -> Answer:
        """GET /models."""
        wire.read_query(request)
        routing = self._observed.routing()
        cards = routing.models or await asyncio.to_thread(self._deps.admitted)
        sizes = await asyncio.to_thread(lambda: [self._deps.replica_bytes(card) for card in cards])
        shown = zip(cards, sizes, strict=True)
        return 200, {"models": [served_wire.model_view(card, routing, size_bytes) for card, size_bytes in shown]}

    async def tenants(self, request: Request) -> Answer:
        """GET /tenants."""
        wire.read_query(request)
        return 200, {"tenants": [wire.tenant_view(tenant) for tenant in (await self._access.snapshot()).tenants]}

    async def create_tenant(self, request: Request) -> Answer:
        """POST /tenants."""
        wire.read_query(request)
        new = await wire.read_body(request, wire.NewTenant)
        wish, caller = new.wish(self._policies), caller_of(request)
        self._policies.permit(caller, Action.MANAGE_ACCESS, wish.clearance)
        return 201, wire.tenant_view(await self._access.create_tenant(wish, caller.id))

    async def set_tenant(self, request: Request) -> Answer:
        """POST /tenants/{id}/set."""
        wire.read_query(request)
        change, caller = await wire.read_body(request, wire.TenantChange), caller_of(request)
        return 200, wire.tenant_view(await self._access.set_share(request.path_params["id"], change.share, caller.id))

    async def revoke_tenant(self, request: Request) -> Answer:
        """POST /tenants/{id}/revoke."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        return 200, wire.tenant_view(await self._access.revoke_tenant(request.path_params["id"], caller_of(request).id))

    async def keys(self, request: Request) -> Answer:
        """GET /keys."""
        tenant = wire.read_query(request, "tenant").get("tenant")
        known = await self._access.snapshot()
        if tenant is not None and all(tenant != one.id for one in known.tenants):
            raise Problem(
                "not_found", f"There is no tenant {tenant[:80]!r}.", "fastness tenants list shows them.", param="tenant"
            )
        revoked = frozenset(one.id for one in known.tenants if one.revoked_s is not None)
        return 200, {"keys": [self._shown(key, revoked) for key in known.keys if tenant in (None, key.tenant)]}

    async def issue_key(self, request: Request) -> Answer:
        """POST /keys."""
        wire.read_query(request)
        new = await wire.read_body(request, wire.NewKey)
        wish, caller = new.wish(self._policies), caller_of(request)
        self._policies.permit(caller, Action.MANAGE_ACCESS, wish.clearance)
        issued = await self._access.issue_key(wish, caller.id)
        return 201, wire.issued_key_view(issued)

    async def issue_ephemeral_key(self, request: Request) -> Answer:
        """POST /keys/ephemeral."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        return 201, wire.issued_key_view(await self._access.issue_ephemeral_key(caller_of(request).id))

    async def issue_first_admin_key(self, request: Request) -> Answer:
        """POST /keys/first-admin."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        text = await self._access.ensure_first_admin(caller_of(request).id)
        return 200 if text is None else 201, {"key": text}

    async def revoke_key(self, request: Request) -> Answer:
        """POST /keys/{id}/revoke."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        key = await self._access.revoke_key(request.path_params["id"], caller_of(request).id)
        return 200, self._shown(key, frozenset())

    async def verify_ledger(self, request: Request) -> Answer:
        """GET /ledger/verify."""
        wire.read_query(request)
        return 200, await asyncio.to_thread(self._evidence.verify)

    async def tail_ledger(self, request: Request) -> Answer:
        """GET /ledger/tail."""
        query = wire.read_query(request, "log", "count")
        count = wire.read_integer(query, "count", 20, 1, ENTRIES_MAX)
        return 200, {"entries": await asyncio.to_thread(self._evidence.tail, query.get("log"), count)}

    async def ledger_entry(self, request: Request) -> Answer:
        """GET /ledger/entries/{log}/{index}."""
        wire.read_query(request)
        index = wire.read_integer(request.path_params, "index", 0, 0, INDEX_MAX)
        return 200, await asyncio.to_thread(self._evidence.entry, request.path_params["log"], index)

    async def find_in_ledger(self, request: Request) -> Answer:
        """GET /ledger/find."""
        query = wire.read_query(request, "log", "count", *FIND_FIELDS)
        count = wire.read_integer(query, "count", 100, 1, ENTRIES_MAX)
        wanted = {name: query[name] for name in FIND_FIELDS if name in query}
        return 200, {"entries": await asyncio.to_thread(self._evidence.find, query.get("log"), wanted, count)}

    async def logs(self, request: Request) -> Answer:
        """GET /logs."""
        query = wire.read_query(request, "process", "lines")
        lines = wire.read_integer(query, "lines", 100, 1, LOG_LINES_MAX)
        return 200, {
            "processes": await asyncio.to_thread(tail_logs, self._deps.logs_directory, query.get("process"), lines)
        }

    async def config(self, request: Request) -> Answer:
        """GET /config."""
        wire.read_query(request)
        return 200, {"settings": [wire.setting_view(setting) for setting in self._deps.settings.values()]}

    async def errors(self, request: Request) -> Answer:
        """GET /errors."""
        wire.read_query(request)
        return 200, {"errors": [explain(row) for row in ERROR_CODES.values()]}

    async def error(self, request: Request) -> Answer:
        """GET /errors/{code}: what the `type` of a problem points to."""
        wire.read_query(request)
        row = ERROR_CODES.get(request.path_params["code"])
        if row is None:
            raise Problem(
                "not_found", "There is no such error code.", "GET /api/v1/errors lists all codes.", param="code"
            )
        return 200, explain(row)

    def _shown(self, key: ApiKey, revoked_tenants: frozenset[str]) -> wire.KeyView:
        return wire.key_view(key, revoked_tenants, self._deps.clock())


_READ, _MANAGE = Action.READ, Action.MANAGE_ACCESS
ROUTES: Final[Table] = (
    ("GET", "/api/v1/status", None, Api.status),
    ("GET", "/api/v1/replicas", _READ, Api.replicas),
    ("GET", "/api/v1/models", _READ, Api.models),
    ("GET", "/api/v1/tenants", _READ, Api.tenants),
    ("POST", "/api/v1/tenants", _MANAGE, Api.create_tenant),
    ("POST", "/api/v1/tenants/{id}/set", _MANAGE, Api.set_tenant),
    ("POST", "/api/v1/tenants/{id}/revoke", _MANAGE, Api.revoke_tenant),
    ("GET", "/api/v1/keys", _READ, Api.keys),
    ("POST", "/api/v1/keys", _MANAGE, Api.issue_key),
    ("POST", "/api/v1/keys/ephemeral", _MANAGE, Api.issue_ephemeral_key),
    ("POST", "/api/v1/keys/first-admin", _MANAGE, Api.issue_first_admin_key),
    ("POST", "/api/v1/keys/{id}/revoke", _MANAGE, Api.revoke_key),
    ("GET", "/api/v1/ledger/verify", _READ, Api.verify_ledger),
    ("GET", "/api/v1/ledger/tail", _READ, Api.tail_ledger),
    ("GET", "/api/v1/ledger/entries/{log}/{index}", _READ, Api.ledger_entry),
    ("GET", "/api/v1/ledger/find", _READ, Api.find_in_ledger),
    ("GET", "/api/v1/logs", _READ, Api.logs),
    ("GET", "/api/v1/config", _READ, Api.config),
    ("GET", "/api/v1/errors", None, Api.errors),
    ("GET", "/api/v1/errors/{code}", None, Api.error),
)
"""Every route of this file: method, path, the action policy must permit, what answers. A test compares it with
docs/reference/management-api.md."""


def build_app(deps: ControlDeps, *, process: bool = False) -> Starlette:
    """Build the application. Its lifespan publishes policy and access and keeps them published; it closes `access`.

    With `process`, the ledger gets the entries of a process that begins and ends.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if process:
            deps.access.note_boot(deps.version, os.getpid())
        snapshots = {"policy": deps.policies.publish, "access": deps.access.publish}
        async with keep_published(snapshots, deps.log), AsyncExitStack() as companions:
            for companion in deps.companions:
                await companions.enter_async_context(companion())
            yield
        if process:
            deps.access.note_stop(os.getpid())
        await deps.access.close()

    door = Door(deps.access, deps.policies, deps.authenticator, deps.clock)
    app = Starlette(
        routes=starlette_routes(all_routes(deps), door.admit),
        middleware=[Middleware(Failures, log=deps.log, entropy=deps.entropy)],
        exception_handlers={HTTPException: refuse_route},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def all_routes(deps: ControlDeps) -> tuple[ApiRoute, ...]:
    """Every route that is served, with the action that each needs."""
    observed = Observed(deps.run_directory)

    def served() -> Served:
        found = observed.served()
        return found if found.deployments else deps.declared(deps.policies.lattice)

    policy = PolicyApi(deps.policies, deps.access, served, deps.declared, deps.clock)
    tiles = LedgerTiles(deps.ledger_directory)
    ours = (*bound(ROUTES, Api(deps, observed)), *bound(policy_api.ROUTES, policy), *bound(ledger_tiles.ROUTES, tiles))
    return (*ours, *deps.extra_routes)
