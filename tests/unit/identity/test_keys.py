"""The text of API keys: what is minted is parsed, what is mistyped is noticed."""

import hashlib
import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.tenant import Role
from fastness.identity import keys
from fastness.identity.keys import KeyProblem

ALPHABET = string.ascii_letters + string.digits
secrets = st.binary(min_size=32, max_size=32)
roles = st.sampled_from(list(Role))


@given(secrets, roles)
def test_what_was_minted_parses_to_its_role(secret, role):
    assert keys.parse(keys.mint(secret, role)) is role


@given(secrets, secrets, roles)
def test_different_secrets_make_different_keys(one, other, role):
    assert (keys.mint(one, role) == keys.mint(other, role)) == (one == other)


@given(secrets, roles, st.data())
def test_one_wrong_character_is_always_noticed(secret, role, draw):
    text = keys.mint(secret, role)
    place = draw.draw(st.integers(0, len(text) - 1))
    wrong = draw.draw(st.sampled_from(ALPHABET + "_-. \u00e9").filter(lambda character: character != text[place]))
    assert isinstance(keys.parse(text[:place] + wrong + text[place + 1 :]), KeyProblem)


@given(secrets, roles, st.data())
def test_two_swapped_neighbours_are_always_noticed(secret, role, draw):
    text = keys.mint(secret, role)
    place = draw.draw(st.integers(0, len(text) - 2).filter(lambda at: text[at] != text[at + 1]))
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    assert isinstance(keys.parse(swapped), KeyProblem)


@given(secrets, roles, st.integers(0, 58))
def test_a_key_cut_short_or_grown_is_noticed(secret, role, kept):
    text = keys.mint(secret, role)
    assert isinstance(keys.parse(text[: min(kept, len(text) - 1)]), KeyProblem)
    assert isinstance(keys.parse(text + "A"), KeyProblem)


@given(st.text(max_size=200))
def test_any_text_gets_an_answer_and_a_mac(text):
    assert isinstance(keys.parse(text), KeyProblem)
    assert len(keys.mac(b"p" * 32, text)) == 64


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", KeyProblem.WRONG_PREFIX),
        ("sk-abcdefghijklmnopqrstuvwxyz", KeyProblem.WRONG_PREFIX),
        ("fst_" + "A" * 48, KeyProblem.WRONG_LENGTH),
        ("fst_" + "A" * 49, KeyProblem.BAD_CHECKSUM),
        ("fst_admin_" + "A" * 49, KeyProblem.BAD_CHECKSUM),
        ("fst_" + "\u00e9" * 49, KeyProblem.BAD_CHECKSUM),
        ("fst_admin_" + "A" * 50, KeyProblem.WRONG_LENGTH),
        ("fst_approver_" + "A" * 50, KeyProblem.TOO_LONG),
        ("fst_" + "A" * 1_000_000, KeyProblem.TOO_LONG),
    ],
)
def test_each_problem_has_its_name(text, problem):
    assert keys.parse(text) is problem


def test_the_text_of_a_key_stays_what_it_is():
    """Keys live for years in other people's configuration: this text may never change."""
    assert keys.mint(bytes(32), Role.DEVELOPER) == "fst_" + "0" * 43 + "2n96fC"
    assert keys.mint(bytes(32), Role.APPROVER).startswith("fst_approver_")
    assert keys.mint(bytes(32), Role.AUDITOR).startswith("fst_auditor_")
    assert keys.mint(b"\xff" * 32, Role.ADMIN) == "fst_admin_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp12YuPKs"


def test_the_mac_is_plain_hmac_sha_256_of_the_text():
    text = keys.mint(bytes(range(32)), Role.DEVELOPER)
    assert keys.mac(b"pepper", text) == hmac.new(b"pepper", text.encode(), hashlib.sha256).hexdigest()
    assert keys.mac(b"another", text) != keys.mac(b"pepper", text)


def test_the_hint_is_the_prefix_and_six_characters():
    developer, admin = keys.mint(b"\x81" * 32, Role.DEVELOPER), keys.mint(b"\x81" * 32, Role.ADMIN)
    assert keys.hint(developer) == developer[:10]
    assert keys.hint(admin) == admin[:16]
    auditor = keys.mint(b"\x81" * 32, Role.AUDITOR)
    assert keys.hint(auditor) == auditor[:18]
    with pytest.raises(ValueError, match="none"):
        keys.hint("fst_admin_nonsense")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_is_made_from_32_bytes_and_no_others(size):
    with pytest.raises(ValueError, match="32 random bytes"):
        keys.mint(bytes(size), Role.DEVELOPER)


@given(st.binary(max_size=100), st.lists(st.text(), max_size=4))
def test_macs_under_one_pepper_are_hmacs(pepper, texts):
    macs = keys.Macs(pepper)
    for text in [*texts, *texts]:
        assert macs.digest(text) == keys.mac_digest(pepper, text)
