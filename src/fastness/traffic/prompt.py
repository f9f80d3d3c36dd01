"""A prompt as what is remembered of it: a chain of block hashes, so that two can be compared without their text.

Block i's hash covers every block before it (h_i = H(block_i, h_{i-1})), and the first one covers the owner: a tenant
and a label, with the model and adapter. So equal hashes mean equal beginnings of one owner, and nothing learned about
one owner ever tells of another (law 12). Python's own hash is used: keyed at random in each process, and fast.

Pure. Sizes are in whatever unit the caller cuts its text by: bytes of text in the gateway, tokens in a simulation.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Container, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fastness.core.value import quick

GRAINS: Final = ((4_096, 256), (65_536, 2_048), (sys.maxsize, 8_192))
"""Up to which place in a message blocks are how long, in characters: 2 KB are 8 blocks, 64 KB 46, a megabyte 161."""
HEAD: Final = 128
"""What a chat template writes before any conversation, in bytes, about: every prompt of an owner begins with it."""
TOKEN_BYTES: Final = 4
"""What a token that came as a number counts for."""


@quick
@dataclass(frozen=True, slots=True)
class Prompt:
    """`blocks` are chained hashes, `ends` the size of the prompt up to the end of each. `adapter`: a LoRA's digest."""

    owner: Hashable
    blocks: tuple[int, ...]
    ends: tuple[int, ...]
    adapter: str | None = None

    @property
    def size(self) -> int:
        """The size of all of it."""
        return self.ends[-1] if self.ends else 0

    def may_lend(self, other: Prompt) -> bool:
        """Tell whether the other may build on what an engine remembers of this one."""
        return self.owner == other.owner and self.adapter == other.adapter

    def shared(self, other: Prompt) -> int:
        """The size of the beginning that both have in common; 0 for another owner's, or another adapter's."""
        if not self.may_lend(other):
            return 0
        mine, theirs = self.blocks, other.blocks
        low, high = 0, min(len(mine), len(theirs))
        while low < high:  # a chain: where block i is equal, all before it are
            middle = (low + high) // 2
            if mine[middle] == theirs[middle]:
                low = middle + 1
            else:
                high = middle
        return self.ends[low - 1] if low else 0

    def depth(self, known: Container[int]) -> int:
        """How many of its blocks are in `known`, which holds no block without those before it."""
        blocks = self.blocks
        low, high = 0, len(blocks)
        if not high or blocks[0] not in known:  # nothing of it, or all, is what most often is
            return 0
        if blocks[-1] in known:
            return high
        while low < high:
            middle = (low + high) // 2
            if blocks[middle] in known:
                low = middle + 1
            else:
                high = middle
        return low

    def blocks_within(self, size: int) -> int:
        """How many of its blocks end within `size`."""
        at = bisect_left(self.ends, size)
        return at + 1 if at < len(self.ends) and self.ends[at] == size else at


def chat_prompt(
    owner: Hashable, seed: Hashable, messages: Iterable[tuple[str, str]], adapter: str | None = None
) -> Prompt:
    """Hash all messages, given as role and content, not the first only; `seed` is the model.

    A message begins a block, so that a conversation is known up to the end of what was asked before.
    """
    chained = hash((owner, seed, adapter))
    blocks, ends = [chained], [HEAD]
    for role, content in messages:
        chained = _cut(hash((chained, role)), content, 1, blocks, ends)
    return Prompt(owner, tuple(blocks), tuple(ends), adapter)


def plain_prompt(owner: Hashable, seed: Hashable, text: str | Sequence[int], adapter: str | None = None) -> Prompt:
    """Hash a prompt that is no conversation: text, or tokens as numbers."""
    blocks: list[int] = []
    ends: list[int] = []
    _cut(hash((owner, seed, adapter)), text, 1 if isinstance(text, str) else TOKEN_BYTES, blocks, ends)
    return Prompt(owner, tuple(blocks), tuple(ends), adapter)


def _cut(chained: int, text: str | Sequence[int], unit: int, blocks: list[int], ends: list[int]) -> int:
    """Add the blocks of one text to a chain, and return where the chain stands."""
    before, start, total = ends[-1] if ends else 0, 0, len(text)
    if 0 < total <= GRAINS[0][0]:
        step = GRAINS[0][1]
        for at in range(0, total, step):
            chained = hash((chained, text[at : at + step]))
            blocks.append(chained)
        ends.extend(range(before + step * unit, before + total * unit, step * unit))
        ends.append(before + total * unit)
        return chained
    for until, step in GRAINS:
        if start >= total:
            break
        stop = min(until, total)
        for at in range(start, stop, step):
            chained = hash((chained, text[at : at + step]))
            blocks.append(chained)
        ends.extend(range(before + (start + step) * unit, before + stop * unit, step * unit))
        ends.append(before + stop * unit)
        start = stop
    return chained
