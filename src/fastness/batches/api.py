"""The routes, as a gateway passes requests on: recognised, permitted, marked, and checked but for what only we know.

Answers are the JSON that the caller gets; a refusal goes back as its code, message and param, and the gateway gives it
its shape. It trusts the headers that say who asks: only our own user can open the socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from fastness.batches.keeping import Keeping
from fastness.batches.multipart import read_form
from fastness.batches.records import Asker, BatchRecord, FileRecord
from fastness.core.batch import ASKER_HEADERS, BatchList, FileList, NewBatch
from fastness.core.error import Refusal

FILES_PAGE_MAX: Final = 10_000
BATCHES_PAGE_MAX: Final = 100
BATCHES_PAGE: Final = 20
UPLOADS_AT_ONCE: Final = 2
"""Uploads held in memory at the same time."""
BODY_BYTES_MAX: Final = 1_048_576
"""Any body but an upload."""

R = TypeVar("R", FileRecord, BatchRecord)
Answer = Callable[[Request], Awaitable[Response]]


class Api:
    """One method for each route."""

    def __init__(self, keeping: Keeping, upload_bytes_max: int, note_defect: Callable[[Exception], None]) -> None:
        self._keeping = keeping
        self._upload_bytes_max = upload_bytes_max
        self._note_defect = note_defect
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    def routes(self) -> list[Route]:
        """Return the routes."""
        table: tuple[tuple[str, str, Answer], ...] = (
            ("GET", "/v1/files", self.files),
            ("POST", "/v1/files", self.upload),
            ("GET", "/v1/files/{id}", self.file),
            ("DELETE", "/v1/files/{id}", self.delete),
            ("GET", "/v1/files/{id}/content", self.content),
            ("GET", "/v1/batches", self.batches),
            ("POST", "/v1/batches", self.create),
            ("GET", "/v1/batches/{id}", self.batch),
            ("POST", "/v1/batches/{id}/cancel", self.cancel),
        )
        return [Route(path, self._guarded(answer), methods=[method]) for method, path, answer in table]

    async def upload(self, request: Request) -> Response:
        """POST /v1/files."""
        _query(request)
        asker = asker_of(request)
        async with self._uploads:
            body = await _body(request, self._upload_bytes_max)
            form = await asyncio.to_thread(read_form, request.headers.get("content-type", ""), body)
            return _json(await self._keeping.upload(asker, form))

    async def files(self, request: Request) -> Response:
        """GET /v1/files."""
        query = _query(request, "purpose", "limit", "after", "order")
        found = self._keeping.files(asker_of(request))
        if "purpose" in query:
            found = [one for one in found if one.purpose == query["purpose"]]
        if query.get("order", "desc") not in ("asc", "desc"):
            raise Refusal("invalid_value", "`order` needs to be asc or desc.", param="order")
        page, more = _page(found, query, FILES_PAGE_MAX, FILES_PAGE_MAX, newest_first=query.get("order") != "asc")
        ids = [one.id for one in page]
        return _json(FileList([one.out() for one in page], more, ids[0] if ids else None, ids[-1] if ids else None))

    async def file(self, request: Request) -> Response:
        """GET /v1/files/{id}."""
        _query(request)
        return _json(self._keeping.file(asker_of(request), request.path_params["id"]).out())

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/files/{id}."""
        _query(request)
        return _json(await self._keeping.delete(asker_of(request), request.path_params["id"]))

    async def content(self, request: Request) -> Response:
        """GET /v1/files/{id}/content."""
        _query(request)
        record = self._keeping.file(asker_of(request), request.path_params["id"])
        return StreamingResponse(self._keeping.content(record), media_type="application/octet-stream")

    async def batches(self, request: Request) -> Response:
        """GET /v1/batches."""
        query = _query(request, "limit", "after")
        found = self._keeping.batches(asker_of(request))
        page, more = _page(found, query, BATCHES_PAGE, BATCHES_PAGE_MAX, newest_first=True)
        ids = [one.id for one in page]
        return _json(BatchList([one.out() for one in page], more, ids[0] if ids else None, ids[-1] if ids else None))

    async def create(self, request: Request) -> Response:
        """POST /v1/batches."""
        _query(request)
        new = msgspec.json.decode(await _body(request, BODY_BYTES_MAX), type=NewBatch)
        return _json(await self._keeping.create(asker_of(request), new))

    async def batch(self, request: Request) -> Response:
        """GET /v1/batches/{id}."""
        _query(request)
        return _json(self._keeping.batch(asker_of(request), request.path_params["id"]).out())

    async def cancel(self, request: Request) -> Response:
        """POST /v1/batches/{id}/cancel."""
        _query(request)
        return _json(await self._keeping.cancel(asker_of(request), request.path_params["id"]))

    def _guarded(self, answer: Answer) -> Answer:
        async def guarded(request: Request) -> Response:
            try:
                return await answer(request)
            except Refusal as refusal:
                return _refused(refusal)
            except ClientDisconnect:
                raise
            except OSError as error:
                reason = error.strerror or type(error).__name__
                message = f"Files cannot be kept now: {reason}. Tell the operator: `fastness logs control`."
                return _refused(Refusal("batches_unavailable", message, retry_after_s=5))
            except Exception as error:  # noqa: BLE001 - the last resort: its message may quote content, so it is not told
                self._note_defect(error)
                return _refused(Refusal("internal_error", "A defect in Fastness; the request id finds it in the logs."))

        return guarded


def build_app(api: Api) -> Starlette:
    """Build the application."""
    app = Starlette(routes=api.routes())
    app.router.redirect_slashes = False
    return app


def asker_of(request: Request) -> Asker:
    """Return who asks, as the gateway says."""
    principal, tenant, credential, marking = (unquote(request.headers[name]) for name in ASKER_HEADERS)
    return Asker(principal, tenant, credential, marking, request.headers["x-request-id"])


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _refused(refusal: Refusal) -> Response:
    body = {
        "code": refusal.code,
        "message": refusal.message,
        "param": refusal.param,
        "retry_after_s": refusal.retry_after_s,
    }
    return Response(msgspec.json.encode(body), refusal.status, media_type="application/json")


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise Refusal("body_too_large", f"The body has more than {most} bytes.")
    return bytes(body)


def _query(request: Request, *known: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise Refusal(
                "unknown_field", f"`{name[:80]}` is not a query parameter of this route; {takes}.", param=name
            )
        if name in query:
            raise Refusal("invalid_value", f"`{name}` came more than once.", param=name)
        query[name] = value
    return query


def _page(
    found: Sequence[R], query: dict[str, str], default: int, most: int, *, newest_first: bool
) -> tuple[Sequence[R], bool]:
    """Cut a page out of records in the order of their making; tell whether there are more."""
    text = query.get("limit", str(default))
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise Refusal("invalid_value", f"`limit` is {text[:80]!r}; it needs to be from 1 to {most}.", param="limit")
    ordered = list(reversed(found)) if newest_first else list(found)
    after = query.get("after")
    if after is not None:
        ids = [one.id for one in ordered]
        if after not in ids:
            raise Refusal("not_found", f"`after` names {after[:80]!r}, which is not there.", param="after")
        ordered = ordered[ids.index(after) + 1 :]
    return ordered[: int(text)], len(ordered) > int(text)
