"""What the plots of an answer show: panels with curves, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10

from fastness.simulator.capacity import Answer, Point


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve of a panel: pairs of hours and value. `steps`: each value holds until the next."""

    name: str
    pairs: tuple[tuple[float, float], ...]
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: what is on its upright axis, from 0 (or `low`) to `high`, and its curves."""

    title: str
    curves: tuple[Curve, ...]
    high: float
    low: float = 0.0


def panels(answer: Answer) -> tuple[Panel, ...]:
    """Lay out an answer: all departments together."""
    points = _together(answer)
    load = tuple((one.at_s / 3_600, one.rate) for one in points)
    held = tuple((one.at_s / 3_600, one.held) for one in points)
    kept = tuple((one.at_s / 3_600, 100 * one.kept) for one in points)
    span_h = answer.span_s / 3_600
    static = ((0.0, float(answer.static)), (span_h, float(answer.static)))
    wanted = ((0.0, 100 * answer.slo.part), (span_h, 100 * answer.slo.part))
    low = max(0.0, min(90.0, 10 * floor(min(value for _, value in kept) / 10)))
    return (
        Panel("requests a second", (Curve("load", load, True),), nice(max(value for _, value in load))),
        Panel(
            f"devices ({answer.pace.accelerator})",
            (Curve("planned", held, True), Curve("a fixed number", static)),
            nice(max(answer.static, max(value for _, value in held))),
        ),
        Panel(f"% within {answer.slo}", (Curve("planned", kept, True), Curve("wanted", wanted)), 100.0, low),
    )


def _together(answer: Answer) -> tuple[Point, ...]:
    """Add the departments up. They are planned over the same ticks, so that their points stand at the same times."""
    rows = list(zip(*(one.points for one in answer.needs), strict=False))
    found = []
    for row in rows:
        rate = sum(one.rate for one in row)
        kept = sum(one.rate * one.kept for one in row) / rate if rate else 1.0
        found.append(Point(row[0].at_s, rate, sum(one.held for one in row), kept))
    return tuple(found)


def title(answer: Answer) -> str:
    """Say the answer in one line."""
    devices = "1 device" if answer.static == 1 else f"{answer.static} devices"
    fixed = f"{devices} all the time, or {answer.hours:,.1f} device-hours of {answer.static_hours:,.1f}"
    return f"{answer.pace.name}: {fixed}"


def nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9)))
