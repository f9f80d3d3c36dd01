"""What a choice of the replica costs, in CPU-µs, best of many: `python -m benchmarks.choice_cost`.

Hashing the prompt, choosing among replicas that know it in part, counting it as sent and over. One process, warm; on a
busy machine the best is still about right, and nothing else here is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks.figures import table
from fastness.traffic.lanes import Lane
from fastness.traffic.prefix_index import PrefixIndex
from fastness.traffic.prompt import Prompt, chat_prompt
from fastness.traffic.replica_choice import ReplicaChoice

SIZES, REPLICAS, TRIALS, CALLS = (2_048, 65_536, 400_000), 4, 60, 50
OWNER = ("tenant", "OFFICIAL")


def best_us(work: Callable[[], object]) -> float:
    """Return the CPU-µs of one call in the best of all trials."""
    best = float("inf")
    for _ in range(TRIALS):
        began = time.thread_time_ns()
        for _ in range(CALLS):
            work()
        best = min(best, time.thread_time_ns() - began)
    return best / CALLS / 1e3


def row(size: int) -> tuple[str, ...]:
    """Measure prompts of one size, in bytes."""
    choice = ReplicaChoice()
    lanes = [Lane(f"r{number}", 8, number) for number in range(REPLICAS)]
    for lane in lanes:
        choice.start(lane.replica, 1, partial(PrefixIndex, 1 << 30))
    text = "".join(map(chr, (33 + number * number % 90 for number in range(size // 2))))
    hashed: Callable[[], Prompt] = lambda: chat_prompt(OWNER, "model", (("system", text), ("user", text)))  # noqa: E731
    prompt = hashed()
    chosen = choice.choose(prompt, lanes)
    parts = [
        best_us(hashed),
        best_us(lambda: choice.choose(prompt, lanes)),
        best_us(lambda: choice.ended(choice.send(prompt, chosen), prompt.size)),
    ]
    return (f"{size:,}", f"{len(prompt.blocks)}", *(f"{part:.1f}" for part in (*parts, sum(parts))))


if __name__ == "__main__":
    print(
        table(("prompt bytes", "blocks", "hash", "choose of 4", "send and end", "all"), [row(size) for size in SIZES])
    )
