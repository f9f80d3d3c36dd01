"""What several gateways cost where they share a replica: `python -m benchmarks.shared_slots`.

The production queue of each gateway, over its own part of the replica's slots, in virtual time: requests come by chance
(Poisson), go to a gateway by chance, as the kernel deals connections out, and hold a slot for a time of chance
(exponential). Each figure is the same on any machine. Waits are in parts of the mean time that a request holds a slot.
"""

from __future__ import annotations

import random
from heapq import heappop, heappush

from benchmarks.figures import percentile, table
from fastness.core.priority import Band
from fastness.traffic.fair_queue import Ask, FairQueue
from fastness.traffic.portion import Portion

REQUESTS = 100_000
SLOTS = (8, 16, 32, 64)
LOADS = (0.5, 0.7, 0.9)
GATEWAYS = (1, 2, 4)


def waits(slots: int, gateways: int, load: float, requests: int = REQUESTS, seed: int = 1) -> list[float]:
    """Return how long each request waited for a slot."""
    dice = random.Random(seed)
    queues = []
    for index in range(gateways):
        queue = FairQueue(waiting_max=requests)
        queue.set_lanes([("replica", Portion(index, gateways).deal("replica", slots).count)])
        queues.append(queue)
    began: dict[int, float] = {}
    found: list[float] = []
    ends: list[tuple[float, int]] = []
    now_s = 0.0

    def begin(number: int, at_s: float) -> None:
        found.append(at_s - began[number])
        heappush(ends, (at_s + dice.expovariate(1.0), number % gateways))

    for number in range(requests):
        now_s += dice.expovariate(load * slots)
        while ends and ends[0][0] <= now_s:
            ended_s, at = heappop(ends)
            for ticket, _ in queues[at].release("replica", ended_s, 1.0):
                begin(int(ticket), ended_s)  # type: ignore[call-overload]  # tickets are numbers here
        chosen = dice.randrange(gateways)
        ticket = number * gateways + chosen
        began[ticket] = now_s
        ask = Ask("health", 1.0, Band.STANDARD, 1, 1, now_s + 1e9, None)
        if isinstance(queues[chosen].arrive(ticket, ask, now_s), str):
            begin(ticket, now_s)
    return found


def main() -> None:
    """Print the waits for each number of slots, load and number of gateways."""
    rows = []
    for slots in SLOTS:
        for load in LOADS:
            cells = []
            for gateways in GATEWAYS:
                seen = sorted(waits(slots, gateways, load))
                waited = sum(one > 0 for one in seen) / len(seen)
                cells.append(f"{waited:.0%} {sum(seen) / len(seen):.2f} {percentile(seen, 99):.2f}")
            rows.append((f"{slots} slots, {load:.0%} busy", *cells))
    print("who had to wait, the mean wait of all, the 99th percentile")
    print(table(("", *(f"{count} gateway{'s' * (count > 1)}" for count in GATEWAYS)), rows))


if __name__ == "__main__":
    main()
