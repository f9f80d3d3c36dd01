"""The policy in force at this gateway, and what follows from it: a request's mark, and where it may run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Label, Node, UnknownMarking
from fastness.core.policy import Parameters, Query
from fastness.core.tenant import Principal
from fastness.policy.clearance import Clearance, refusal
from fastness.policy.decisions import Clearances
from fastness.policy.port import PolicyEngine

MARKING_CHARS_MAX: Final = 1_024
"""A longer `Fastness-Marking` is refused unread; a marking with all its caveats has a few hundred characters."""
MARKS_MAX: Final = 4_096
"""Labels read and remembered, as they were written; beyond it all are forgotten and read anew."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The label that a request is handled under, the line of the response's head that repeats it, and its text."""

    label: Label
    line: bytes
    text: str = ""


class PolicyInForce:
    """One policy with what was decided under it. Another policy is another object: nothing remembered outlives it."""

    __slots__ = ("_decisions", "_marks", "digest", "lattice")

    def __init__(self, engine: PolicyEngine, decisions_max: int) -> None:
        self.digest = engine.digest
        self.lattice = engine.lattice
        self._decisions = Clearances(engine, decisions_max)
        self._marks: dict[str | Label | None, Mark] = {}

    def clear(
        self,
        principal: Principal,
        label: Label,
        parameters: Parameters,
        deployment: Deployment,
        nodes: tuple[Node, ...],
    ) -> Clearance:
        """Tell which of `nodes` may take it, and why; never raises."""
        return self._decisions.of(principal, label, parameters, deployment, nodes)

    def permits(self, query: Query) -> bool:
        """Tell whether what is asked is permitted; never raises."""
        return self._decisions.decide(query).allowed

    def permit(self, query: Query) -> None:
        """Raise a Refusal with rule, needed and had, unless what is asked is permitted."""
        decision = self._decisions.decide(query)
        if not decision.allowed:
            raise refusal(query, decision, ())

    def mark(self, header: str | None, principal: Principal) -> Mark:
        """Return what a request is marked with: as its header says, or its tenant, or the profile.

        Raises Refusal: unknown_marking.
        """
        written = principal.marking if header is None else header
        found = self._marks.get(written)
        if found is None:
            found = self._read(written)
            if len(self._marks) >= MARKS_MAX:
                self._marks.clear()
            self._marks[written] = found
        return found

    def ceiling(self, deployment: Deployment) -> Label:
        """Return the most that a deployment may handle: what its own ceiling, its model's and its adapters' permit."""
        lowest = deployment.ceiling
        for other in (deployment.model_ceiling, *(one.ceiling for one in deployment.adapters)):
            lower = lowest if self.lattice.dominates(Label(other.marking), Label(lowest.marking)) else other
            lowest = Label(lower.marking, tuple(one for one in lowest.caveats if one in other.caveats))
        return lowest

    def _read(self, written: str | Label | None) -> Mark:
        try:
            if written is None:
                label = self.lattice.check(Label(self.lattice.profile.default))
            elif isinstance(written, Label):
                label = self.lattice.check(written)
            else:
                label = self.lattice.read(_text(written))
        except UnknownMarking as unknown:
            whose = "Fastness-Marking" if isinstance(written, str) else "The default marking of this tenant"
            raise Refusal("unknown_marking", f"{whose}: {unknown}.", param="Fastness-Marking") from None
        return Mark(label, f"fastness-marking: {label}\r\n".encode(), str(label))


def _text(header: str) -> str:
    if len(header) > MARKING_CHARS_MAX:
        raise UnknownMarking(f"{len(header)} characters came; {MARKING_CHARS_MAX} are read at most")
    return header.encode("latin-1").decode("utf-8", "replace")  # the head was read byte for byte


def unavailable() -> Refusal:
    """Make the refusal of a gateway without a policy: it permits nothing."""
    message = (
        "No policy is in force at this gateway, so nothing is permitted. Try again shortly; if it stays so, tell the "
        "operator: `fastness policy show` says what is wrong."
    )
    return Refusal("policy_unavailable", message, retry_after_s=2)
