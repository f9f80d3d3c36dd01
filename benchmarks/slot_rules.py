"""Which slot of an engine takes a prompt, simulated: `python -m benchmarks.slot_rules`.

Talks of one owner, interleaved: each begins with one of three system prompts and grows with every turn, as in a
department. One prompt at a time, so that only the rule matters. Printed: the share of all input that was in the slot.
Seeded; the same on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from benchmarks.figures import table
from fastness.traffic.engine_slots import EngineSlots
from fastness.traffic.prompt import Prompt

PROMPTS, SYSTEMS, TURN_TOKENS, PART_TOKENS = 6_000, 3, 300, 100
SLOTS = (4, 8, 16, 64)
LOADS = ((6, 2_000), (20, 2_000), (20, 300))
"""Talks at the same time, and tokens of a system prompt."""
SIMILARITY = 0.1
"""llama.cpp's default (`--slot-prompt-similarity`): what a slot must have of a prompt to be preferred."""

Pick = Callable[[Sequence[tuple[Prompt, int] | None], Prompt], int]


def talks(active: int, system_tokens: int) -> list[Prompt]:
    """Write the prompts, in the order in which they come."""
    dice, fresh = random.Random(1), iter(range(1 << 30))
    prompts: list[Prompt] = []
    current: list[list[object]] = []
    while len(prompts) < PROMPTS:
        if len(current) < active:
            system = dice.randrange(SYSTEMS)
            current.append([(system, part) for part in range(system_tokens // PART_TOKENS)])
        talk = dice.choice(current)
        talk.extend(next(fresh) for _ in range(TURN_TOKENS // PART_TOKENS))
        blocks, chained = [], 0
        for part in talk:
            chained = hash((chained, part))
            blocks.append(chained)
        prompts.append(Prompt("owner", tuple(blocks), tuple(PART_TOKENS * (at + 1) for at in range(len(blocks)))))
        if dice.random() < 0.15:
            current.remove(talk)
    return prompts


def oldest(slots: Sequence[tuple[Prompt, int] | None], _prompt: Prompt) -> int:
    """The slot used longest ago."""
    return min(range(len(slots)), key=lambda at: slots[at][1] if slots[at] else 0)  # type: ignore[index]


def most_alike(slots: Sequence[tuple[Prompt, int] | None], prompt: Prompt) -> int:
    """llama.cpp's own rule: the most in common, if that is enough; else the slot used longest ago."""
    shared, best = max((known[0].shared(prompt) if known else 0, -at) for at, known in enumerate(slots))
    return -best if shared > SIMILARITY * prompt.size else oldest(slots, prompt)


def spared(prompts: Sequence[Prompt], count: int, pick: Pick) -> float:
    """Return the share of input tokens found in the slots that a rule picks."""
    slots: list[tuple[Prompt, int] | None] = [None] * count
    found = 0
    for turn, prompt in enumerate(prompts, 1):
        at = pick(slots, prompt)
        known = slots[at]
        found += known[0].shared(prompt) if known else 0
        slots[at] = prompt, turn
    return found / sum(prompt.size for prompt in prompts)


def spared_by_ours(prompts: Sequence[Prompt], count: int) -> float:
    """Return the same for the production code."""
    slots, found = EngineSlots(count), 0
    for prompt in prompts:
        found += slots.known(prompt)
        seat = slots.take(prompt)
        assert seat
        slots.give(seat.number)
    return found / sum(prompt.size for prompt in prompts)


def main() -> None:
    """Play all, and print."""
    rows = []
    for active, system_tokens in LOADS:
        prompts = talks(active, system_tokens)
        for count in SLOTS:
            shares = (
                spared(prompts, count, oldest),
                spared(prompts, count, most_alike),
                spared_by_ours(prompts, count),
            )
            rows.append(
                (f"{active} talks, system prompt of {system_tokens:,}", f"{count}", *(f"{s:.0%}" for s in shares))
            )
    print(table(("load", "slots", "used longest ago", "most alike (llama.cpp)", "fastness"), rows))


if __name__ == "__main__":
    main()
