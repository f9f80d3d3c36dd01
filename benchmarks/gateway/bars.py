"""What this comparison is to show, and whether it did: pure arithmetic over the rows of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

OURS = "fastness"
RUST = ("vllm-router", "sglang-router", "smg")
LITELLM = "litellm"
ADDED_P50_MS = 1.0
ADDED_P99_MS = 5.0
CANNOT_TELL = "cannot tell"
"""Alone, what stands behind takes longer by itself than what is to be measured: the machine is too busy."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """One demand. `measured` is None when a side of it is missing; `against` says what ours was compared with."""

    bar: int
    what: str
    wanted: str
    measured: float | None
    against: str
    verdict: str


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Judge a run by its rows, one for each gateway that was measured."""
    named = {row["gateway"]: row for row in rows}
    found = []
    for bar, what, figure, times in (
        (1, "CPU a whole answer", "cpu_ms_per_request", 50.0),
        (2, "CPU 1,000 chunks", "cpu_ms_per_1000_chunks", 20.0),
    ):
        ours = _of(named, OURS, figure)
        cheapest = min(
            (name for name in RUST if _of(named, name, figure)), key=lambda name: named[name][figure], default=""
        )
        found.append(
            _at_most(
                bar,
                f"{what}, over the cheapest Rust router's",
                _ratio(ours, _of(named, cheapest, figure)),
                1.0,
                cheapest,
            )
        )
        found.append(
            _at_least(bar, f"{what}: LiteLLM's over ours", _ratio(_of(named, LITELLM, figure), ours), times, LITELLM)
        )
    for percent, most in ((50, ADDED_P50_MS), (99, ADDED_P99_MS)):
        added, bare = (_of(named, OURS, f"{side}_ttft_ms_p{percent}") for side in ("added", "bare"))
        what = f"added time to first token, p{percent}, half the saturation load, ms"
        bar = _at_most(3, what, added, most, "direct")
        found.append(replace(bar, verdict=CANNOT_TELL) if bare is not None and bare > most else bar)
    return found


def _of(rows: Mapping[str, Row], name: str, figure: str) -> float | None:
    value = rows.get(name, {}).get(figure)
    return value if value is not None and value == value else None  # nan is not equal to itself


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _at_most(bar: int, what: str, measured: float | None, most: float, against: str) -> Bar:
    return Bar(
        bar, what, f"<= {most:g}", measured, against, _verdict(measured is not None and measured <= most, measured)
    )


def _at_least(bar: int, what: str, measured: float | None, least: float, against: str) -> Bar:
    return Bar(
        bar, what, f">= {least:g}", measured, against, _verdict(measured is not None and measured >= least, measured)
    )


def _verdict(holds: bool, measured: float | None) -> str:
    return "not measured" if measured is None else "met" if holds else "missed"
