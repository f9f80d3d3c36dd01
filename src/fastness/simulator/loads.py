"""A trace as loads of departments: single requests where there are few enough, else arrivals in steps.

Traces of up to PLAYED_MAX requests stay single requests.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from fastness.simulator.flow import STEP_S, Stream, stream
from fastness.simulator.profile import Draw
from fastness.simulator.servegen import ClientRates, Lengths
from fastness.simulator.trace_error import TraceError
from fastness.simulator.traces import Asked, Rates

PLAYED_MAX: Final = 50_000
"""Requests that are played one by one."""
SEED: Final = 11


@dataclass(frozen=True, slots=True)
class Load:
    """What one department asks for: single requests, or arrivals in steps; `draw` draws the lengths of one."""

    name: str
    requests: Sequence[Asked]
    stream: Stream | None
    draw: Draw


def loads_of_requests(asked: Sequence[Asked], shares: Mapping[str, float]) -> tuple[Load, ...]:
    """Deal single requests out to departments by their shares; more than PLAYED_MAX become arrivals in steps."""
    dice = Random(SEED)  # noqa: S311 - seeded, for chance and not for secrets
    names, weights = list(shares), list(shares.values())
    dealt: dict[str, list[Asked]] = {name: [] for name in names}
    for one in asked:
        dealt[dice.choices(names, weights)[0]].append(one)
    if empty := [name for name, own in dealt.items() if not own]:
        raise TraceError(f"{len(asked):,} requests are too few for so many shares: {empty[0]} gets none")

    def load(name: str, own: list[Asked]) -> Load:
        def draw(dice: Random) -> tuple[int, int]:
            one = dice.choice(own)
            return one.input_tokens, one.output_tokens

        if len(asked) <= PLAYED_MAX:
            return Load(name, own, None, draw)
        steps = array("d", bytes(8 * (int(asked[-1].at_s / STEP_S) + 1)))
        for one in own:
            steps[int(one.at_s / STEP_S)] += 1
        return Load(name, own, Stream(name, steps, STEP_S), draw)

    return tuple(load(name, own) for name, own in dealt.items())


def loads_of_rates(
    rates: Rates, shares: Mapping[str, float], part: float, lengths: Sequence[Asked] | None
) -> tuple[Load, ...]:
    """Deal clients out to departments, the busiest first, each to whoever is furthest below its share.

    Lengths are those of `lengths` if given, else the trace's own; raises TraceError where it has none.
    """
    sums = [sum(one.rates) for one in rates.clients]
    has, dealt = dict.fromkeys(shares, 0.0), {name: list[ClientRates]() for name in shares}
    for at in sorted(range(len(sums)), key=lambda at: -sums[at]):
        name = min(shares, key=lambda each: has[each] / shares[each])
        has[name] += sums[at]
        dealt[name].append(rates.clients[at])
    if empty := [name for name in shares if not has[name]]:
        raise TraceError(f"{rates.path}: too few clients for so many shares: {empty[0]} gets none")
    draw = _drawn_from(lengths) if lengths is not None else _drawn_by_clients(rates)
    return tuple(
        Load(name, (), stream(name, clients, SEED, part=part, span_s=rates.span_s), draw)
        for name, clients in dealt.items()
    )


def _drawn_from(lengths: Sequence[Asked]) -> Draw:
    def draw(dice: Random) -> tuple[int, int]:
        one = dice.choice(lengths)
        return one.input_tokens, one.output_tokens

    return draw


def _drawn_by_clients(rates: Rates) -> Draw:
    known: list[tuple[float, tuple[Lengths, Lengths]]] = []
    for one in rates.clients:
        for at, both in one.lengths.items():
            close = [rate for when, rate in zip(one.starts_s, one.rates, strict=True) if at <= when < at + 21_600]
            known.append((sum(close), both))
    if not any(weight for weight, _ in known):
        raise TraceError(f"{rates.path}: rates alone, no lengths. Give those of another trace: --lengths FILE")
    weights = [weight for weight, _ in known]

    def draw(dice: Random) -> tuple[int, int]:
        inputs, outputs = dice.choices(known, weights)[0][1]
        return max(1, inputs.draw(dice)), max(1, outputs.draw(dice))

    return draw
