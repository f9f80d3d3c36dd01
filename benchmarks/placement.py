"""What placement costs, and how near it comes to the best: `python -m benchmarks.placement [--nodes N ...]`.

1. *Cost.* A fleet of nodes with 8 devices each, empty, and 200 deployments with so many replicas that they would take
   nine tenths of 1,000 nodes: what is free is indexed, shares are counted, the wishes are put in order, and each is
   placed with the reason. CPU seconds of this process, so that other work on the machine counts little (bar: 1 s for
   1,000 nodes). Beside it, the same on a fleet that is full: all are refused, and every refusal names every node.
2. *Optimum.* Small random fleets, each beside the most devices that any choice puts to work (placement_optimum.py).
   Once as a plan places, which knows all wishes; once as they come, one after the other (bar for the first: 97%).

Everything but the times is seeded.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from benchmarks.figures import table
from benchmarks.placement_optimum import GB, OFFICIAL, SECRET, case, clears, optimum, placed
from fastness.core.desired import Needs
from fastness.core.marking import Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.offers import Offer
from fastness.scheduling.placement import Unplaced
from fastness.scheduling.shares import Shares
from fastness.scheduling.wishes import Wish, ordered, place_all

DEVICES: Final = 8
DEPLOYMENTS: Final = 200
DEPARTMENTS: Final = 20
TYPES: Final = (("h100-80gb", 80, 50), ("a100-40gb", 40, 30), ("l4-24gb", 24, 20))
"""Accelerator, gigabytes, and how many of a hundred nodes have it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One run: CPU seconds in all, replicas wanted and placed, and the part of all devices that they take."""

    cpu_s: float
    wanted: int
    placed: int
    taken: float


def fleet(count: int, seed: int = 1) -> list[FleetNode]:
    """Draw nodes in racks of 25, a quarter of them cleared for SECRET, each with a label of its own and some models."""
    dice = Random(f"fleet {seed}")
    nodes = []
    for number in range(count):
        accelerator, gb, _ = dice.choices(TYPES, [one[2] for one in TYPES])[0]
        devices = tuple(Device(f"gpu-{one}", DeviceKind.GPU, accelerator, gb * GB) for one in range(DEVICES))
        ceiling = SECRET if dice.random() < 0.25 else OFFICIAL
        place = Node(f"node-{number:05}", dice.choice(("GB", "GB", "GB", "IE")), "crown", "GB", ceiling)
        labels = (("name", place.name), ("tier", dice.choice(("gold", "iron"))))
        digests = tuple(f"model-{dice.randrange(DEPLOYMENTS // 4)}" for _ in range(4))
        nodes.append(FleetNode(place, devices, 512 * GB, f"rack-{number // 25}", labels=labels, digests=digests))
    return nodes


def wishes(devices: int, seed: int = 1) -> list[Wish]:
    """Draw deployments and their replicas, until they take about nine tenths of so many devices."""
    dice = Random(f"wishes {seed}")
    drawn = []
    for number in range(DEPLOYMENTS):
        width, nodes = dice.choice(((1, 1), (1, 1), (1, 1), (2, 1), (2, 1), (4, 1), (8, 1), (8, 2)))
        accelerator = dice.choice(("", "", "h100-80gb", "a100-40gb"))
        size = dice.choice((10, 20, 35) if accelerator != "h100-80gb" else (35, 70)) * GB
        needs = Needs(SECRET if dice.random() < 0.1 else OFFICIAL, size, width, nodes, accelerator)
        if dice.random() < 0.2:
            needs = replace(needs, jurisdictions=("GB",))
        if dice.random() < 0.1:
            needs = replace(needs, labels=("tier=gold",))
        weight = dice.uniform(0.2, 1.8)
        drawn.append((number, replace(needs, apart=dice.random() < 0.1 and width * nodes < 8), weight))
    whole = sum(weight for _, _, weight in drawn)
    return [
        Wish(f"d{number}", f"department-{number % DEPARTMENTS}", needs, f"model-{number // 4}", there)
        for number, needs, weight in drawn
        for there in range(max(1, round(devices * 0.9 * weight / whole / needs.devices_in_all)))
    ]


def cost(nodes: Sequence[FleetNode], wanted: Sequence[Wish], full: bool = False) -> Cost:
    """Place everything on an empty fleet, or nothing on a full one."""
    began_s = time.process_time()
    index = OfferIndex((Offer(one, () if full else one.devices, one.memory_bytes) for one in nodes), clears)
    promised = {(f"department-{one}", "default"): len(nodes) * DEVICES // DEPARTMENTS for one in range(DEPARTMENTS)}
    shares = Shares(promised, {"default": len(nodes) * DEVICES}, (), clears)
    found = [one for _, one in place_all(ordered(wanted, index, shares), index, shares)]
    cpu_s = time.process_time() - began_s
    parts = [part for one in found if not isinstance(one, Unplaced) for part in one.parts]
    taken = [(part.node, device) for part in parts for device in part.devices]
    assert len(taken) == len(set(taken)), "a device was given twice"
    done = sum(not isinstance(one, Unplaced) for one in found)
    return Cost(cpu_s, len(wanted), done, len(taken) / (len(nodes) * DEVICES))


def costs(sizes: Sequence[int], rounds: int) -> str:
    """Measure each size so often, and lay out the least and the most."""
    rows = []
    for size in sizes:
        nodes, wanted = fleet(size), wishes(min(size, 1_000) * DEVICES)
        for full in (False, True):
            runs = [cost(nodes, wanted, full) for _ in range(rounds)]
            least, most = min(one.cpu_s for one in runs), max(one.cpu_s for one in runs)
            row = [f"{size:,}{' full' if full else ''}", f"{runs[0].wanted:,}", f"{runs[0].placed:,}"]
            rows.append([*row, f"{runs[0].taken:.1%}", f"{least:.2f}", f"{most:.2f}"])
    return table(("nodes", "replicas", "placed", "of devices", "CPU s, least", "most"), rows)


def against_optimum(cases: int) -> str:
    """Compare with the optimum on so many small fleets."""
    rows = []
    for name, planned in (("all known, in our order", True), ("one after the other, as they come", False)):
        pairs = [(placed(one, planned), optimum(one)) for one in map(case, range(cases))]
        parts = [ours / best for ours, best in pairs if best]
        whole = sum(ours for ours, _ in pairs) / sum(best for _, best in pairs)
        row = [name, f"{whole:.2%}", f"{sum(parts) / len(parts):.2%}", f"{min(parts):.0%}"]
        rows.append([*row, f"{sum(one == 1 for one in parts) / len(parts):.1%}"])
    return table((f"{cases} cases", "of all devices", "mean of cases", "worst", "exactly the best"), rows)


def main() -> None:
    """Read the command line and print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=300)
    chosen = parser.parse_args()
    print(costs(chosen.nodes, chosen.rounds), flush=True)
    print(f"\n{against_optimum(chosen.cases)}")


if __name__ == "__main__":
    main()
