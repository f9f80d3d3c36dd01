"""What one start of a replica is believed to remember of prompts, where the engine decides by itself what it keeps.

Belief comes from what was sent, and truth from what the engine says of it (`cached_tokens`). An engine forgets what
was used longest ago: what it no longer has tells that nothing older is left either, and how much it can hold.

Pure. A start of a replica has an index of its own, so nothing is believed of an engine that began anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fastness.traffic.prompt import Prompt

BLOCKS_MAX: Final = 32_768
"""Blocks that are remembered of one replica; 256 bytes to 8 KiB of prompt each."""
BLOCK_MEMORY_BYTES: Final = 256
"""What one of them takes in memory, at most: 8 MiB a replica in all."""


class Sent(NamedTuple):
    """What was believed of a prompt when it was sent: `used` is when each known block was used last, from the end."""

    prompt: Prompt
    used: Sequence[int]
    oldest_open: int
    number: int


@dataclass(slots=True)
class PrefixIndex:
    """See the module. `size_max` is how much the engine can hold, as is believed now; a first guess by the caller.

    A block is never younger than one it follows, so the oldest is always an end of a chain.
    """

    size_max: int
    _blocks: OrderedDict[int, int] = field(default_factory=OrderedDict)
    """By hash: when it was used last."""
    _sizes: dict[int, int] = field(default_factory=dict)
    _open: OrderedDict[int, None] = field(default_factory=OrderedDict)
    _size: int = 0
    _uses: int = 0

    def known(self, prompt: Prompt) -> int:
        """The size of the beginning that need not be read again."""
        depth = prompt.depth(self._blocks)
        return prompt.ends[depth - 1] if depth else 0

    def send(self, prompt: Prompt) -> Sent:
        """Believe that the engine has read all of it. To be followed by `ended`, whatever happens."""
        self._uses = number = self._uses + 1
        used: list[int] = []
        blocks, get, move = self._blocks, self._blocks.get, self._blocks.move_to_end
        oldest_open = next(iter(self._open), number)
        self._open[number] = None
        for one in reversed(prompt.blocks):  # from its end, so that what others may share is forgotten last
            if (before := get(one)) is not None:
                used.append(before)
                move(one)
            blocks[one] = number
        if (depth := len(used)) < len(prompt.blocks):
            self._measure(prompt, depth)
        if self._size > self.size_max or len(blocks) > BLOCKS_MAX:
            self._forget()
        return Sent(prompt, used, oldest_open, number)

    def ended(self, sent: Sent, cached: int | None = None) -> None:
        """Correct what is believed by how much of a prompt the engine had, in the prompt's unit; None: it did not say.

        Less than believed, of what nobody was still reading: it forgot that, and all that was used before. More: it
        holds more than was thought.
        """
        self._open.pop(sent.number, None)
        if cached is None:
            return
        prompt, had, depth = sent.prompt, sent.prompt.blocks_within(cached), len(sent.used)
        if had < depth - 1:  # one block is left to how the engine cuts and what a template adds
            lost = sent.used[depth - 2 - had]
            if lost < sent.oldest_open:
                self._forget_used_until(lost)
                self.size_max = max(self._size, prompt.size)
        elif had > depth:
            self.size_max = max(self.size_max, self._size + prompt.ends[had - 1])

    @property
    def size(self) -> int:
        """How much is believed to be there."""
        return self._size

    def __len__(self) -> int:
        return len(self._blocks)

    def _measure(self, prompt: Prompt, depth: int) -> None:
        """Note the sizes of the blocks that were not known."""
        before = prompt.ends[depth - 1] if depth else 0
        self._size += prompt.size - before
        for one, end in zip(prompt.blocks[depth:], prompt.ends[depth:], strict=True):
            self._sizes[one], before = end - before, end

    def _forget(self) -> None:
        while self._blocks and (self._size > self.size_max or len(self._blocks) > BLOCKS_MAX):
            self._size -= self._sizes.pop(self._blocks.popitem(last=False)[0], 0)

    def _forget_used_until(self, used: int) -> None:
        while self._blocks and next(iter(self._blocks.values())) <= used:
            self._size -= self._sizes.pop(self._blocks.popitem(last=False)[0], 0)
