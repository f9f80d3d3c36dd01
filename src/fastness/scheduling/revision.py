"""Which revision a deployment has once another specification is applied. Pure."""

from __future__ import annotations

from dataclasses import replace

from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_state import Deployed


def revision_of(spec: DeploymentSpec, before: Deployed | None) -> int:
    """Return the revision of `spec` after `before`: a new one only where running replicas must be replaced for it."""
    if before is None:
        return 1
    return before.revision if _replicas_stay(before.spec, spec) else before.newest + 1


def _replicas_stay(before: DeploymentSpec, after: DeploymentSpec) -> bool:
    """How many there are, whose they are, who may ask and how they drain can change under a running replica.

    So can what their node must be cleared for: policy looks at each request, wherever the replica is. And so can what
    is thought of how much memory they take: they run.
    """
    return before == replace(
        after,
        owner=before.owner,
        ceiling=before.ceiling,
        needs=replace(after.needs, ceiling=before.needs.ceiling, device_bytes=before.needs.device_bytes),
        scaling=before.scaling,
        rollout=before.rollout,
        drain_timeout_s=before.drain_timeout_s,
        tenants=before.tenants,
        urgent=before.urgent,
        hedges=before.hedges,
    )
