"""The parts of the file that is carried away, at their bounds, and against the ledger's own code."""

from __future__ import annotations

import base64
import json
import random
from contextlib import suppress

import pytest

from fastness.ledger import verify_alone as alone
from fastness.ledger.checkpoint import Checkpoint
from fastness.ledger.note import SignatureType
from fastness.ledger.range_proof import range_proof
from fastness.ledger.signing import has_ml_dsa, sign_note, signing_key
from fastness.ledger.tlog_proof import TlogProof
from fastness.ledger.tree import Frontier, inclusion_proof, leaf_hash, node_hash
from fastness.ledger.verify_alone import Refuted, Trust, Unreadable
from fastness.ledger.witness.policy import read_policy

ORIGIN = "town.example/gateway-0"
LOG = signing_key(ORIGIN, SignatureType.ED25519, bytes([1]) * 32)
WITNESS = signing_key("audit.example/w", SignatureType.COSIGNATURE, bytes([2]) * 32)
ROOT = bytes(range(32))
TEXT = str(Checkpoint(ORIGIN, 7, ROOT))
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33)


def key(signer) -> alone.Key:
    return alone.read_key(str(signer.verifier))


def trusting(*signers, quorum: str = "none", **witnesses) -> Trust:
    return Trust([key(one) for one in signers], {name: key(one) for name, one in witnesses.items()}, {}, quorum)


class Tree:
    def __init__(self, size: int) -> None:
        self.leaves = [leaf_hash(b"%d" % at) for at in range(size)]
        grown = Frontier()
        for leaf in self.leaves:
            grown.append(leaf)
        self.root = grown.root()

    def node(self, height: int, place: int) -> bytes:
        if not height:
            return self.leaves[place]
        return node_hash(self.node(height - 1, 2 * place), self.node(height - 1, 2 * place + 1))


@pytest.mark.parametrize("size", SIZES)
def test_every_inclusion_proof_of_ours_leads_to_the_root_and_no_other_does(size) -> None:
    tree = Tree(size)
    for index in range(size):
        path = inclusion_proof(index, size, tree.node)
        assert alone.root_of(tree.leaves[index], index, size, path) == tree.root
        for wrong in [path[:-1], path[1:]] if path else []:
            assert alone.root_of(tree.leaves[index], index, size, wrong) != tree.root
        with pytest.raises(Refuted, match="too long"):
            alone.root_of(tree.leaves[index], index, size, [*path, ROOT])
        for other in {0, size - 1} - {index}:
            with suppress(Refuted):
                assert alone.root_of(tree.leaves[index], other, size, path) != tree.root
    for beyond in (size, size + 1):
        with pytest.raises(Refuted):
            alone.root_of(tree.leaves[-1], beyond, size, inclusion_proof(size - 1, size, tree.node))
    with pytest.raises(Refuted):
        alone.root_of(ROOT, 0, 0, [])


@pytest.mark.parametrize("size", SIZES)
def test_every_range_proof_of_ours_leads_to_the_root(size) -> None:
    tree = Tree(size)
    for start in range(size + 1):
        for end in range(start, size + 1):
            around = iter(range_proof(start, end, size, tree.node))
            assert alone.root_of_range(tree.leaves[start:end], start, around, 0, size) == tree.root
            assert next(around, None) is None
    with pytest.raises(StopIteration):
        alone.root_of_range(tree.leaves[:1], 0, iter([]), 0, size + 1)


def test_a_comment_begins_with_a_line_so_that_names_may_have_its_sign_in_them() -> None:
    numbered = signing_key("town.example/#1", SignatureType.ED25519, bytes([3]) * 32)
    text = f"# whom we believe\n \t# and\nlog {numbered.verifier}\nwitness #w {WITNESS.verifier}\nquorum #w\n"
    trust, policy = alone.read_trust(text), read_policy(text.encode())
    assert (trust.logs, trust.quorum) == ([key(numbered)], "#w")
    assert (policy.logs, policy.quorum) == ([numbered.verifier], "#w")


@pytest.mark.parametrize("signer", [LOG, WITNESS])
def test_a_key_is_read_and_a_damaged_one_is_not(signer) -> None:
    text = str(signer.verifier)
    read = alone.read_key(text)
    assert (read.name, read.kind, read.public, read.id) == (
        signer.verifier.name, signer.verifier.type, signer.verifier.public, signer.verifier.id
    )  # fmt: skip
    name, key_id, encoded = text.split("+", 2)
    other_kind = base64.b64encode(b"\x05" + signer.verifier.public).decode()
    shorter = base64.b64encode(bytes([signer.verifier.type]) + signer.verifier.public[:-1]).decode()
    for bad in (
        f"{name}x+{key_id}+{encoded}", f"+{key_id}+{encoded}", f"{name}+{key_id[:-1]}0+{encoded}", f"{name}+{key_id}+",
        f"{name}+{key_id}", name, "", f"{name}+{key_id}+{other_kind}", f"{name}+{key_id}+{shorter}",
        f"{name}+{key_id.upper()}x+{encoded}",
    ):  # fmt: skip
        with pytest.raises(Refuted):
            alone.read_key(bad)
    with pytest.raises(Refuted, match="damaged, or of a kind"):
        alone.read_key(f"{name}x+{key_id}+{encoded}")


@pytest.mark.parametrize(
    ("name", "said"),
    [("", b"\x01" + bytes(32)), ("n", b"\x05" + bytes(32)), ("n", b"\x01" + bytes(31)), ("n", b"\x06")],
)
def test_a_key_with_its_own_id_is_still_of_a_known_kind_and_length_and_has_a_name(name, said) -> None:
    key_id = alone._sha(name.encode(), b"\n", said)[:4].hex()
    with pytest.raises(Refuted, match="damaged, or of a kind"):
        alone.read_key(f"{name}+{key_id}+{base64.b64encode(said).decode()}")


def test_a_checkpoint_has_at_most_64_kib() -> None:
    empty = len(str(sign_note(TEXT + "x\n", [LOG]))) - 1
    for length, read in ((alone.NOTE_BYTES_MAX, True), (alone.NOTE_BYTES_MAX + 1, False)):
        note = str(sign_note(TEXT + "x" * (length - empty) + "\n", [LOG]))
        assert len(note) == length
        if read:
            assert alone.check_checkpoint(note, trusting(LOG), []).size == 7
        else:
            with pytest.raises(Refuted, match=r"^a checkpoint is not a signed note$"):
                alone.check_checkpoint(note, trusting(LOG), [])


def test_a_receipt_names_the_last_part_of_its_log() -> None:
    signer = signing_key("town.example/site/gateway-0", SignatureType.ED25519, bytes([1]) * 32)
    line = b'{"fields":{"request_id":"req_ab"},"time_ms":5,"type":"inference.failed"}'
    note = sign_note(str(Checkpoint("town.example/site/gateway-0", 1, leaf_hash(line))), [signer])
    receipt = {
        "v": 1, "id": "gateway-0.ab", "entry": line.decode(), "proof": str(TlogProof(0, (), note)),
        "keys": [str(signer.verifier)], "salts": {"request": "", "answer": ""},
    }  # fmt: skip
    claims = alone.verify_receipt(json.dumps(receipt).encode(), trusting(signer), {})
    assert [one.verdict for one in claims] == ["proved", "proved", "unknown"]


def test_a_checkpoint_counts_as_whose_it_is() -> None:
    note = str(sign_note(TEXT, [LOG, WITNESS], 1_700_000_000))
    head = alone.check_checkpoint(note, trusting(LOG, audit=WITNESS), [])
    assert head == alone.Head(ORIGIN, 7, ROOT, True, "proved", ("audit",))
    assert alone.check_checkpoint(note, trusting(LOG, quorum="audit", audit=WITNESS), []).verdict == "proved"
    brought = alone.check_checkpoint(note, trusting(audit=WITNESS), [key(LOG)])
    assert (brought.own, brought.verdict) == (False, "asserted")
    alone_signed = str(sign_note(TEXT, [LOG]))
    few = alone.check_checkpoint(alone_signed, trusting(LOG, quorum="audit", audit=WITNESS), [])
    assert (few.own, few.verdict, few.witnesses) == (True, "asserted", ())
    with_extension = str(sign_note(TEXT + "more to say\n", [LOG]))
    assert alone.check_checkpoint(with_extension, trusting(LOG), []).size == 7


def test_a_checkpoint_that_is_none_or_by_others_is_refuted() -> None:
    note = str(sign_note(TEXT, [LOG]))
    stranger = signing_key(ORIGIN, SignatureType.ED25519, bytes([9]) * 32)
    named_otherwise = signing_key("town.example/other", SignatureType.ED25519, bytes([1]) * 32)
    other = str(sign_note(TEXT, [stranger]))
    bad = {
        "not a signed note": [note[:-1], note.replace("\n\n", "\n"), "", f"{ORIGIN}\n7\n\n— a b\n", "\n" + note],
        "no signature": [note + "nonsense\n", note + "- a b\n", note + "\u2014 a\n", note.replace("\u2014", "-")],
        "is not a number": [
            note.replace("\n7\n", "\n07\n"),
            note.replace("\n7\n", "\nx\n"),
            note.replace("\n7\n", "\n-7\n"),
        ],
        "base64": [note.replace(base64.b64encode(ROOT).decode(), base64.b64encode(ROOT[:-1]).decode())],
        "is not valid": [note.replace("\n7\n", "\n8\n"), note.replace(ORIGIN + "\n7", ORIGIN + "\n71")],
        "no key that is known": [other, str(sign_note(TEXT, [named_otherwise])), str(sign_note(TEXT, [WITNESS]))],
    }
    for why, notes in bad.items():
        for one in notes:
            with pytest.raises(Refuted, match=why):
                alone.check_checkpoint(one, trusting(LOG, audit=WITNESS), [])
    with pytest.raises(Refuted, match="signed note"):
        alone.check_checkpoint(note + "\u2014 a bbbb\n" * 8_000, trusting(LOG), [])
    with pytest.raises(Refuted, match="no key that is known"):  # a key of one's own beats what came along
        alone.check_checkpoint(other, trusting(LOG), [key(stranger)])


def test_a_log_is_no_witness_of_itself() -> None:
    own = signing_key(ORIGIN, SignatureType.COSIGNATURE, bytes([1]) * 32)
    note = str(sign_note(TEXT, [LOG, own], 5))
    assert alone.check_checkpoint(note, trusting(LOG, own=own), []).witnesses == ()


@pytest.mark.skipif(not has_ml_dsa(), reason="this build of cryptography has no ML-DSA-44")
def test_signatures_by_ml_dsa_44_are_judged_as_well() -> None:
    log = signing_key(ORIGIN, SignatureType.ML_DSA_44, bytes([3]) * 32)
    witness = signing_key("w.example/m", SignatureType.ML_DSA_44, bytes([4]) * 32)
    note = str(sign_note(TEXT, [log, witness], 1_700_000_000))
    assert alone.check_checkpoint(note, trusting(log, m=witness), []).witnesses == ("m",)
    for wrong in (note.replace("\n7\n", "\n8\n"), note.replace(base64.b64encode(ROOT).decode()[:4], "AAAA")):
        with pytest.raises(Refuted):
            alone.check_checkpoint(wrong, trusting(log, m=witness), [])


def proved(size: int = 9, index: int = 4, line: bytes = b'{"fields":{"a":1},"time_ms":5,"type":"t","v":1}'):
    tree = Tree(size)
    tree.leaves[index] = leaf_hash(line)
    grown = Frontier()
    for leaf in tree.leaves:
        grown.append(leaf)
    note = sign_note(str(Checkpoint(ORIGIN, size, grown.root())), [LOG])
    return {
        "entry": line.decode(),
        "proof": str(TlogProof(index, tuple(inclusion_proof(index, size, tree.node)), note)),
    }


def test_an_entry_is_read_with_its_place() -> None:
    one = proved()
    found = alone.check_entry(one | {"manifest": "m"}, trusting(LOG), [])
    assert (found.kind, found.time_ms, found.fields, found.at, found.manifest) == ("t", 5, {"a": 1}, 4, "m")
    assert found.head.size == 9 and alone.check_entry(one, trusting(LOG), []).manifest == ""
    assert found.place == f"1970-01-01 00:00:00 UTC, entry 4 of {ORIGIN}"
    assert alone.check_entry(proved(1, 0), trusting(LOG), []).at == 0


def test_what_is_no_proof_is_refuted() -> None:
    one = proved()
    proof = one["proof"]
    for why, bad in (
        ("is no c2sp", proof.replace("@v1", "@v2")),
        ("is no c2sp", proof.replace("index 4", "place 4")),
        ("is no c2sp", proof.replace("index 4\n", "index 4\n" + "A" * 43 + "=\n" * 1 + ("A" * 43 + "=\n") * 64)),
        ("not a number", proof.replace("index 4", "index 04")),
        ("another root", proof.replace("index 4", "index 5")),
        ("base64", proof.replace("index 4\n", "index 4\nnonsense\n")),
    ):
        with pytest.raises(Refuted, match=why):
            alone.check_entry(one | {"proof": bad}, trusting(LOG), [])
    with pytest.raises(Refuted, match="another root"):
        alone.check_entry(one | {"entry": one["entry"].replace("1", "2")}, trusting(LOG), [])


def test_a_proof_has_at_most_63_hashes_which_are_enough_for_any_log() -> None:
    line = b'{"fields":{},"time_ms":5,"type":"t"}'
    for length, size in ((63, 2**63), (64, 2**63)):
        path = [bytes([at]) * 32 for at in range(length)]
        root = alone.root_of(leaf_hash(line), 0, size, path[:63])
        note = sign_note(f"{ORIGIN}\n{size}\n{base64.b64encode(root).decode()}\n", [LOG])
        hashes = [base64.b64encode(one).decode() for one in path]
        proof = "\n".join(["c2sp.org/tlog-proof@v1", "index 0", *hashes, "", str(note)])
        one = {"entry": line.decode(), "proof": proof}
        if length == 63:
            assert alone.check_entry(one, trusting(LOG), []).at == 0
        else:
            with pytest.raises(Refuted, match=r"is no c2sp\.org/tlog-proof"):
                alone.check_entry(one, trusting(LOG), [])


@pytest.mark.parametrize(
    "line", [b"[]", b'{"fields":[],"time_ms":1,"type":"t"}', b'{"fields":{},"time_ms":1,"type":2}', b"x"]
)
def test_what_is_no_entry_of_ours_cannot_be_read(line) -> None:
    with pytest.raises(Unreadable):
        alone.check_entry(proved(line=line), trusting(LOG), [])


def test_numbers_and_base64_have_one_form() -> None:
    chance = random.Random(1)
    for _ in range(300):
        content = chance.randbytes(chance.randrange(1, 40))
        text = base64.b64encode(content).decode()
        assert alone._base64(text) == content
        for bad in (text + "=", text + "\n", " " + text, text[:-1], text.replace("=", "")):
            if bad != text:
                with pytest.raises(Refuted):
                    alone._base64(bad)
        with pytest.raises(Refuted):
            alone._base64(text, len(content) + 1)
    assert [alone._number(text) for text in ("0", "7", "10", "9" * 19)] == [0, 7, 10, int("9" * 19)]
    for bad in ("", "00", "01", "-1", "+1", "1.0", "1e3", " 1", "1 ", "\u0661", "9" * 20):
        with pytest.raises(Refuted):
            alone._number(bad)


def test_canonical_json_is_that_of_the_page() -> None:
    assert alone.canonical({"b": [1, None], "a": "\u00e9\n"}) == b'{"a":"\xc3\xa9\\n","b":[1,null]}'
    with pytest.raises(ValueError, match="JSON"):
        alone.canonical(float("nan"))
    assert json.loads(alone.canonical({"x": "\ud800"}).decode("utf-8", "surrogatepass")) == {"x": "\ud800"}
