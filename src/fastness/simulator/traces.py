"""Traces of real services, as published; which of the formats a file is in, its content tells.

- Azure (Splitwise, 2023 and 2024): CSV with `TIMESTAMP,ContextTokens,GeneratedTokens`.
- Mooncake (FAST'25): a JSON object a line: `timestamp` in ms, `input_length`, `output_length`, `hash_ids` of blocks.
- ServeGen: an archive or a folder of clients' rates, with or without lengths; see servegen.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from fastness.simulator.servegen import ClientRates, read_rates
from fastness.simulator.trace_error import TraceError

LINE_BYTES_MAX: Final = 1_048_576
REQUESTS_MAX: Final = 20_000_000
TOKENS_MAX: Final = 10_000_000
"""Of one request's input, and of its output."""
BLOCK_TOKENS: Final = 512
"""Tokens of one of Mooncake's blocks."""
AZURE_HEAD: Final = "TIMESTAMP,ContextTokens,GeneratedTokens"
FORMATS: Final = f"a CSV that begins with {AZURE_HEAD} (Azure), lines of JSON with timestamp, input_length and \
output_length (Mooncake), or a .tar.gz or folder with chunk-N-trace.csv (ServeGen)"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a trace. `at_s` counts from the first; `blocks` are ids of the blocks of its prompt, if known."""

    at_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Requests:
    """A trace of single requests. Iterating reads the file, line by line; raises OSError, TraceError."""

    path: Path
    format: str

    def __iter__(self) -> Iterator[Asked]:
        """Yield the requests in the order of the file."""
        return _READERS[self.format](self.path)


@dataclass(frozen=True, slots=True)
class Rates:
    """A trace of how often clients asked, span by span, each of `span_s` seconds."""

    path: Path
    clients: tuple[ClientRates, ...]
    span_s: float
    spans: int


def read(path: Path) -> Requests | Rates:
    """Open a trace of any of the formats; raises OSError where there is none, TraceError for what is none of them."""
    if path.is_dir():
        return _rates(path)
    with path.open("rb") as file:
        start = file.read(512)
    if start[:2] == b"\x1f\x8b" or start[257:262] == b"ustar":
        return _rates(path)
    first = start.decode(errors="replace").lstrip("\ufeff").lstrip()
    if first.startswith(AZURE_HEAD):
        return Requests(path, "azure")
    if first.startswith("{") and '"timestamp"' in first and '"input_length"' in first:
        return Requests(path, "mooncake")
    raise TraceError(f"{path}, line 1: needed {FORMATS}; got {first[:60]!r}")


def _rates(path: Path) -> Rates:
    clients = read_rates(path)
    longest = max((one.starts_s for one in clients), key=len)
    span_s = longest[1] - longest[0] if len(longest) > 1 else 600.0
    return Rates(path, clients, span_s, len(longest))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers."""
    with path.open("rb") as file:
        for number in range(1, REQUESTS_MAX + 2):
            raw = file.readline(LINE_BYTES_MAX + 1)
            if not raw:
                return
            if len(raw) > LINE_BYTES_MAX:
                raise TraceError(f"{path}, line {number:,}: longer than {LINE_BYTES_MAX:,} bytes")
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                raise TraceError(f"{path}, line {number:,}: not UTF-8; needed text") from None
            if text:
                yield number, text
    raise TraceError(f"{path}: more than {REQUESTS_MAX:,} requests; give a part of it")


def _azure(path: Path) -> Iterator[Asked]:
    lines = _lines(path)
    next(lines)
    began = math.nan
    for number, line in lines:
        cells = line.split(",")
        try:
            at, context, generated = cells
            at_s = datetime.fromisoformat(at).timestamp()
            tokens = int(context), int(generated)
        except (ValueError, OverflowError):
            raise TraceError(f"{path}, line {number:,}: needed {AZURE_HEAD}; got {line[:80]!r}") from None
        if math.isnan(began):
            began = at_s
        yield _asked(path, number, at_s - began, *tokens)


def _mooncake(path: Path) -> Iterator[Asked]:
    began = math.nan
    for number, line in _lines(path):
        try:
            one = json.loads(line)
            at_s, tokens = float(one["timestamp"]) / 1e3, (int(one["input_length"]), int(one["output_length"]))
            blocks = tuple(int(block) for block in one.get("hash_ids", ()))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            needed = "a JSON object with the numbers timestamp, input_length, output_length, and hash_ids"
            raise TraceError(f"{path}, line {number:,}: needed {needed}; got {line[:80]!r}") from None
        if math.isnan(began):
            began = at_s
        yield _asked(path, number, at_s - began, *tokens, blocks)


def _asked(path: Path, number: int, at_s: float, inputs: int, outputs: int, blocks: tuple[int, ...] = ()) -> Asked:
    if not (math.isfinite(at_s) and 0 <= inputs <= TOKENS_MAX and 0 <= outputs <= TOKENS_MAX):
        got = f"{inputs:,} and {outputs:,} tokens at {at_s:g} s"
        raise TraceError(f"{path}, line {number:,}: needed from 0 to {TOKENS_MAX:,} tokens each way; got {got}")
    # An answer has at least one token, and a prompt too: a trace's 0 is what was not counted.
    return Asked(at_s, max(1, inputs), max(1, outputs), blocks)


_READERS: Final[dict[str, Callable[[Path], Iterator[Asked]]]] = {"azure": _azure, "mooncake": _mooncake}


def load(trace: Requests, until_s: float = math.inf) -> list[Asked]:
    """Read the requests of the first `until_s` seconds, in the order of time; raises OSError, TraceError."""
    found = [one for one in trace if one.at_s < until_s]
    if not found:
        raise TraceError(f"{trace.path}: no request in it")
    first = min(one.at_s for one in found)
    if first < 0:
        found = [Asked(one.at_s - first, one.input_tokens, one.output_tokens, one.blocks) for one in found]
    return sorted(found, key=lambda one: one.at_s)
