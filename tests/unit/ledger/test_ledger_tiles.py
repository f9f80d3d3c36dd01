"""Hashes on disk, and finding entries: as the definition has them, at every size where something changes."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastness.ledger.entry import index_of
from fastness.ledger.following import Place, take_lines
from fastness.ledger.locating import locate
from fastness.ledger.log_key import LogKeyUnusable, load_or_create_key
from fastness.ledger.note import SignatureType
from fastness.ledger.port import LedgerCorrupt
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.stored_tree import TreeDamaged, TreeWriter, folded
from fastness.ledger.tiles import Tile, entries_of, tiles_of
from fastness.ledger.tree import EMPTY_ROOT, Frontier, leaf_hash, node_hash

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_a_tree_of_66000_leaves_is_stored_level_by_level(tmp_path, unsynced):
    leaves = [leaf_hash(str(number).encode()) for number in range(66_000)]
    tree, grown = TreeWriter(tmp_path, unsynced), Frontier()
    assert tree.resume(0, EMPTY_ROOT)
    done = 0
    for size in (1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_000):
        tree.extend(leaves[done:size])
        tree.sync()
        for leaf in leaves[done:size]:
            grown.append(leaf)
        done = size
        assert tree.root(size) == grown.root()
    tree.close()

    sizes = {path.name: path.stat().st_size for path in (tmp_path / "tree").iterdir()}
    assert sizes == {"0": 66_000 * 32, "1": 257 * 32, "2": 32}
    for level, hashes in (("1", leaves[:256]), ("2", leaves[:65_536])):
        assert (tmp_path / "tree" / level).read_bytes()[:32] == folded(b"".join(hashes))
    assert folded(b"".join(leaves[:2])) == node_hash(*leaves[:2])


def test_what_is_missing_is_told_and_begun_anew(tmp_path, unsynced):
    tree = TreeWriter(tmp_path, unsynced)
    with pytest.raises(TreeDamaged, match="lacks some of the hashes from 0 to 1"):
        tree.root(1)
    assert not tree.resume(1, bytes(32))
    assert tree.size == 0
    tree.extend([bytes(32)] * 3)
    with pytest.raises(TreeDamaged, match="lacks some of the hashes from 2 to 4"):
        tree.node(1, 1)
    tree.close()


@QUICK
@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_it_does_not_matter_in_which_pieces_a_tree_grew(tmp_path_factory, unsynced, sizes):
    directory = tmp_path_factory.mktemp("tree")
    grown, tree = Frontier(), TreeWriter(directory, unsynced)
    tree.resume(0, EMPTY_ROOT)
    for count in sizes:
        leaves = [leaf_hash(str(grown.size + number).encode()) for number in range(count)]
        tree.extend(leaves)
        for leaf in leaves:
            grown.append(leaf)
        tree.close()
        tree = TreeWriter(directory, unsynced)
        assert tree.resume(grown.size, grown.root())
    tree.close()


@pytest.mark.parametrize("segment_bytes_max", [1_400, 300_000])
def test_every_entry_is_found_by_halves(tmp_path, write_log, segment_bytes_max):
    write_log(tmp_path, count=900, segment_bytes_max=segment_bytes_max)
    content = [
        line for path in sorted(tmp_path.glob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)
    ]

    for index in [*range(0, 900, 23), 899]:
        place = locate(tmp_path, index)
        with (tmp_path / f"{place.segment:08d}.jsonl").open("rb") as file:
            file.seek(place.offset)
            assert file.readline() == content[index]
    for index in (900, 10_000):
        with pytest.raises(IndexError, match=f"has no entry {index}"):
            locate(tmp_path, index)


def test_lines_are_taken_only_where_they_must_be(tmp_path, write_log):
    write_log(tmp_path, count=30)

    lines, place = take_lines(tmp_path, Place(0), 12)
    more, end = take_lines(tmp_path, place, 18)

    assert [index_of(line) for line in lines + more] == list(range(30))
    with pytest.raises(FileNotFoundError):
        take_lines(tmp_path, end, 1)
    first = tmp_path / "00000000.jsonl"
    first.write_bytes(first.read_bytes().replace(b'"index":3,', b'"index":4,'))
    with pytest.raises(LedgerCorrupt, match=r"Entry 3 is not where it must be in .*00000000.jsonl"):
        take_lines(tmp_path, Place(0), 12)


def test_the_index_of_a_line_is_not_what_its_fields_say():
    line = b'{"fields":{"index":7,"key":"},\\"index\\":8,\\"prev\\":\\""},"index":9,"prev":"00","v":1}\n'

    assert index_of(line) == 9
    assert index_of(line[:-1]) is None
    assert index_of(b"torn\n") is None


def test_tiles_of_a_log_are_those_of_its_checkpoint(tmp_path, write_log, unsynced, signing):
    from fastness.ledger.notary import Notary

    write_log(tmp_path, count=600, segment_bytes_max=30_000)
    Notary(tmp_path, "gateway-0", 600, signing, unsynced).close(600)
    entries = [line for path in sorted(tmp_path.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    log = StoredLog(tmp_path)

    tiles = {str(tile): log.tile(tile) for tile in tiles_of(600)}

    leaves = [leaf_hash(entry) for entry in entries]
    assert tiles["tile/0/001"] == b"".join(leaves[256:512])
    assert tiles["tile/0/002.p/88"] == b"".join(leaves[512:])
    assert tiles["tile/1/000.p/2"] == folded(tiles["tile/0/000"]) + folded(tiles["tile/0/001"])
    assert entries_of(log.tile(Tile(None, 1))) == entries[256:512]
    assert entries_of(log.tile(Tile(None, 2, 88))) == entries[512:]
    for tile in (Tile(0, 2), Tile(0, 2, 89), Tile(0, 3, 1), Tile(1, 0, 3), Tile(2, 0, 1), Tile(None, 2, 89)):
        with pytest.raises(IndexError, match="is not of a log of 600 entries"):
            log.tile(tile)
    assert log.tile(Tile(0, 2, 5)) == tiles["tile/0/002.p/88"][: 5 * 32], "an earlier checkpoint may have needed it"


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "secrets" / "ledger.key"

    key = load_or_create_key(path)

    assert load_or_create_key(path) == key != load_or_create_key(tmp_path / "other.key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in path.parent.iterdir()] == ["ledger.key"]
    assert key.signers("example/node")[0].verifier.type is SignatureType.ED25519
    assert key.installation.startswith("fastness-")


def test_a_key_that_cannot_be_used_is_told_why(tmp_path):
    path = tmp_path / "ledger.key"
    load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(LogKeyUnusable, match="chmod 600"):
        load_or_create_key(path)

    path.chmod(0o600)
    for content in (b"", b"ed25519 AAAA\n", b"\xff", b"x" * 9_000):
        path.write_bytes(content)
        with pytest.raises(LogKeyUnusable, match="Restore it from a backup"):
            load_or_create_key(path)
    path.unlink()
    os.symlink("elsewhere", path)
    with pytest.raises(LogKeyUnusable, match="needs to be a file"):
        load_or_create_key(path)
    assert not Path("elsewhere").exists()
