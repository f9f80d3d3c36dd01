"""Which revision a deployment has once another specification is applied. Pure."""

from __future__ import annotations

from dataclasses import replace

from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_state import Deployed
from fastness.core.marking import Label
from fastness.scheduling.filters import Clears


def _always(_before: Label, _after: Label) -> bool:
    return True


def revision_of(spec: DeploymentSpec, before: Deployed | None, clears: Clears = _always) -> int:
    """Return the revision of `spec` after `before`: a new one only where running replicas must be replaced for it.

    With `clears`, that is also for a higher marking than the present nodes were chosen for.
    """
    if before is None:
        return 1
    stay = replicas_stay(before.spec, spec) and clears(before.spec.needs.ceiling, spec.needs.ceiling)
    return before.revision if stay else before.newest + 1


def replicas_stay(before: DeploymentSpec, after: DeploymentSpec) -> bool:
    """How many there are, whose they are, who may ask and how they drain can change under a running replica.

    Who may ask, of an adapter as well; which adapters it has loaded cannot.

    So can what their node must be cleared for: policy looks at each request, wherever the replica is. And so can the
    estimate of their memory, which follows from the rest, unless a person said what it is.
    """
    said = before.needs.bytes_said or after.needs.bytes_said
    size_bytes = after.needs.device_bytes if said else before.needs.device_bytes
    return before == replace(
        after,
        owner=before.owner,
        ceiling=before.ceiling,
        needs=replace(after.needs, ceiling=before.needs.ceiling, device_bytes=size_bytes),
        scaling=before.scaling,
        rollout=before.rollout,
        drain_timeout_s=before.drain_timeout_s,
        tenants=before.tenants,
        adapters=before.adapters if _loaded(before) == _loaded(after) else after.adapters,
        urgent=before.urgent,
        hedges=before.hedges,
    )


def _loaded(spec: DeploymentSpec) -> tuple[tuple[str, str], ...]:
    return tuple((one.name, one.digest) for one in spec.adapters)
