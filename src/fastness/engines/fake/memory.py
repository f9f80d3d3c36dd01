"""What the fake engine remembers of prompts: blocks of tokens, for each salt apart, the oldest forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import Final

from fastness.engines.fake.answer import CHARS_A_TOKEN, Ask

BLOCK_TOKENS: Final = 16


class Memory:
    """Holds `tokens` of prompts at most."""

    def __init__(self, tokens: int) -> None:
        self._blocks_max = tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self.salts: set[str | None] = set()

    def read(self, ask: Ask) -> int:
        """Read a prompt, and return how many of its tokens were known."""
        self.salts.add(ask.cache_salt)
        text = ask.prompt if ask.prompt is not None else "".join(chain(*((m.role, m.content) for m in ask.messages)))
        unit = BLOCK_TOKENS * CHARS_A_TOKEN if isinstance(text, str) else BLOCK_TOKENS
        chained, blocks = hash((ask.cache_salt, ask.adapted)), []
        for start in range(0, len(text) - unit, unit):  # never the last token: something must be computed
            chained = hash((chained, tuple(text[start : start + unit])))
            blocks.append(chained)
        known = next((at for at, block in enumerate(blocks) if block not in self._blocks), len(blocks))
        for block in reversed(blocks):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._blocks_max:
            self._blocks.popitem(last=False)
        return known * BLOCK_TOKENS
