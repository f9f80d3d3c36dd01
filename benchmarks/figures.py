"""Numbers and tables: pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
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


def told_apart(hits: Sequence[float], misses: Sequence[float]) -> tuple[float, float, float]:
    """Return how well times tell hits from misses, with the bounds of its 95% interval.

    It is the area under the ROC curve: how often a hit is the quicker of the two, ties counting half. 0.5: not at all.
    The i-th hit and the i-th miss are one round; the interval is DeLong's for what was seen in pairs.
    """
    n = len(hits)
    if n != len(misses) or n < 2:
        raise ValueError(f"needed at least two rounds, a hit and a miss each; got {n} and {len(misses)}")
    slow, quick = sorted(misses), sorted(hits)
    slower = [1.0 - (bisect_left(slow, one) + bisect_right(slow, one)) / (2 * n) for one in hits]
    quicker = [(bisect_left(quick, one) + bisect_right(quick, one)) / (2 * n) for one in misses]
    area = sum(slower) / n
    variance = sum((one + other - 2 * area) ** 2 for one, other in zip(slower, quicker, strict=True)) / (n * (n - 1))
    margin = 1.96 * math.sqrt(variance)
    return area, max(0.0, area - margin), min(1.0, area + margin)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table in plain text: the first column to the left, the others to the right, two spaces between."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, ["-" * width for width in widths], *rows):
        first, *others = zip(row, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip())
    return "\n".join(lines)
