"""What rules see of a question: once as a tree that people read, once as the entities and context of Cedar."""

from __future__ import annotations

from typing import Any

from fastness.core.deployment import Adapter, Deployment
from fastness.core.marking import Caveat, Label, Lattice, Marking, Node
from fastness.core.policy import Parameters, Query
from fastness.core.tenant import Principal

Json = dict[str, Any]

INSTALLATION = {"type": "Installation", "id": "here"}


class Facts:
    """The facts of queries under one profile."""

    def __init__(self, lattice: Lattice) -> None:
        profile = lattice.profile
        self._default = Label(profile.default)
        self._owners = {one.id: one.owner for one in profile.operators}
        self._markings = {one.name: one for one in profile.markings}
        self._caveats = {one.name: one for one in profile.caveats}

    def clearances_of(self, principal: Principal) -> tuple[Label, Label]:
        """Return the clearance of a principal's tenant, and its own, which is its tenant's where it has none."""
        tenant = principal.tenant_clearance or self._default
        return tenant, principal.clearance or tenant

    def owner_of(self, node: Node) -> str:
        """Return who owns a node's operator: the profile's word, "" for an operator that it does not list.

        A node that says otherwise is contradicted in words, which are no jurisdiction: it is cleared for nothing that
        asks for an owner.
        """
        owner = self._owners.get(node.operator, "")
        if owner and node.owner not in ("", owner):
            return f"{owner} (the node says {node.owner})"
        return owner

    def needs_of(self, label: Label) -> tuple[list[str] | None, list[str] | None]:
        """Return the jurisdictions that a node may stand under and those that may own it, for a known label.

        They are what the marking and all caveats have in common. None: nothing is asked.
        """
        asking: list[Marking | Caveat] = [self._markings[label.marking], *(self._caveats[one] for one in label.caveats)]
        return _common([one.jurisdictions for one in asking]), _common([one.owners for one in asking])

    def tree(self, query: Query, adapter: Adapter | None) -> Json:
        """Return the facts as people read them: text, whole numbers, lists, tables; None for what is not there.

        The label must be known to the profile.
        """
        principal, deployment, node = query.principal, query.deployment, query.node
        tenant_clearance, clearance = self.clearances_of(principal)
        jurisdictions, owners = self.needs_of(query.label)
        return {
            "action": query.action.value,
            "label": str(query.label),
            "needs": {"jurisdictions": jurisdictions, "owners": owners},
            "principal": {
                "id": principal.id,
                "tenant": principal.tenant,
                "roles": sorted(principal.roles),
                "credential": principal.credential.value,
                "models": None if principal.models is None else sorted(principal.models),
                "clearance": str(clearance),
                "tenant_clearance": str(tenant_clearance),
            },
            "deployment": None if deployment is None else _deployment_tree(deployment),
            "model": None if deployment is None else _model_tree(deployment),
            "adapter": None if adapter is None else _adapter_tree(adapter),
            "node": None if node is None else {**_node(node, self.owner_of(node)), "ceiling": str(node.ceiling)},
            "parameters": _parameters(query.parameters),
        }

    def entities(self, query: Query, adapter: Adapter | None) -> list[Json]:
        """Return the entities of one question, markings apart."""
        found = [self._principal(query.principal)]
        if query.deployment is not None:
            found.append(_deployment(query.deployment))
        if query.node is not None:
            found.append(_entity("Node", query.node.name, _node(query.node, self.owner_of(query.node))))
        if adapter is not None:
            attributes = {"name": adapter.name, "base": adapter.base, "ceiling": _label(adapter.ceiling)}
            found.append(_entity("Adapter", adapter.name, attributes))
        return found

    def request(self, query: Query, adapter: Adapter | None) -> Json:
        """Return the request that goes with these entities."""
        jurisdictions, owners = self.needs_of(query.label)
        context: Json = {"label": _label(query.label), "parameters": _parameters(query.parameters)}
        if jurisdictions is not None:
            context["jurisdictions"] = jurisdictions
        if owners is not None:
            context["owners"] = owners
        if query.node is not None:
            context["node"] = _reference("Node", query.node.name)
        if adapter is not None:
            context["adapter"] = _reference("Adapter", adapter.name)
        resource = INSTALLATION if query.deployment is None else {"type": "Deployment", "id": query.deployment.name}
        return {
            "principal": {"type": "Principal", "id": query.principal.id},
            "action": {"type": "Action", "id": query.action.value},
            "resource": resource,
            "context": context,
        }

    def _principal(self, principal: Principal) -> Json:
        tenant_clearance, clearance = self.clearances_of(principal)
        attributes: Json = {
            "credential": principal.credential.value,
            "clearance": _label(clearance),
            "tenant_clearance": _label(tenant_clearance),
        }
        if principal.models is not None:
            attributes["models"] = list(principal.models)
        parents = [{"type": "Role", "id": one} for one in principal.roles]
        if principal.tenant:
            parents.append({"type": "Tenant", "id": principal.tenant})
        return _entity("Principal", principal.id, attributes, parents)


def marking_entities(lattice: Lattice) -> list[Json]:
    """Return the lattice as entities: the parents of a marking are those directly above it."""
    markings = lattice.profile.markings
    return [
        _entity(
            "Marking", one.name, {}, [{"type": "Marking", "id": up.name} for up in markings if one.name in up.above]
        )
        for one in markings
    ]


def _common(asked: list[tuple[str, ...]]) -> list[str] | None:
    needs = [set(one) for one in asked if one]
    return sorted(set.intersection(*needs)) if needs else None


def _deployment(deployment: Deployment) -> Json:
    attributes: Json = {
        "name": deployment.name,
        "model": deployment.model,
        "model_digest": deployment.model_digest,
        "ceiling": _label(deployment.ceiling),
        "model_ceiling": _label(deployment.model_ceiling),
    }
    if deployment.tenants is not None:
        attributes["tenants"] = [_reference("Tenant", one) for one in deployment.tenants]
    return _entity("Deployment", deployment.name, attributes)


def _node(node: Node, owner: str) -> Json:
    return {
        "name": node.name,
        "jurisdiction": node.jurisdiction,
        "operator": node.operator,
        "owner": owner,
        "ceiling": _label(node.ceiling),
    }


def _parameters(parameters: Parameters) -> Json:
    written: Json = {"uses": list(parameters.uses), "choices": parameters.choices, "tools": parameters.tools}
    for name in ("max_output_tokens", "temperature_milli", "top_p_milli"):
        value = getattr(parameters, name)
        if value is not None:
            written[name] = value
    return written


def _deployment_tree(deployment: Deployment) -> Json:
    tenants = None if deployment.tenants is None else list(deployment.tenants)
    return {"name": deployment.name, "ceiling": str(deployment.ceiling), "tenants": tenants}


def _model_tree(deployment: Deployment) -> Json:
    return {"name": deployment.model, "digest": deployment.model_digest, "ceiling": str(deployment.model_ceiling)}


def _adapter_tree(adapter: Adapter) -> Json:
    return {"name": adapter.name, "base": adapter.base, "ceiling": str(adapter.ceiling)}


def _label(label: Label) -> Json:
    return {"marking": _reference("Marking", label.marking), "caveats": list(label.caveats)}


def _reference(kind: str, name: str) -> Json:
    return {"__entity": {"type": kind, "id": name}}


def _entity(kind: str, name: str, attributes: Json, parents: list[Json] | None = None) -> Json:
    return {"uid": {"type": kind, "id": name}, "attrs": attributes, "parents": parents or []}
