"""ServeGen's traces (alibaba/ServeGen) as they are published: each client's rates over time, and its lengths.

An archive or folder holds, for each client, `chunk-N-trace.csv` (seconds, requests a second, coefficient of variation,
distribution between arrivals, its shape and scale; a row each ten minutes) and, but for rates alone,
`chunk-N-dataset.json` (how likely each length of input and output is, in tokens, for each six hours).
"""

from __future__ import annotations

import ast
import json
import re
import tarfile
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from gzip import BadGzipFile
from itertools import accumulate
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any, Final

from fastness.simulator.trace_error import TraceError

MEMBER_BYTES_MAX: Final = 64 * 2**20
MEMBERS_MAX: Final = 8_192
ROWS_MAX: Final = 100_000
"""Rows of one client; one each ten minutes is nearly two years."""
RATE_MAX: Final = 1e6
COLUMNS: Final = 6
_NAME: Final = re.compile(r"chunk-(\d+)-(trace\.csv|dataset\.json)$")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens, and how likely a length up to each of them is."""

    values: tuple[int, ...]
    upto: tuple[float, ...]

    @classmethod
    def of(cls, likely: Mapping[int, float]) -> Lengths:
        """Take how likely each length is; the sum need not be 1."""
        values = tuple(sorted(likely))
        return cls(values, tuple(accumulate(likely[one] for one in values)))

    def draw(self, dice: Random) -> int:
        """Draw one."""
        return self.values[min(len(self.values) - 1, bisect_left(self.upto, dice.random() * self.upto[-1]))]

    @property
    def mean(self) -> float:
        """The mean length."""
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
        return draw_pause_s(dice, self.distribution, self.shape, self.scale) / speed


@dataclass(frozen=True, slots=True)
class ClientRates:
    """One client over all spans, column by column. `variation` is the coefficient of variation between arrivals.

    `lengths` has its lengths by the second from which they hold; empty where none were published.
    """

    family: str
    name: str
    starts_s: array[float]
    rates: array[float]
    variation: array[float]
    shapes: array[float]
    scales: array[float]
    weibull: bytes
    lengths: Mapping[int, tuple[Lengths, Lengths]]


def draw_pause_s(dice: Random, distribution: str, shape: float, scale: float) -> float:
    """Draw the time between two arrivals, as the trace says that they are distributed."""
    return dice.gammavariate(shape, scale) if distribution == "Gamma" else dice.weibullvariate(scale, shape)


def read_rates(place: Path) -> tuple[ClientRates, ...]:
    """Read a folder or `.tar.gz`, client by client; raises OSError, and TraceError with file and line."""
    columns: dict[tuple[str, str], tuple[array[float], ...]] = {}
    kinds: dict[tuple[str, str], bytes] = {}
    lengths: dict[tuple[str, str], dict[int, tuple[Lengths, Lengths]]] = {}
    for path, number, what, text in _members(place):
        key = (PurePosixPath(path).parent.name, number)
        if what == "trace.csv":
            columns[key], kinds[key] = _rows(path, text)
        else:
            lengths[key] = _lengths(path, text)
    if not columns:
        raise TraceError(f"{place}: no chunk-N-trace.csv in it; needed one for each client, as ServeGen publishes them")
    named = [*(key for key in lengths if key in columns), *(key for key in columns if key not in lengths)]
    return tuple(_client(*key, columns[key], kinds[key], lengths.get(key, {})) for key in named)


def read_clients(archive: Path, most: int = 40) -> list[Client]:
    """Return the clients of the span in which most of them are active, the busiest first.

    Those without lengths are left out. Raises OSError, TraceError.
    """
    known = [one for one in read_rates(archive) if one.lengths]
    active: dict[int, int] = {}
    for one in known:
        for at, rate in zip(one.starts_s, one.rates, strict=True):
            if rate > 0:
                active[int(at)] = active.get(int(at), 0) + 1
    if not active:
        raise TraceError(f"{archive}: no client in it has both lengths and a rate above 0")
    span = max(active, key=lambda at: (active[at], -at))
    clients = []
    for one in known:
        at = bisect_left(one.starts_s, span)
        if at < len(one.rates) and one.starts_s[at] == span and one.rates[at] > 0 and one.shapes[at] > 0:
            kind = "Weibull" if one.weibull[at] else "Gamma"
            both = one.lengths[min(one.lengths, key=lambda when: abs(when - span))]
            clients.append(Client(one.name, one.rates[at], kind, one.shapes[at], one.scales[at], *both))
    return sorted(clients, key=lambda one: -one.rate)[:most]


def _client(
    family: str,
    name: str,
    columns: tuple[array[float], ...],
    weibull: bytes,
    lengths: Mapping[int, tuple[Lengths, Lengths]],
) -> ClientRates:
    starts_s, rates, variation, shapes, scales = columns
    return ClientRates(family, name, starts_s, rates, variation, shapes, scales, weibull, lengths)


def _members(place: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield path, client, kind and text of each file that is a client's; nothing is unpacked to the disk."""
    return _in_folder(place) if place.is_dir() else _in_archive(place)


def _in_folder(place: Path) -> Iterator[tuple[str, str, str, str]]:
    for count, path in enumerate(sorted(place.rglob("chunk-*"))):
        if count >= MEMBERS_MAX:
            raise TraceError(f"{place}: more than {MEMBERS_MAX:,} files; give a folder of one trace")
        if (found := _NAME.search(path.name)) and path.is_file():
            if path.stat().st_size > MEMBER_BYTES_MAX:
                raise TraceError(f"{path}: larger than {MEMBER_BYTES_MAX:,} bytes")
            yield str(path), found[1], found[2], _text(str(path), path.read_bytes())


def _in_archive(place: Path) -> Iterator[tuple[str, str, str, str]]:
    try:
        with tarfile.open(place) as tar:
            for count, member in enumerate(tar):
                if count >= MEMBERS_MAX:
                    raise TraceError(f"{place}: more than {MEMBERS_MAX:,} files in it; give an archive of one trace")
                found = _NAME.search(member.name)
                file = tar.extractfile(member) if found and member.isfile() else None
                if found is None or file is None:
                    continue
                if member.size > MEMBER_BYTES_MAX:
                    raise TraceError(f"{place}: {member.name} is larger than {MEMBER_BYTES_MAX:,} bytes")
                yield member.name, found[1], found[2], _text(member.name, file.read())
    except (tarfile.TarError, EOFError, zlib.error, BadGzipFile) as error:
        raise TraceError(f"{place}: not a whole tar archive: {error}") from None


def _text(path: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: byte {error.start:,} is not UTF-8; needed text") from None


def _rows(path: str, text: str) -> tuple[tuple[array[float], ...], bytes]:
    columns = tuple(array("d") for _ in range(COLUMNS - 1))
    weibull = bytearray()
    for number, line in enumerate(text.splitlines(), start=1):
        if number > ROWS_MAX:
            raise TraceError(f"{path}, line {number:,}: more than {ROWS_MAX:,} rows")
        cells = line.split(",")
        try:
            kind = cells.pop(3)
            values = tuple(map(float, cells))
        except (IndexError, ValueError):
            values, kind = (), ""
        if len(values) != COLUMNS - 1 or not _is_row(values, kind, columns[0]):
            raise TraceError(
                f"{path}, line {number:,}: needed second (growing), rate from 0 to {RATE_MAX:,.0f}, CV, Gamma or "
                f"Weibull, shape, scale; got {line[:80]!r}"
            )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        weibull.append(kind == "Weibull")
    if not weibull:
        raise TraceError(f"{path}: no row in it")
    return columns, bytes(weibull)


def _is_row(values: tuple[float, ...], kind: str, before: array[float]) -> bool:
    at_s, rate, variation, shape, scale = values
    grows = at_s > before[-1] if before else at_s >= 0
    distributed = kind in ("Gamma", "Weibull") and shape >= 0 and scale >= 0 and 0 <= variation < float("inf")
    return grows and 0 <= rate <= RATE_MAX and (rate == 0 or distributed)


def _lengths(path: str, text: str) -> dict[int, tuple[Lengths, Lengths]]:
    try:
        found = json.loads(text)
        return {int(at): both for at, one in found.items() if (both := _both(one))}
    except (ValueError, TypeError, KeyError, AttributeError, SyntaxError, RecursionError) as error:
        raise TraceError(
            f"{path}: needed, by second, input_tokens and output_tokens as `{{length: part}}`; {error}"
        ) from None


def _both(one: dict[str, Any]) -> tuple[Lengths, Lengths] | None:
    inputs, outputs = (ast.literal_eval(one[name]) for name in ("input_tokens", "output_tokens"))
    return (Lengths.of(inputs), Lengths.of(outputs)) if inputs and outputs else None
