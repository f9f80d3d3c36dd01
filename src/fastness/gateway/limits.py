"""Limits on the way of a request: what it needs is taken before it runs, and settled at its one end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fastness.core.error import Refusal
from fastness.core.limit import Metric
from fastness.core.request import ChatRequest, CompletionRequest
from fastness.traffic.estimate import BYTES_PER_TOKEN, OUTPUT_TOKENS_FIRST
from fastness.traffic.limit_headers import head_lines
from fastness.traffic.meter import Meter

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip

ROUNDS_MAX: Final = 4
"""How often control is asked for one request: others may be quicker to take what came."""
RETRY_S_MAX: Final = 60
"""A client that would have to wait longer is told not to try again by itself."""
_COUNTED: Final = {
    Metric.REQUESTS_PER_MINUTE: "requests a minute",
    Metric.TOKENS_PER_MINUTE: "tokens a minute",
    Metric.REQUESTS_PER_DAY: "requests a day (UTC)",
    Metric.TOKENS_PER_DAY: "tokens a day (UTC)",
    Metric.CONCURRENT: "requests at the same time",
}


async def reserve(gateway: Gateway, trip: Trip) -> None:
    """Take what the request is likely to need from every limit that applies to it, once; raises Refusal."""
    assert trip.principal and trip.served
    leases = gateway.leases
    meters = leases.limits.of(trip.principal.tenant, trip.principal.id, trip.served.name)
    if not meters or trip.reservation is not None:
        return
    tokens = input_estimate(trip) + output_estimate(trip)
    lacking = await _take(gateway, trip, meters, tokens)
    trip.limit_lines = head_lines(meters, now_s := gateway.clock())
    if lacking is not None:
        raise _exceeded(lacking, tokens, now_s)


async def _take(gateway: Gateway, trip: Trip, meters: tuple[Meter, ...], tokens: int) -> Meter | None:
    """Take it, with what control leases if need be; return the limit that has no room for it. Raises Refusal."""
    leases, limits, rounds = gateway.leases, gateway.leases.limits, 0
    while isinstance(taken := limits.take(meters, tokens, now_s := gateway.clock()), Meter):
        hopeless = _need(taken, tokens) > taken.bound or limits.is_used_up(taken, tokens, now_s)
        if hopeless or rounds == ROUNDS_MAX:
            return taken
        if not await leases.fill(meters, tokens):
            raise _unavailable(taken)
        rounds += 1
    trip.reservation = taken
    if limits.low:
        leases.nudge()
    return None


def settle(gateway: Gateway, trip: Trip) -> None:
    """Put what was used in the place of what was taken; the request has ended, however it did."""
    if trip.reservation is not None:
        gateway.leases.limits.settle(trip.reservation, charged_tokens(trip))
        trip.reservation = None


def charged_tokens(trip: Trip) -> int | None:
    """Return what a request that ended counts for: None when it was refused before an engine worked on it.

    What failed, or was left by its client, counts for the output that came, and then for its input as well.
    """
    if trip.refusal is None or trip.usage.input_tokens:
        return trip.usage.input_tokens + trip.usage.output_tokens
    if trip.replica is None:
        return None
    output = sum(run.tokens for run in trip.runs)
    return input_estimate(trip) + output if output else 0


def input_estimate(trip: Trip) -> int:
    """Return how many tokens came, as far as bytes tell; what all choices of a prompt share is counted once.

    Not by what the queue has learnt: what a request takes of a limit must not depend on what others asked before.
    """
    return math.ceil(len(trip.exchange.body) / BYTES_PER_TOKEN)


def output_estimate(trip: Trip) -> int:
    """Return how many tokens all choices may make; without a bound, what is taken of a model nobody has asked yet."""
    if not isinstance(trip.request, ChatRequest | CompletionRequest):
        return 0
    each = trip.request.sampling.max_output_tokens
    return (int(OUTPUT_TOKENS_FIRST) if each is None else each) * max(1, len(trip.generations))


def _need(meter: Meter, tokens: int) -> int:
    return tokens if meter.counts_tokens else 1


def _exceeded(meter: Meter, tokens: int, now_s: float) -> Refusal:
    """Make the refusal: which limit, what was needed, what there was, and when there is more."""
    need, counted, whose = _need(meter, tokens), _COUNTED[meter.metric], str(meter.limit.scope)
    unit = "tokens" if meter.counts_tokens else "request"
    code = "insufficient_quota" if meter.period_s > 60 else "rate_limit_exceeded"
    if meter.bound == 0:
        message = f"The limit of {whose} is 0 {counted}: nothing is allowed. Ask whoever runs this installation."
        return Refusal(code, message, should_retry=False)
    if need > meter.bound:
        message = (
            f"This request needs about {need:,} {unit} and the limit of {whose} is {meter.bound:,} {counted}: it will "
            "never fit. Shorten the input, or ask for fewer output tokens or choices."
        )
        return Refusal(code, message, should_retry=False)
    resets_s = meter.resets_s(now_s)
    wait_s = max(1, math.ceil(resets_s))
    when = f"All of it is there again in {wait_s} s" if resets_s else "There is room when one of them ends"
    message = (
        f"The limit of {whose} is {meter.bound:,} {counted}; {meter.left:,} are left and this request needs about "
        f"{need:,} {unit}. {when}. GET /v1/usage shows every limit."
    )
    # The SDK waits a minute at most, and would otherwise ask again at once, twice.
    return Refusal(code, message, retry_after_s=wait_s, should_retry=False if wait_s > RETRY_S_MAX else None)


def _unavailable(meter: Meter) -> Refusal:
    message = (
        f"What is left of the limit of {meter.limit.scope} cannot be told, since the control plane is away and what "
        "this gateway held of it is used up. Try again shortly; if it stays so, tell the operator: "
        "`fastness logs control` says why."
    )
    return Refusal("quota_unavailable", message, retry_after_s=2)
