"""Approvals: how many are needed, and which ceiling they come to."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.admission import Approval
from fastness.core.marking import Label, Lattice, UnknownMarking
from fastness.policy.profile import shipped_profile
from fastness.registry.admission.approving import Rules, agreed_ceiling, approvers_of, with_approval

LATTICE = Lattice(shipped_profile("uk"))
RULES = Rules(LATTICE, "OFFICIAL", "OFFICIAL")
MARKINGS = [one.name for one in LATTICE.profile.markings]
LOW, MIDDLE, HIGH = Label("OFFICIAL"), Label("OFFICIAL-SENSITIVE"), Label("SECRET")


def by(who, ceiling):
    return Approval(who, 1, ceiling)


@pytest.mark.parametrize(
    ("approvals", "ceiling"),
    [
        ([], None),
        ([by("a", LOW)], LOW),
        ([by("a", MIDDLE)], None),
        ([by("a", HIGH)], None),
        ([by("a", MIDDLE), by("b", MIDDLE)], MIDDLE),
        ([by("a", HIGH), by("b", MIDDLE)], MIDDLE),
        ([by("a", HIGH), by("b", LOW)], LOW),
        ([by("a", HIGH), by("b", MIDDLE), by("c", HIGH)], HIGH),
        ([by("a", LOW), by("b", LOW), by("c", MIDDLE)], LOW),
        ([by("a", MIDDLE), by("a", MIDDLE)], None),
    ],
)
def test_the_ceiling_is_the_highest_that_enough_approvers_cover(approvals, ceiling):
    assert agreed_ceiling(approvals, RULES, signed=True) == ceiling


def test_without_a_signature_nothing_above_the_setting_is_agreed():
    approvals = [by("a", HIGH), by("b", HIGH), by("c", LOW)]
    assert agreed_ceiling(approvals, RULES, signed=False) == LOW


def test_two_who_ask_for_different_caveats_agree_on_what_they_have_in_common():
    one, other = (Label("SECRET", (caveat.name,)) for caveat in LATTICE.profile.caveats[:2])
    assert agreed_ceiling([by("a", one), by("b", other)], RULES, signed=True) == HIGH


def test_the_same_approver_counts_once_and_the_last_word_counts():
    approvals = with_approval(with_approval((), by("a", MIDDLE)), by("a", HIGH))
    assert approvals == (by("a", HIGH),)
    assert agreed_ceiling(approvals, RULES, signed=True) is None


def test_a_setting_that_the_profile_does_not_know_is_an_error():
    with pytest.raises(UnknownMarking, match="COSMIC"):
        Rules(LATTICE, "COSMIC", "OFFICIAL")


LABELS = st.builds(Label, st.sampled_from(MARKINGS))
APPROVALS = st.lists(st.builds(by, st.sampled_from("abcd"), LABELS), max_size=6)


@given(APPROVALS, st.booleans())
def test_whatever_is_agreed_has_enough_approvers_who_cover_it(approvals, signed):
    ceiling = agreed_ceiling(approvals, RULES, signed=signed)
    if ceiling is None:
        return
    covering = {one.by for one in approvals if LATTICE.dominates(one.ceiling, ceiling)}
    assert len(covering) >= RULES.approvers_needed(ceiling)
    assert set(approvers_of(approvals, ceiling, LATTICE)) == covering
    assert signed or not RULES.signature_needed(ceiling)


@given(APPROVALS, st.randoms())
def test_the_order_of_approvals_does_not_matter(approvals, random):
    shuffled = list(approvals)
    random.shuffle(shuffled)
    assert agreed_ceiling(shuffled, RULES, signed=True) == agreed_ceiling(approvals, RULES, signed=True)


def test_one_approver_alone_never_reaches_above_the_setting():
    for labels in itertools.product(map(Label, MARKINGS), repeat=3):
        ceiling = agreed_ceiling([by("a", label) for label in labels], RULES, signed=True)
        assert ceiling in (None, LOW)
