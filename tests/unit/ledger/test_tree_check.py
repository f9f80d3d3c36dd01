"""The hashes beside a log are compared with those of its entries, and with those above them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from fastness.ledger.stored_tree import folded
from fastness.ledger.tree_check import TreeCheck

LEAVES = [sha256(b"%d" % number).digest() for number in range(600)]


@pytest.fixture
def log(tmp_path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/0").write_bytes(b"".join(LEAVES))
    (tmp_path / "tree/1").write_bytes(b"".join(folded(b"".join(LEAVES[at : at + 256])) for at in (0, 256)))
    return tmp_path


def compared(log: Path, size: int = 600, leaves: list[bytes] = LEAVES) -> TreeCheck:
    check = TreeCheck(log, size)
    for index, leaf in enumerate(leaves):
        check.compare(index, leaf)
    return check


def test_hashes_as_they_must_be_are_not_odd(log) -> None:
    for size in (0, 1, 256, 257, 511, 512, 600):
        check = compared(log, size)
        assert (check.odd, check.upper()) == (None, None)


@pytest.mark.parametrize("index", [0, 1, 255, 256, 511, 512, 599])
def test_the_first_hash_that_is_another_is_odd(log, index) -> None:
    stored = bytearray((log / "tree/0").read_bytes())
    for at in {index, 599}:
        stored[at * 32 + 31] ^= 1
    (log / "tree/0").write_bytes(stored)
    assert compared(log).odd == index
    assert compared(log, index).odd is None
    assert compared(log, index + 1).odd == index


@pytest.mark.parametrize("length", [0, 31, 32, 8_191, 8_192, 19_199])
def test_hashes_that_are_not_all_there_are_odd_from_their_tile_on(log, length) -> None:
    (log / "tree/0").write_bytes(b"".join(LEAVES)[:length])
    assert compared(log).odd == length // 32 // 256 * 256
    (log / "tree/0").unlink()
    assert compared(log).odd == 0


def test_without_hashes_beside_it_nothing_is_compared(tmp_path) -> None:
    check = compared(tmp_path)
    assert (check.odd, check.upper()) == (None, None)
    (tmp_path / "tree").write_text("no directory")
    assert compared(tmp_path).odd is None


@pytest.mark.parametrize("index", [0, 1])
def test_a_hash_that_is_not_over_those_below_it_is_told(log, index) -> None:
    stored = bytearray((log / "tree/1").read_bytes())
    stored[index * 32] ^= 1
    (log / "tree/1").write_bytes(stored)
    assert compared(log).upper() == f"hash {index} of tree/1 is not over the 256 below it"
    assert compared(log, 256 * (index + 1) - 1).upper() is None


def test_hashes_that_are_missing_above_are_told(log) -> None:
    (log / "tree/1").write_bytes((log / "tree/1").read_bytes()[:63])
    assert compared(log).upper() == f"{log / 'tree/1'} lacks some of the hashes from 1 to 2"
    (log / "tree/0").write_bytes(b"")
    assert TreeCheck(log, 600).upper() == f"{log / 'tree/0'} lacks some of the hashes from 0 to 256"


def test_every_level_is_looked_at(tmp_path) -> None:
    (tmp_path / "tree").mkdir()
    above = [bytes(32)]
    for level in range(3):
        (tmp_path / f"tree/{level}").write_bytes(above[level] * (65_536 >> 8 * level))
        above.append(folded(above[level] * 256))
    check = TreeCheck(tmp_path, 65_536)
    assert check.upper() is None
    (tmp_path / "tree/2").write_bytes(bytes(32))
    assert check.upper() == "hash 0 of tree/2 is not over the 256 below it"
