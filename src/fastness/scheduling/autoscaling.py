"""How many replicas there should be: fast up, slow down, none while nobody asks, and batches on what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_event import CONTROL, DeploymentScaled
from fastness.core.fleet_state import PlacedReplica
from fastness.scheduling.demand import Demand, demands, measure
from fastness.scheduling.draft import Draft
from fastness.scheduling.lifecycle import order
from fastness.scheduling.placement import Placement
from fastness.scheduling.placing import attempt, settled
from fastness.scheduling.plan_values import LoadMemory, Peak

PEAKS: Final = 8
"""The time looked back on before there are fewer has so many parts, each with its peak."""
GROWTH_MAX: Final = 4.0
"""Requests that come faster than they are answered count at most so many times."""


@dataclass(frozen=True, slots=True)
class Need:
    """How many replicas are needed for whoever waits for an answer, why, and how many with all batches, too."""

    replicas: int
    reason: str
    with_batches: int


def autoscale(draft: Draft, before: Mapping[str, LoadMemory]) -> tuple[dict[str, LoadMemory], dict[str, Need]]:
    """Decide how many are wanted of each deployment that gateways tell of; return what to remember, and the needs."""
    memory, needs = {}, {}
    for name, loads in demands(draft.sight.gateways).items():
        deployed = draft.state.deployments.get(name)
        if deployed is None or deployed.removed:
            continue
        demand, known = measure(loads, before.get(name), deployed.replicas, draft.now_ms)
        need = needed(draft, deployed.spec, deployed.replicas, demand, known)
        scaling, wanted, now_ms = deployed.spec.scaling, deployed.replicas, draft.now_ms
        known = replace(known, peaks=_peaks(known, need, scaling.down_s, now_ms))
        if need.replicas > wanted:
            known = _scale(draft, name, need.replicas, need.reason, known)
        elif fewer := _fewer(deployed.spec, wanted, demand, known, now_ms):
            known = _scale(draft, name, *fewer, known)
        memory[name], needs[name] = known, need
    return memory, needs


def needed(draft: Draft, spec: DeploymentSpec, wanted: int, demand: Demand, known: LoadMemory) -> Need:
    """Return how many replicas the load needs, within bounds. Each term stands for itself; the greatest counts."""
    scaling, seats = spec.scaling, max(0.1, spec.parameters.slots * spec.scaling.busy_part)
    busy = max(0, demand.running - demand.batch_running)
    terms = [(_up(busy / seats), f"{busy} answers are being made, {seats:g} a replica are enough")]
    if demand.waiting and known.arrivals_per_s > known.answers_per_s > 0.0:
        growth = min(GROWTH_MAX, known.arrivals_per_s / known.answers_per_s)
        rates = f"{known.arrivals_per_s:.1f} requests a second come, {known.answers_per_s:.1f} are answered"
        terms.append((_up(busy * growth / seats), rates))
    if scaling.tokens_per_s > 0.0:
        rate = known.tokens_per_s
        terms.append((_up(rate / scaling.tokens_per_s), f"{rate:.0f} tokens a second are written"))
    # Where the load does not say how many: one more, once those that were asked for are there and have settled.
    standing = sum(draft.is_ready(one) for one in draft.placed(spec.name))
    settled_now = standing >= wanted and draft.now_ms - known.scaled_ms >= draft.bounds.settle_s * 1_000
    one_more = wanted + 1 if settled_now else 0
    if demand.waiting and demand.oldest_wait_s > scaling.queue_wait_s:
        count = max(_up((busy + demand.waiting) / seats), one_more)
        terms.append((count, f"{demand.waiting} requests wait, the first for {demand.oldest_wait_s:.1f} s"))
    if busy and demand.cache_part > draft.bounds.cache_high:
        terms.append((one_more, f"a KV cache is {100 * demand.cache_part:.0f}% full"))
    if wanted == 0 and not demand.is_none:
        terms.append((1, "somebody asks"))
    floor = max(scaling.min, min(1, wanted))
    count, reason = max(terms, key=lambda term: term[0])
    both = _up((demand.running + demand.batch_waiting) / seats) if demand.batch_waiting else 0
    top = max(scaling.min, scaling.max)
    return Need(min(top, max(floor, count)), reason, min(top, max(floor, count, both)))


def soak(draft: Draft, needs: Mapping[str, Need], stuck: set[str], memory: dict[str, LoadMemory]) -> None:
    """Give devices that nobody else wants to batches that wait."""
    for name, need in sorted(needs.items()):
        deployed = draft.deployed(name)
        extra = need.with_batches - deployed.replicas
        if extra <= 0 or need.with_batches <= need.replicas or name in stuck:
            continue
        if deployed.revision != deployed.stable or draft.leaving(name):
            continue
        spec = deployed.spec
        found: list[tuple[Placement, bool]] = []
        while len(found) < min(extra, draft.placements_left):
            verdict = draft.shares.verdict(spec.owner, spec.needs.pool, spec.needs.devices_in_all * (len(found) + 1))
            place = attempt(draft, spec, draft.stock.free)
            if not verdict.allowed or place is None:
                break
            draft.stock.take(place.parts, spec.needs.device_bytes, name)
            found.append((place, verdict.borrowed))
        if found:
            reason = f"batches wait, and {len(found)} replicas more find idle devices"
            memory[name] = _scale(draft, name, deployed.replicas + len(found), reason, memory[name])
        for place, borrowed in found:
            settled(draft, name, deployed.revision, place, borrowed)


def give_way(draft: Draft, needs: Mapping[str, Need], stuck: set[str], memory: dict[str, LoadMemory]) -> None:
    """Take devices back from batches for deployments that somebody waits for, where these may have them."""
    for name in sorted(stuck):
        spec = draft.deployed(name).spec
        need = needs.get(name)
        if need and need.replicas < draft.deployed(name).replicas:
            continue
        for one in _soaking(draft, memory, spec):
            found = attempt(draft, spec, draft.stock.instead_of(one))
            if found:
                fewer = draft.deployed(one.deployment).replicas - 1
                reason = f"its batches give way to {name}"
                memory[one.deployment] = _scale(draft, one.deployment, fewer, reason, memory[one.deployment])
                draft.drain(one, reason)
                draft.stock.keep(found.parts, spec.needs.device_bytes)
                break


def _soaking(draft: Draft, memory: Mapping[str, LoadMemory], claimant: DeploymentSpec) -> list[PlacedReplica]:
    """Return replicas that only batches needed of late: borrowed, or of the claimant's own owner."""
    found = []
    for name, known in memory.items():
        deployed = draft.state.deployments.get(name)
        if deployed is None or deployed.removed or name == claimant.name:
            continue
        answers = max((one.answers for one in known.peaks), default=deployed.replicas)
        batches = max((one.with_batches for one in known.peaks), default=0) > answers
        if not batches or deployed.replicas <= max(answers, deployed.spec.scaling.min):
            continue
        if len(draft.placed(name)) >= deployed.replicas:
            own = deployed.spec.owner == claimant.owner
            found += [one for one in draft.placed(name) if one.borrowed or own]
    return order(draft, found)


def _scale(draft: Draft, name: str, replicas: int, reason: str, known: LoadMemory) -> LoadMemory:
    draft.note(DeploymentScaled(name, replicas, CONTROL, reason))
    return replace(known, wanted=replicas, scaled_ms=draft.now_ms)


def _fewer(spec: DeploymentSpec, wanted: int, demand: Demand, known: LoadMemory, now_ms: int) -> tuple[int, str] | None:
    """Say to how many to go down, if fewer would have done for all the time looked back on."""
    scaling = spec.scaling
    if scaling.min == 0 and wanted > 0 and demand.is_none and now_ms - known.idle_ms >= scaling.idle_s * 1_000:
        return 0, f"nobody has asked for {scaling.idle_s:g} s"
    peak = max(scaling.min, max((one.with_batches for one in known.peaks), default=wanted))
    if peak < wanted and now_ms - known.since_ms >= scaling.down_s * 1_000:
        return peak, f"{peak} would have done for the last {scaling.down_s:g} s"
    return None


def _peaks(known: LoadMemory, need: Need, down_s: float, now_ms: int) -> tuple[Peak, ...]:
    """Add what is needed now to the peaks, and forget those before the time looked back on."""
    width_ms = down_s * 1_000 / PEAKS
    kept = [one for one in known.peaks if one.at_ms + width_ms > now_ms - down_s * 1_000]
    now = Peak(now_ms, need.replicas, need.with_batches)
    if kept and now_ms - kept[-1].at_ms < width_ms:
        last = kept.pop()
        now = Peak(last.at_ms, max(last.answers, now.answers), max(last.with_batches, now.with_batches))
    return (*kept, now)


def _up(number: float) -> int:
    """Round up, forgiving what floating point adds."""
    return -int(-(number - 1e-9) // 1)
