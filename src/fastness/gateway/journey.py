"""The journey of a request. `journey` is its list of steps; everything else here is one of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from fastness.core.error import Refusal
from fastness.core.model import ModelKind
from fastness.core.replica import Replica
from fastness.core.request import ChatRequest, CompletionRequest, EmbeddingRequest, Generation, Operation, Usage
from fastness.engines.port import Vectors
from fastness.gateway import keeping
from fastness.gateway.answer.embedding import embedding_answer
from fastness.gateway.answer.port import Head
from fastness.gateway.asking import charge, give_back
from fastness.gateway.attempts import STREAM_HEADERS, generate, on_some_replica
from fastness.gateway.choosing import Asked
from fastness.gateway.gateway import Gateway
from fastness.gateway.http import Exchange
from fastness.gateway.limits import reserve, settle
from fastness.gateway.listed_model import may_name
from fastness.gateway.parameters import parameters_of
from fastness.gateway.prepare import (
    check_embedding,
    input_tokens_bound,
    input_tokens_least,
    inputs_of,
    longest_text,
    overflow,
    prepare_chat,
    prepare_completion,
)
from fastness.gateway.record import event_of, note
from fastness.gateway.relay import EngineFailed, broken, post
from fastness.gateway.routing import find_model
from fastness.gateway.served_model import Superseded
from fastness.gateway.slot import Slot
from fastness.gateway.trip import Trip
from fastness.gateway.wire.chat import parse_chat
from fastness.gateway.wire.completion import parse_completion
from fastness.gateway.wire.embedding import parse_embedding
from fastness.gateway.wire.errors import error_body, error_headers
from fastness.gateway.wire.urgency import TIERS, band_of, wait_of
from fastness.ledger.port import LedgerUnavailable

JSON_HEADERS = b"content-type: application/json\r\ncache-control: no-store\r\n"
CHAT, COMPLETION, EMBEDDING = Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING
CHATS, EMBEDS = ModelKind.CHAT, ModelKind.EMBEDDING
"""Looked up once: an enum's member costs a quarter of a microsecond each time in Python 3.11."""
PREPARED_AGAIN_MAX = 8
"""So often other models may take the place of the one that a request was prepared for."""
INPUT_FIELDS = {Operation.CHAT: "messages", Operation.COMPLETION: "prompt", Operation.EMBEDDING: "input"}


async def journey(gateway: Gateway, exchange: Exchange, operation: Operation) -> None:
    """Take one request from its arrival to its one end."""
    trip = Trip(exchange, operation)
    try:
        authenticate(gateway, trip)
        mark(gateway, trip)
        parse(gateway, trip)
        authorise(gateway, trip)
        while True:
            try:
                if trip.model is None or trip.model.last is None:
                    await wake(gateway, trip)
                prepare(gateway, trip)
                await fit(gateway, trip)
                await reserve(gateway, trip)
                await relay(gateway, trip)
                break
            except Superseded as superseded:
                begin_anew(gateway, trip, superseded)
        await commit(gateway, trip)
        finish(gateway, trip)
    except Refusal as refusal:
        refuse(gateway, trip, refusal)
    except asyncio.CancelledError:
        abandon(gateway, trip)
    except Exception as error:  # noqa: BLE001 - the last resort: the client hears of it, the log says where
        fail(gateway, trip, error)
    finally:
        settle(gateway, trip)
        note(gateway, trip)
        trip.forget()


def authenticate(gateway: Gateway, trip: Trip) -> None:
    """Who asks."""
    trip.principal = gateway.authenticate(trip.exchange)
    trip.access_version = gateway.access_version
    trip.receipt_line = gateway.binding.head_line(trip.exchange.request_id)  # from here on there will be an entry


def mark(gateway: Gateway, trip: Trip) -> None:
    """How sensitive it is: from here on whatever is answered says so."""
    assert trip.principal
    trip.mark = gateway.mark(trip.exchange, trip.principal)


def parse(gateway: Gateway, trip: Trip) -> None:
    """What is asked: from here on there are only core values."""
    body, limits = trip.exchange.body, gateway.settings.limits
    if trip.operation is CHAT:
        trip.request = parse_chat(body, limits)
    elif trip.operation is COMPLETION:
        trip.request = parse_completion(body, limits)
    else:
        trip.request = parse_embedding(body, limits)
    said = trip.request.band if isinstance(trip.request, ChatRequest) else None
    trip.band = band_of(trip.exchange.headers, said)
    trip.wait_s = wait_of(trip.exchange.headers, gateway.settings.traffic.queue_timeout_s)


def authorise(gateway: Gateway, trip: Trip) -> None:
    """Whether this caller may have it, marked so, with what it sets. No engine hears of it before it passed."""
    gateway.witnessed.check()
    request, principal, mark = trip.request, trip.principal, trip.mark
    assert request and principal and mark
    kind = EMBEDS if trip.operation is EMBEDDING else CHATS
    listed = gateway.routing.listed(request.model)
    if listed is None or listed.card.kind is not kind or not may_name(principal, listed):
        listed = find_model(
            gateway.routing,
            request.model,
            kind,
            lambda one: may_name(principal, one),
            lambda one: gateway.may_use(principal, mark, one),
        )
    served, trip.adapter = listed
    trip.served = served
    trip.parameters = parameters_of(request)
    gateway.usable(trip)  # as things are until something is waited for
    if principal.retains is not None:
        keeping.choose(gateway, trip)
    served.asked += 1


async def wake(gateway: Gateway, trip: Trip) -> None:
    """Wait for a first replica of a model of which none was ever seen: nobody knows yet how it is run."""
    while trip.model is not None and trip.model.last is None:
        await on_some_replica(gateway, trip, partial(_come_back, gateway, trip), Asked(""))


async def _come_back(gateway: Gateway, trip: Trip, _: Slot) -> None:
    give_back(trip)  # nothing is generated yet, and nowhere
    trip.unprepare()
    gateway.usable(trip)


def begin_anew(gateway: Gateway, trip: Trip, superseded: Superseded) -> None:
    """Another model took the place of the one that it was prepared for. Raises what came when it has begun."""
    trip.superseded += 1
    if trip.exchange.started or trip.superseded > PREPARED_AGAIN_MAX:
        raise superseded
    superseded.__traceback__ = superseded.__context__ = None  # its frames hold the trip
    trip.unprepare()
    gateway.usable(trip)


def prepare(gateway: Gateway, trip: Trip) -> None:
    """What engines must do for it, and the answer in the making."""
    assert trip.request and trip.served and trip.model
    card, name, one = trip.model.card, trip.name, trip.model.any_replica(trip.usable)
    if isinstance(trip.request, EmbeddingRequest):
        check_embedding(trip.request, card, name)
        return
    if one is None:
        raise trip.served.not_ready(trip.usable)
    dialect = gateway.routing.dialect(one)
    suffix = trip.exchange.request_id.removeprefix("req_")
    print_ = f"fp_{card.digest[:12]}" if trip.digest is None else f"fp_{card.digest[:12]}_{trip.digest[:12]}"
    if isinstance(trip.request, ChatRequest):
        tier = TIERS[trip.band]
        head = Head(f"chatcmpl-{suffix}", int(gateway.clock()), name, print_, tier)
        trip.generations, trip.answer = prepare_chat(
            trip.request, head, card, dialect, gateway.settings.limits, trip.band, trip.digest
        )
    else:
        head = Head(f"cmpl-{suffix}", int(gateway.clock()), name, print_)
        trip.generations, trip.answer = prepare_completion(trip.request, head, dialect, trip.band, trip.digest)
    if trip.retains is not None:
        trip.answer = keeping.KeptAnswer(trip.answer)


async def fit(gateway: Gateway, trip: Trip) -> None:
    """Whether it fits the context. The engine counts only when the size in bytes leaves a doubt."""
    assert trip.served and trip.model
    model, most = trip.model, 0
    limit = model.context_tokens(trip.usable)
    for work, output in inputs_of(trip):
        needed = input_tokens_bound(work) + output
        if needed > model.least_context:
            if (least := input_tokens_least(work)) + output > limit:
                # An engine that only counts it would need a hundred times its size in memory.
                if trip.operation is EMBEDDING:
                    raise longest_text(work, limit, trip.name)
                raise overflow(least, output, limit, trip.name, INPUT_FIELDS[trip.operation], least=True)
            needed = await _count(gateway, trip, work) + output
            if needed > limit:
                raise overflow(needed - output, output, limit, trip.name, INPUT_FIELDS[trip.operation])
        if needed > most:
            most = needed
    if most > model.least_context:
        trip.cleared_at = -1  # not every replica has the context for it
    trip.context_tokens = most


async def _count(gateway: Gateway, trip: Trip, work: Generation) -> int:
    if isinstance(work.prompt, tuple):
        return len(work.prompt)
    assert trip.served and trip.model

    async def on(replica: Replica) -> int:
        dialect = gateway.routing.dialect(replica)
        call = dialect.count(work)
        try:
            return dialect.counted(await post(gateway.engines, dialect, replica, call.path, call.body))
        except ValueError:
            raise broken(replica, "counted tokens in a way that cannot be read") from None

    async def elsewhere(slot: Slot) -> int:
        needed = await on(slot.replica)
        give_back(trip)  # nothing was generated yet, and nowhere
        trip.replica = None
        return needed

    if (ready := trip.model.ready_replica(gateway.usable(trip))) is not None:
        with suppress(EngineFailed), gateway.routing.visit(ready):
            return await on(ready)
    return await on_some_replica(gateway, trip, elsewhere, Asked(""))


async def relay(gateway: Gateway, trip: Trip) -> None:
    """Admit, choose a replica and relay: once for each generation, all at the same time."""
    if isinstance(trip.request, EmbeddingRequest):
        await _embed(gateway, trip, trip.request)
    elif len(trip.generations) == 1:
        trip.usage = await generate(gateway, trip, 0)
    else:
        trip.usage = await _generate_all(gateway, trip)
    if trip.answer and (wrong := trip.answer.broken()):
        raise Refusal("engine_failed", f"The answer was not delivered: {wrong}. Try again.")


async def _generate_all(gateway: Gateway, trip: Trip) -> Usage:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(generate(gateway, trip, choice)) for choice in range(len(trip.generations))]
    except* Refusal as refusals:
        raise _first(refusals) from None
    total = sum((task.result() for task in tasks), Usage())
    # Choices of one prompt share its input: it is counted once for each prompt, as OpenAI does.
    per_prompt = trip.request.choices if isinstance(trip.request, ChatRequest | CompletionRequest) else 1
    return Usage(
        total.input_tokens // per_prompt,
        total.output_tokens,
        min(total.cached_tokens, total.input_tokens) // per_prompt,
    )


def _first(group: BaseExceptionGroup[Refusal]) -> Refusal:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Refusal)
    return error


async def _embed(gateway: Gateway, trip: Trip, request: EmbeddingRequest) -> None:
    asked = Asked(trip.exchange.request_id)

    async def on(slot: Slot) -> Vectors:
        replica = slot.replica
        dialect = gateway.routing.dialect(replica)
        call = dialect.embedding(request.inputs)
        asked.let_next()
        body = await gateway.within_answer_time(post(gateway.engines, dialect, replica, call.path, call.body))
        try:
            vectors = dialect.vectors(body)
        except ValueError:
            raise broken(replica, "gave vectors that cannot be read") from None
        if len(vectors.rows) != len(request.inputs):
            raise broken(replica, "gave another number of vectors than texts")
        charge(trip, vectors.usage)
        return vectors

    vectors = await on_some_replica(gateway, trip, on, asked)
    trip.usage = vectors.usage
    trip.body = embedding_answer(request, vectors.rows, vectors.usage)


async def commit(gateway: Gateway, trip: Trip) -> None:
    """Make the record durable: no answer exists without one (law 2). The client's leaving changes nothing any more."""
    trip.exchange.on_disconnect = None
    began = gateway.now()
    if trip.answer:
        trip.body = trip.answer.last(trip.usage) if trip.streams else trip.answer.whole(trip.usage)
    if trip.retains is not None:
        await keeping.seal(gateway, trip)
    try:
        trip.position = await gateway.ledger.commit(event_of(gateway, trip))
    except LedgerUnavailable as error:
        message = f"The ledger cannot record this answer, so it may not be given: {error}"
        raise Refusal("ledger_unavailable", message, retry_after_s=5) from None
    trip.commit_s = gateway.now() - began


def finish(gateway: Gateway, trip: Trip) -> None:
    """Give the answer, or the end of its stream, which says where its entry stands."""
    if trip.streams and trip.answer and trip.position:
        if not trip.exchange.started:
            trip.exchange.start(200, STREAM_HEADERS + trip.head_lines)
        trip.exchange.finish(gateway.binding.comment(trip.exchange.request_id, trip.position.index) + trip.body)
    else:
        trip.exchange.respond(200, JSON_HEADERS + trip.head_lines, trip.body)


def refuse(gateway: Gateway, trip: Trip, refusal: Refusal) -> None:
    """End with an error: as the answer, or as the last event of a stream that has begun. Never silence."""
    trip.refusal = refusal
    if trip.retains is not None:
        keeping.seal_broken(gateway, trip)
    if trip.principal is not None:
        gateway.append(event_of(gateway, trip))
    body = error_body(refusal)
    if not trip.exchange.started:
        trip.exchange.respond(refusal.status, error_headers(refusal) + trip.head_lines, body)
    else:
        trip.exchange.finish(b"data: %b\n\n" % body)


def abandon(gateway: Gateway, trip: Trip) -> None:
    """The client went, or the drain's time is over: the engines' work was stopped on the way here."""
    code = "client_closed" if trip.exchange.disconnected else "draining"
    refuse(gateway, trip, Refusal(code, "The request was cancelled before its answer was whole.", retry_after_s=1))


def fail(gateway: Gateway, trip: Trip, error: Exception) -> None:
    """A defect of ours: the log has the place, the client has the request id, nobody has the content."""
    gateway.note_defect(trip.exchange.request_id, error)
    message = f"A defect in Fastness ended this request. Tell the operator the request id {trip.exchange.request_id}."
    refuse(gateway, trip, Refusal("internal_error", message))
