"""Where there is no spare device for a new revision: rolling in place, one at a time, if the rest can carry it."""

from __future__ import annotations

from typing import Final

from fastness.scheduling.draft import Draft
from fastness.scheduling.lifecycle import order
from fastness.scheduling.placement import WHOLE, NodeRefusal
from fastness.scheduling.placing import attempt
from fastness.scheduling.rolling import Goal

TRIES_MAX: Final = 16
"""So many replicas are looked at for one whose devices would do."""


def make_room(draft: Draft, name: str, goal: Goal) -> None:
    """Drain one old replica whose devices the new revision can use, at most one below what is wanted.

    A single replica is not given up for it, unless no surge was asked for: that would be an outage that nobody wanted.
    """
    deployed, placed = draft.deployed(name), draft.placed(name)
    spec, wanted = deployed.spec, deployed.replicas
    old = [one for one in placed if one.revision != deployed.revision and not draft.must_move(one)]
    new = [one for one in placed if one.revision == deployed.revision]
    if len(new) >= goal.new or len(old) <= goal.old_min:
        return
    if draft.leaving(name) or not all(draft.is_ready(one) for one in new):
        return
    ready = sum(draft.is_ready(one) for one in placed)
    for one in order(draft, old)[:TRIES_MAX]:
        used = draft.may_be_used(one)
        if used and ready < wanted:
            return
        found = attempt(draft, spec, draft.stock.instead_of(one), one)
        if found is None:
            continue
        if used and wanted == 1 and spec.rollout.surge > 0:
            sentence = (
                f"revision {deployed.revision} finds no device beside {one.id}, and ending that first would "
                "be an outage: free a device, or apply it with surge = 0"
            )
            draft.pend(name, (NodeRefusal(WHOLE, sentence),))
            return
        draft.drain(one, f"revision {deployed.revision} takes its place; there was no spare device for it")
        draft.stock.keep(found.parts, spec.needs.device_bytes)
        return
