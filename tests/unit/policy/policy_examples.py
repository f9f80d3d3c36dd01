"""People, deployments and nodes that the tests of policy speak of."""

from dataclasses import replace

from fastness.core.deployment import Adapter, Deployment
from fastness.core.marking import Label, Node
from fastness.core.policy import Action, Decision, Parameters, PolicyText, Query
from fastness.core.tenant import Credential, Principal
from fastness.policy.bundle import make_bundle, shipped_bundle
from fastness.policy.cedar import CedarEngine
from fastness.policy.profile import shipped_profile

UK = shipped_profile("uk")
SHIPPED = shipped_bundle(UK)

OFFICIAL = Label("OFFICIAL")
SENSITIVE = Label("OFFICIAL-SENSITIVE")
PERSONAL = Label("OFFICIAL-SENSITIVE", ("PERSONAL",))
SECRET = Label("SECRET")
HIGHEST = Label("TOP SECRET", tuple(sorted(one.name for one in UK.caveats)))

NURSE = Principal("key_nurse", "health", frozenset({"developer"}), tenant_clearance=SENSITIVE)
LOCAL = Principal("local", "", frozenset({"operator"}), credential=Credential.LOCAL)
BASE = "b" * 64
SMALL = Deployment("chat-small", "smollm2", OFFICIAL, HIGHEST, model_digest=BASE)
SECURE = Deployment("chat-secure", "smollm2", HIGHEST, HIGHEST, model_digest=BASE)
BRISTOL = Node("bristol-07", "GB", "crown", "GB", HIGHEST)
DUBLIN = Node("dublin-01", "IE", "crown", "GB", HIGHEST)
CLOUD = Node("cloud-03", "GB", "example-cloud-uk", "US", HIGHEST)


def cleared_to(label: Label, **changes: object) -> Principal:
    return replace(NURSE, tenant_clearance=label, **changes)


def with_role(role: str, **changes: object) -> Principal:
    return replace(NURSE, roles=frozenset({role}), **changes)


def adapter(base: str = BASE, ceiling: Label = HIGHEST) -> Adapter:
    return Adapter("tone", "a" * 64, base, ceiling)


def infer(
    principal: Principal = NURSE,
    label: Label = OFFICIAL,
    deployment: Deployment = SECURE,
    node: Node | None = BRISTOL,
    **parameters: object,
) -> Query:
    return Query(principal, Action.INFER, label, deployment, node, Parameters(**parameters))


def engine_with(*rules: str, shipped: bool = True) -> CedarEngine:
    """The shipped policy, or nothing of it that may be left out, with a department's rules."""
    texts = tuple(PolicyText(f"department-{number}.cedar", text) for number, text in enumerate(rules))
    return CedarEngine(make_bundle(UK, (SHIPPED.policies if shipped else ()) + texts))


def denied(decision: Decision, rule: str, code: str = "marking_not_cleared") -> bool:
    """Tell whether it was denied by this rule, with words for everything."""
    said = not decision.allowed and bool(decision.needed) and bool(decision.had)
    return said and (decision.rule, decision.code) == (rule, code)
