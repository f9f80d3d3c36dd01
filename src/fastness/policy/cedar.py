"""Policy decided by Cedar."""

from __future__ import annotations

from fastness.core.marking import Lattice
from fastness.core.policy import Decision, PolicyBundle, Query


class CedarEngine:
    """A PolicyEngine; raises PolicyProblem for a bundle that cannot be put in force."""

    def __init__(self, bundle: PolicyBundle) -> None:
        self.digest = bundle.digest
        self.lattice = Lattice(bundle.profile)

    def decide(self, query: Query) -> Decision:
        """Decide; never raises."""
        raise NotImplementedError
