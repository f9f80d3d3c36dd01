"""Our logs in the hands of Go's own code for transparency logs, of transparency-dev's and of sigsum's."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastness.ledger.note import Note, SignatureType
from fastness.ledger.signing import SigningKey, has_ml_dsa, signing_key
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.tree import consistency_proof, inclusion_proof, leaf_hash
from go_program import Refused, ask, ask_all, encoded, require_program
from interop_logs import KEYS, LARGE, LIVES, ORIGIN, crashed_log, large_log, lines_of, nodes_of, root_of

SIZES = (1, 2, 3, 7, 8, 13, 64, 100, 257)
SEED = bytes(range(32))[::-1]
needs_ml_dsa = pytest.mark.skipif(not has_ml_dsa(), reason="this build of cryptography has no ML-DSA-44")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Note]]:
    require_program()
    directory = tmp_path_factory.mktemp("crashed") / "gateway-0"
    return directory, crashed_log(directory)


def flipped(text: str, at: int) -> str:
    """The text with another character of base64 in one place."""
    return text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1 :]


def test_go_opens_our_checkpoints_and_passes_over_a_signature_that_it_does_not_know(
    crashed: tuple[Path, list[Note]],
) -> None:
    _, kept = crashed
    for note, count in zip(kept, (200, 258, 702, 708), strict=True):
        found = ask("open", note=str(note), keys=KEYS[:1])
        assert (found["Origin"], found["Size"], found["Signed"]) == (ORIGIN, count, [ORIGIN])
        assert found["Others"] == len(KEYS) - 1


@needs_ml_dsa
def test_both_our_signatures_are_valid_to_gos_own_cryptography(crashed: tuple[Path, list[Note]]) -> None:
    note = str(crashed[1][-1])
    assert ask("open", note=note, keys=KEYS)["Signed"] == [ORIGIN, ORIGIN]
    for line in (-1, -2):
        lines = note.splitlines(keepends=True)
        lines[line] = flipped(lines[line], -20)
        with pytest.raises(Refused, match="invalid signature"):
            ask("open", note="".join(lines), keys=KEYS)


def test_go_refuses_a_checkpoint_of_ours_that_was_changed_or_that_another_key_signed(
    crashed: tuple[Path, list[Note]],
) -> None:
    note = str(crashed[1][-1])
    other = str(signing_key(ORIGIN, SignatureType.ED25519, SEED).verifier)
    for changed, key in ((note.replace("\n708\n", "\n709\n"), KEYS[0]), (note, other)):
        with pytest.raises(Refused, match="signature"):
            ask("open", note=changed, keys=[key])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "size", "step", "indexes"),
    [
        (crashed_log, sum(LIVES) + 3, 1, (0, 1, 200, 255, 256, 511, 512, 707)),
        (large_log, LARGE, 97, (0, 255, 256, 65_535, 65_536, 65_791, 65_792, LARGE - 1)),
    ],
    ids=["of four lives, three of them repairs", "of three levels"],
)
def test_go_reads_our_tiles_and_proves_what_we_prove(
    tmp_path: Path, make: Callable[[Path], list[Note]], size: int, step: int, indexes: tuple[int, ...]
) -> None:
    require_program()
    directory, folder = tmp_path / "gateway-0", tmp_path / "published"
    kept = make(directory)
    log = StoredLog(directory)
    log.export(folder)

    read = ask("read", directory=str(folder), keys=KEYS[:1], kept=[*map(str, kept)], step=step, indexes=indexes)

    assert (read["Head"]["Size"], read["Entries"], read["Proved"]) == (size, size, -(-size // step))
    assert read["Inclusion"] == [encoded(log.prove(index).hashes) for index in indexes]
    sizes = [int(note.text.split("\n")[1]) for note in kept]
    assert [growth or [] for growth in read["Growth"]] == [encoded(log.prove_growth(old, size)) for old in sizes]
    assert len(list(directory.glob("*.jsonl"))) > 1


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/196", "tile/1/000.p/2", "tile/entries/001"])
def test_a_byte_of_a_tile_that_was_changed_is_found_by_go(
    crashed: tuple[Path, list[Note]], tmp_path: Path, path: str
) -> None:
    StoredLog(crashed[0]).export(tmp_path)
    content = bytearray((tmp_path / path).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / path).write_bytes(content)
    with pytest.raises(Refused, match=r"inconsistent tile|is not what the tree says"):
        ask("read", directory=str(tmp_path), keys=KEYS[:1], step=1)


def proof_questions(size: int) -> list[dict[str, Any]]:
    """Each proof about a tree of that size that we make, as it is put to the others."""
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    nodes, whole = nodes_of(leaves), b64encode(root_of(leaves)).decode()
    step = max(1, size // 13)
    included = [
        {"do": "inclusion", "index": index, "leaf": encoded([leaves[index]])[0], "hashes": path}
        for index in range(0, size, step)
        for path in [encoded(inclusion_proof(index, size, nodes))]
    ]
    grown = [
        {"do": "consistency", "old": old, "oldroot": encoded([root_of(leaves[:old])])[0], "hashes": path}
        for old in range(1, size + 1, step)
        for path in [encoded(consistency_proof(old, size, nodes))]
    ]
    return [{**one, "size": size, "root": whole} for one in [*included, *grown]]


def test_three_libraries_verify_each_proof_of_ours_and_none_that_was_changed() -> None:
    require_program()
    chance = random.Random(7)
    questions = [one for size in SIZES for one in proof_questions(size)]
    assert ask_all(questions) == [None] * len(questions)
    changed = []
    for one in questions:
        if one["hashes"]:
            at = chance.randrange(len(one["hashes"]))
            other = [*one["hashes"]]
            other[at] = flipped(other[at], chance.randrange(42))
            changed += [{**one, "hashes": other}, {**one, "hashes": one["hashes"][:-1]}]
        changed += [{**one, "hashes": [*one["hashes"], one["root"]]}, {**one, "root": flipped(one["root"], 5)}]
    found = ask_all(changed)
    assert len(found) > 500
    assert [one for one, said in zip(changed, found, strict=True) if said is None] == []
    assert [said for said in found if "disagree" in said["error"]] == []


def witness_keys() -> list[SigningKey]:
    kinds = [SignatureType.COSIGNATURE, *([SignatureType.ML_DSA_44] if has_ml_dsa() else [])]
    return [signing_key(f"witness.example/w{kind}", kind, SEED) for kind in kinds]


def test_go_verifies_our_proof_texts_and_the_cosignatures_below_them(crashed: tuple[Path, list[Note]]) -> None:
    directory, _ = crashed
    lines, log = lines_of(directory), StoredLog(directory)
    witnesses = witness_keys()
    for index in (0, 199, 200, 256, 707):
        proof = log.prove(index, b"extra" if index else None)
        signed = proof.checkpoint.signed_also(one.sign(proof.checkpoint.text, 1_795_000_000) for one in witnesses)
        text = str(proof).replace(str(proof.checkpoint), str(signed))
        keys = [KEYS[0], *(str(one.verifier) for one in witnesses)]

        found = ask("proof", proof=text, entry=lines[index].decode(), keys=keys)

        assert (found["Size"], found["Signed"]) == (708, [ORIGIN, *(one.verifier.name for one in witnesses)])
        for changed, entry in ((text, lines[index - 1]), (text.replace(f"index {index}", "index 3"), lines[index])):
            with pytest.raises(Refused, match=r"(?i)invalid record proof|inconsistent|malformed|mismatch|invalid"):
                ask("proof", proof=changed, entry=entry.decode(), keys=keys)
