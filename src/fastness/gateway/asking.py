"""What a trip asks the queue for, by estimate; and what it took, once an engine has counted."""

from __future__ import annotations

from fastness.core.request import CompletionRequest, EmbeddingRequest, Usage
from fastness.gateway.trip import Trip
from fastness.traffic.fair_queue import Ask, Usable


def ask_of(trip: Trip, deadline_s: float, usable: Usable, *, returns: bool = False) -> Ask:
    """Return what each generation of a trip asks for. Its tokens are estimated once, so that `charge` knows them.

    `returns`: it had a slot, and its engine failed.
    """
    known, principal = trip.ask, trip.principal
    assert trip.served and principal
    if known is None:
        tokens = trip.served.estimate.of(_bytes(trip), _output_tokens_max(trip))
    else:
        tokens = known.input_tokens, known.output_tokens
    trip.ask = Ask(principal.tenant, principal.share, trip.band, *tokens, deadline_s, usable, returns)
    return trip.ask


def charge(trip: Trip, usage: Usage) -> None:
    """Charge the tenant what one generation took, in place of its estimate, and learn from it for the next.

    To be told before its slot is given back: who is next then depends on it.
    """
    if trip.ask and trip.served:
        trip.served.queue.settle(trip.ask.tenant, trip.ask, usage.input_tokens, usage.output_tokens)
        trip.served.estimate.learn(_bytes(trip), usage.input_tokens, usage.output_tokens)


def give_back(trip: Trip) -> None:
    """Charge nothing for a slot on which nothing was done."""
    if trip.ask and trip.served:
        trip.served.queue.settle(trip.ask.tenant, trip.ask, 0, 0)


def _bytes(trip: Trip) -> int:
    """The size of what one generation reads: its part of the body, whose other fields the learnt ratio makes up for."""
    request = trip.request
    prompts = len(request.prompts) if isinstance(request, CompletionRequest) else 1
    return len(trip.exchange.body) // prompts


def _output_tokens_max(trip: Trip) -> int | None:
    request = trip.request
    return 0 if request is None or isinstance(request, EmbeddingRequest) else request.sampling.max_output_tokens
