"""A policy tried: expected decisions, written by whoever answers for it, held against what the rules decide.

A file of cases names people, deployments and nodes once, and then says of each case who asks for what and what is to
come out:

    [principals.nurse]
    tenant = "health"
    roles = ["developer"]
    tenant_clearance = "OFFICIAL-SENSITIVE; PERSONAL"

    [[case]]
    name = "a nurse's notes stay off the foreign cloud"
    principal = "nurse"
    action = "infer"
    label = "OFFICIAL-SENSITIVE; PERSONAL"
    deployment = "chat"
    node = "cloud"
    expect = "denied"
    rule = "places/2"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import msgspec

from fastness.core.deployment import Adapter, Deployment
from fastness.core.marking import Label, Lattice, Node, Profile, UnknownMarking
from fastness.core.policy import Action, Decision, Parameters, PolicyBundle, Query
from fastness.core.tenant import Credential, Principal
from fastness.policy.cedar import CedarEngine
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import check_profile

CASES_BYTES_MAX: Final = 1_048_576
CASES_MAX: Final = 10_000

_Named = TypeVar("_Named")


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation: `rule` is the id expected to decide, or empty when any may."""

    name: str
    query: Query
    allowed: bool
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case. `problem` is empty when it came out as expected."""

    case: Case
    decision: Decision
    problem: str = ""


class _Principal(msgspec.Struct, forbid_unknown_fields=True):
    roles: list[str]
    tenant: str = ""
    credential: Credential = Credential.API_KEY
    models: list[str] | None = None
    clearance: str | None = None
    tenant_clearance: str | None = None


class _Adapter(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    ceiling: str
    base: str = ""


class _Deployment(msgspec.Struct, forbid_unknown_fields=True):
    ceiling: str
    model: str = ""
    model_ceiling: str | None = None
    model_digest: str = ""
    tenants: list[str] | None = None
    adapters: list[_Adapter] = []


class _Node(msgspec.Struct, forbid_unknown_fields=True):
    ceiling: str
    jurisdiction: str = ""
    operator: str = ""
    owner: str = ""


class _Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    uses: tuple[str, ...] = ()
    choices: int = 1
    max_output_tokens: int | None = None
    temperature_milli: int | None = None
    top_p_milli: int | None = None
    tools: int = 0


class _Case(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    principal: str
    action: Action
    expect: Literal["allowed", "denied"]
    label: str | None = None
    deployment: str | None = None
    node: str | None = None
    parameters: _Parameters = _Parameters()
    rule: str = ""


class _Cases(msgspec.Struct, forbid_unknown_fields=True):
    case: list[_Case]
    principals: dict[str, _Principal]
    deployments: dict[str, _Deployment] = {}
    nodes: dict[str, _Node] = {}


def read_cases(text: str, where: str, profile: Profile) -> tuple[Case, ...]:
    """Read a TOML file of cases; `where` names it in problems. Raises PolicyProblem."""
    size_bytes = len(text.encode(errors="replace"))
    if size_bytes > CASES_BYTES_MAX:
        raise PolicyProblem(f"{where}: {size_bytes} bytes; a file of cases has {CASES_BYTES_MAX} at most")
    try:
        raw = msgspec.toml.decode(text, type=_Cases)
    except (ValueError, RecursionError) as error:
        raise PolicyProblem(f"{where}: {error}") from None
    if len(raw.case) > CASES_MAX:
        raise PolicyProblem(f"{where}: {len(raw.case)} cases; there may be {CASES_MAX}")
    lattice = check_profile(profile, f"profile {profile.name[:64]}")
    try:
        principals = {name: _principal(name, one, lattice) for name, one in raw.principals.items()}
        deployments = {name: _deployment(name, one, lattice) for name, one in raw.deployments.items()}
        nodes = {
            name: Node(name, one.jurisdiction, one.operator, one.owner, lattice.read(one.ceiling))
            for name, one in raw.nodes.items()
        }
    except UnknownMarking as error:
        raise PolicyProblem(f"{where}: {error}") from None
    return tuple(_case(where, one, principals, deployments, nodes, lattice) for one in raw.case)


def try_bundle(bundle: PolicyBundle, cases: tuple[Case, ...]) -> list[Outcome]:
    """Decide each case; raises PolicyProblem for a bundle that cannot be put in force."""
    engine = CedarEngine(bundle)
    return [_tried(one, engine.decide(one.query)) for one in cases]


def _tried(case: Case, decision: Decision) -> Outcome:
    came = "allowed" if decision.allowed else "denied"
    if decision.allowed != case.allowed:
        expected = "allowed" if case.allowed else "denied"
        why = "" if decision.allowed else f": needed {decision.needed}; {decision.had}"
        return Outcome(case, decision, f"expected {expected}; {came} by rule {decision.rule}{why}")
    if case.rule not in ("", decision.rule):
        return Outcome(case, decision, f"{came} as expected, but by rule {decision.rule}, not {case.rule}")
    return Outcome(case, decision)


def _case(
    where: str,
    one: _Case,
    principals: Mapping[str, Principal],
    deployments: Mapping[str, Deployment],
    nodes: Mapping[str, Node],
    lattice: Lattice,
) -> Case:
    at = f"{where}: case {one.name[:80]!r}"
    principal = _named(at, "principal", one.principal, principals)
    try:
        label = lattice.read(one.label) if one.label is not None else None
    except UnknownMarking as error:
        raise PolicyProblem(f"{at}: {error}") from None
    query = Query(
        principal,
        one.action,
        label or Label(lattice.profile.default),
        None if one.deployment is None else _named(at, "deployment", one.deployment, deployments),
        None if one.node is None else _named(at, "node", one.node, nodes),
        Parameters(
            tuple(sorted(one.parameters.uses)),
            one.parameters.choices,
            one.parameters.max_output_tokens,
            one.parameters.temperature_milli,
            one.parameters.top_p_milli,
            one.parameters.tools,
        ),
    )
    return Case(one.name, query, one.expect == "allowed", one.rule)


def _named(at: str, kind: str, name: str, known: Mapping[str, _Named]) -> _Named:
    if name not in known:
        raise PolicyProblem(f"{at}: there is no [{kind}s.{name[:80]}]; there are {', '.join(known) or 'none'}")
    return known[name]


def _principal(name: str, one: _Principal, lattice: Lattice) -> Principal:
    return Principal(
        name,
        one.tenant,
        frozenset(one.roles),
        None if one.models is None else frozenset(one.models),
        one.credential,
        None if one.clearance is None else lattice.read(one.clearance),
        None if one.tenant_clearance is None else lattice.read(one.tenant_clearance),
    )


def _deployment(name: str, one: _Deployment, lattice: Lattice) -> Deployment:
    return Deployment(
        name,
        one.model or name,
        lattice.read(one.ceiling),
        lattice.read(one.ceiling if one.model_ceiling is None else one.model_ceiling),
        tuple(Adapter(a.name, "", a.base, lattice.read(a.ceiling)) for a in one.adapters),
        None if one.tenants is None else tuple(one.tenants),
        one.model_digest,
    )
