"""What is kept of a request when it ends: a ledger event, metrics and a log line. No content in any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastness.core.event import Event, EventType, Scalar
from fastness.core.priority import BAND_NAMES
from fastness.core.request import ChatRequest, CompletionRequest
from fastness.gateway.limits import charged_tokens

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip


def event_of(gateway: Gateway, trip: Trip) -> Event:
    """Return the ledger's view of a request, at its end."""
    fields: dict[str, Scalar] = {
        "request_id": trip.exchange.request_id,
        "operation": trip.operation.value,
        "tenant": trip.principal.tenant if trip.principal else None,
        "key": trip.principal.id if trip.principal else None,
        "model": trip.served.card.name if trip.served else None,
        "stream": trip.streams,
        "band": BAND_NAMES[trip.band] if trip.request else None,
        "marking": str(trip.mark.label) if trip.mark else None,
        "policy": trip.policy,
        "rule": trip.decision.rule if trip.decision else None,
    }
    if trip.served and trip.replica:
        fields["model_digest"] = trip.served.card.digest
        fields["total_ms"] = _ms(gateway.now() - trip.exchange.received_at)
        fields["replica"] = trip.replica.id
        fields["epoch"] = trip.replica.epoch
        fields["sealed"] = trip.replica.sealed
        fields["queue_ms"] = _ms(trip.queue_s)
        if trip.retried:
            fields["retried"] = trip.retried
        if trip.resumed:
            fields["resumed"] = trip.resumed
    if trip.refusal:
        fields["code"] = trip.refusal.code
        fields["status"] = trip.refusal.status
        type_ = EventType.INFERENCE_FAILED if trip.replica else EventType.INFERENCE_REFUSED
        if trip.replica and trip.reservation:
            fields["admitted_s"] = int(trip.reservation.at_s)
            fields["charged_tokens"] = charged_tokens(trip)
        return Event(type_, _ms(gateway.clock()), fields)
    if trip.reservation:
        fields["admitted_s"] = int(trip.reservation.at_s)
    fields["input_tokens"] = trip.usage.input_tokens
    fields["output_tokens"] = trip.usage.output_tokens
    fields["cached_tokens"] = trip.usage.cached_tokens
    fields["choices"] = max(1, len(trip.generations))
    if trip.answer:
        fields["finish"] = ",".join(sorted(set(trip.answer.finish_reasons())))
    if trip.first_token_at is not None:
        fields["ttft_ms"] = _ms(trip.first_token_at - trip.exchange.received_at)
    return Event(EventType.INFERENCE_COMPLETED, _ms(gateway.clock()), fields)


def note(gateway: Gateway, trip: Trip) -> None:
    """Count a request that ended and write its log line."""
    now = gateway.now()
    total_s = now - trip.exchange.received_at
    status = trip.refusal.status if trip.refusal else 200
    gateway.meters.request(trip, status, total_s, now)
    gateway.log.record(
        "info" if status < 500 else "warning",
        "request",
        request_id=trip.exchange.request_id,
        tenant=trip.principal.tenant if trip.principal else None,
        key=trip.principal.id if trip.principal else None,
        operation=trip.operation.value,
        model=trip.served.card.name if trip.served else None,
        replica=trip.replica.id if trip.replica else None,
        status=status,
        code=trip.refusal.code if trip.refusal else None,
        marking=str(trip.mark.label) if trip.mark else None,
        rule=trip.decision.rule if trip.decision else None,
        stream=trip.streams,
        band=BAND_NAMES[trip.band] if trip.request else None,
        choices=trip.request.choices if isinstance(trip.request, ChatRequest | CompletionRequest) else None,
        input_tokens=trip.usage.input_tokens,
        output_tokens=trip.usage.output_tokens,
        retried=trip.retried or None,
        resumed=trip.resumed or None,
        queue_ms=_ms(trip.queue_s),
        first_token_ms=_ms(trip.first_token_at - trip.exchange.received_at) if trip.first_token_at else None,
        commit_ms=_ms(trip.commit_s) if trip.commit_s is not None else None,
        total_ms=_ms(total_s),
    )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1_000))  # the client's clock and the loop's may differ by a tick
