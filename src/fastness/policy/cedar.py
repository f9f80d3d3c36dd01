"""Policy decided by Cedar: default deny, validated against the schema, and shut whenever anything is amiss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cedarpy
import msgspec

from fastness.core.deployment import Adapter
from fastness.core.marking import Label, UnknownMarking
from fastness.core.policy import Action, Decision, PolicyBundle, PolicyText, Query
from fastness.core.tenant import Principal
from fastness.policy.bundle import MANDATORY, check_digest, mandatory_policies, schema_text
from fastness.policy.facts import Facts, marking_entities
from fastness.policy.kinds import Kinds
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import check_profile
from fastness.policy.statements import RULES_MAX, Rule, read_rules
from fastness.policy.templates import CODES, fill, problem_of

ADAPTERS_MAX: Final = 256
"""Adapters of one deployment that are asked about; with more it is denied."""

DETAIL_CHARACTERS_MAX: Final = 400
"""What Cedar says of a rule that fails, or a comment says of one that forbids, in a denial."""

DEFAULT_DENY: Final = "default-deny"
ERROR: Final = "error"
UNKNOWN_LABEL: Final = "unknown-label"
RESERVED: Final = (DEFAULT_DENY, ERROR, UNKNOWN_LABEL)
"""Names in the place of a rule's where none decided; no rule may be called so."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, the rules that determined it in the order in which they are told, and the adapter it is about."""

    decision: Decision
    rules: tuple[Rule, ...]
    adapter: Adapter | None = None


class CedarEngine:
    """A PolicyEngine. The mandatory rules of the package are part of it, whatever the bundle says.

    Raises PolicyProblem, with file and line, for a bundle that cannot be put in force.
    """

    def __init__(self, bundle: PolicyBundle) -> None:
        check_digest(bundle)
        self.digest = bundle.digest
        self.lattice = check_profile(bundle.profile, f"profile {bundle.profile.name[:64]}")
        schema = cedarpy.Schema.from_str(schema_text())
        self.rules: dict[str, Rule] = {}
        """Every rule by its id, in the order in which denials are told: the mandatory ones first."""
        forms: dict[str, dict[str, Any]] = {}
        for text in mandatory_policies():
            self._add(text, schema, forms, mandatory=True)
        for text in bundle.policies:
            self._add(text, schema, forms, mandatory=False)
        self._schema = schema
        self._order = {rule: position for position, rule in enumerate(self.rules)}
        self._policies = self._built(forms)
        self.kinds = Kinds(forms.values())
        """Which parameters this policy can tell apart."""
        self._facts = Facts(self.lattice)
        self._markings = cedarpy.Entities.from_json_str(_text(marking_entities(self.lattice)), schema)

    def decide(self, query: Query) -> Decision:
        """Decide; never raises: what cannot be decided is denied."""
        return self.verdict(query).decision

    def verdict(self, query: Query) -> Verdict:
        """Decide, and say by which rules; never raises.

        Of a deployment with adapters each is asked about; the first that is denied decides.
        """
        try:
            return self._verdict(query)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, a panic of Cedar too, the answer is no
            return _amiss(f"{type(error).__name__} while deciding")

    def facts(self, query: Query, adapter: Adapter | None) -> dict[str, Any]:
        """Return what rules could see of a question whose label is known; raises UnknownMarking."""
        self._known(query)
        return self._facts.tree(query, adapter)

    def clearances_of(self, principal: Principal) -> tuple[Label, Label]:
        """Return the clearance of a principal's tenant, and its own, as rules see them."""
        return self._facts.clearances_of(principal)

    def _verdict(self, query: Query) -> Verdict:
        try:
            self._known(query)
        except UnknownMarking as error:
            needed = f"a label of the profile {self.lattice.profile.name}"
            return Verdict(Decision(False, UNKNOWN_LABEL, "unknown_marking", needed, str(error)), ())
        if query.action is Action.INFER and query.deployment is None:
            return _amiss("no deployment was named")
        adapters = () if query.deployment is None else query.deployment.adapters
        if len(adapters) > ADAPTERS_MAX:
            return _amiss(f"{len(adapters)} adapters came; {ADAPTERS_MAX} are decided on at most")
        for adapter in adapters or (None,):
            verdict = self._ask(query, adapter)
            if not verdict.decision.allowed:
                return verdict
        return verdict

    def _known(self, query: Query) -> None:
        known = self.lattice.check(query.label)
        if known != query.label:
            raise UnknownMarking(f"the profile writes {known}, and {query.label} came")

    def _ask(self, query: Query, adapter: Adapter | None) -> Verdict:
        """Ask Cedar once. It skips a rule that fails, so a forbid that fails would be open: any failure denies."""
        entities = self._markings.with_added_json_str(_text(self._facts.entities(query, adapter)), self._schema)
        answer = cedarpy.is_authorized(self._facts.request(query, adapter), self._policies, entities, self._schema)
        if answer.diagnostics.errors:
            return _amiss("; ".join(answer.diagnostics.errors)[:DETAIL_CHARACTERS_MAX])
        reasons = sorted(answer.diagnostics.reasons, key=self._order.__getitem__)
        rules = tuple(self.rules[one] for one in reasons)
        if answer.decision is cedarpy.Decision.Allow:
            return Verdict(Decision(True, rules[0].id), rules, adapter)
        if answer.decision is not cedarpy.Decision.Deny:
            return _amiss("no decision")
        return Verdict(self._denial(query, adapter, rules), rules, adapter)

    def _denial(self, query: Query, adapter: Adapter | None, rules: tuple[Rule, ...]) -> Decision:
        facts = self._facts.tree(query, adapter)
        if not rules:
            needed = fill("a rule that permits {action}", facts)
            had = fill("none permits it to {principal.id}, tenant {principal.tenant}, roles {principal.roles}", facts)
            return Decision(False, DEFAULT_DENY, CODES[0], needed, had)
        rule = rules[0]
        needed = fill(rule.needed or "that no rule forbids {action}", facts)
        return Decision(False, rule.id, rule.code or CODES[0], needed, fill(rule.had, facts) or _unworded(rule))

    def _built(self, forms: dict[str, dict[str, Any]]) -> cedarpy.PolicySet:
        try:
            return _policy_set(forms)
        except ValueError:
            for name, form in forms.items():
                try:
                    _policy_set({name: form})
                except ValueError:
                    rule = self.rules[name]
                    raise PolicyProblem(
                        f"{rule.file}:{rule.line}: rule {name}: too long a chain of conditions, or too deep; a set "
                        "with .contains() says it shorter"
                    ) from None
            raise PolicyProblem("the rules cannot be put together") from None

    def _add(
        self, text: PolicyText, schema: cedarpy.Schema, forms: dict[str, dict[str, Any]], *, mandatory: bool
    ) -> None:
        for rule, form in read_rules(text, schema, mandatory=mandatory):
            where = f"{rule.file}:{rule.line}: rule {rule.id}"
            if rule.id in self.rules:
                before = self.rules[rule.id]
                raise PolicyProblem(f"{where}: there is a rule of that name at {before.file}:{before.line}")
            if not mandatory and (rule.id in RESERVED or rule.id.partition("/")[0] in MANDATORY):
                taken = ", ".join([*RESERVED, *(f"{one}/..." for one in MANDATORY)])
                raise PolicyProblem(f"{where}: the name is reserved; rules are not called {taken}")
            if rule.code and rule.code not in CODES:
                raise PolicyProblem(f"{where}: there is no @code {rule.code[:80]!r}; there are {', '.join(CODES)}")
            for template in (rule.needed, rule.had):
                if problem := problem_of(template):
                    raise PolicyProblem(f"{where}: {problem}")
            if len(self.rules) == RULES_MAX:
                raise PolicyProblem(f"{where}: a policy has {RULES_MAX} rules at most, the mandatory ones included")
            self.rules[rule.id] = rule
            forms[rule.id] = form


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _policy_set(forms: dict[str, dict[str, Any]]) -> cedarpy.PolicySet:
    """Build Cedar's set of rules, each under its own name; raises ValueError for what is nested too deeply."""
    return cedarpy.PolicySet.from_json_str(_text({"templates": {}, "staticPolicies": forms, "templateLinks": []}))


def _unworded(rule: Rule) -> str:
    """Say of a rule that does not say it itself what forbids, and in the words above it why."""
    why = f": {rule.comment[:DETAIL_CHARACTERS_MAX]}" if rule.comment else ""
    return f"{rule.file}, line {rule.line}, forbids it{why}"


def _amiss(what: str) -> Verdict:
    needed = "a question that the policy in force can decide"
    return Verdict(Decision(False, ERROR, CODES[0], needed, what), ())
