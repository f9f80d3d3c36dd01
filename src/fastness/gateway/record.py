"""What is kept of a request when it ends: a ledger event, metrics and a log line. No content in any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastness.core.event import Event, EventType, Scalar
from fastness.core.priority import BAND_NAMES
from fastness.core.request import GENERATING
from fastness.gateway.limits import charged_tokens
from fastness.telemetry.log import RequestLine

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip

_FAILED, _REFUSED = EventType.INFERENCE_FAILED, EventType.INFERENCE_REFUSED
_COMPLETED = EventType.INFERENCE_COMPLETED
# Looked up once: an enum's member costs a quarter of a microsecond each time in Python 3.11.


def event_of(gateway: Gateway, trip: Trip) -> Event:
    """Return the ledger's view of a request, at its end."""
    principal, served, mark, replica, refusal = trip.principal, trip.served, trip.mark, trip.replica, trip.refusal
    received_at, time_ms = trip.exchange.received_at, _ms(gateway.clock())
    fields: dict[str, Scalar] = {
        "request_id": trip.exchange.request_id,
        "operation": trip.operation._value_,
        "tenant": principal.tenant if principal else None,
        "key": principal.id if principal else None,
        "model": served.name if served else None,
        "stream": trip.streams,
        "band": BAND_NAMES[trip.band] if trip.request else None,
        "marking": mark.text if mark else None,
        "policy": trip.policy,
        "rule": trip.decision.rule if trip.decision else None,
    }
    _tell_adapter(trip, fields)
    if served and replica:
        fields["model_digest"] = replica.model_digest or served.wanted.card.digest
        fields["total_ms"] = _ms(gateway.now() - received_at)
        fields["replica"] = replica.id
        fields["epoch"] = replica.epoch
        fields["sealed"] = replica.sealed
        fields["queue_ms"] = _ms(trip.queue_s)
        if trip.retried or trip.resumed or trip.hedged:
            _tell_tries(trip, fields)
    if trip.sealed:
        fields["retention"] = trip.retains
        if trip.content_at is not None:
            fields["content_at"] = trip.content_at
    reservation = trip.reservation
    if refusal:
        fields["code"] = refusal.code
        fields["status"] = refusal.status
        if replica and reservation:
            fields["admitted_s"] = int(reservation.at_s)
            fields["charged_tokens"] = charged_tokens(trip)
        return Event(_FAILED if replica else _REFUSED, time_ms, fields)
    if reservation:
        fields["admitted_s"] = int(reservation.at_s)
    usage = trip.usage
    fields["input_tokens"] = usage.input_tokens
    fields["output_tokens"] = usage.output_tokens
    fields["cached_tokens"] = usage.cached_tokens
    fields["choices"] = max(1, len(trip.generations))
    if trip.answer:
        reasons = trip.answer.finish_reasons()
        fields["finish"] = reasons[0] if len(reasons) == 1 else ",".join(sorted(set(reasons)))
    if trip.first_token_at is not None:
        fields["ttft_ms"] = _ms(trip.first_token_at - received_at)
    fields.update(gateway.binding.fields(trip, time_ms))
    return Event(_COMPLETED, time_ms, fields)


def _tell_adapter(trip: Trip, fields: dict[str, Scalar]) -> None:
    if trip.adapter:
        fields["adapter"] = trip.adapter
        if trip.loaded and trip.replica:
            fields["adapter_digest"] = trip.loaded.digest


def _tell_tries(trip: Trip, fields: dict[str, Scalar]) -> None:
    tries = {"retried": trip.retried, "resumed": trip.resumed, "hedged": trip.hedged}
    fields.update({name: count for name, count in tries.items() if count})


def note(gateway: Gateway, trip: Trip) -> None:
    """Count a request that ended and write its log line."""
    now, log, received_at = gateway.now(), gateway.log, trip.exchange.received_at
    principal, served, refusal, replica = trip.principal, trip.served, trip.refusal, trip.replica
    total_s = now - received_at
    status = refusal.status if refusal else 200
    gateway.meters.request(trip, status, total_s, now)
    log.request(
        RequestLine(  # in the order of its fields: names would cost as much again
            log.now(),
            "info" if status < 500 else "warning",
            log.process,
            "request",
            trip.exchange.request_id,
            principal.tenant if principal else None,
            principal.id if principal else None,
            trip.operation._value_,
            served.name if served else None,
            replica.id if replica else None,
            status,
            refusal.code if refusal else None,
            trip.mark.text if trip.mark else None,
            trip.decision.rule if trip.decision else None,
            trip.streams,
            BAND_NAMES[trip.band] if trip.request else None,
            trip.request.choices if isinstance(trip.request, GENERATING) else None,
            trip.usage.input_tokens,
            trip.usage.output_tokens,
            trip.retried or None,
            trip.resumed or None,
            _ms(trip.queue_s),
            _ms(trip.first_token_at - received_at) if trip.first_token_at else None,
            _ms(trip.commit_s) if trip.commit_s is not None else None,
            _ms(total_s),
        )
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1_000) if seconds > 0.0 else 0  # the client's clock and the loop's may differ by a tick
