"""The routes of policy: show, try, explain, compare, apply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from fastness.config import ConfigError
from fastness.control import policy_wire, wire
from fastness.control.access import Access
from fastness.control.declaration import Served
from fastness.control.policies import HISTORY_MAX, Policies, unfit
from fastness.control.problem import Problem
from fastness.control.routes import LOCAL, Answer, Table, caller_of
from fastness.core.deployment import Deployment, parted
from fastness.core.marking import Label, Lattice, Node
from fastness.core.policy import Action, PolicyBundle, Query
from fastness.core.tenant import AccessSnapshot, ApiKey, Credential, Principal
from fastness.identity.principal import principal_of
from fastness.policy.difference import difference
from fastness.policy.explanation import explain
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import check_profile
from fastness.policy.trial import read_cases, try_bundle

NAMES_MAX: Final = 20
"""How many names of models a problem lists."""


@dataclass(frozen=True, slots=True)
class PolicyApi:
    """The routes of policy. `served` tells which deployments and nodes there are, `declared` what the settings say."""

    policies: Policies
    access: Access
    served: Callable[[], Served]
    declared: Callable[[Lattice], Served]
    clock: Callable[[], float]

    async def show(self, request: Request) -> Answer:
        """GET /policy."""
        query = wire.read_query(request, "version")
        if "version" not in query:
            return 200, policy_wire.policy_view(self.policies.in_force.snapshot)
        version = wire.read_integer(query, "version", 1, 1, 2**53 - 1)
        return 200, policy_wire.policy_view(await self.policies.earlier(version))

    async def history(self, request: Request) -> Answer:
        """GET /policy/history."""
        count = wire.read_integer(wire.read_query(request, "count"), "count", 20, 1, HISTORY_MAX)
        return 200, {"policies": [policy_wire.applied_view(one) for one in await self.policies.history(count)]}

    async def test(self, request: Request) -> Answer:
        """POST /policy/test."""
        wire.read_query(request)
        asked = await wire.read_body(request, policy_wire.TestPolicy, policy_wire.POLICY_BODY_BYTES_MAX)
        bundle = await self._bundle(asked) if asked.is_given else self.policies.in_force.snapshot.bundle
        try:
            cases = read_cases(asked.cases, asked.name, bundle.profile)
            outcomes = await asyncio.to_thread(try_bundle, bundle, cases)
        except PolicyProblem as error:
            raise unfit(error) from None
        return 200, policy_wire.trial_view(bundle.digest, outcomes)

    async def diff(self, request: Request) -> Answer:
        """POST /policy/diff."""
        wire.read_query(request)
        asked = await wire.read_body(request, policy_wire.GivenPolicy, policy_wire.POLICY_BODY_BYTES_MAX)
        before, after = self.policies.in_force.snapshot.bundle, await self._bundle(asked)
        principals = (LOCAL, *_living(await self.access.snapshot(), self.clock()))
        served = self.served()
        try:
            changes = await asyncio.to_thread(
                difference, before, after, principals, _faces(served.deployments), served.nodes
            )
        except PolicyProblem as error:
            raise unfit(error) from None
        return 200, policy_wire.DifferenceView(before.digest, after.digest, len(principals), tuple(changes))

    async def apply(self, request: Request) -> Answer:
        """POST /policy/apply."""
        wire.read_query(request)
        asked = await wire.read_body(request, policy_wire.ApplyPolicy, policy_wire.POLICY_BODY_BYTES_MAX)
        bundle = await self._bundle(asked)
        if not asked.force:
            await asyncio.to_thread(self._refuse_strange_words, bundle)
        applied = await self.policies.apply(bundle, caller_of(request).id, force=asked.force)
        return 200, policy_wire.policy_view(applied)

    async def explain(self, request: Request) -> Answer:
        """POST /policy/explain."""
        wire.read_query(request)
        asked = await wire.read_body(request, policy_wire.ExplainPolicy)
        principal = await self._principal(asked, caller_of(request))
        engine = self.policies.in_force.engine
        asked_label = self.policies.read_label(asked.marking, "marking")
        label = asked_label or principal.marking or Label(engine.lattice.profile.default)
        deployment, nodes = self._where(asked)
        decisions = tuple(
            policy_wire.decision_view(
                node.name if node else "",
                explain(engine, Query(principal, asked.action, label, deployment, node, asked.parameters.parameters())),
            )
            for node in nodes
        )
        return 200, policy_wire.explanation_view(asked, principal, label, engine.digest, decisions)

    async def _bundle(self, given: policy_wire.GivenPolicy) -> PolicyBundle:
        try:
            bundle = given.bundle()
        except PolicyProblem as error:
            raise unfit(error) from None
        return bundle or (await self.policies.earlier(given.version or 0)).bundle

    def _refuse_strange_words(self, bundle: PolicyBundle) -> None:
        """Refuse a profile that does not know what this machine was declared as: nothing would be cleared here."""
        try:
            self.declared(check_profile(bundle.profile, "profile.toml"))
        except PolicyProblem as error:
            raise unfit(error) from None
        except ConfigError as error:
            raise Problem(
                "policy_invalid",
                f"Under this policy nothing would be cleared on this machine: {error}.",
                "Apply it all the same with --force, change that setting and start again: until then all is refused.",
            ) from None

    async def _principal(self, asked: policy_wire.ExplainPolicy, caller: Principal) -> Principal:
        known = await self.access.snapshot()
        tenants = {tenant.id: tenant for tenant in known.tenants}
        if asked.key is not None:
            key = next((one for one in known.keys if one.id == asked.key), None)
            if key is not None:
                return principal_of(tenants[key.tenant], *_proved(key), models=key.models, clearance=key.clearance)
            if asked.key == LOCAL.id:
                return LOCAL
            raise Problem("not_found", f"There is no key {asked.key[:80]!r}.", "fastness keys lists them.", param="key")
        if asked.tenant is None:
            return caller
        if asked.tenant not in tenants:
            raise Problem(
                "not_found",
                f"There is no tenant {asked.tenant[:80]!r}.",
                "fastness tenants lists them.",
                param="tenant",
            )
        name = f"a key of {asked.tenant}"
        return principal_of(tenants[asked.tenant], name, frozenset({asked.role.value}), Credential.API_KEY)

    def _where(self, asked: policy_wire.ExplainPolicy) -> tuple[Deployment | None, tuple[Node | None, ...]]:
        """Return the deployment, and the nodes that its replicas are on: what a gateway would ask about."""
        served = self.served()
        if asked.model is None:
            if asked.action is Action.INFER:
                raise Problem(
                    "missing_field",
                    "`model` is needed to explain `infer`.",
                    "fastness models lists them.",
                    param="model",
                )
            return None, (None,)
        name, adapter = parted(asked.model)
        faces = [one.faces() for one in served.deployments if one.name == name]
        deployment = next((each[adapter] for each in faces if adapter in each), None)
        if deployment is None:
            names = ", ".join(one.name for one in served.deployments[:NAMES_MAX]) or "none"
            raise Problem(
                "not_found",
                f"There is no deployment {asked.model[:80]!r}; there are {names}.",
                "fastness models lists them.",
                param="model",
            )
        return deployment, tuple(served.nodes_of(deployment.name)) or (None,)


def _faces(deployments: tuple[Deployment, ...]) -> list[Deployment]:
    """Return everything that gateways ask about: each deployment alone, and with each of its adapters."""
    return [face for one in deployments for face in one.faces().values()]


def _living(known: AccessSnapshot, now_s: float) -> list[Principal]:
    """Return the principal of each key that opens anything now."""
    tenants = {tenant.id: tenant for tenant in known.tenants if tenant.revoked_s is None}
    return [
        principal_of(tenants[key.tenant], *_proved(key), models=key.models, clearance=key.clearance)
        for key in known.keys
        if key.tenant in tenants and key.revoked_s is None and (key.expires_s is None or now_s < key.expires_s)
    ]


def _proved(key: ApiKey) -> tuple[str, frozenset[str], Credential]:
    return key.id, frozenset({key.role.value}), Credential.API_KEY


ROUTES: Final[Table] = (
    ("GET", "/api/v1/policy", Action.READ, PolicyApi.show),
    ("GET", "/api/v1/policy/history", Action.READ, PolicyApi.history),
    ("POST", "/api/v1/policy/test", Action.READ, PolicyApi.test),
    ("POST", "/api/v1/policy/explain", Action.READ, PolicyApi.explain),
    ("POST", "/api/v1/policy/diff", Action.READ, PolicyApi.diff),
    ("POST", "/api/v1/policy/apply", Action.APPLY_POLICY, PolicyApi.apply),
)
"""The routes of this file, as in api.py."""
