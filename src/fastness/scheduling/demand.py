"""How much a deployment is asked for now, out of what gateways count. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from fastness.core.observation import DeploymentLoad, GatewayReport
from fastness.scheduling.plan_values import LoadMemory

SMOOTH_S: Final = 10.0
"""Rates are smoothed over about this time."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What gateways have to do for one deployment. `asked` tells whether anybody asked since the last time."""

    waiting: int = 0
    batch_waiting: int = 0
    oldest_wait_s: float = 0.0
    running: int = 0
    batch_running: int = 0
    cache_part: float = 0.0
    asked: bool = False

    @property
    def is_none(self) -> bool:
        """Tell whether nothing waits, nothing runs and nobody asked."""
        return not (self.asked or self.waiting or self.batch_waiting or self.running)


def demands(gateways: Iterable[GatewayReport]) -> dict[str, list[tuple[str, DeploymentLoad]]]:
    """Sort what gateways report by deployment, each with the gateway that says so."""
    loads: dict[str, list[tuple[str, DeploymentLoad]]] = {}
    for report in gateways:
        for one in report.loads:
            loads.setdefault(one.deployment, []).append((report.gateway, one))
    return loads


def measure(
    loads: Iterable[tuple[str, DeploymentLoad]], before: LoadMemory | None, wanted: int, now_ms: int
) -> tuple[Demand, LoadMemory]:
    """Add up what gateways say, and what they counted since the last time.

    Looking back on peaks begins anew when what is wanted is not what was decided here: a person has changed it.
    """
    loads = list(loads)
    counts = {name: _counted(load) for name, load in loads}
    memory = before or LoadMemory(now_ms, now_ms, now_ms, wanted)
    if memory.wanted != wanted:
        memory = replace(memory, wanted=wanted, peaks=(), since_ms=now_ms)
    asked, answered, tokens = _more(counts, memory.counts)
    demand = Demand(
        sum(load.waiting for _, load in loads),
        sum(load.batch_waiting for _, load in loads),
        max((load.oldest_wait_s for _, load in loads), default=0.0),
        sum(load.running for _, load in loads),
        sum(_batch_running(load) for _, load in loads),
        max((load.cache_part for _, load in loads), default=0.0),
        asked > 0,
    )
    past_s = (now_ms - memory.at_ms) / 1_000
    if past_s > 0:
        part = past_s / (past_s + SMOOTH_S)
        memory = replace(
            memory,
            at_ms=now_ms,
            counts=MappingProxyType(counts),
            arrivals_per_s=_smoothed(memory.arrivals_per_s, asked / past_s, part),
            answers_per_s=_smoothed(memory.answers_per_s, answered / past_s, part),
            tokens_per_s=_smoothed(memory.tokens_per_s, tokens / past_s, part),
        )
    elif before is None:
        memory = replace(memory, counts=MappingProxyType(counts))
    return demand, memory if demand.is_none else replace(memory, idle_ms=now_ms)


def _batch_running(load: DeploymentLoad) -> int:
    """What runs of batches. Of a gateway that does not tell, all that runs while only batches wait."""
    if load.batch_waiting and not load.waiting and not load.batch_running:
        return load.running
    return load.batch_running


def _counted(load: DeploymentLoad) -> tuple[int, int, int]:
    answered = sum(one.answered + one.failed for one in load.revisions)
    return load.asked, answered, sum(one.output_tokens for one in load.revisions)


def _more(now: Mapping[str, tuple[int, int, int]], then: Mapping[str, tuple[int, int, int]]) -> tuple[int, int, int]:
    """What was counted since. A gateway that is new here says nothing yet; one that counts less has begun anew."""
    asked = answered = tokens = 0
    for name, counts in now.items():
        before = then.get(name, counts)
        if counts[0] < before[0]:
            before = (0, 0, 0)
        asked += counts[0] - before[0]
        answered += max(0, counts[1] - before[1])
        tokens += max(0, counts[2] - before[2])
    return asked, answered, tokens


def _smoothed(before: float, now: float, part: float) -> float:
    return before + (now - before) * part
