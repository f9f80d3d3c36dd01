"""A new revision beside the old one: what each did while it was watched, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from fastness.core.desired import Rollout
from fastness.core.observation import GatewayReport
from fastness.scheduling.plan_values import PlanBounds, Tally, Watch


def watched(
    before: Watch | None, deployment: str, revision: int, stable: int, gateways: Iterable[GatewayReport]
) -> Watch:
    """Count what gateways report of both revisions since the watch began; a new revision begins a new watch.

    Counts of gateways only grow; one that is less than before is of a gateway that began anew, and counts from zero.
    """
    goes_on = before is not None and before.revision == revision
    watch = before if before and goes_on else Watch(revision)
    last, new, old = dict(watch.last), watch.new, watch.old
    for gateway, number, now in _counts(deployment, gateways):
        # What is first reported of the new revision while it is watched all happened meanwhile.
        then = last.get((gateway, number), Tally() if goes_on and number == revision else now)
        more = _minus(now, then) if now.samples >= then.samples else now
        last[gateway, number] = now
        if number == revision:
            new = _plus(new, more)
        elif number == stable:
            old = _plus(old, more)
    return Watch(revision, watch.held_ms, watch.passed, _pruned(last, (revision, stable)), new, old)


def found_worse(watch: Watch, rollout: Rollout, bounds: PlanBounds) -> str:
    """Say in what the new revision is worse than it may be; empty: in nothing that enough answers show.

    Failures that the old revision shows as much of are not the new one's.
    """
    new, old = watch.new, watch.old
    if new.samples < max(1, rollout.samples_min):
        return ""
    compared = old.samples >= rollout.samples_min
    if new.error_percent > rollout.error_percent_max and not (compared and old.error_percent >= new.error_percent):
        return f"{new.error_percent:.1f}% of {new.samples} requests failed, at most {rollout.error_percent_max:g}% may"
    slower_ms = new.ttft_ms - old.ttft_ms
    if compared and new.ttft_ms > old.ttft_ms * rollout.ttft_ratio_max and slower_ms > bounds.ttft_noise_ms:
        return (
            f"its first token takes {new.ttft_ms:.0f} ms where the old revision takes {old.ttft_ms:.0f} ms, "
            f"at most {rollout.ttft_ratio_max:g} times that may be"
        )
    return ""


def has_passed(watch: Watch, rollout: Rollout, now_ms: int) -> bool:
    """Tell whether a canary that nothing was found against has stood long enough.

    Where too few answers came to judge it by, its health alone decides, after three times as long.
    """
    if not watch.held_ms:
        return False
    held_s = (now_ms - watch.held_ms) / 1_000
    return held_s >= rollout.hold_s * (1 if watch.new.samples >= rollout.samples_min else 3)


def _counts(deployment: str, gateways: Iterable[GatewayReport]) -> Iterable[tuple[str, int, Tally]]:
    for report in gateways:
        for load in report.loads:
            if load.deployment == deployment:
                for one in load.revisions:
                    yield report.gateway, one.revision, Tally(one.answered, one.failed, one.ttft_ms_sum)


def _pruned(last: Mapping[tuple[str, int], Tally], kept: tuple[int, int]) -> Mapping[tuple[str, int], Tally]:
    return MappingProxyType({key: tally for key, tally in last.items() if key[1] in kept})


def _plus(one: Tally, other: Tally) -> Tally:
    return Tally(one.answered + other.answered, one.failed + other.failed, one.ttft_ms_sum + other.ttft_ms_sum)


def _minus(one: Tally, other: Tally) -> Tally:
    return Tally(
        one.answered - other.answered,
        max(0, one.failed - other.failed),
        max(0, one.ttft_ms_sum - other.ttft_ms_sum),
    )
