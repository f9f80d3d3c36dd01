"""What is served, as the management API shows it: models, their deployments, and the nodes that they run on."""

from __future__ import annotations

import msgspec

from fastness.core.deployment import Deployment, named
from fastness.core.marking import Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot


class ModelView(msgspec.Struct, frozen=True):
    """A model served here, and how many of its replicas there are and are ready.

    `ceiling` is its deployment's, `model_ceiling` what it was admitted for; null for both when it is not served.
    `replica_bytes` is the memory that a replica takes as the settings run it; null where that cannot be told.
    `adapters` are the names under which adapters on it answer.
    """

    name: str
    kind: ModelKind
    digest: str
    size_bytes: int
    licence: str
    context_tokens: int
    created_s: int
    embedding_dimensions: int | None
    tools: bool
    replicas: int
    replicas_ready: int
    ceiling: str | None
    model_ceiling: str | None
    replica_bytes: int | None
    adapters: tuple[str, ...]


class DeploymentView(msgspec.Struct, frozen=True):
    """What a model may be used for: its deployment's ceiling, and what the model and its adapters were admitted for.

    `adapters` are pairs of name and ceiling; `tenants` null: whoever policy permits.
    """

    name: str
    ceiling: str
    model_ceiling: str
    adapters: tuple[tuple[str, str], ...]
    tenants: tuple[str, ...] | None


class NodeView(msgspec.Struct, frozen=True):
    """A node as its operator declared it: `operator` and `owner` null when nobody said."""

    name: str
    jurisdiction: str
    operator: str | None
    owner: str | None
    ceiling: str


class ServedView(msgspec.Struct, frozen=True):
    """Everything that runs, what it may be used for, and where."""

    replicas: tuple[Replica, ...]
    deployments: tuple[DeploymentView, ...]
    nodes: tuple[NodeView, ...]


def model_view(card: ModelCard, routing: RoutingSnapshot, replica_bytes: int | None) -> ModelView:
    """Show a model with its replicas counted."""
    own = [replica for replica in routing.replicas if replica.model == card.name]
    deployment = next((one for one in routing.deployments if one.name == card.name), None)
    return ModelView(
        name=card.name,
        kind=card.kind,
        digest=card.digest,
        size_bytes=card.size_bytes,
        licence=card.licence,
        context_tokens=card.context_tokens,
        created_s=card.created_s,
        embedding_dimensions=card.embedding_dimensions,
        tools=card.tool_format is not None,
        replicas=len(own),
        replicas_ready=sum(replica.state is ReplicaState.READY for replica in own),
        ceiling=str(deployment.ceiling) if deployment else None,
        model_ceiling=str(deployment.model_ceiling) if deployment else None,
        replica_bytes=replica_bytes,
        adapters=tuple(
            named(one.name, adapter.name)
            for one in routing.deployments
            if one.model == card.name
            for adapter in one.adapters
        ),
    )


def served_view(routing: RoutingSnapshot) -> ServedView:
    """Show what runs."""
    return ServedView(
        routing.replicas,
        tuple(_deployment(one) for one in routing.deployments),
        tuple(_node(one) for one in routing.nodes),
    )


def _deployment(one: Deployment) -> DeploymentView:
    adapters = tuple((adapter.name, str(adapter.ceiling)) for adapter in one.adapters)
    return DeploymentView(one.name, str(one.ceiling), str(one.model_ceiling), adapters, one.tenants)


def _node(one: Node) -> NodeView:
    return NodeView(one.name, one.jurisdiction, one.operator or None, one.owner or None, str(one.ceiling))
