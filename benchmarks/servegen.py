"""The ServeGen traces (Apache-2.0) as they are published: for each client its rates over time and its lengths.

`language-m-small.tar.gz` holds, for each client, `chunk-N-trace.csv` (seconds, requests a second, coefficient of
variation, distribution between arrivals, its shape and scale; one row each ten minutes) and `chunk-N-dataset.json` (how
likely each length of input and output is, in tokens, for each six hours).
"""

from __future__ import annotations

import ast
import json
import re
import tarfile
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

MEMBER_BYTES_MAX = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens, and how likely a length up to each of them is."""

    values: tuple[int, ...]
    upto: tuple[float, ...]

    @classmethod
    def of(cls, likely: dict[int, float]) -> Lengths:
        values = tuple(sorted(likely))
        return cls(values, tuple(accumulate(likely[one] for one in values)))

    def draw(self, dice: Random) -> int:
        return self.values[min(len(self.values) - 1, bisect_left(self.upto, dice.random() * self.upto[-1]))]

    @property
    def mean(self) -> float:
        before = (0.0, *self.upto)
        return sum(value * (upto - one) for value, upto, one in zip(self.values, self.upto, before, strict=False)) / (
            self.upto[-1] or 1.0
        )


@dataclass(frozen=True, slots=True)
class Client:
    """One client in one span of ten minutes: `rate` in requests a second, and what is between two arrivals."""

    name: str
    rate: float
    distribution: str
    shape: float
    scale: float
    inputs: Lengths
    outputs: Lengths

    def pause_s(self, dice: Random, speed: float) -> float:
        """Draw the time to the next arrival, at `speed` times the client's rate."""
        draw = dice.gammavariate if self.distribution == "Gamma" else lambda a, b: dice.weibullvariate(b, a)
        return draw(self.shape, self.scale) / speed


def read_clients(archive: Path, most: int = 40) -> list[Client]:
    """Return the clients of the span in which most of them are active, the busiest first; raises OSError."""
    rows: dict[str, dict[int, list[str]]] = {}
    lengths: dict[str, dict[int, tuple[Lengths, Lengths]]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            found = re.search(r"chunk-(\d+)-(trace\.csv|dataset\.json)$", member.name)
            file = tar.extractfile(member) if found and member.size <= MEMBER_BYTES_MAX else None
            if not found or file is None:
                continue
            text = file.read().decode()
            if found[2] == "trace.csv":
                lines = (line.split(",") for line in text.splitlines())
                rows[found[1]] = {int(float(row[0])): row for row in lines if float(row[1]) > 0}
            else:
                lengths[found[1]] = {int(at): both for at, one in json.loads(text).items() if (both := _both(one))}
    active: dict[int, int] = {}
    for name in lengths:
        for at in rows.get(name, {}):
            active[at] = active.get(at, 0) + 1
    span = max(active, key=lambda at: (active[at], -at))
    clients = [
        Client(name, float(row[1]), row[3], float(row[4]), float(row[5]), *_nearest(lengths[name], span))
        for name in lengths
        if lengths[name] and (row := rows.get(name, {}).get(span)) and float(row[4]) > 0
    ]
    return sorted(clients, key=lambda one: -one.rate)[:most]


def _both(one: dict[str, Any]) -> tuple[Lengths, Lengths] | None:
    inputs, outputs = (ast.literal_eval(one[name]) for name in ("input_tokens", "output_tokens"))
    return (Lengths.of(inputs), Lengths.of(outputs)) if inputs and outputs else None


def _nearest(known: dict[int, tuple[Lengths, Lengths]], at: int) -> tuple[Lengths, Lengths]:
    return known[min(known, key=lambda one: abs(one - at))]
