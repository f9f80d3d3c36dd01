"""Facts as text: sizes, durations, ages, tables. Pure: the same input gives the same characters."""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

UNBOUNDED: Final = 10_000
"""Width in columns when nobody looks at a terminal: one record stays one line, so that `grep` works."""
STAGE_COLUMN: Final = 11
RESULT_COLUMN: Final = 60

_STYLES: Final = {
    "ready": "green",
    "ok": "green",
    "active": "green",
    "starting": "cyan",
    "draining": "yellow",
    "backing_off": "yellow",
    "warn": "yellow",
    "warning": "yellow",
    "failed": "red",
    "fail": "red",
    "error": "red",
    "revoked": "dim",
    "expired": "dim",
    "stopped": "dim",
    "NO": "bold red",
}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Column:
    """A column. If space is short, those with `spare` go (highest first), then those that are not `firm` are folded.

    `right` puts numbers below each other.
    """

    title: str
    right: bool = False
    spare: int = 0
    firm: bool = False


def printable(text: str) -> str:
    """Remove control and direction-changing characters, so that no stored or generated text can drive a terminal."""
    return _CONTROL.sub("", text)


def size(size_bytes: int | None) -> str:
    """Write bytes in decimal units: `98 MB`, `1.2 GB`; `-` when unknown."""
    if size_bytes is None:
        return "-"
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit in ("B", "kB") or value >= 9.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(duration_s: float) -> str:
    """Write a measured time: `0.41 s`, `2.4 s`, `38 s`, `3 min 20 s`, `2 h 5 min`."""
    if duration_s < 0.995:
        return f"{duration_s:.2f} s"
    if duration_s < 9.95:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    for top, lower, step in (("d", "h", 86_400), ("h", "min", 3_600), ("min", "s", 60)):
        if whole >= step:
            rest = whole % step // {"h": 3_600, "min": 60, "s": 1}[lower]
            return f"{whole // step} {top}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


def age(age_s: float) -> str:
    """Write how long something has lasted, in its largest unit: `41 s`, `3 min`, `2 h`, `5 d`."""
    whole = max(0, int(age_s))
    for unit, step in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= step:
            return f"{whole // step} {unit}"
    return f"{whole} s"


def moment(time_s: float | None) -> str:
    """Write a time since 1970 in UTC, to the minute: `2026-12-22 14:02Z`; `never` for None."""
    return "never" if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%MZ")


def count(number: int | None) -> str:
    """Write an integer with thousands separated; `-` when unknown."""
    return "-" if number is None else f"{number:,}"


def plain(value: object) -> str:
    """Write a value of JSON for people: text as it is, the rest as JSON has it."""
    return value if isinstance(value, str) else json.dumps(value)


def yes_no(value: bool) -> str:
    """Write a good truth quietly and a bad one loudly."""
    return "yes" if value else "NO"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, colour: bool = False) -> str:
    """Lay rows out under their titles, two spaces between columns, no line longer than `width`.

    Columns with `spare` are left out, highest first, until the rest fits; then the widest cells are folded.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [
        max([cell_len(column.title), *(cell_len(row[index]) for row in cells)]) for index, column in enumerate(columns)
    ]
    kept = _kept(columns, widths, width)
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index in kept:
        drawn.add_column(
            columns[index].title,
            justify="right" if columns[index].right else "left",
            overflow="fold",
            no_wrap=columns[index].firm,
        )
    for row in cells:
        drawn.add_row(*(Text(row[index], style=_STYLES.get(row[index], "")) for index in kept))
    page = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        highlight=False,
        _environ={},
    )
    with page.capture() as captured:
        page.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def _kept(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    kept = list(range(len(columns)))
    while sum(widths[index] + 2 for index in kept) - 2 > width:
        spare = max(kept, key=lambda index: columns[index].spare)
        if columns[spare].spare == 0:
            break
        kept.remove(spare)
    return kept


def pairs(facts: Sequence[tuple[str, str]], width: int) -> str:
    """Lay named facts out in two columns; a long fact is wrapped under itself."""
    indent = max((len(name) for name, _ in facts), default=0) + 2
    return "\n".join(hanging(f"{name:<{indent}}", fact, width) for name, fact in facts)


def hanging(first: str, text: str, width: int) -> str:
    """Write `text` after `first`, wrapped at `width` under where it began. Words are not broken."""
    lines = textwrap.wrap(
        printable(text).replace("\n", " "),
        max(20, width - len(first)),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
    return (first + f"\n{' ' * len(first)}".join(lines)).rstrip()


def stage(name: str, detail: str, result: str, elapsed: str, width: int) -> str:
    """Write one line of `up`: name, detail, result and elapsed time in the columns that the eye expects.

    What does not fit into `width` has its result on a second line.
    """
    line = f"{name:<{STAGE_COLUMN}}{printable(detail)}".rstrip()
    tail = f"{printable(result):<8}  {elapsed}".strip()
    if not tail:
        return line
    whole = f"{line:<{RESULT_COLUMN}}  {tail}"
    return whole if len(whole) <= width else f"{line}\n{'':<{STAGE_COLUMN}}{tail}"


def paint(text: str, style: str, colour: bool) -> str:
    """Colour `text` for a terminal (`bold`, `dim`, `green`, `yellow`, `red`, `cyan`), or leave it as it is."""
    codes = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
    return f"\x1b[{codes[style]}m{text}\x1b[0m" if colour else text
