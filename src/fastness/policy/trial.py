"""A policy tried: expected decisions, written by whoever answers for it, held against what the rules decide."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.marking import Profile
from fastness.core.policy import Decision, PolicyBundle, Query


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


def read_cases(text: str, where: str, profile: Profile) -> tuple[Case, ...]:
    """Read a TOML file of cases; raises PolicyProblem."""
    raise NotImplementedError


def try_bundle(bundle: PolicyBundle, cases: tuple[Case, ...]) -> list[Outcome]:
    """Decide each case; raises PolicyProblem for a bundle that cannot be put in force."""
    raise NotImplementedError
