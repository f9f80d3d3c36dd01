"""Where a host stands, by its certificate and the profile in force."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster_world import claims
from fastness.control.declaration import certified_place
from fastness.core.marking import Label, Lattice, Node
from fastness.policy.profile import shipped_profile

NODE = "bristol-07"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"jurisdiction": "XX"}, "XX, which the profile uk has not"),
        ({"operator": "nobody"}, "run by nobody"),
        ({"ceiling": "VERY SECRET"}, "VERY SECRET"),
    ],
)
def test_a_certificate_that_the_profile_does_not_know_is_worth_nothing(changed: dict[str, str], why: str) -> None:
    lattice = Lattice(shipped_profile("uk"))
    said = claims(NODE)
    assert certified_place(said, lattice) == Node(NODE, "GB", "", "", Label("OFFICIAL"))
    with pytest.raises(ValueError, match=why):
        certified_place(replace(said, **changed), lattice)
