"""Who is heard of and who is lost; and when the control plane had better doubt itself. Pure.

Clocks of other machines are not compared with ours. Somebody is heard of when the time in its reports has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fastness.core.fleet_state import FleetState, Phase
from fastness.core.observation import Observation
from fastness.scheduling.plan_values import Heard, PlanBounds, PlanMemory


@dataclass(frozen=True, slots=True)
class Hearing:
    """When each node and gateway was heard of, and who of them is silent now, for how many seconds."""

    nodes: Mapping[str, Heard]
    gateways: Mapping[str, Heard]
    silent_s: Mapping[str, float]
    silent_gateways: frozenset[str]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Nodes to give up, each with the reason; `suspects` says why none is, though some are silent for too long."""

    lost: Mapping[str, str]
    suspects: str = ""
    returning: bool = False


def listen(state: FleetState, seen: Observation, memory: PlanMemory, now_ms: int, bounds: PlanBounds) -> Hearing:
    """Say who was heard of when. A node counts when it is seen, was seen, or holds a replica."""
    paused = now_ms - memory.tick_ms > bounds.lost_after_s * 1_000
    before_nodes = {} if paused else memory.nodes
    before_gateways = {} if paused else memory.gateways
    nodes = _heard({one.node.name: one.at_ms for one in seen.nodes}, before_nodes, now_ms)
    for name in _expected(state, memory):
        if name not in nodes:
            nodes[name] = before_nodes.get(name, Heard(0, now_ms))
    gateways = _heard({one.gateway: one.at_ms for one in seen.gateways}, before_gateways, now_ms)
    silent_s = {name: (now_ms - one.heard_ms) / 1_000 for name, one in nodes.items()}
    silent = frozenset(n for n, one in gateways.items() if now_ms - one.heard_ms > bounds.gateway_silent_s * 1_000)
    return Hearing(nodes, gateways, silent_s, silent)


def judge(state: FleetState, hearing: Hearing, suspects_s: float | None, bounds: PlanBounds) -> Judgement:
    """Say which nodes are lost. `suspects_s` is for how long the control plane has suspected itself; None: it does not.

    Nodes that were lost a moment ago count with those that are silent: an outage seldom takes all in the same second.
    When suspicion ends, the silent get their full time again. A node that a person drains is given up in any case.
    """
    silent_s, window_s = hearing.silent_s, bounds.lost_after_s + bounds.suspicious_window_s + (suspects_s or 0.0)
    quiet_s = bounds.lost_after_s / 2
    living = [name for name in hearing.nodes if not _is_lost(state, name)]
    quiet = [name for name in living if silent_s[name] > quiet_s]
    late = [name for name in living if silent_s[name] > bounds.lost_after_s]
    lately = [name for name in hearing.nodes if _is_lost(state, name) and quiet_s < silent_s[name] < window_s]
    vanished, everyone = len(quiet) + len(lately), len(living) + len(lately)
    doubt = len(quiet) == len(living) or (vanished > 1 and vanished > bounds.suspicious_part * everyone)
    if not late:
        return Judgement({}, returning=suspects_s is not None and not doubt)
    given_up = {name: _reason(silent_s[name]) for name in late if (wish := state.nodes.get(name)) and wish.draining}
    if doubt:
        sentence = (
            f"nothing is heard of {vanished} of {everyone} nodes ({', '.join(sorted(late)[:8])}): the fault may be "
            "here, so none of them is given up. Drain a node to say that it is gone"
        )
        return Judgement(given_up, sentence)
    if suspects_s is not None:
        return Judgement(given_up, returning=True)
    return Judgement({name: _reason(silent_s[name]) for name in late})


def relieved(hearing: Hearing, now_ms: int, bounds: PlanBounds) -> Hearing:
    """Give those that are silent their full time again."""
    nodes = {
        name: replace(one, heard_ms=now_ms) if hearing.silent_s[name] > bounds.lost_after_s / 2 else one
        for name, one in hearing.nodes.items()
    }
    silent_s = {name: (now_ms - one.heard_ms) / 1_000 for name, one in nodes.items()}
    return replace(hearing, nodes=nodes, silent_s=silent_s)


def _heard(reports: Mapping[str, int], before: Mapping[str, Heard], now_ms: int) -> dict[str, Heard]:
    heard = {}
    for name, at_ms in reports.items():
        known = before.get(name)
        if known is None:
            heard[name] = Heard(at_ms, now_ms)
        elif known.at_ms != at_ms:
            heard[name] = Heard(at_ms, now_ms, fresh=True)
        else:
            heard[name] = known
    return heard


def _expected(state: FleetState, memory: PlanMemory) -> Iterable[str]:
    """Nodes that should be heard of: those that were, until they are lost and hold nothing."""
    yield from (name for name in memory.nodes if not _is_lost(state, name))
    yield from (name for name, wish in state.nodes.items() if wish.lost)
    yield from {part.node for one in state.replicas.values() if one.phase is not Phase.LOST for part in one.parts}


def _is_lost(state: FleetState, name: str) -> bool:
    wish = state.nodes.get(name)
    return wish is not None and wish.lost


def _reason(silent_s: float) -> str:
    return f"nothing was heard of it for {silent_s:.1f} s"
