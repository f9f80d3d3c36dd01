"""The tree against RFC 6962: published hashes, the RFC's own example, and the definition written out as it stands."""

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.ledger import tree
from fastness.ledger.tree import Frontier, ProofInvalid, consistency_proof, inclusion_proof, leaf_hash, node_hash

# The eight leaves, and the roots over the first n of them, by which Certificate Transparency logs are tested.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]


def defined(leaves):
    """MTH of RFC 6962, section 2.1, as it is defined."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256().digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node_hash(defined(leaves[:half]), defined(leaves[half:]))


def nodes_of(leaves):
    def nodes(height, place):
        covered = leaves[place << height : place + 1 << height]
        assert len(covered) == 1 << height, f"node ({height}, {place}) is not one that the tree has in full"
        return defined(covered)

    return nodes


def numbered(count):
    return [leaf_hash(str(number).encode()) for number in range(count)]


@pytest.mark.parametrize("size", range(9))
def test_published_roots_are_found_from_nodes_and_by_appending(size):
    grown = Frontier()
    for leaf in LEAVES[:size]:
        grown.append(leaf_hash(bytes.fromhex(leaf)))

    assert tree.root(size, nodes_of(HASHES)).hex() == ROOTS[size]
    assert grown.root().hex() == ROOTS[size]
    assert grown.hashes == tuple(nodes_of(HASHES)(height, place) for height, place in tree.peaks(size))
    assert Frontier(size, grown.hashes).root() == grown.root()


def test_the_example_of_the_rfc_has_the_proofs_that_stand_there():
    # The tree of 7 leaves in section 2.1.3: nodes a..f and j are the leaves; g, h, i, k, l stand above them.
    leaves = numbered(7)
    a, b, c, d, e, f, j = leaves
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, el = node_hash(g, h), node_hash(i, j)
    nodes = nodes_of(leaves)

    assert inclusion_proof(0, 7, nodes) == [b, h, el]
    assert inclusion_proof(3, 7, nodes) == [c, g, el]
    assert inclusion_proof(4, 7, nodes) == [f, j, k]
    assert inclusion_proof(6, 7, nodes) == [i, k]
    assert consistency_proof(3, 7, nodes) == [c, d, g, el]
    assert consistency_proof(4, 7, nodes) == [el]
    assert consistency_proof(6, 7, nodes) == [i, j, k]


@given(st.data())
def test_every_leaf_is_proved_to_be_where_it_is_and_nowhere_else(data):
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    elsewhere = data.draw(st.integers(0, size - 1).filter(lambda place: place != index) if size > 1 else st.none())
    leaves = numbered(size)
    proof = inclusion_proof(index, size, nodes_of(leaves))
    root = defined(leaves)

    tree.verify_inclusion(index, size, root, leaves[index], proof)

    for wrong in broken(proof, data):
        with pytest.raises(ProofInvalid):
            tree.verify_inclusion(index, size, root, leaves[index], wrong)
    with pytest.raises(ProofInvalid):
        tree.verify_inclusion(index, size, root, leaf_hash(b"another"), proof)
    with pytest.raises(ProofInvalid):
        tree.verify_inclusion(index, size, leaf_hash(b"another"), leaves[index], proof)
    if elsewhere is not None:
        with pytest.raises(ProofInvalid):
            tree.verify_inclusion(elsewhere, size, root, leaves[index], proof)


@given(st.data())
def test_a_log_that_grew_is_proved_to_have_grown_and_no_other_is(data):
    size = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(0, size))
    leaves = numbered(size)
    proof = consistency_proof(old, size, nodes_of(leaves))
    before, after = defined(leaves[:old]), defined(leaves)

    tree.verify_consistency(old, before, size, after, proof)

    for wrong in broken(proof, data):
        with pytest.raises(ProofInvalid):
            tree.verify_consistency(old, before, size, after, wrong)
    with pytest.raises(ProofInvalid):
        tree.verify_consistency(old, leaf_hash(b"another"), size, after, proof)
    if old:
        with pytest.raises(ProofInvalid):
            tree.verify_consistency(old, before, size, leaf_hash(b"another"), proof)


@given(st.integers(2, 70), st.data())
def test_a_fork_has_no_proof_of_growth(size, data):
    old = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, old - 1))
    leaves = numbered(size)
    forked = [*leaves]
    forked[changed] = leaf_hash(b"another")

    proof = consistency_proof(old, size, nodes_of(forked))

    with pytest.raises(ProofInvalid):
        tree.verify_consistency(old, defined(leaves[:old]), size, defined(forked), proof)


def broken(proof, data):
    """Proofs one step away from this one."""
    extra = leaf_hash(b"extra")
    yield [*proof, extra]
    yield [extra, *proof]
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        yield proof[:place] + proof[place + 1 :]
        yield [*proof[:place], extra, *proof[place + 1 :]]
        yield [*proof[:place], proof[place][:-1], *proof[place + 1 :]]
    for first, second in pairwise(range(len(proof))):
        if proof[first] != proof[second]:
            yield [*proof[:first], proof[second], proof[first], *proof[second + 1 :]]


def test_a_wrong_question_is_told_from_a_wrong_proof():
    nodes = nodes_of(HASHES)

    for index, size in [(-1, 8), (8, 8), (0, 0)]:
        with pytest.raises(ValueError, match=f"no leaf {index}"):
            inclusion_proof(index, size, nodes)
        with pytest.raises(ProofInvalid, match=f"no leaf {index}"):
            tree.root_of_inclusion(index, size, HASHES[0], [])
    for old in (-1, 9):
        with pytest.raises(ValueError, match=f"never had {old}"):
            consistency_proof(old, 8, nodes)
        with pytest.raises(ProofInvalid, match=f"never had {old}"):
            tree.verify_consistency(old, HASHES[0], 8, HASHES[0], [])
    with pytest.raises(ProofInvalid, match="no leaf 0"):
        tree.root_of_inclusion(0, tree.SIZE_MAX + 1, HASHES[0], [])
    with pytest.raises(ProofInvalid, match="at most 63 hashes"):
        tree.root_of_inclusion(0, tree.SIZE_MAX, HASHES[0], [HASHES[0]] * 64)
    tree.root_of_inclusion(0, tree.SIZE_MAX, HASHES[0], [HASHES[0]] * 63)
    tree.verify_consistency(tree.SIZE_MAX, HASHES[0], tree.SIZE_MAX, HASHES[0], [])
    with pytest.raises(ProofInvalid, match="nothing to prove"):
        tree.verify_consistency(8, HASHES[0], 8, HASHES[0], [HASHES[0]])


def test_a_frontier_says_when_it_is_given_the_wrong_peaks():
    with pytest.raises(ValueError, match="a tree of 5 leaves has 2 peaks; 1 were given"):
        Frontier(5, HASHES[:1])
    with pytest.raises(ValueError, match="0 peaks"):
        Frontier(-1)
