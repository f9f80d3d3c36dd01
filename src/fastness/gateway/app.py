"""Which route is what: the table, and the pages that take no slot on an engine."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from fastness.core.error import Refusal
from fastness.core.gateways import FIRST
from fastness.core.request import Operation
from fastness.core.tenant import Principal
from fastness.gateway.batches import Batches, methods_of
from fastness.gateway.choosing import EXPLAINED_MAX
from fastness.gateway.fellows import Fellows
from fastness.gateway.gateway import Gateway
from fastness.gateway.http import Exchange
from fastness.gateway.in_force import Mark
from fastness.gateway.journey import JSON_HEADERS, journey
from fastness.gateway.ledger_pages import ROUTE as LEDGER
from fastness.gateway.ledger_pages import LedgerPages
from fastness.gateway.listed_model import ListedModel, may_name
from fastness.gateway.openapi import openapi_document
from fastness.gateway.receipts import ROUTE as RECEIPTS
from fastness.gateway.receipts import receipt_page
from fastness.gateway.routing import find_model
from fastness.gateway.usage import usage_page
from fastness.gateway.wire import out
from fastness.gateway.wire.errors import error_body, error_headers
from fastness.telemetry.pages import joined

_encode: Final = msgspec.json.Encoder().encode
_METRICS_HEADERS: Final = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
_TEXT_HEADERS: Final = b"content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n"

CHOICES: Final = "/choices/"
"""Below it: how the replica of a request was chosen. On the Unix socket only."""

INFERENCE: Final = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/v1/embeddings": Operation.EMBEDDING,
}


class App:
    """Takes every whole request that the server has parsed."""

    def __init__(
        self,
        gateway: Gateway,
        batches: Path | None = None,
        name: str = FIRST,
        fellows: Fellows | None = None,
        control: Path | None = None,
    ) -> None:
        """`batches` is where files and batches are kept, `control` where receipts are made: Unix sockets.

        `fellows` are the gateways beside this one.
        """
        self._gateway, self._name, self.fellows = gateway, name, fellows
        self._control = str(control or "")
        self._batches = Batches(gateway, batches)
        self._ledger_pages = LedgerPages(gateway, self._control)
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self.connections: Callable[[], int] = lambda: 0
        self._pages: dict[str, Callable[[Exchange], None]] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            "/v1/models": self._models,
            "/v1/usage": self._usage,
        }

    def __call__(self, exchange: Exchange) -> None:
        """Answer, or start the journey that will."""
        operation = INFERENCE.get(exchange.path)
        try:
            if operation is None and (methods := methods_of(exchange.path)) is not None:
                self._keep(exchange, methods)
            elif operation is None:
                self._page(exchange)
            else:
                self._depart(exchange, operation)
        except Refusal as refusal:
            self._gateway.meters.page_refused(refusal)
            exchange.respond(refusal.status, error_headers(refusal), error_body(refusal))

    async def cut(self) -> None:
        """End the journeys that are still under way: each tells its client so."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _depart(self, exchange: Exchange, operation: Operation) -> None:
        if exchange.method != "POST":
            raise _wrong_method(exchange, "POST")
        if self.draining:
            raise Refusal("draining", "This gateway is shutting down. Try again.", retry_after_s=1)
        self._answer_later(exchange, journey(self._gateway, exchange, operation))

    def _keep(self, exchange: Exchange, methods: tuple[str, ...]) -> None:
        if exchange.method not in methods and not (exchange.method == "HEAD" and "GET" in methods):
            raise _wrong_method(exchange, ", ".join(methods))
        self._batches.pass_on(exchange)

    def _page(self, exchange: Exchange) -> None:
        page = self._pages.get(exchange.path)
        if page is None and exchange.path.startswith("/v1/models/"):
            page = partial(self._model, name=exchange.path.removeprefix("/v1/models/"))
        if page is None and exchange.path.startswith(RECEIPTS):
            page = partial(self._receipt, receipt_id=exchange.path.removeprefix(RECEIPTS))
        if page is None and exchange.path.startswith(LEDGER):
            page = self._ledger
        if page is None and exchange.inside and exchange.path.startswith(CHOICES):
            page = self._choices  # for the operator: from outside there is no such route
        if page is None:
            near = difflib.get_close_matches(exchange.path, [*INFERENCE, *self._pages], n=1)
            hint = f" Did you mean {near[0]}?" if near else " /openapi.json lists what there is."
            raise Refusal("route_not_found", f"There is no route {exchange.path[:200]!r}.{hint}")
        if exchange.method not in ("GET", "HEAD"):
            raise _wrong_method(exchange, "GET, HEAD")
        page(exchange)

    def _livez(self, exchange: Exchange) -> None:
        exchange.respond(200, _TEXT_HEADERS, b"ok\n")

    def _readyz(self, exchange: Exchange) -> None:
        gateway = self._gateway
        ready = gateway.policy is not None and gateway.routing.is_ready() and not self.draining
        exchange.respond(200 if ready else 503, _TEXT_HEADERS, b"ready\n" if ready else b"not ready\n")

    def _metrics(self, exchange: Exchange) -> None:
        """Answer with our own metrics to who asks inside, and to others with those of all gateways here."""
        body = self._gateway.meters.page(self._gateway.routing, self.connections(), self._gateway.now())
        if exchange.inside or not self.fellows:
            exchange.respond(200, _METRICS_HEADERS, body)
        else:
            self._answer_later(exchange, self._all_metrics(exchange, self.fellows, body))

    async def _all_metrics(self, exchange: Exchange, fellows: Fellows, own: bytes) -> None:
        pages = {self._name: own} | await fellows.pages()
        exchange.respond(200, _METRICS_HEADERS, joined(dict(sorted(pages.items()))))

    def _openapi(self, exchange: Exchange) -> None:
        exchange.respond(200, JSON_HEADERS, openapi_document())

    def _choices(self, exchange: Exchange) -> None:
        request_id = exchange.path.removeprefix(CHOICES)
        found = [one.document() for one in self._gateway.routing.explanations.of(request_id)]
        if not found:
            message = (
                f"No choice is known for {request_id[:100]!r}. The last {EXPLAINED_MAX:,} requests are kept, of those "
                "that got a slot, until the gateway restarts; the id is in the x-request-id header of the answer."
            )
            raise Refusal("not_found", message)
        exchange.respond(200, JSON_HEADERS, _encode({"request_id": request_id, "choices": found}))

    def _models(self, exchange: Exchange) -> None:
        mark, may_use = self._asker(exchange)
        shown = [self._model_out(one) for one in self._gateway.routing.listed_models() if may_use(one)]
        exchange.respond(200, JSON_HEADERS + mark.line, _encode(out.ModelList(shown)))

    def _model(self, exchange: Exchange, name: str) -> None:
        mark, may_use = self._asker(exchange)
        listed = find_model(self._gateway.routing, name, None, may_use, may_use)
        exchange.respond(200, JSON_HEADERS + mark.line, _encode(self._model_out(listed)))

    def _usage(self, exchange: Exchange) -> None:
        principal = self._gateway.authenticate(exchange)

        async def shown() -> bytes:
            return _encode(await usage_page(self._gateway, principal))

        self._later(exchange, principal, shown())

    def _receipt(self, exchange: Exchange, receipt_id: str) -> None:
        gateway, principal = self._gateway, self._gateway.authenticate(exchange)
        self._later(
            exchange, principal, receipt_page(gateway.engines, self._control, principal, receipt_id, exchange.query)
        )

    def _ledger(self, exchange: Exchange) -> None:
        pages = self._ledger_pages
        principal = pages.asker(exchange)
        self._later(exchange, principal, pages.page(exchange), pages.lines(exchange, principal))

    def _later(
        self,
        exchange: Exchange,
        principal: Principal | None,
        page: Coroutine[object, object, bytes],
        lines: bytes = JSON_HEADERS,
    ) -> None:
        """Answer with a page that has to be waited for; nobody in particular asks for what is public."""
        try:
            mark_line = self._gateway.mark(exchange, principal).line if principal else b""
        except Refusal:
            page.close()
            raise

        async def answer() -> None:
            try:
                shown = await page
            except Refusal as told:
                self._gateway.meters.page_refused(told)
                exchange.respond(told.status, error_headers(told) + mark_line, error_body(told))
            except Exception as error:  # noqa: BLE001 - the last resort: nobody is left without an answer
                self._gateway.note_defect(exchange.request_id, error)
                refusal = Refusal("internal_error", "A defect in Fastness; the request id finds it in the logs.")
                exchange.respond(refusal.status, error_headers(refusal) + mark_line, error_body(refusal))
            else:
                exchange.respond(200, lines + mark_line, shown)

        self._answer_later(exchange, answer())

    def _answer_later(self, exchange: Exchange, answer: Coroutine[None, None, None]) -> None:
        task = self._gateway.loop.create_task(answer)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        exchange.on_disconnect = task.cancel  # type: ignore[assignment]  # what cancel returns does not matter

    def _asker(self, exchange: Exchange) -> tuple[Mark, Callable[[ListedModel], bool]]:
        """Return what the asker's requests are marked with, and which models it may use for that; raises Refusal."""
        gateway = self._gateway
        principal = gateway.authenticate(exchange)
        mark = gateway.mark(exchange, principal)
        return mark, lambda one: may_name(principal, one) and gateway.may_use(principal, mark, one)

    def _model_out(self, listed: ListedModel) -> out.ModelOut:
        card, policy = listed.card, self._gateway.policy
        assert policy
        return out.ModelOut(
            listed.name,
            card.created_s,
            card.kind.value,
            listed.served.context_tokens(),
            card.digest,
            card.licence,
            str(policy.ceiling(listed.face)),
            listed.loaded.digest if listed.loaded else None,
        )


def _wrong_method(exchange: Exchange, allowed: str) -> Refusal:
    return Refusal("method_not_allowed", f"{exchange.path} takes {allowed}, not {exchange.method}.", param=allowed)
