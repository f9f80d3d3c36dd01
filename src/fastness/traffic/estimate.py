"""How many tokens a request will take, before anybody has counted them. One estimate a model; it learns."""

from __future__ import annotations

from typing import Final

BYTES_PER_TOKEN: Final = 4.0
"""What is assumed of a model that nothing is known of yet."""
BYTES_PER_TOKEN_MIN: Final = 0.25
BYTES_PER_TOKEN_MAX: Final = 64.0
OUTPUT_TOKENS_FIRST: Final = 256.0
"""The output that is assumed of a model that nothing is known of yet, in tokens."""
WEIGHT: Final = 1 / 32
"""What the newest request counts for in the moving averages."""
SAFETY: Final = 1.25
"""The output is estimated this much above its average: what is reserved in excess is given back at the end."""


class Estimate:
    """The ratio of bytes to input tokens, and the mean output, as moving averages."""

    __slots__ = ("bytes_per_token", "output_tokens")

    def __init__(self) -> None:
        self.bytes_per_token = BYTES_PER_TOKEN
        self.output_tokens = OUTPUT_TOKENS_FIRST

    def of(self, input_bytes: int, max_output_tokens: int | None) -> tuple[int, int]:
        """Return the input and output tokens to expect, each at least 1; output never above what was asked for."""
        expected = int(self.output_tokens * SAFETY) + 1
        output = expected if max_output_tokens is None else min(expected, max_output_tokens)
        return int(input_bytes / self.bytes_per_token) + 1, max(1, output)

    def learn(self, input_bytes: int, input_tokens: int, output_tokens: int) -> None:
        """Take in what a request that ended well took."""
        if input_tokens > 0 and input_bytes > 0:
            seen = min(BYTES_PER_TOKEN_MAX, max(BYTES_PER_TOKEN_MIN, input_bytes / input_tokens))
            self.bytes_per_token += WEIGHT * (seen - self.bytes_per_token)
        self.output_tokens += WEIGHT * (output_tokens - self.output_tokens)
