"""The proof that neighbouring entries are in a log: the hashes of what is left and right of them.

Standard library only. It is RFC 6962's own recursion, in which a subtree wholly outside the range is given by its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastness.ledger.tree import EMPTY_ROOT, Nodes, ProofInvalid, node_hash, span, split


def range_proof(start: int, end: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the hashes, from the left, that with leaves `start` up to `end` make the root of `size` leaves.

    Raises ValueError unless 0 <= start <= end <= size.
    """
    if not 0 <= start <= end <= size:
        raise ValueError(f"a tree of {size} leaves has no leaves from {start} up to {end}")
    return [span(low, high, nodes) for low, high in _outside(0, size, start, end)]


def root_of_range(start: int, leaves: Sequence[bytes], size: int, hashes: Sequence[bytes]) -> bytes:
    """Return the root that a tree of `size` leaves has, if these (hashes) stand in it from `start` on.

    Raises ProofInvalid when there can be no such proof.
    """
    end = start + len(leaves)
    if not 0 <= start <= end <= size:
        raise ProofInvalid(f"a tree of {size} leaves has no leaves from {start} up to {end}")
    left = iter(hashes)

    def over(low: int, high: int) -> bytes:
        if high <= start or low >= end:
            found = next(left, None)
            if found is None:
                raise ProofInvalid("the proof of the range ends too early")
            return found
        if high - low == 1:
            return leaves[low - start]
        middle = low + split(high - low)
        return node_hash(over(low, middle), over(middle, high))

    root = over(0, size) if size else EMPTY_ROOT
    if next(left, None) is not None:
        raise ProofInvalid("the proof of the range is too long")
    return root


def _outside(low: int, high: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    if low == high:
        return
    if high <= start or low >= end:
        yield low, high
    elif high - low > 1:
        middle = low + split(high - low)
        yield from _outside(low, middle, start, end)
        yield from _outside(middle, high, start, end)
