"""Content that a tenant chose to keep: collected on its way out, sealed before the reply. For others nothing is done.

What was chosen when a request was authorised holds for it: a choice that changes meanwhile is for the next.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from fastness.core.error import Refusal
from fastness.core.request import Delta, Usage
from fastness.ledger.commitment import salts_of
from fastness.sealed.box import KEY_BYTES
from fastness.sealed.port import Kept, SealedUnavailable

if TYPE_CHECKING:
    from fastness.gateway.answer.port import Answer
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip


class KeptAnswer:
    """An answer that remembers what it streamed."""

    __slots__ = ("_answer", "pieces")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.pieces: list[bytes] = []

    def take(self, choice: int, delta: Delta) -> bytes:
        """See Answer."""
        return self._kept(self._answer.take(choice, delta))

    def texts(self, choice: int, texts: Sequence[str]) -> bytes:
        """See Answer."""
        return self._kept(self._answer.texts(choice, texts))

    def whole(self, usage: Usage) -> bytes:
        """See Answer."""
        return self._kept(self._answer.whole(usage))

    def last(self, usage: Usage) -> bytes:
        """See Answer."""
        return self._kept(self._answer.last(usage))

    def restart(self, choice: int) -> None:
        """See Answer."""
        self._answer.restart(choice)

    def said(self) -> bytes:
        """See Answer."""
        return self._answer.said()

    def finish_reasons(self) -> tuple[str, ...]:
        """See Answer."""
        return self._answer.finish_reasons()

    def broken(self) -> str | None:
        """See Answer."""
        return self._answer.broken()

    def _kept(self, events: bytes) -> bytes:
        if events:
            self.pieces.append(events)
        return events


def choose(gateway: Gateway, trip: Trip) -> None:
    """Take note of what a tenant chose; raises Refusal, before an engine hears of it, where that cannot be kept."""
    assert trip.principal
    trip.retains = trip.principal.retains
    if gateway.sealer is None:
        raise _unavailable("this gateway has nowhere to seal content")
    try:
        gateway.sealer.check(trip.principal.tenant)
    except SealedUnavailable as error:
        raise _unavailable(error) from None


async def seal(gateway: Gateway, trip: Trip) -> None:
    """Make the content durable, sealed; raises Refusal: what a department wants kept is not answered without."""
    assert gateway.sealer
    try:
        trip.content_at = await gateway.sealer.keep(_record(gateway, trip, whole=True))
    except SealedUnavailable as error:
        raise _unavailable(error) from None
    trip.sealed = True


def seal_broken(gateway: Gateway, trip: Trip) -> None:
    """Seal what there is of an answer that broke off; part of it may have been sent. Nobody waits for it."""
    if gateway.sealer is not None and trip.replica is not None and not trip.sealed:
        with suppress(SealedUnavailable):
            gateway.sealer.keep_then(_record(gateway, trip, whole=False), _nobody_waits)
            trip.sealed = True


def _record(gateway: Gateway, trip: Trip, *, whole: bool) -> Kept:
    principal, mark, served, answer = trip.principal, trip.mark, trip.served, trip.answer
    assert principal and mark
    # Those of its own key: who destroys that, destroys what could confirm a guess of the content.
    record_key = os.urandom(KEY_BYTES)
    trip.salts = salts_of(record_key, trip.exchange.request_id)
    sent = b"".join(answer.pieces) if isinstance(answer, KeptAnswer) else trip.body
    return Kept(
        tenant=principal.tenant,
        request_id=trip.exchange.request_id,
        time_ms=int(gateway.clock() * 1_000),
        key=principal.id,
        marking=mark.text,
        policy=trip.policy,
        operation=trip.operation._value_,
        model=served.name if served else None,
        body=trip.exchange.body,
        answer=sent,
        whole=whole,
        said=(answer.said() if answer else trip.body) if whole else b"",
        salts={name: salt.hex() for name, salt in trip.salts._asdict().items()},
        record_key=record_key,
    )


def _nobody_waits(_outcome: str | SealedUnavailable) -> None:
    pass


def _unavailable(why: object) -> Refusal:
    message = f"What is asked here is to be kept sealed, and it cannot be, so it may not be answered: {why}. Try again."
    return Refusal("retention_unavailable", message, retry_after_s=5)
