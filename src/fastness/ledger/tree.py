"""The Merkle tree of RFC 6962 (hashes and proofs as in RFC 9162, section 2.1), over SHA-256. Standard library only.

A *node* is named by its height and its place among those of that height: (0, i) is leaf i, and (h, i) stands over the
leaves from i·2^h up to (i+1)·2^h. Only nodes over a whole power of two of leaves have names; they never change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256().digest()
"""The root of the tree without leaves."""
SIZE_MAX: Final = 2**63 - 1
PROOF_HASHES_MAX: Final = 63
"""No proof about a tree of at most SIZE_MAX leaves is longer."""

Nodes = Callable[[int, int], bytes]
"""Returns the hash of node (height, place), 32 bytes. It is asked only for nodes that the tree has in full."""


class ProofInvalid(ValueError):  # noqa: N818 - what is said of a proof
    """A proof does not show what it should; the message says why."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node above two others, 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def peaks(size: int) -> Iterator[tuple[int, int]]:
    """Return the named nodes that a tree of `size` leaves consists of, from the left, and so the highest first."""
    return _cover(0, size)


def join(hashes: Sequence[bytes]) -> bytes:
    """Return the root over neighbouring nodes, given from the left, each lower than the one before."""
    if not hashes:
        return EMPTY_ROOT
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def root(size: int, nodes: Nodes) -> bytes:
    """Return the root of the first `size` leaves."""
    return join([nodes(height, place) for height, place in peaks(size)])


class Frontier:
    """A tree that only grows, in what it takes to go on: one hash for each bit that is set in its size."""

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Go on after `size` leaves with the hashes of `peaks(size)`; raises ValueError when they are not as many."""
        if size < 0 or len(hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {max(size, 0).bit_count()} peaks; {len(hashes)} were given")
        self.size, self._hashes = size, list(hashes)

    def append(self, leaf: bytes) -> None:
        """Take one more leaf, by its hash."""
        hashes, full = self._hashes, self.size
        while full & 1:
            leaf = node_hash(hashes.pop(), leaf)
            full >>= 1
        hashes.append(leaf)
        self.size += 1

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The hashes of `peaks(size)`."""
        return tuple(self._hashes)

    def root(self) -> bytes:
        """Return the root of all leaves so far."""
        return join(self._hashes)


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves, from the leaf's neighbour upwards.

    Raises ValueError when there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    proof, start, end = [], 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            proof.append(span(middle, end, nodes))
            end = middle
        else:
            proof.append(span(start, middle, nodes))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that the tree of `size` leaves begins with that of `old` leaves; empty for 0 or all of them.

    Raises ValueError when `old` is not from 0 to `size`.
    """
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {size} leaves never had {old}")
    if old in (0, size):
        return []
    proof, start, end = [], 0, size
    while end != old:
        middle = start + split(end - start)
        if old <= middle:
            proof.append(span(middle, end, nodes))
            end = middle
        else:
            proof.append(span(start, middle, nodes))
            start = middle
    if start:  # else the verifier has this hash already: it is the old root
        proof.append(span(start, end, nodes))
    return proof[::-1]


def root_of_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """Return the root that a tree of `size` leaves has, if the proof that `leaf` (a hash) is at `index` is true.

    Raises ProofInvalid when there can be no such proof.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {size} leaves has no leaf {index}")
    joined = leaf
    for beside, on_left in _way_up(index, size - 1, iter(_checked(proof))):
        joined = node_hash(beside, joined) if on_left else node_hash(joined, beside)
    return joined


def verify_inclusion(index: int, size: int, root: bytes, leaf: bytes, proof: Sequence[bytes]) -> None:
    """Return if `leaf` (a hash) is at `index` of the tree of `size` leaves with this root; raises ProofInvalid."""
    if root_of_inclusion(index, size, leaf, proof) != root:
        raise ProofInvalid(f"leaf {index} is not in the tree of {size} leaves with this root")


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Return if the tree of `size` leaves with `root` begins with that of `old` leaves; raises ProofInvalid."""
    if not 0 <= old <= size <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {size} leaves never had {old}")
    if old in (0, size):
        if proof or old_root != (root if old else EMPTY_ROOT):
            raise ProofInvalid(f"between {old} and {size} leaves there is nothing to prove, and the roots must be so")
        return
    hashes = iter(_checked(proof))
    place, last = old - 1, size - 1
    while place & 1:  # climb to the highest node that ends where the old tree did
        place, last = place >> 1, last >> 1
    before = after = next(hashes, b"") if place else old_root
    for beside, on_left in _way_up(place, last, hashes):
        if on_left:
            before, after = node_hash(beside, before), node_hash(beside, after)
        else:
            after = node_hash(after, beside)
    if (before, after) != (old_root, root):
        raise ProofInvalid(f"the tree of {size} leaves does not begin with that of {old} leaves")


def _checked(proof: Sequence[bytes]) -> Sequence[bytes]:
    if len(proof) > PROOF_HASHES_MAX or any(len(one) != HASH_BYTES for one in proof):
        raise ProofInvalid(f"a proof has at most {PROOF_HASHES_MAX} hashes of {HASH_BYTES} bytes")
    return proof


def _way_up(place: int, last: int, hashes: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Return the neighbours of a node and of those above it, and whether each stands on the left.

    `last` is the place of the last node of that height. Raises ProofInvalid unless there are exactly as many hashes.
    """
    while last:
        if place & 1 or place != last:  # the last one of a height has no neighbour when it stands on the left
            beside = next(hashes, None)
            if beside is None:
                raise ProofInvalid("the proof ends too early")
            yield beside, bool(place & 1)
        place, last = place >> 1, last >> 1
    if next(hashes, None) is not None:
        raise ProofInvalid("the proof is too long")


def split(leaves: int) -> int:
    """Return how many leaves, of two or more, stand in the left half: the largest power of two below them."""
    return 1 << (leaves - 1).bit_length() - 1


def span(start: int, end: int, nodes: Nodes) -> bytes:
    """Return the hash over a subtree of RFC 6962: the leaves from `start` up to, not including, `end`."""
    return join([nodes(height, place) for height, place in _cover(start, end)])


def _cover(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Return the nodes over [start, end), where `start` is a multiple of a power of two not below their number."""
    for height in range((end - start).bit_length() - 1, -1, -1):
        if (end - start) >> height & 1:
            yield height, (start + (end - start >> height + 1 << height + 1)) >> height
