"""Logs that Go's own code for transparency logs made, in ours: checkpoints, tiles, proofs, cosignatures."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.note import NoteInvalid, VerifierKey, parse_key, parse_note
from fastness.ledger.signing import has_ml_dsa, verify_note
from fastness.ledger.tiles import Tile, entries_of, tiles_of
from fastness.ledger.tlog_proof import cosigned, parse_proof, verify_proof
from fastness.ledger.tree import ProofInvalid, inclusion_proof, leaf_hash, verify_consistency
from fastness.ledger.verify_alone import Refuted, check_checkpoint, read_trust, root_of
from go_program import Refused, ask, require_program
from interop_logs import nodes_of

NAME = "log.example/theirs"
SIZES = (1, 2, 255, 256, 257, 1_000, 66_000)
INDEXES = (0, 1, 255, 256, 65_535, 65_536, 65_999)
needs_ml_dsa = pytest.mark.skipif(not has_ml_dsa(), reason="this build of cryptography has no ML-DSA-44")


class Theirs:
    """A log of 66,000 entries, made by Go: what it said of it, and the files of its tiles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made: dict[str, Any] = ask("make", name=NAME, directory=str(folder), sizes=SIZES, indexes=INDEXES)
        self.vkeys: list[str] = made["Keys"]
        self.proofs: list[str] = made["Proofs"]
        self.notes: list[str] = made["Checkpoints"]
        self.growth = [[b64decode(one) for one in growth or ()] for growth in made["Growth"]]

    def keys(self) -> list[VerifierKey]:
        return [parse_key(one) for one in self.vkeys if has_ml_dsa() or len(one) < 1_000]

    def heads(self) -> list[Checkpoint]:
        return [parse_checkpoint(parse_note(one.encode()).text) for one in self.notes]

    def leaves(self) -> list[bytes]:
        tiles = [(self.folder / str(tile)).read_bytes() for tile in tiles_of(SIZES[-1]) if tile.level == 0]
        whole = b"".join(tiles)
        return [whole[at : at + 32] for at in range(0, len(whole), 32)]

    def trust(self) -> str:
        log, witness, *_ = self.vkeys
        return f"log {log}\nwitness go {witness}\nquorum go\n"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    require_program()
    return Theirs(tmp_path_factory.mktemp("theirs"))


def test_we_verify_their_checkpoints_and_the_cosignatures_of_both_kinds(theirs: Theirs) -> None:
    trust = read_trust(theirs.trust())
    for text, size in zip(theirs.notes, SIZES, strict=True):
        note = parse_note(text.encode())
        signed = verify_note(note, theirs.keys())
        assert [one.key for one in signed] == theirs.keys()
        assert [one.time_s is None for one in signed] == [True] + [False] * (len(signed) - 1)
        head = check_checkpoint(text, trust, ())
        assert (head.log, head.size, head.verdict, head.witnesses) == (NAME, size, "proved", ("go",))


@pytest.mark.parametrize("line", [0, 1, pytest.param(2, marks=needs_ml_dsa)])
def test_a_signature_of_theirs_that_was_changed_is_refused_by_both(theirs: Theirs, line: int) -> None:
    lines = theirs.notes[-1].splitlines(keepends=True)
    at = 4 + line
    lines[at] = lines[at][:-20] + ("A" if lines[at][-20] != "A" else "B") + lines[at][-19:]
    changed = "".join(lines)
    with pytest.raises(Refused, match="invalid signature"):
        ask("open", note=changed, keys=theirs.vkeys)
    with pytest.raises(NoteInvalid, match="not valid"):
        verify_note(parse_note(changed.encode()), theirs.keys())
    if line < 2:
        with pytest.raises(Refuted, match="not valid"):
            check_checkpoint(changed, read_trust(theirs.trust()), ())


def test_we_read_their_tiles_and_make_the_roots_that_they_signed(theirs: Theirs) -> None:
    bundles = [Tile(None, tile.index, tile.width) for tile in tiles_of(SIZES[-1]) if tile.level == 0]
    entries = [entry for tile in bundles for entry in entries_of((theirs.folder / str(tile)).read_bytes())]
    assert entries == [b"entry %d" % number for number in range(SIZES[-1])]
    assert [leaf_hash(entry) for entry in entries] == theirs.leaves()
    files = {str(path.relative_to(theirs.folder)) for path in theirs.folder.rglob("*") if path.is_file()}
    assert files == {*map(str, [*tiles_of(SIZES[-1]), *bundles]), "checkpoint"}


def test_we_verify_their_proofs_and_make_the_same(theirs: Theirs) -> None:
    leaves, (*_, last) = theirs.leaves(), theirs.heads()
    log, *witnesses = theirs.keys()
    nodes = nodes_of(leaves)
    for index, text in zip(INDEXES, theirs.proofs, strict=True):
        proof = parse_proof(text.encode())
        proved = verify_proof(proof, leaves[index], [log], witnesses)
        assert (str(proof), proved.checkpoint, len(cosigned(proved))) == (text, last, len(witnesses))
        assert list(proof.hashes) == inclusion_proof(index, last.size, nodes)
        assert root_of(leaves[index], index, last.size, list(proof.hashes)) == last.root
        with pytest.raises(ProofInvalid):
            verify_proof(proof, leaves[index - 1], [log], witnesses)
    for old, growth in zip(theirs.heads(), theirs.growth, strict=True):
        verify_consistency(old.size, old.root, last.size, last.root, growth)
        if growth:
            with pytest.raises(ProofInvalid):
                verify_consistency(old.size, last.root, last.size, last.root, growth)
