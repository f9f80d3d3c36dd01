"""Prompts of parts that can be seen: each part is a block of size 1."""

from collections.abc import Hashable, Iterable

from fastness.traffic.prompt import Prompt


def prompt_of(owner: Hashable, parts: Iterable[Hashable], size: int = 1, adapter: str | None = None) -> Prompt:
    """Chain the parts, each of `size`."""
    blocks, chained = [], hash((owner, adapter))
    for part in parts:
        chained = hash((chained, part))
        blocks.append(chained)
    return Prompt(owner, tuple(blocks), tuple(size * (at + 1) for at in range(len(blocks))), adapter)
