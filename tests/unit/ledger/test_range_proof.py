"""Neighbouring entries are proved by what is left and right of them, as docs/reference/evidence-bundle.md says."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.ledger.range_proof import range_proof, root_of_range
from fastness.ledger.tree import Frontier, ProofInvalid, leaf_hash, node_hash

LEAVES = [leaf_hash(b"entry %d" % number) for number in range(300)]


def node(height: int, place: int) -> bytes:
    if height == 0:
        return LEAVES[place]
    return node_hash(node(height - 1, 2 * place), node(height - 1, 2 * place + 1))


def root_of(leaves: list[bytes]) -> bytes:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int, int]:
    size = draw(st.integers(0, len(LEAVES)))
    start = draw(st.integers(0, size))
    return start, draw(st.integers(start, size)), size


@settings(deadline=None)
@given(ranges())
def test_every_range_gives_the_root_with_few_hashes(bounds):
    start, end, size = bounds
    hashes = range_proof(start, end, size, node)
    assert root_of_range(start, LEAVES[start:end], size, hashes) == root_of(LEAVES[:size])
    assert len(hashes) <= 2 * max(1, size.bit_length())


@settings(deadline=None)
@given(ranges(), st.data())
def test_no_other_range_gives_it(bounds, data):
    start, end, size = bounds
    if end == start:
        return
    hashes, leaves, root = range_proof(start, end, size, node), LEAVES[start:end], root_of(LEAVES[:size])
    place = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves[:place], sha256(leaves[place]).digest(), *leaves[place + 1 :]]
    others = [(start, changed, hashes), (start, leaves[1:], hashes), (start, leaves, hashes[1:])]
    others += [(start, leaves, [*hashes, root]), (start + 1, leaves, hashes)]
    if len(set(leaves)) > 1:
        others.append((start, leaves[::-1], hashes))
    for at, those, proof in others:
        if (at, those, proof) == (start, leaves, hashes):
            continue
        with suppress(ProofInvalid):
            assert root_of_range(at, those, size, proof) != root


def test_a_range_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="from 3 up to 2"):
        range_proof(3, 2, 5, node)
    with pytest.raises(ProofInvalid, match="from 4 up to 6"):
        root_of_range(4, LEAVES[:2], 5, [])


def test_a_proof_with_a_hash_too_few_or_too_many_is_told():
    hashes = range_proof(3, 5, 9, node)
    with pytest.raises(ProofInvalid, match=r"^the proof of the range ends too early$"):
        root_of_range(3, LEAVES[3:5], 9, hashes[:-1])
    with pytest.raises(ProofInvalid, match=r"^the proof of the range is too long$"):
        root_of_range(3, LEAVES[3:5], 9, [*hashes, LEAVES[0]])
