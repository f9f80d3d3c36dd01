"""Numbers and tables: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all values do not exceed (nearest rank); nan for none."""
    if not 0 < percent <= 100:
        raise ValueError(f"a percentile is above 0 and at most 100; {percent} came")
    if not values:
        return math.nan
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the middle two; nan for none."""
    if not values:
        return math.nan
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return bounds that hold the median of what `values` were drawn from in 95 of 100 cases, by the sign test.

    Needs no assumption about their distribution; (nan, nan) for fewer than six values, which cannot say.
    """
    n = len(values)
    if n < 6:
        return math.nan, math.nan
    ordered, tail, rank = sorted(values), 0.5**n, 0
    while tail <= 0.025:
        rank += 1
        tail += math.comb(n, rank) * 0.5**n
    return ordered[rank - 1], ordered[n - rank]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table in plain text: the first column to the left, the others to the right, two spaces between."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, ["-" * width for width in widths], *rows):
        first, *others = zip(row, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip())
    return "\n".join(lines)
