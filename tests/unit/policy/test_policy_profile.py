"""Profiles: read strictly, bounded, and every name in them leads somewhere."""

from itertools import pairwise

import pytest

from fastness.core.marking import Label, Lattice
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import (
    MARKINGS_MAX,
    PROFILE_BYTES_MAX,
    TEXT_CHARACTERS_MAX,
    read_profile,
    shipped_profile,
    shipped_profiles,
)

MINIMAL = """
name = "tiny"
title = "Tiny"
default = "LOW"
[jurisdictions]
XX = "Somewhere"
[[marking]]
name = "LOW"
meaning = "low"
[[marking]]
name = "HIGH"
meaning = "high"
above = ["LOW"]
owners = ["XX"]
[[caveat]]
name = "EYES"
meaning = "eyes"
lowest = "HIGH"
jurisdictions = ["XX"]
[[operator]]
id = "op"
name = "Operator"
owner = "XX"
"""


def problem(text: str) -> str:
    with pytest.raises(PolicyProblem) as caught:
        read_profile(text, "tiny.toml")
    assert str(caught.value).startswith("tiny.toml: ")
    return str(caught.value)


def test_a_profile_is_read_as_it_is_written():
    profile = read_profile(MINIMAL, "tiny.toml")
    assert [one.name for one in profile.markings] == ["LOW", "HIGH"]
    assert profile.markings[1].above == ("LOW",)
    assert profile.caveats[0].lowest == "HIGH"
    assert profile.jurisdictions == (("XX", "Somewhere"),)
    assert (profile.operators[0].id, profile.operators[0].owner) == ("op", "XX")


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_shipped_profile_is_one(name):
    assert Lattice(shipped_profile(name)).read(shipped_profile(name).default)


def test_the_uk_orders_its_markings_and_asks_for_a_british_owner_from_official_sensitive_up():
    profile = shipped_profile("uk")
    lattice = Lattice(profile)
    order = ["OFFICIAL", "OFFICIAL-SENSITIVE", "SECRET", "TOP SECRET"]
    assert [one.name for one in profile.markings] == order
    assert all(lattice.dominates(Label(high), Label(low)) for low, high in pairwise(order))
    assert [one.owners for one in profile.markings] == [(), ("GB",), ("GB",), ("GB",)]


def test_another_state_need_not_order_its_markings_in_a_line():
    lattice = Lattice(shipped_profile("de"))
    national, european = Label("VS-NfD"), Label("RESTREINT UE")
    assert not lattice.dominates(national, european)
    assert not lattice.dominates(european, national)
    assert lattice.dominates(Label("GEHEIM"), european)


def test_a_profile_that_is_not_shipped_is_told_which_are():
    with pytest.raises(PolicyProblem, match=r"no profile '\.\./uk' is shipped; there are de, uk"):
        shipped_profile("../uk")


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('title = "Tiny"', 'title = "Tiny"\nlevel = 3', "`level`"),
        ('meaning = "low"', 'meaning = "low"\nabvoe = ["HIGH"]', "`abvoe`"),
        ('id = "op"', 'id = "op"\ncountry = "XX"', "`country`"),
        ('default = "LOW"', 'default = "NONE"', "'NONE'"),
        ('default = "LOW"', "default = 3", "Expected `str`, got `int`"),
        ('default = "LOW"', "", "`default`"),
        ('above = ["LOW"]', 'above = ["GONE"]', "'GONE'"),
        ('above = ["LOW"]', 'above = ["HIGH"]', "circle"),
        ('lowest = "HIGH"', 'lowest = "GONE"', "'GONE'"),
        ('owners = ["XX"]', 'owners = ["YY"]', "'YY'"),
        ('owner = "XX"', 'owner = "YY"', "'YY'"),
        ('name = "HIGH"', 'name = "Low"', "'Low' is there twice"),
        ('name = "HIGH"', 'name = "HIGH; LOW"', "HIGH; LOW"),
        ('name = "HIGH"', 'name = "HÖCH"', "HÖCH"),
        ('name = "EYES"', 'name = "A,B"', "A,B"),
        ('name = "LOW"', 'name = ""', "''"),
        ('meaning = "high"', f'meaning = "{"x" * (TEXT_CHARACTERS_MAX + 1)}"', str(TEXT_CHARACTERS_MAX)),
        ('meaning = "high"', 'meaning = "a\\nb"', "one line"),
        ("[[operator]]", "[[operator", "Expected ']]'"),
    ],
)
def test_what_does_not_hold_together_is_named(was, becomes, said):
    assert was in MINIMAL
    assert said in problem(MINIMAL.replace(was, becomes, 1))


def test_a_profile_is_bounded():
    assert str(PROFILE_BYTES_MAX) in problem("#" * (PROFILE_BYTES_MAX + 1))
    many = "".join(f'[[marking]]\nname = "M{number}"\nmeaning = ""\n' for number in range(MARKINGS_MAX + 1))
    assert f"there may be {MARKINGS_MAX}" in problem(MINIMAL + many)
    assert problem("default = " + "[" * 5_000)


def test_a_profile_without_markings_is_none():
    assert "at least one" in problem('name = "x"\ntitle = "x"\ndefault = "x"\nmarking = []')
