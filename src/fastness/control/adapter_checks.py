"""Which adapters a deployment may have: each admitted for its model, in the format that its engine reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from fastness.control.models_here import AdapterFacts
from fastness.control.problem import Problem
from fastness.control.spec_words import check_tenants, invalid
from fastness.core.desired import DeploymentSpec, WantedAdapter
from fastness.core.model import ModelKind

ADAPTERS_MAX: Final = 12
"""Of one deployment. Each takes memory on every replica, and all of their digests stand in one field of an entry."""


def check_adapters(
    spec: DeploymentSpec,
    adapters: Mapping[str, AdapterFacts],
    tenants: Collection[str],
    reads: Mapping[str, str],
    *,
    replaces: bool,
) -> None:
    """Raise Problem unless a deployment may have its adapters; `replaces`: with new replicas, so they must be here."""
    names = [one.name for one in spec.adapters]
    if len(names) > ADAPTERS_MAX:
        raise invalid(spec, "adapters", f"{len(names)} adapters; {ADAPTERS_MAX} are the most")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise invalid(spec, "adapters", f"{twice!r} twice; each stands there once")
    if names and spec.kind != ModelKind.CHAT:
        raise invalid(spec, "adapters", f"{names[0]!r}, and {spec.model} embeds; adapters run on models that write")
    if names and spec.needs.nodes > 1:
        raise invalid(spec, "adapters", f"{names[0]!r}, and a replica is on {spec.needs.nodes} nodes; it may be on one")
    for one in spec.adapters:
        check_tenants(spec, one.tenants, "adapters.tenants", tenants)
        if replaces:
            _check_fits(spec, one, adapters.get(one.name), reads.get(spec.parameters.engine))


def _check_fits(spec: DeploymentSpec, one: WantedAdapter, facts: AdapterFacts | None, reads: str | None) -> None:
    if facts is None or facts.digest != one.digest:
        what = "is not admitted here any more" if facts is None else f"is here as {facts.digest[:12]}… only"
        raise Problem(
            "model_not_found",
            f"`{spec.name}`: new replicas need the adapter {one.name}, {one.digest[:12]}…, which {what}.",
            "Take it out of `adapters`, or admit it: fastness models admit",
            param="adapters",
        )
    if facts.base != spec.model_digest:
        raise Problem(
            "conflict",
            f"`{spec.name}`: the adapter {one.name} was made for the weights {facts.base[:12]}…; {spec.model} has "
            f"{spec.model_digest[:12]}….",
            "Deploy it on its base, or import one that was made for this model: fastness models import --kind adapter "
            f"--base {spec.model}",
            param="adapters",
        )
    if reads not in (None, facts.format):
        raise invalid(
            spec,
            "adapters",
            f"{one.name!r}, which is here as {facts.format}; {spec.parameters.engine} reads {reads}",
        )
