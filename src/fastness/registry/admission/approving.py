"""Who must agree to an artefact, and up to which marking: pure decisions on approvals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastness.core.admission import Approval
from fastness.core.marking import Label, Lattice


@dataclass(frozen=True, slots=True)
class Rules:
    """From which marking on admission takes more: above `two_above` two approvers, above `signed_above` a signature."""

    lattice: Lattice
    two_above: str
    signed_above: str

    def __post_init__(self) -> None:
        """Raises UnknownMarking for a marking that the profile does not define."""
        self.lattice.at_or_below(self.two_above)
        self.lattice.at_or_below(self.signed_above)

    def approvers_needed(self, ceiling: Label) -> int:
        """Return how many distinct approvers a ceiling takes: two, unless its marking is at or below the setting."""
        return 1 if ceiling.marking in self.lattice.at_or_below(self.two_above) else 2

    def signature_needed(self, ceiling: Label) -> bool:
        """Tell whether a ceiling takes the signature of somebody trusted."""
        return ceiling.marking not in self.lattice.at_or_below(self.signed_above)


def with_approval(approvals: Iterable[Approval], new: Approval) -> tuple[Approval, ...]:
    """Return the approvals with one more; an approver who agreed before agrees anew, and counts once."""
    return (*(one for one in approvals if one.by != new.by), new)


def approvers_of(approvals: Iterable[Approval], ceiling: Label, lattice: Lattice) -> tuple[str, ...]:
    """Return the ids of those whose approval covers a ceiling."""
    return tuple(sorted({one.by for one in approvals if lattice.dominates(one.ceiling, ceiling)}))


def agreed_ceiling(approvals: Iterable[Approval], rules: Rules, *, signed: bool) -> Label | None:
    """Return the highest ceiling that enough approvers cover; None when there is none.

    Only what somebody asked for can come of it, or what two agree on who asked for different things: a single approver
    of SECRET has not thereby admitted something for OFFICIAL. Of several that are not comparable, the first.
    """
    given = tuple(approvals)
    agreed = [one for one in _candidates(given, rules.lattice) if _is_agreed(one, given, rules, signed=signed)]
    highest = [
        one for one in agreed if not any(other != one and rules.lattice.dominates(other, one) for other in agreed)
    ]
    return highest[0] if highest else None


def _is_agreed(ceiling: Label, approvals: tuple[Approval, ...], rules: Rules, *, signed: bool) -> bool:
    if rules.signature_needed(ceiling) and not signed:
        return False
    return len(approvers_of(approvals, ceiling, rules.lattice)) >= rules.approvers_needed(ceiling)


def _candidates(approvals: tuple[Approval, ...], lattice: Lattice) -> list[Label]:
    """Return what was asked for, and below it what each two have in common, in a fixed order."""
    found = list(dict.fromkeys(one.ceiling for one in approvals))
    for one in approvals:
        for other in approvals:
            found += [label for label in _common(one.ceiling, other.ceiling, lattice) if label not in found]
    return found


def _common(one: Label, other: Label, lattice: Lattice) -> list[Label]:
    """Return the highest labels that both permit."""
    both = lattice.at_or_below(one.marking) & lattice.at_or_below(other.marking)
    highest = [
        name for name in both if not any(name != higher and name in lattice.at_or_below(higher) for higher in both)
    ]
    caveats = tuple(sorted(set(one.caveats) & set(other.caveats)))
    return [Label(name, caveats) for name in sorted(highest)]
