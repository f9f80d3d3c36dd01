"""Somebody who asks a real installation one question at a time, and hears what the engine says that it took."""

from __future__ import annotations

import re

from benchmarks.bodies import CHAT_PATH, exact_body
from benchmarks.installation import Running
from benchmarks.load import Client, Job, Line, Outcome

COUNTED = re.compile(rb'"prompt_tokens":\s*(\d+).*?"cached_tokens":\s*(\d+)', re.DOTALL)


class Voice:
    """Somebody who asks, one question at a time, on a connection of their own."""

    def __init__(self, site: Running, key: str, headers: str = "") -> None:
        self.outcome = Outcome()
        self.client = Client(Job(site.port, CHAT_PATH, [], 1, key, headers=headers), self.outcome)
        self.line: Line | None = None

    async def ask(self, text: str, output_tokens: int = 1) -> tuple[float, int, int]:
        """Return the seconds to the first token, and the tokens of the prompt, all and cached; raises RuntimeError."""
        self.line = await self.client.fresh(self.line) if self.line else await self.client.connect()
        await self.line.ask(self.client.request(exact_body(text, output_tokens)))
        found = COUNTED.search(self.line.tail)
        if self.outcome.failures or not self.outcome.first_s or found is None:
            raise RuntimeError(f"an answer failed: {self.line.tail[-400:]!r}")
        return self.outcome.first_s.pop(), int(found[1]), int(found[2])
