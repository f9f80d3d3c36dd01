"""Our logs in the hands of other people's code, and theirs in ours: nothing of ours is used on their side."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from proofbundle import checkpoint as their_checkpoint
from proofbundle import merkle as their_tree
from proofbundle import tlogproof as their_proof
from sigstore._internal.merkle import verify_merkle_inclusion

from fastness.ledger.entry import draft
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Notary, Signing
from fastness.ledger.note import SignatureType, parse_key, parse_note
from fastness.ledger.segments import FileOperations, Segments
from fastness.ledger.signing import has_ml_dsa, mldsa, signing_key, verify_note
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.tiles import Tile, tiles_of
from fastness.ledger.tiles import entries_of as bundled
from fastness.ledger.tlog_proof import cosigned, parse_proof, verify_proof
from fastness.ledger.tree import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from go_program import PLACE

COUNT = 700
SEED = bytes(range(32))
ORIGIN = "health.example/gateway-0"
SIZES = (1, 2, 3, 7, 8, 13, 100, 257)
needs_ml_dsa = pytest.mark.skipif(not has_ml_dsa(), reason="this build of cryptography has no ML-DSA-44")


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A signed log of 700 entries, on disk."""
    directory = tmp_path_factory.mktemp("interop") / "gateway-0"
    segments = Segments(directory, "gateway-0", 50_000, lambda: 0, FileOperations())
    segments.append([draft("boot", number, {"pid": number}) for number in range(COUNT)])
    segments.close()
    signing = Signing(LogKey(SEED, SEED), "health.example")
    Notary(directory, "gateway-0", COUNT, signing, FileOperations()).close(COUNT)
    return directory


def entries_of(log: Path) -> list[bytes]:
    return [line for path in sorted(log.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def keys_of(log: Path) -> list[str]:
    return (log / "keys").read_text().splitlines()


def nodes_of(entries: list[bytes]):
    return lambda height, place: their_tree.merkle_tree_hash(entries[place << height : place + 1 << height])


def test_their_tree_is_ours_at_every_size():
    for size in SIZES:
        entries = [str(number).encode() for number in range(size)]
        grown = Frontier()
        for entry in entries:
            grown.append(leaf_hash(entry))
        assert grown.root() == root(size, nodes_of(entries)) == their_tree.merkle_tree_hash(entries)


def test_they_verify_our_proofs_and_we_verify_theirs():
    for size in SIZES:
        entries = [str(number).encode() for number in range(size)]
        whole = their_tree.merkle_tree_hash(entries)
        for index in range(0, size, max(1, size // 9)):
            ours = inclusion_proof(index, size, nodes_of(entries))
            assert ours == their_tree.inclusion_proof(entries, index)
            assert their_tree.verify_inclusion(entries[index], index, size, ours, whole)
            verify_inclusion(index, size, whole, leaf_hash(entries[index]), their_tree.inclusion_proof(entries, index))
        for old in range(1, size + 1, max(1, size // 9)):
            before = their_tree.merkle_tree_hash(entries[:old])
            grown = consistency_proof(old, size, nodes_of(entries))
            assert grown == their_tree.consistency_proof(entries, old)
            assert their_tree.verify_consistency(old, size, grown, before, whole)
            verify_consistency(old, before, size, whole, their_tree.consistency_proof(entries, old))


def test_they_verify_the_proof_and_the_checkpoint_of_a_log_on_disk(log):
    entries, (ed25519, *_) = entries_of(log), keys_of(log)
    for index in (0, 1, 255, 256, 698, 699):
        text = str(StoredLog(log).prove(index))

        found = their_proof.verify_tlog_proof(text, entries[index], ed25519, expected_origin=ORIGIN)

        assert found["ok"], found
        assert (found["tree_size"], found["index"]) == (COUNT, index)
        other = entries[index - 1 if index else 5]
        assert not their_proof.verify_tlog_proof(text, other, ed25519)["inclusion_ok"]


def test_sigstore_verifies_that_an_entry_of_ours_is_in_our_log(log):
    entries, (_, checkpoint) = entries_of(log), StoredLog(log).checkpoint()
    for index in (0, 255, 256, 699):
        proof = StoredLog(log).prove(index)
        inner = SimpleNamespace(
            inclusion_proof=SimpleNamespace(
                log_index=index, tree_size=COUNT, hashes=list(proof.hashes), root_hash=checkpoint.root
            ),
            canonicalized_body=entries[index],
        )
        verify_merkle_inclusion(SimpleNamespace(_inner=inner))
        inner.canonicalized_body = entries[index] + b" "
        with pytest.raises(Exception, match="invalid root hash"):
            verify_merkle_inclusion(SimpleNamespace(_inner=inner))


def test_we_verify_their_proof_with_their_witnesses():
    private, witness = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    entries = [str(number).encode() for number in range(13)]
    signed = their_checkpoint.sign_checkpoint(
        "log.example/theirs", 13, their_tree.merkle_tree_hash(entries), private, "log.example/theirs"
    )
    signed = their_checkpoint.cosign_checkpoint(signed, witness, "witness.example/w1", 1_795_000_000)
    text = their_proof.format_tlog_proof(5, their_tree.inclusion_proof(entries, 5), signed, b"extra")
    log_key = parse_key(their_checkpoint.vkey("log.example/theirs", private.public_key().public_bytes_raw()))
    witness_key = parse_key(their_checkpoint.cosign_vkey("witness.example/w1", witness.public_key().public_bytes_raw()))

    proof = parse_proof(text.encode())
    proved = verify_proof(proof, leaf_hash(entries[5]), [log_key], [witness_key])

    assert str(proof) == text
    assert [(one.key, one.time_s) for one in cosigned(proved)] == [(witness_key, 1_795_000_000)]


@pytest.mark.parametrize("kind", [SignatureType.COSIGNATURE, pytest.param(SignatureType.ML_DSA_44, marks=needs_ml_dsa)])
def test_they_verify_our_cosignatures(log, kind):
    note, _ = StoredLog(log).checkpoint()
    witness = signing_key("witness.example/w1", kind, SEED[::-1])

    cosigned_note = note.signed_also([witness.sign(note.text, 1_795_000_000)])

    found = their_checkpoint.verify_cosignature(str(cosigned_note), str(witness.verifier))
    assert (found["ok"], found["timestamp"], found["tree_size"]) == (True, 1_795_000_000, COUNT)
    assert their_checkpoint.verify_witnessed_checkpoint(
        str(cosigned_note), keys_of(log)[0], [str(witness.verifier)], threshold=1
    )["ok"]


@needs_ml_dsa
def test_ml_dsa_goes_both_ways(log):
    note, _ = StoredLog(log).checkpoint()
    theirs = mldsa.MLDSA44PrivateKey.generate()

    text = their_checkpoint.cosign_checkpoint_mldsa(str(note), theirs, "witness.example/w2", 1_795_000_000)
    vkey = their_checkpoint.cosign_vkey_mldsa("witness.example/w2", theirs.public_key().public_bytes_raw())

    (signed,) = verify_note(parse_note(text.encode()), [parse_key(vkey)])
    assert signed.time_s == 1_795_000_000
    ours = their_checkpoint.verify_cosignature(str(note), keys_of(log)[1])
    assert (ours["ok"], ours["alg"][:3].lower()) == (True, "ml-")


def aics(*words: object) -> dict[str, Any]:
    """Ask aics-tlog, in an interpreter that is new enough for it."""
    python = Path(sys.executable) if sys.version_info >= (3, 12) else PLACE / "python/bin/python"
    if not python.exists():
        pytest.skip("aics-tlog needs Python 3.12; `make tlog` found none, or was not run")
    argv = [python, "-I", Path(__file__).with_name("aics_program.py"), *map(str, words)]
    said: dict[str, Any] = json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=120).stdout)
    return said


def test_another_program_audits_every_tile_and_bundle_of_our_log(log, tmp_path):
    StoredLog(log).export(tmp_path)
    _, ours = StoredLog(log).checkpoint()

    said = aics("audit", tmp_path, keys_of(log)[0], ORIGIN)

    assert said == {
        "counts": [COUNT, 4, 3],
        "root": ours.root.hex(),
        "root_300": StoredLog(log).root(300).hex(),
        "included": [one.hex() for one in StoredLog(log).prove(345).hashes],
        "grown": [one.hex() for one in StoredLog(log).prove_growth(300, COUNT)],
    }


def test_a_tile_that_was_changed_fails_the_audit_of_another_program(log, tmp_path):
    StoredLog(log).export(tmp_path)
    tile = bytearray((tmp_path / "tile/0/001").read_bytes())
    tile[40] ^= 1
    (tmp_path / "tile/0/001").write_bytes(tile)
    with pytest.raises(subprocess.CalledProcessError):
        aics("audit", tmp_path, keys_of(log)[0], ORIGIN)


def test_we_read_the_tiles_of_another_program(tmp_path):
    entries = [b"entry %d" % number for number in range(COUNT)]
    said = aics("write", tmp_path, COUNT)
    leaves = b"".join((tmp_path / str(tile)).read_bytes() for tile in tiles_of(COUNT) if tile.level == 0)
    bundles = [Tile(None, tile.index, tile.width) for tile in tiles_of(COUNT) if tile.level == 0]

    read = [entry for tile in bundles for entry in bundled((tmp_path / str(tile)).read_bytes())]

    assert read == entries
    assert b"".join(map(leaf_hash, entries)) == leaves
    assert said["root"] == their_tree.merkle_tree_hash(entries).hex() == root(COUNT, nodes_of(entries)).hex()
