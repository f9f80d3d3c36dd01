"""The policy port: a question goes in, a decision with its reason comes out. Whatever goes wrong, the answer is no."""

from __future__ import annotations

from typing import Protocol

from fastness.core.marking import Lattice
from fastness.core.policy import Decision, Query


class PolicyProblem(Exception):  # noqa: N818 - an outcome
    """A policy or profile that cannot be put in force; the message says which file, where and why."""


class PolicyEngine(Protocol):
    """One policy, immutable. Pure: the same query has the same decision, so decisions may be remembered."""

    @property
    def digest(self) -> str:
        """SHA-256 of profile and rules, in hex."""
        ...

    @property
    def lattice(self) -> Lattice:
        """The markings that it speaks of."""
        ...

    def decide(self, query: Query) -> Decision:
        """Decide; never raises: what cannot be decided is denied."""
        ...
