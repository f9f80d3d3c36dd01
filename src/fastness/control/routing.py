"""What gateways are told: which deployments there are, and where their replicas run. Out of orders and what is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fastness.control.declaration import Declaration
from fastness.core.deployment import Deployment
from fastness.core.desired import DeploymentSpec
from fastness.core.gateways import FIRST
from fastness.core.marking import Node
from fastness.core.model import ModelCard
from fastness.core.observation import NodeOrders
from fastness.core.replica import Replica, RoutingSnapshot

Known = tuple[ModelCard, str | None]
"""A model that may be loaded here, and what it was admitted for; None: the profile's default marking."""


def known_models(orders: NodeOrders, known: Callable[[str], Known | None]) -> dict[str, Known]:
    """Return the models that orders name, by name, without those that may not be loaded here. Blocks."""
    names = {one.model for one in (*orders.served, *(each.spec for each in orders.assignments))}
    found = ((name, known(name)) for name in sorted(names))
    return {name: one for name, one in found if one is not None}


def routing_snapshot(
    version: int,
    orders: NodeOrders,
    replicas: Iterable[Replica],
    models: Mapping[str, Known],
    declaration: Declaration,
    gateways: tuple[str, ...] = (FIRST,),
    elsewhere: tuple[Node, ...] = (),
) -> RoutingSnapshot:
    """Build the snapshot for these gateways; `elsewhere` are the places of other nodes.

    A deployment whose model may not be loaded here is left out, with its replicas.
    One that goes from one model to another is named with both: gateways send nothing to a model that it is not.
    """
    served = [one for one in _each_model(orders) if one.model in models]
    return RoutingSnapshot(
        version,
        tuple(card for card, _ in models.values()),
        tuple(one for one in replicas if one.model in models),
        tuple(_deployment(one, models[one.model], declaration) for one in served),
        (declaration.node, *elsewhere),
        gateways,
        orders.wanted,
    )


def _each_model(orders: NodeOrders) -> Iterable[DeploymentSpec]:
    """The specs of all deployments, and behind them those of replicas whose deployment has another model as well."""
    specs = {(one.name, one.model_digest): one for one in orders.served}
    names = {one.name for one in orders.served}
    for one in orders.assignments:
        if one.spec.name in names:
            specs.setdefault((one.spec.name, one.spec.model_digest), one.spec)
    return specs.values()


def _deployment(spec: DeploymentSpec, model: Known, declaration: Declaration) -> Deployment:
    return Deployment(
        name=spec.name,
        model=spec.model,
        ceiling=spec.ceiling,
        model_ceiling=declaration.admitted_for(model[1]),
        tenants=spec.tenants,
        model_digest=spec.model_digest,
        wakes=spec.scaling.min == 0,
        hedges=spec.hedges,
    )
