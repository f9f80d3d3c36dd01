"""What a route of the management API is, and the one choke point that every request passes on its way to it.

A file that has routes of its own (artefacts, say) writes a `Table` of them, and main hands `bound(TABLE, instance)` to
`ControlDeps.extra_routes`. Their functions never ask who is there: `caller_of(request)` is a principal whom policy has
permitted the route's action already.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fastness.core.policy import Action
from fastness.core.tenant import Credential, Principal

Answer = tuple[int, Any]
"""An HTTP status, and what msgspec encodes as the body; or `Bytes`, sent as they are."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A body that is no JSON, and what its `Content-Type` and `Cache-Control` say."""

    content: bytes
    media_type: str
    caching: str


Endpoint = Callable[[Request], Awaitable[Answer]]

LOCAL: Final = Principal("local", "", frozenset({"operator"}), credential=Credential.LOCAL)
"""Whoever may open the control socket and shows no credential: the user that runs the installation, or root."""


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One route: `path` from `/api/v1`, and the `action` that policy must permit to whoever asks.

    `action` None is for what tells nothing but that we live, or a published table; a test lists these.
    """

    method: str
    path: str
    action: Action | None
    answer: Endpoint


Table = tuple[tuple[str, str, Action | None, Callable[..., Awaitable[Answer]]], ...]
"""Routes as a class writes them down: method, path, action, and its own function, not yet bound to an instance."""
Admit = Callable[[Request, Action | None], Awaitable[Principal]]
"""Recognises who asks and asks policy; raises Refusal."""


def bound(table: Table, instance: object) -> tuple[ApiRoute, ...]:
    """Return the routes of one instance of the class that wrote this table."""
    return tuple(ApiRoute(method, path, action, answer.__get__(instance)) for method, path, action, answer in table)


def caller_of(request: Request) -> Principal:
    """Return who asks. Ledger entries name it by `id`."""
    principal: Principal = request.state.principal
    return principal


def starlette_routes(routes: Iterable[ApiRoute], admit: Admit) -> list[Route]:
    """One Starlette Route for each path, so that a wrong method is told which are right."""
    by_path: dict[str, dict[str, ApiRoute]] = {}
    for route in routes:
        methods = by_path.setdefault(route.path, {})
        if route.method in methods:
            raise ValueError(f"{route.method} {route.path} is there twice")
        methods[route.method] = route
    return [Route(path, _endpoint(methods, admit), methods=list(methods)) for path, methods in by_path.items()]


def _endpoint(methods: Mapping[str, ApiRoute], admit: Admit) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        route = methods["GET" if request.method == "HEAD" else request.method]
        request.state.principal = await admit(request, route.action)
        status, body = await route.answer(request)
        if isinstance(body, Bytes):
            return Response(body.content, status, {"Cache-Control": body.caching}, media_type=body.media_type)
        return Response(msgspec.json.encode(body), status, media_type="application/json")

    return answer
