"""What gateways are told: which deployments there are, and where their replicas run. Out of orders and what is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from fastness.control.declaration import Declaration
from fastness.core.deployment import Adapter, Deployment
from fastness.core.desired import DeploymentSpec
from fastness.core.gateways import FIRST
from fastness.core.marking import Node
from fastness.core.model import ModelCard
from fastness.core.observation import NodeOrders
from fastness.core.replica import Replica, RoutingSnapshot

KnownModel = tuple[ModelCard, str | None]
"""A model that may be loaded here, and what it was admitted for; None: the profile's default marking."""


@dataclass(frozen=True, slots=True)
class Known:
    """Models and adapters that may be loaded here, by name."""

    models: Mapping[str, KnownModel] = field(default_factory=dict)
    adapters: Mapping[str, Adapter] = field(default_factory=dict)


def known_here(
    orders: NodeOrders, model: Callable[[str], KnownModel | None], adapter: Callable[[str], Adapter | None]
) -> Known:
    """Return what orders name, without what may not be loaded here. Blocks."""
    specs = (*orders.served, *(each.spec for each in orders.assignments))
    models = ((name, model(name)) for name in sorted({one.model for one in specs}))
    adapters = ((name, adapter(name)) for name in sorted({each.name for one in specs for each in one.adapters}))
    return Known(
        {name: one for name, one in models if one is not None},
        {name: one for name, one in adapters if one is not None},
    )


def routing_snapshot(
    version: int,
    orders: NodeOrders,
    replicas: Iterable[Replica],
    known: Known,
    declaration: Declaration,
    gateways: tuple[str, ...] = (FIRST,),
    elsewhere: tuple[Node, ...] = (),
) -> RoutingSnapshot:
    """Build the snapshot for these gateways; `elsewhere` are the places of other nodes.

    A deployment whose model may not be loaded here is left out, with its replicas; so is an adapter that may not.
    One that goes from one model to another, or to other adapters, is named with both: gateways send nothing to what
    it is not.
    """
    models = known.models
    served = [one for one in _each_variant(orders) if one.model in models]
    return RoutingSnapshot(
        version,
        tuple(card for card, _ in models.values()),
        tuple(one for one in replicas if one.model in models),
        tuple(_deployment(one, known, declaration) for one in served),
        (declaration.node, *elsewhere),
        gateways,
        orders.wanted,
    )


def _each_variant(orders: NodeOrders) -> Iterable[DeploymentSpec]:
    """The specs of all deployments, and behind them those of replicas that have loaded something else."""
    specs = {(one.name, one.variant): one for one in orders.served}
    names = {one.name for one in orders.served}
    for one in orders.assignments:
        if one.spec.name in names:
            specs.setdefault((one.spec.name, one.spec.variant), one.spec)
    return specs.values()


def _deployment(spec: DeploymentSpec, known: Known, declaration: Declaration) -> Deployment:
    adapters = ((known.adapters.get(one.name), one) for one in spec.adapters)
    return Deployment(
        name=spec.name,
        model=spec.model,
        ceiling=spec.ceiling,
        model_ceiling=declaration.admitted_for(known.models[spec.model][1]),
        adapters=tuple(
            replace(one, tenants=wanted.tenants)
            for one, wanted in adapters
            if one is not None and one.digest == wanted.digest
        ),
        tenants=spec.tenants,
        model_digest=spec.model_digest,
        wakes=spec.scaling.min == 0,
        hedges=spec.hedges,
    )
