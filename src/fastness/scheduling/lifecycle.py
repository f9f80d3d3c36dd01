"""Healthy before routed, drained before stopped, fenced before replaced: the steps of replicas, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastness.core.fleet_event import NodeLost, NodeReturned, ReplicaRemoved, ReplicaStopping
from fastness.core.fleet_state import Deployed, Phase, PlacedReplica
from fastness.scheduling.draft import Draft
from fastness.scheduling.guard import Hearing
from fastness.scheduling.placement import WHOLE, NodeRefusal
from fastness.scheduling.placing import Want
from fastness.scheduling.rolling import Goal
from fastness.scheduling.sight import Health


def give_up(draft: Draft, lost: Mapping[str, str]) -> None:
    """Take over that nodes are lost: what was there counts no more, and its devices stay taken."""
    for node, reason in lost.items():
        draft.note(NodeLost(node, reason))


def welcome(draft: Draft, hearing: Hearing) -> None:
    """Take a lost node back once it speaks again and says that it runs nothing of what was lost or forgotten there."""
    for node, wish in tuple(draft.state.nodes.items()):
        heard = hearing.nodes.get(node)
        if not wish.lost or heard is None or not heard.fresh or node in draft.sight.silent:
            continue
        left = [
            one
            for one in draft.state.replicas.values()
            if one.phase is Phase.LOST and any(part.node == node for part in one.parts)
        ]
        if (
            all(draft.sight.is_gone(one, node) for one in left)
            and draft.sight.running(node) <= draft.state.replicas.keys()
        ):
            draft.note(NodeReturned(node))


def close(draft: Draft) -> None:
    """End what has drained or is out of time; remove what has ended, by the word of its nodes."""
    sight = draft.sight
    for one in tuple(draft.state.replicas.values()):
        if one.phase is Phase.DRAINING:
            if sight.is_drained(one):
                draft.note(ReplicaStopping(one.id, f"{one.reason}; drained"))
            elif draft.now_ms >= one.deadline_ms:
                draft.note(ReplicaStopping(one.id, f"{one.reason}; its time to drain is over"))
        elif one.phase in (Phase.STOPPING, Phase.LOST) and sight.is_gone(one):
            draft.note(ReplicaRemoved(one.id, one.reason))


def retire(draft: Draft, name: str, goal: Goal) -> None:
    """Drain what is too much or in the wrong place, but never so that fewer than wanted are left, or are ready."""
    deployed, placed = draft.deployed(name), draft.placed(name)
    wanted, total = deployed.replicas, len(placed)
    if total <= wanted:
        return
    new, old, moving = _sorted_out(draft, deployed, placed)
    excess = [*moving, *order(draft, new)[: max(0, len(new) - goal.new)]]
    excess += order(draft, old)[: max(0, len(old) - goal.old_max)]
    ready = sum(draft.is_ready(one) for one in placed)
    for one in order(draft, excess):
        counts = draft.is_ready(one)
        if total - 1 < wanted or (draft.may_be_used(one) and ready - counts < wanted):
            continue
        draft.drain(one, _why(draft, deployed, one))
        total, ready = total - 1, ready - counts


def missing(draft: Draft, name: str, goal: Goal) -> list[Want]:
    """Say what is to be placed now: no more than the surge above what is wanted, or one for a node being emptied."""
    deployed, placed = draft.deployed(name), draft.placed(name)
    new, old, moving = _sorted_out(draft, deployed, placed)
    surge = max(deployed.spec.rollout.surge, 1 if moving else 0)
    room = deployed.replicas + surge - len(placed)
    more_old = max(0, min(goal.old_min - len(old), room))
    more_new = max(0, min(goal.new - len(new), room - more_old))
    wants = []
    if more_old:
        wants.append(Want(name, deployed.stable, more_old))
    if more_new:
        wants.append(Want(name, deployed.revision, more_new))
    return wants


def report(draft: Draft, name: str) -> None:
    """Say which replicas fail again and again, and why there are too few where nothing else has said so.

    Those that fail are kept: elsewhere the same would fail in the same way.
    """
    placed, wanted = draft.placed(name), draft.deployed(name).replicas
    for one in placed:
        if draft.health(one) is Health.FAILING:
            draft.pend(name, (NodeRefusal(one.parts[0].node, draft.sight.trouble(one)),))
    if len(placed) < wanted and not draft.is_pending(name):
        ending = "; ".join(f"{one.id} ends: {one.reason}" for one in draft.leaving(name))
        why = NodeRefusal(WHOLE, ending or "its replicas have only just been lost")
        draft.pend(name, (why,), hopes="a place is looked for next")


def order(draft: Draft, replicas: Iterable[PlacedReplica]) -> list[PlacedReplica]:
    """Sort by who goes first: not ready, on a node being emptied, of an old revision, borrowed, emptiest, newest."""
    revisions = {name: one.revision for name, one in draft.state.deployments.items()}
    return sorted(
        replicas,
        key=lambda one: (
            draft.is_ready(one),
            not draft.must_move(one),
            one.revision == revisions[one.deployment],
            not one.borrowed,
            draft.sight.in_flight.get(one.id, 0),
            -one.term,
        ),
    )


def _sorted_out(
    draft: Draft, deployed: Deployed, placed: Iterable[PlacedReplica]
) -> tuple[list[PlacedReplica], list[PlacedReplica], list[PlacedReplica]]:
    """Part replicas into those of the wanted revision, those before it, and those that must move."""
    new: list[PlacedReplica] = []
    old: list[PlacedReplica] = []
    moving: list[PlacedReplica] = []
    for one in placed:
        if draft.must_move(one):
            moving.append(one)
        else:
            (new if one.revision == deployed.revision else old).append(one)
    return new, old, moving


def _why(draft: Draft, deployed: Deployed, one: PlacedReplica) -> str:
    if deployed.removed:
        return f"{one.deployment} was removed by {deployed.by}"
    for part in one.parts:
        if (wish := draft.state.nodes.get(part.node)) and wish.draining:
            return f"{part.node} is being emptied by {wish.by}: {wish.reason or 'no reason given'}"
    if one.revision != deployed.revision:
        back = f", as revision {one.revision} was rolled back" if deployed.rolled_back else ""
        return f"revision {deployed.revision} takes its place{back}"
    return f"no more than {deployed.replicas} are wanted"
