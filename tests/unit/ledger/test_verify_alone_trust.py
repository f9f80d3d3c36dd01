"""Whom a reader believes: keys, witnesses, and groups of them, and what is said of a file that does not tell."""

from __future__ import annotations

import pytest

from fastness.ledger import verify_alone as alone
from fastness.ledger.note import SignatureType
from fastness.ledger.signing import signing_key
from fastness.ledger.verify_alone import Refuted, Unreadable

LOG = signing_key("town.example/log", SignatureType.ED25519, bytes([1]) * 32).verifier
W1, W2, W3 = (
    signing_key(f"{name}.example/w", SignatureType.COSIGNATURE, bytes([at]) * 32).verifier
    for at, name in enumerate(("one", "two", "three"), 2)
)


@pytest.mark.parametrize(
    ("trust", "why"),
    [
        ("log nonsense\nquorum none", "line 1 of the keys that you trust: '' is not base64, or of another length"),
        (f"# a\n\nlog {LOG}x\n", f"line 3 of the keys that you trust: {(str(LOG).split('+')[2] + 'x')[:40]!r} is not"),
        ("quorum", "line 1 of the keys that you trust: "),
        (f"log {LOG}", "the keys that you trust need one line: quorum, and a witness, a group, or none"),
        ("quorum none\nquorum none", "the keys that you trust need one line: quorum, and a witness, a group, or none"),
        ("quorum w1", "the keys that you trust need one line: quorum, and a witness, a group, or none"),
        (f"witness w1 {W1}\nwitness w1 {W2}", "line 2 of the keys that you trust: the name w1 is taken, or a word is"),
        (f"witness none {W1}", "line 1 of the keys that you trust: the name none is taken, or a word is missing"),
        ("witness w1", "line 1 of the keys that you trust: the name w1 is taken, or a word is missing"),
        (f"witness w1 {W1}\ngroup w1 1 w1", "line 2 of the keys that you trust: the name w1 is taken, or a word is"),
        (f"witness w1 {W1}\ngroup g 1 w1\ngroup g 1 w1", "line 3 of the keys that you trust: the name g is taken"),
        (f"witness w1 {W1}\nwitness w2 {W1}", "line 2 of the keys that you trust: w2 is the same witness as another"),
    ],
)
def test_what_is_wrong_with_the_keys_is_said_with_its_line(tmp_path, capsys, trust, why) -> None:
    (tmp_path / "trust.txt").write_text(trust)
    code = alone.main(["none.json", "--trust", str(tmp_path / "trust.txt")])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith(f"cannot be read: {why}") and err.endswith("\n")
    if "\n" not in trust and why.endswith("missing"):
        assert err == f"cannot be read: {why}\n"


@pytest.mark.parametrize(
    "group",
    [
        "group g 0 w1", "group g 2 w1", "group g 3 w1 w2", "group g 1 w4", "group g 1 w1 w1", "group g 2 w1 w1 w2",
        "group g any", "group g 1 g", "group g 1 none", "clique g 1 w1", "group g 1 w3",
    ],
)  # fmt: skip
def test_a_group_asks_for_what_its_members_can_give(group) -> None:
    before = f"witness w1 {W1}\nwitness w2 {W2}\nwitness w3 {W3}\ngroup taken 1 w3\n{group}\nquorum none\n"
    asked = "a group has members named before it, each in one group only, and asks for at most all"
    with pytest.raises(Unreadable) as told:
        alone.read_trust(before)
    assert str(told.value) == f"line 5 of the keys that you trust: {asked}"


def test_a_group_asks_for_a_number() -> None:
    with pytest.raises(Unreadable, match="line 2 of the keys that you trust: '01' is not a number"):
        alone.read_trust(f"witness w1 {W1}\ngroup g 01 w1\nquorum g")


def test_groups_are_met_by_as_many_as_they_ask_for() -> None:
    witnesses = f"witness w1 {W1}\nwitness w2 {W2} # of the audit\n#\n\nwitness w3 {W3}\n"
    trust = alone.read_trust(witnesses + "group two all w1 w2\ngroup g any two w3\nquorum g")
    assert trust.groups == {"two": (2, ("w1", "w2")), "g": (1, ("two", "w3"))}
    assert (list(trust.witnesses), trust.quorum, trust.logs) == (["w1", "w2", "w3"], "g", [])
    met = [trust.met(cosigned, "g") for cosigned in ([], ["w1"], ["w2", "w1"], ["w3"], ["w1", "w3"], ["g"], ["two"])]
    assert met == [False, False, True, True, True, False, False]
    assert [trust.met(["w1"], name) for name in ("w1", "w2", "none", "nobody")] == [True, False, True, False]
    assert alone.read_trust(f"{witnesses}group most 2 w1 w2 w3\nquorum most").groups == {
        "most": (2, ("w1", "w2", "w3"))
    }


def test_a_key_that_cannot_be_read_is_named() -> None:
    name, key_id, encoded = str(LOG).split("+", 2)
    for text, said in ((f"x{name}+{key_id}+{encoded}", f"x{name}"), (f"{'n' * 70}+{key_id}+{encoded}", "n" * 60)):
        with pytest.raises(Refuted) as told:
            alone.read_key(text)
        assert str(told.value) == f"the key {said} is damaged, or of a kind that is not known here"
