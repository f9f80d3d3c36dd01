"""Proofs as text, and the layout of tiles."""

import pytest

from fastness.ledger.checkpoint import Checkpoint
from fastness.ledger.note import SignatureType
from fastness.ledger.signing import has_ml_dsa, sign_note, signing_key
from fastness.ledger.tiles import Tile, bundle, entries_of, parse_tile, tiles_of, width_of
from fastness.ledger.tlog_proof import PROOF_BYTES_MAX, TlogProof, cosigned, parse_proof, verify_proof
from fastness.ledger.tree import PROOF_HASHES_MAX, SIZE_MAX, ProofInvalid, leaf_hash, node_hash

ORIGIN = "fastness.example/gateway-0"
LEFT, RIGHT = leaf_hash(b"left"), leaf_hash(b"right")
LOG = signing_key(ORIGIN, SignatureType.ED25519, bytes(32))
WITNESS = signing_key("witness.example/w1", SignatureType.COSIGNATURE, bytes([1]) * 32)
CHECKPOINT = Checkpoint(ORIGIN, 2, node_hash(LEFT, RIGHT))
PROOF = TlogProof(1, (LEFT,), sign_note(str(CHECKPOINT), [LOG, WITNESS], time_s=60))


@pytest.mark.parametrize("extra", [None, b"", b"salts"])
def test_a_proof_is_read_as_it_was_written(extra):
    proof = TlogProof(1, (LEFT,), PROOF.checkpoint, extra)

    assert parse_proof(str(proof).encode()) == proof
    assert str(proof).startswith("c2sp.org/tlog-proof@v1\n")


def test_a_proof_shows_the_entry_the_tree_head_and_who_signed_that():
    proved = verify_proof(PROOF, RIGHT, [LOG.verifier], [WITNESS.verifier])

    assert proved.checkpoint == CHECKPOINT
    assert [(one.key, one.time_s) for one in proved.signed] == [(LOG.verifier, None), (WITNESS.verifier, 60)]
    assert [one.key.name for one in cosigned(proved)] == ["witness.example/w1"]


@pytest.mark.skipif(not has_ml_dsa(), reason="cryptography has no ML-DSA-44 here")
def test_a_logs_own_second_signature_is_no_cosignature():
    own = signing_key(ORIGIN, SignatureType.ML_DSA_44, bytes(32))
    proof = TlogProof(1, (LEFT,), sign_note(str(CHECKPOINT), [LOG, own, WITNESS], time_s=60))

    proved = verify_proof(proof, RIGHT, [LOG.verifier, own.verifier], [WITNESS.verifier])

    assert len(proved.signed) == 3
    assert [one.key for one in cosigned(proved)] == [WITNESS.verifier]


def test_the_longest_proof_is_read():
    proof = TlogProof(0, (LEFT,) * PROOF_HASHES_MAX, PROOF.checkpoint)
    assert len(parse_proof(str(proof).encode()).hashes) == PROOF_HASHES_MAX
    with pytest.raises(ProofInvalid, match="more than 63 hashes"):
        parse_proof(str(TlogProof(0, (LEFT,) * (PROOF_HASHES_MAX + 1), PROOF.checkpoint)).encode())
    short = len(str(TlogProof(0, (), PROOF.checkpoint, b"")))
    extra = (PROOF_BYTES_MAX - len(str(TlogProof(0, (), PROOF.checkpoint, b"")).encode())) // 4 * 3
    padded = str(TlogProof(0, (), PROOF.checkpoint, b"x" * extra)).encode()
    assert short < PROOF_BYTES_MAX - 3 <= len(padded) <= PROOF_BYTES_MAX
    assert parse_proof(padded).extra == b"x" * extra


def test_a_proof_shows_nothing_else():
    stranger = signing_key(ORIGIN, SignatureType.ED25519, bytes([2]) * 32)
    renamed = signing_key("fastness.example/control", SignatureType.ED25519, bytes([3]) * 32)
    by_renamed = TlogProof(1, (LEFT,), sign_note(str(CHECKPOINT), [renamed]))

    for proof, leaf, keys, reason in [
        (PROOF, LEFT, [LOG], "leaf 1 is not in the tree"),
        (TlogProof(0, (LEFT,), PROOF.checkpoint), RIGHT, [LOG], "leaf 0 is not in the tree"),
        (TlogProof(1, (), PROOF.checkpoint), RIGHT, [LOG], "ends too early"),
        (PROOF, RIGHT, [], "no key that is known for the log fastness.example/gateway-0"),
        (PROOF, RIGHT, [stranger], "no key that is known"),
        (PROOF, RIGHT, [WITNESS], "no key that is known"),
        (by_renamed, RIGHT, [renamed], "no key that is known"),
        (TlogProof(1, (LEFT,), sign_note("no checkpoint\n", [LOG])), RIGHT, [LOG], "is no checkpoint"),
    ]:
        with pytest.raises(ProofInvalid, match=reason):
            verify_proof(proof, leaf, [key.verifier for key in keys])
    forged = sign_note(str(Checkpoint(ORIGIN, 2, LEFT)), [LOG]).signatures[0]
    with pytest.raises(ProofInvalid, match="is not valid"):
        verify_proof(TlogProof(1, (LEFT,), type(PROOF.checkpoint)(str(CHECKPOINT), (forged,))), RIGHT, [LOG.verifier])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("tlog-proof@v1", "tlog-proof@v2", "begin with"),
        ("\n\n", "\n", "is not base64"),
        ("index 1\n", "", "no line with an index"),
        ("index 1\n", "index 01\n", "leading zeroes"),
        ("index 1\n", "extra A\nindex 1\n", "base64"),
        ("index 1\n", "index 1\nAAAA\n", "32 bytes"),
        ("index 1\n", "index 1\n" + "A" * 43 + "=\n" * 1 + ("A" * 43 + "=\n") * 63, "63 hashes"),
        ("— ", "- ", "signature line"),
        ("index", "\udcff", "no c2sp"),
        ("index", "x" * PROOF_BYTES_MAX, "longer"),
    ],
)
def test_what_is_no_proof_is_told_why(old, new, reason):
    with pytest.raises(ProofInvalid, match=reason):
        parse_proof(str(PROOF).replace(old, new, 1).encode(errors="surrogateescape"))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),  # the examples of the specification
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(63, 0), "tile/63/000"),
        (Tile(None, SIZE_MAX), "tile/entries/x009/x223/x372/x036/x854/x775/807"),
        (Tile(None, 1_000, 1), "tile/entries/x001/000.p/1"),
    ],
)
def test_tiles_have_the_paths_of_the_specification(tile, path):
    assert str(tile) == path
    assert parse_tile(path) == tile


def test_a_tree_of_70000_leaves_has_the_tiles_of_the_specification():
    tiles = list(tiles_of(70_000))

    assert [(tile.index, tile.width) for tile in tiles if tile.level == 0] == [
        *((n, 256) for n in range(273)),
        (273, 112),
    ]
    assert [(tile.level, tile.index, tile.width) for tile in tiles if tile.level] == [
        (1, 0, 256),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert [(tile.level, tile.width) for tile in tiles_of(256)] == [(0, 256), (1, 1)]
    assert list(tiles_of(0)) == []
    assert [width_of(70_000, 0, index) for index in (272, 273, 274)] == [256, 112, 0]


@pytest.mark.parametrize(
    "path",
    [
        *("tile/0/1", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/0/x000/001", "tile/0/001/002", "tile/0/x001"),
        *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/../000", "tile/entry/000", "/tile/0/000"),
        *("tile/0/000\n", "tile/0/\u0660\u0660\u0660", "checkpoint", "", "tile/0/" + "x999/" * 6 + "999", "x" * 10_000),
    ],
)
def test_no_other_path_is_a_tile(path):
    with pytest.raises(ValueError, match="is not the path of a tile"):
        parse_tile(path)


def test_bundles_hold_entries_of_every_length():
    entries = [b"", b"x", b"y" * 65_535, b""]

    assert bundle(entries)[:3] == b"\0\0\0"
    assert entries_of(bundle(entries)) == entries
    with pytest.raises(ValueError, match="65536 bytes is longer"):
        bundle([b"z" * 65_536])
    for cut in (1, 2, 4, 100):
        with pytest.raises(ValueError, match="in the middle of an entry"):
            entries_of(bundle(entries)[:cut] if cut != 2 else bundle(entries)[2:][:2])
