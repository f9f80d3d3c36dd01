"""Every error of the management API leaves through here: one shape, one table, and a request id to find it by."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastness.control.problem import Problem, problem_response
from fastness.core.error import Refusal
from fastness.core.ids import base62
from fastness.ledger.port import LedgerUnavailable
from fastness.sealed.box import Damaged
from fastness.sealed.port import SealedUnavailable
from fastness.store.port import Conflict, Missing, Unavailable


class Log(Protocol):
    """Where events are logged: telemetry's `JsonLog` is one."""

    def record(self, level: str, event: str, **fields: str | float | None) -> None:
        """Note one event."""
        ...

    def flush(self) -> None:
        """Write what was noted."""
        ...


class Silence:
    """A log that keeps nothing."""

    def record(self, level: str, event: str, **fields: str | float | None) -> None:
        """Note nothing."""

    def flush(self) -> None:
        """Write nothing."""


class Failures:
    """ASGI middleware: gives each request its id, and turns whatever is raised into a problem."""

    def __init__(self, app: ASGIApp, log: Log, entropy: Callable[[int], bytes]) -> None:
        self._app = app
        self._log = log
        self._entropy = entropy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = "req_" + base62(int.from_bytes(self._entropy(16), "big"), 22)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal.code == "internal_error":
                self._log.record(
                    "error", "request.failed", request_id=request_id, reason=_kind(error), where=_where(error)
                )
            if begun:
                raise
            await problem_response(refusal, request_id)(scope, receive, send_with_id)


def refusal_of(error: Exception) -> Refusal:
    """Name what went wrong in the words of the error table."""
    if isinstance(error, Refusal):
        return error
    text = f"{error}".strip()
    said = text[:1].upper() + text[1:].rstrip(".") + "."
    if isinstance(error, Conflict):
        return Problem("conflict", said, "fastness tenants list and fastness keys list show what there is.")
    if isinstance(error, Missing):
        return Problem("not_found", said, "fastness tenants list and fastness keys list show what there is.")
    if isinstance(error, Unavailable):
        return Refusal("store_unavailable", said)
    if isinstance(error, LedgerUnavailable):
        return Refusal("ledger_unavailable", said)
    if isinstance(error, SealedUnavailable | Damaged):
        return Refusal("retention_unavailable", said)
    return Refusal("internal_error", "The request failed for a reason that Fastness did not foresee.")


async def refuse_route(request: Request, error: Exception) -> Response:
    """Answer a path that is no route, or a method that its route does not take."""
    assert isinstance(error, HTTPException), "Starlette calls this for nothing else"
    asked = f"{request.method[:16]} {request.url.path[:200]}"
    headers: dict[str, Any] = dict(error.headers or {})
    if error.status_code == 405:
        refusal = Refusal(
            "method_not_allowed", f"{asked} is not possible; this route takes {headers.get('Allow', '?')}."
        )
    elif error.status_code == 404:
        refusal = Refusal("route_not_found", f"There is no route {asked}.")
    else:
        refusal = Refusal("malformed_http", f"{asked} could not be read: {error.detail}.")
    return problem_response(refusal, request.state.request_id, headers)


def _kind(error: Exception) -> str:
    return type(error).__name__


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
