"""How one revision takes the place of another: how many of each there should be, and when it is done or goes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fastness.core.fleet_event import RevisionPromoted, RevisionRolledBack
from fastness.core.fleet_state import Deployed, PlacedReplica
from fastness.scheduling.canary import found_worse, has_passed, watched
from fastness.scheduling.draft import Draft
from fastness.scheduling.plan_values import Watch
from fastness.scheduling.sight import Health


@dataclass(frozen=True, slots=True)
class Goal:
    """How many replicas of the wanted revision, and of those before it: at least and at most."""

    new: int
    old_min: int = 0
    old_max: int = 0


def goal(deployed: Deployed, watch: Watch | None) -> Goal:
    """Return what there should be. While a canary is held the old revision keeps its place, as far as surge allows."""
    wanted = deployed.replicas
    canary = _canary(deployed)
    if canary is None or (watch and watch.passed):
        return Goal(wanted)
    return Goal(canary, wanted - canary, wanted - max(0, canary - deployed.spec.rollout.surge))


def watch_roll(draft: Draft, name: str, before: Watch | None) -> Watch | None:
    """Look at a roll that is under way: promote it, take it back, or go on watching it."""
    deployed = draft.deployed(name)
    if deployed.removed or deployed.revision == deployed.stable:
        return None
    revision, rollout = deployed.revision, deployed.spec.rollout
    watch = watched(before, name, revision, deployed.stable, draft.sight.gateways)
    placed = draft.placed(name)
    new = [one for one in placed if one.revision == revision]
    canary = _canary(deployed)
    if before is None or before.revision != revision:
        # After a restart of the control plane: what went beyond the canary had passed it.
        watch = replace(watch, passed=canary is None or len(new) > canary)
    if reason := _failing(draft, new) or found_worse(watch, rollout, draft.bounds):
        draft.note(RevisionRolledBack(name, revision, reason))
        return None
    ready = sum(draft.is_ready(one) for one in new)
    if not watch.passed and canary is not None:
        watch = _held(watch, ready >= canary, draft.now_ms)
        watch = replace(watch, passed=has_passed(watch, rollout, draft.now_ms))
    whole = len(new) == len(placed) and ready >= deployed.replicas
    if whole and (watch.passed or deployed.replicas == 0):
        draft.note(RevisionPromoted(name, revision, _promotion(watch, ready)))
        return None
    return watch


def _canary(deployed: Deployed) -> int | None:
    """How many replicas are the canary; None where there is none, or the way is back."""
    percent, wanted = deployed.spec.rollout.canary_percent, deployed.replicas
    if deployed.revision == deployed.stable or percent <= 0 or wanted <= 0:
        return None
    return min(wanted, max(1, -(-wanted * percent // 100)))


def _held(watch: Watch, stands: bool, now_ms: int) -> Watch:
    if not stands:
        return replace(watch, held_ms=0)
    return watch if watch.held_ms else replace(watch, held_ms=now_ms)


def _failing(draft: Draft, new: Iterable[PlacedReplica]) -> str:
    """Say why a revision does not come up: more of its replicas fail than are ready. One bad device is no reason."""
    health = [(one, draft.health(one)) for one in new]
    failing = [one for one, how in health if how is Health.FAILING]
    if len(failing) > sum(how is Health.READY for _, how in health):
        return f"it does not come up: {draft.sight.trouble(failing[0])}"
    return ""


def _promotion(watch: Watch, ready: int) -> str:
    if not ready:
        return "no replicas are wanted now, and none of the old revision is left"
    seen = (
        f"{watch.new.samples} requests, {watch.new.error_percent:.1f}% failed" if watch.new.samples else "no requests"
    )
    return f"all {ready} replicas are of it and ready; {seen} meanwhile"
