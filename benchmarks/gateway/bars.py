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
    return [
        _beside_rust(1, "CPU a whole answer", "cpu_ms_per_request", named),
        _beside_litellm(1, "CPU a whole answer", "cpu_ms_per_request", 50.0, named),
        _beside_rust(1, "the same in user instructions", "user_instructions_per_request", named),
        _beside_rust(2, "CPU 1,000 chunks", "cpu_ms_per_1000_chunks", named),
        _beside_litellm(2, "CPU 1,000 chunks", "cpu_ms_per_1000_chunks", 20.0, named),
        _beside_rust(2, "the same in user instructions", "user_instructions_per_chunk", named),
        _added(50, ADDED_P50_MS, named),
        _added(99, ADDED_P99_MS, named),
    ]


def _beside_rust(bar: int, what: str, figure: str, named: Mapping[str, Row]) -> Bar:
    there = [name for name in RUST if _of(named, name, figure)]
    cheapest = min(there, key=lambda name: named[name][figure], default="")
    measured = _ratio(_of(named, OURS, figure), _of(named, cheapest, figure))
    return _at_most(bar, f"{what}, over the cheapest Rust router's", measured, 1.0, cheapest)


def _beside_litellm(bar: int, what: str, figure: str, times: float, named: Mapping[str, Row]) -> Bar:
    measured = _ratio(_of(named, LITELLM, figure), _of(named, OURS, figure))
    holds = measured is not None and measured >= times
    return Bar(bar, f"{what}: LiteLLM's over ours", f">= {times:g}", measured, LITELLM, _verdict(holds, measured))


def _added(percent: int, most_ms: float, named: Mapping[str, Row]) -> Bar:
    added, bare = (_of(named, OURS, f"{side}_ttft_ms_p{percent}") for side in ("added", "bare"))
    what = f"added time to first token, p{percent}, half the saturation load, ms"
    bar = _at_most(3, what, added, most_ms, "direct")
    return replace(bar, verdict=CANNOT_TELL) if bare is not None and bare > most_ms else bar


def _of(rows: Mapping[str, Row], name: str, figure: str) -> float | None:
    value = rows.get(name, {}).get(figure)
    return value if value is not None and value == value else None  # nan is not equal to itself


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _at_most(bar: int, what: str, measured: float | None, most: float, against: str) -> Bar:
    return Bar(
        bar, what, f"<= {most:g}", measured, against, _verdict(measured is not None and measured <= most, measured)
    )


def _verdict(holds: bool, measured: float | None) -> str:
    return "not measured" if measured is None else "met" if holds else "missed"
