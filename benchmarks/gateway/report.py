"""What was seen, as rows for the results file and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.figures import median, table
from benchmarks.gateway.bars import Bar
from benchmarks.gateway.cases import ALONE, LARGE, PACED, UNPACED, WHOLE, Figure
from benchmarks.gateway.compare import Comparison
from benchmarks.gateway.subjects import Missing

Row = dict[str, Any]


def gateway_rows(seen: Comparison, missing: Sequence[Missing], counted: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Sum up each gateway; those that could not be had come last, with the reason."""
    rows = []
    for one in seen.running:
        cases = {case: seen.figures.get((one.name, case.name), []) for case in (WHOLE, ALONE, LARGE, PACED, UNPACED)}
        row: Row = {"gateway": one.name, "version": one.version, "start_s": one.start_s}
        if one.pid:
            row |= _spread("cpu_ms_per_request", cases[WHOLE])
            row["cpu_ms_per_request_1_connection"] = _middle(cases[ALONE], "cpu_ms")
            row["cpu_ms_per_request_64_kb"] = _middle(cases[LARGE], "cpu_ms")
            row |= _spread("cpu_ms_per_1000_chunks", cases[PACED], 1_000)
            row["cpu_ms_per_1000_chunks_unpaced"] = _middle(cases[UNPACED], "cpu_ms") * 1_000
        row |= {
            "requests_per_s": _middle(cases[WHOLE], "per_s"),
            "chunks_per_s_unpaced": _middle(cases[UNPACED], "per_s"),
            "whole_ms_p50_1_connection": _middle(cases[ALONE], "p50_ms"),
            "transit_ms_p50_paced": _middle(cases[PACED], "transit_p50_ms"),
            "transit_ms_p99_paced": _middle(cases[PACED], "transit_p99_ms"),
            "client_busy": _middle(cases[WHOLE], "client_busy"),
            "windows": len(cases[WHOLE]),
            "failures": sum(
                figure.failures for (name, _), all_ in seen.figures.items() if name == one.name for figure in all_
            ),
            "resident_mib": seen.resident_mib.get(one.name),
            "problem": seen.problems.get(one.name),
        }
        row |= _instructions(cases[WHOLE], cases[PACED], counted.get(one.name, {})) | _half_load(seen, one.name)
        rows.append(row)
    rows += [{"gateway": one.name, "version": one.version, "not_measured": one.why} for one in missing]
    return [{name: _none_for_nan(value) for name, value in row.items()} for row in rows]


def main_table(rows: Sequence[Row]) -> str:
    """CPU, one line a gateway."""
    head = (
        "CPU-ms",
        "a request",
        "(range)",
        "1 conn",
        "64 KB",
        "1,000 chunks",
        "(range)",
        "unpaced",
        "req/s",
        "client",
        "instr/req",
        "instr/chunk",
        "MiB",
    )
    lines = []
    for row in rows:
        if "not_measured" in row:
            lines.append((row["gateway"], *["-"] * (len(head) - 1)))
            continue
        lines.append(
            (
                row["gateway"],
                _text(row, "cpu_ms_per_request", 3),
                _range(row, "cpu_ms_per_request", 3),
                _text(row, "cpu_ms_per_request_1_connection", 3),
                _text(row, "cpu_ms_per_request_64_kb", 3),
                _text(row, "cpu_ms_per_1000_chunks", 1),
                _range(row, "cpu_ms_per_1000_chunks", 1),
                _text(row, "cpu_ms_per_1000_chunks_unpaced", 1),
                _text(row, "requests_per_s", 0),
                f"{row['client_busy'] or 0:.0%}",
                _text(row, "user_instructions_per_request", 0),
                _text(row, "user_instructions_per_chunk", 0),
                _text(row, "resident_mib", 0),
            )
        )
    notes = [f"{row['gateway']}: not measured: {row['not_measured']}" for row in rows if "not_measured" in row]
    notes += [f"{row['gateway']}: {row['failures']} answers failed" for row in rows if row.get("failures")]
    notes += [f"{row['gateway']}: {row['problem']}" for row in rows if row.get("problem")]
    return "\n".join([table(head, lines), *notes])


LATENCIES = {
    "half load /s": "half_load_per_s",
    "TTFT p50": "ttft_ms_p50",
    "p99": "ttft_ms_p99",
    "added p50": "added_ttft_ms_p50",
    "added p99": "added_ttft_ms_p99",
    "client": "half_load_client_busy",
    "whole p50, 1 conn": "whole_ms_p50_1_connection",
    "chunk p50": "transit_ms_p50_paced",
    "chunk p99": "transit_ms_p99_paced",
}


def latency_table(rows: Sequence[Row]) -> str:
    """Latency, one line a gateway: added to the stand-in alone at the same rate of arrivals by chance."""
    lines = [
        (row["gateway"], *(_text(row, name, 0 if name == "half_load_per_s" else 2) for name in LATENCIES.values()))
        for row in rows
        if "not_measured" not in row
    ]
    return table(("ms", *LATENCIES), lines)


def bar_table(bars: Sequence[Bar]) -> str:
    """The demands, one line each."""
    lines = [
        (
            f"{bar.bar}. {bar.what}",
            bar.against or "-",
            bar.wanted,
            "-" if bar.measured is None else f"{bar.measured:.2f}",
            bar.verdict,
        )
        for bar in bars
    ]
    return table(("bar", "against", "wanted", "measured", "verdict"), lines)


def _middle(figures: Sequence[Figure], name: str) -> float:
    return median([getattr(figure, name) for figure in figures if not math.isnan(getattr(figure, name))])


def _spread(name: str, figures: Sequence[Figure], times: float = 1.0) -> Row:
    """The median under its name, and its least and greatest."""
    values = [figure.cpu_ms * times for figure in figures]
    return {
        name: median(values),
        f"{name}_least": min(values, default=math.nan),
        f"{name}_most": max(values, default=math.nan),
    }


def _instructions(whole: Sequence[Figure], paced: Sequence[Figure], counted: Mapping[str, float]) -> Row:
    by_perf = {
        "user_instructions_per_request": _middle(whole, "instructions") or None,
        "user_instructions_per_chunk": _middle(paced, "instructions") or None,
    }
    return {name: counted.get(name, value) for name, value in by_perf.items()}


def _half_load(seen: Comparison, name: str) -> Row:
    loads = seen.loads.get(name, [])
    row: Row = {
        "half_load_per_s": median([rate for rate, _, _ in loads]),
        "half_load_client_busy": median([one.client_busy for _, one, _ in loads]),
    }
    for percent in ("p50", "p99"):
        through = [getattr(one, f"{percent}_ms") for _, one, _ in loads]
        bare = [getattr(one, f"{percent}_ms") for _, _, one in loads]
        row[f"ttft_ms_{percent}"] = median(through)
        row[f"bare_ttft_ms_{percent}"] = median(bare)
        row[f"added_ttft_ms_{percent}"] = median([over - under for over, under in zip(through, bare, strict=True)])
    return row


def _none_for_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(row: Row, name: str, places: int) -> str:
    value = row.get(name)
    return "-" if value is None else f"{value:,.{places}f}"


def _range(row: Row, name: str, places: int) -> str:
    least, most = row.get(f"{name}_least"), row.get(f"{name}_most")
    return "-" if least is None else f"{least:.{places}f}-{most:.{places}f}"
