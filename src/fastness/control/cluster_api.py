"""The routes of the cluster: its authority, and the hosts that it certified."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request

from fastness.config import ConfigError, NodeSettings
from fastness.control import wire
from fastness.control.cluster import Cluster, Issued
from fastness.control.policies import Policies
from fastness.control.problem import Problem
from fastness.control.routes import Answer, Table, caller_of
from fastness.core.node import POOL
from fastness.core.policy import Action
from fastness.fleet.devices import read_labels
from fastness.identity.cluster.claims import ClaimsRefused, HostClaims, HostRole, read_address


class NewCluster(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/cluster. Place, pool, domain and labels are those of `node.*`."""

    name: str
    addresses: tuple[str, ...]


class NewHost(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/cluster/hosts. What is left out is as it was certified last, or else as shown here."""

    name: str
    addresses: tuple[str, ...] | None = None
    jurisdiction: str | None = None
    operator: str | None = None
    ceiling: str | None = None
    pool: str | None = None
    domain: str | None = None
    labels: str | None = None


class HostView(msgspec.Struct):
    """A certificate as it is shown; `serial` is hexadecimal, and `revoked_s` null while it counts."""

    name: str
    role: str
    serial: str
    addresses: tuple[str, ...]
    jurisdiction: str
    operator: str
    ceiling: str
    pool: str
    domain: str
    labels: tuple[tuple[str, str], ...]
    issued_s: int
    expires_s: int
    revoked_s: int | None


class ClusterApi:
    """The routes. Each returns an HTTP status and what to encode as its body."""

    def __init__(self, cluster: Cluster, policies: Policies, node: NodeSettings) -> None:
        self._cluster, self._policies, self._node = cluster, policies, node

    async def hosts(self, request: Request) -> Answer:
        """GET /cluster/hosts."""
        wire.read_query(request)
        return 200, {"hosts": [_view(one) for one in self._cluster.hosts()]}

    async def create(self, request: Request) -> Answer:
        """POST /cluster."""
        wire.read_query(request)
        new, node = await wire.read_body(request, NewCluster), self._node
        given = NewHost(new.name, new.addresses, node.jurisdiction, node.operator, node.ceiling, node.pool, node.domain)
        given.labels = node.labels
        claims = self._claims(given, HostRole.HEAD, None)
        return 201, _view(await self._cluster.create(claims, caller_of(request).id))

    async def invite(self, request: Request) -> Answer:
        """POST /cluster/hosts."""
        wire.read_query(request)
        new = await wire.read_body(request, NewHost)
        before = self._cluster.known(new.name)
        claims = self._claims(new, before.role if before else HostRole.NODE, before)
        issued, invitation = await self._cluster.invite(claims, caller_of(request).id)
        return 201, {"host": _view(issued), "invitation": invitation}

    async def revoke(self, request: Request) -> Answer:
        """POST /cluster/hosts/{name}/revoke."""
        wire.read_query(request)
        await wire.read_body(request, wire.Nothing)
        gone = await self._cluster.revoke(request.path_params["name"], caller_of(request).id)
        return 200, {"hosts": [_view(one) for one in gone]}

    def _claims(self, new: NewHost, role: HostRole, before: HostClaims | None) -> HostClaims:
        jurisdiction = new.jurisdiction or (before.jurisdiction if before else self._node.jurisdiction)
        operator = (before.operator if before else "") if new.operator is None else new.operator
        ceiling = new.ceiling or (before.ceiling if before else self._node.ceiling)
        label = self._policies.read_label(ceiling, "ceiling")
        self._check_place(jurisdiction, operator)
        addresses = new.addresses or (before.addresses if before else ())
        try:
            labels = (before.labels if before else ()) if new.labels is None else read_labels(new.labels)
            return HostClaims(
                name=new.name,
                role=role,
                addresses=tuple(read_address(one) for one in addresses),
                jurisdiction=jurisdiction,
                ceiling=str(label),
                operator=operator,
                pool=new.pool or (before.pool if before else POOL),
                domain=(before.domain if before else "") if new.domain is None else new.domain,
                labels=labels,
            )
        except (ClaimsRefused, ConfigError) as error:
            hint = "fastness node invite bristol-07 --address 10.0.0.7 --label rack=b7"
            raise Problem("invalid_value", f"{error}", hint) from None

    def _check_place(self, jurisdiction: str, operator: str) -> None:
        profile = self._policies.lattice.profile
        codes, operators = [code for code, _ in profile.jurisdictions], [one.id for one in profile.operators]
        for field, given, known in (("jurisdiction", jurisdiction, codes), ("operator", operator, ["", *operators])):
            if given not in known:
                listed = ", ".join(filter(None, known)) or "none"
                raise Problem(
                    "invalid_value",
                    f"`{field}` is {given[:80]!r}; the profile {profile.name} has {listed}.",
                    "fastness policy show shows the profile.",
                    param=field,
                )


def _view(one: Issued) -> HostView:
    said = HostClaims.from_json(one.claims.encode())
    return HostView(
        name=said.name,
        role=said.role.value,
        serial=one.serial,
        addresses=said.addresses,
        jurisdiction=said.jurisdiction,
        operator=said.operator,
        ceiling=said.ceiling,
        pool=said.pool,
        domain=said.domain,
        labels=said.labels,
        issued_s=one.issued_s,
        expires_s=one.expires_s,
        revoked_s=one.revoked_s,
    )


_READ, _FLEET = Action.READ, Action.MANAGE_FLEET
ROUTES: Final[Table] = (
    ("POST", "/api/v1/cluster", _FLEET, ClusterApi.create),
    ("GET", "/api/v1/cluster/hosts", _READ, ClusterApi.hosts),
    ("POST", "/api/v1/cluster/hosts", _FLEET, ClusterApi.invite),
    ("POST", "/api/v1/cluster/hosts/{name}/revoke", _FLEET, ClusterApi.revoke),
)
"""Every route of this file. A test compares it with docs/reference/cluster-api.md."""
