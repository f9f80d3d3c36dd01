"""What the routes of policy take and give, as typed JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec

from fastness.control.problem import Problem
from fastness.control.wire import label_text
from fastness.core.marking import Label, Profile
from fastness.core.policy import Action, Decision, Parameters, PolicyBundle, PolicySnapshot, PolicyText
from fastness.core.tenant import Principal, Role
from fastness.policy.bundle import BUNDLE_BYTES_MAX, make_bundle
from fastness.policy.difference import ChangedRight
from fastness.policy.explanation import Explanation
from fastness.policy.profile import read_profile
from fastness.policy.statements import Rule
from fastness.policy.trial import Outcome
from fastness.store.port import AppliedPolicy

POLICY_BODY_BYTES_MAX: Final = 2 * BUNDLE_BYTES_MAX
"""A body that carries a whole policy: JSON may write a byte of text as several."""
_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.cedar")
"""What can be written to a directory, and is found there again."""
_MILLI: Final = 1000
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class GivenPolicy(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A policy: `profile` (the text of profile.toml) with `policies` (text by file name), or an earlier `version`."""

    profile: str | None = None
    policies: dict[str, str] | None = None
    version: Count | None = None

    @property
    def is_given(self) -> bool:
        """Whether any of it came."""
        return (self.profile, self.policies, self.version) != (None, None, None)

    def bundle(self) -> PolicyBundle | None:
        """Put what was sent together; None when it is an earlier version. Raises Problem and PolicyProblem."""
        if self.version is not None and self.profile is None and self.policies is None:
            return None
        if self.version is not None or self.profile is None or self.policies is None:
            raise Problem(
                "missing_field",
                "Needed: `profile` together with `policies`, or `version` alone.",
                "docs/reference/management-api.md shows both.",
                param="profile" if self.profile is None else "policies",
            )
        if misnamed := [name for name in self.policies if not _FILE.fullmatch(name)]:
            raise Problem(
                "invalid_value",
                f"`policies`: {misnamed[0][:80]!r} is no name of a file of rules.",
                "Names like `roles.cedar` will do: letters, digits, `.`, `_` and `-`, ending in `.cedar`.",
                param="policies",
            )
        texts = tuple(PolicyText(name, text) for name, text in self.policies.items())
        return make_bundle(read_profile(self.profile, "profile.toml"), texts)


class ApplyPolicy(GivenPolicy, forbid_unknown_fields=True, kw_only=True):
    """POST /api/v1/policy/apply."""

    force: bool = False


class TestPolicy(GivenPolicy, forbid_unknown_fields=True, kw_only=True):
    """POST /api/v1/policy/test: `cases` is the text of a TOML file, `name` what it is called in problems."""

    cases: str
    name: str = "cases"


class GivenParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the request that is asked about would set."""

    choices: Count = 1
    max_output_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: Count = 0
    uses: tuple[str, ...] = ()

    def parameters(self) -> Parameters:
        """Return them as policies know them."""
        return Parameters(
            uses=tuple(sorted(self.uses)),
            choices=self.choices,
            max_output_tokens=self.max_output_tokens,
            temperature_milli=_milli(self.temperature),
            top_p_milli=_milli(self.top_p),
            tools=self.tools,
        )


class ExplainPolicy(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /api/v1/policy/explain: about `key`, or a key of `tenant` with `role`; about neither: whoever asks."""

    key: str | None = None
    tenant: str | None = None
    role: Role = Role.DEVELOPER
    model: str | None = None
    marking: str | None = None
    action: Action = Action.INFER
    parameters: GivenParameters = msgspec.field(default_factory=GivenParameters)


class PolicyView(msgspec.Struct, frozen=True):
    """A policy, whole, with when and by whom it was put in force."""

    version: int
    digest: str
    applied_s: int
    applied_by: str
    profile: Profile
    policies: tuple[PolicyText, ...]


class AppliedPolicyView(msgspec.Struct, frozen=True):
    """A line of the history."""

    version: int
    digest: str
    applied_s: int
    applied_by: str


class PrincipalView(msgspec.Struct, frozen=True):
    """Who a decision is about. `models` null: every model; `clearance` and `marking` null: the profile's default."""

    id: str
    tenant: str
    roles: tuple[str, ...]
    credential: str
    models: tuple[str, ...] | None
    clearance: str | None
    tenant_clearance: str | None
    marking: str | None


class DecisionView(msgspec.Struct, frozen=True):
    """A decision about one node (empty: none is asked about), the rules that made it, and every fact they saw."""

    node: str
    allowed: bool
    rule: str
    code: str
    needed: str
    had: str
    rules: tuple[Rule, ...]
    facts: dict[str, Any]


class ExplanationView(msgspec.Struct, frozen=True):
    """What policy decides, and why. `allowed`: on one node at least."""

    allowed: bool
    action: str
    model: str | None
    marking: str
    principal: PrincipalView
    policy: str
    decisions: tuple[DecisionView, ...]


class OutcomeView(msgspec.Struct, frozen=True):
    """What came of one case; `problem` is empty when it came out as expected."""

    name: str
    passed: bool
    allowed: bool
    rule: str
    needed: str
    had: str
    problem: str


class TrialView(msgspec.Struct, frozen=True):
    """What came of all cases, and the digest of the policy that was tried."""

    passed: bool
    policy: str
    outcomes: tuple[OutcomeView, ...]


class DifferenceView(msgspec.Struct, frozen=True):
    """Who gains and who loses what: `before` and `after` are the digests, `principals` how many were asked about."""

    before: str
    after: str
    principals: int
    changes: tuple[ChangedRight, ...]


def policy_view(snapshot: PolicySnapshot) -> PolicyView:
    """Show a policy."""
    bundle = snapshot.bundle
    return PolicyView(
        version=snapshot.version,
        digest=bundle.digest,
        applied_s=snapshot.applied_s,
        applied_by=snapshot.applied_by,
        profile=bundle.profile,
        policies=bundle.policies,
    )


def applied_view(applied: AppliedPolicy) -> AppliedPolicyView:
    """Show a line of the history."""
    return AppliedPolicyView(applied.version, applied.digest, applied.applied_s, applied.applied_by)


def principal_view(principal: Principal) -> PrincipalView:
    """Show a principal."""
    return PrincipalView(
        id=principal.id,
        tenant=principal.tenant,
        roles=tuple(sorted(principal.roles)),
        credential=principal.credential.value,
        models=None if principal.models is None else tuple(sorted(principal.models)),
        clearance=label_text(principal.clearance),
        tenant_clearance=label_text(principal.tenant_clearance),
        marking=label_text(principal.marking),
    )


def decision_view(node: str, explanation: Explanation) -> DecisionView:
    """Show the decision about one node."""
    one = explanation.decision
    return DecisionView(
        node, one.allowed, one.rule, one.code, one.needed, one.had, explanation.rules, explanation.facts
    )


def trial_view(policy: str, outcomes: Iterable[Outcome]) -> TrialView:
    """Show what came of a trial."""
    shown = tuple(_outcome(one.case.name, one.decision, one.problem) for one in outcomes)
    return TrialView(all(one.passed for one in shown), policy, shown)


def explanation_view(
    asked: ExplainPolicy, principal: Principal, label: Label, policy: str, decisions: tuple[DecisionView, ...]
) -> ExplanationView:
    """Show what was decided on each node."""
    return ExplanationView(
        allowed=any(one.allowed for one in decisions),
        action=asked.action.value,
        model=asked.model,
        marking=str(label),
        principal=principal_view(principal),
        policy=policy,
        decisions=decisions,
    )


def _outcome(name: str, decision: Decision, problem: str) -> OutcomeView:
    return OutcomeView(name, not problem, decision.allowed, decision.rule, decision.needed, decision.had, problem)


def _milli(value: float | None) -> int | None:
    return None if value is None else round(value * _MILLI)
