"""How fast an engine is: fitted to what was measured of a real one, shipped as assumptions, or given in a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, Final

from fastness.simulator.engine import EnginePace

SHIPPED: Final = Path(__file__).with_name("paces.toml")
FILE_BYTES_MAX: Final = 1_048_576
_MAY_BE_ZERO: Final = frozenset({"step_beside_s", "step_s_per_kv_token", "kv_tokens", "start_s", "warm_start_s"})


class PaceError(ValueError):
    """A pace that cannot be read or fitted; the message says where, what was needed, and what came."""


@dataclass(frozen=True, slots=True)
class NamedPace:
    """One replica of a model on `devices` devices of a kind. `source` is where the figures come from."""

    name: str
    pace: EnginePace
    accelerator: str
    devices: int
    source: str
    assumed: bool


@dataclass(frozen=True, slots=True)
class ReadSeen:
    """A prompt of so many tokens, read by an engine that did nothing else, had its first token after `seconds`."""

    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StepSeen:
    """While `answers` were written, which held `kv_tokens` together, each had a token every `seconds` on average.

    `reading`: another prompt was being read all the while.
    """

    answers: int
    kv_tokens: float
    seconds: float
    reading: bool = False


@dataclass(frozen=True, slots=True)
class Fitted:
    """A pace, and how far from it the measurements are: root of the mean square of the relative errors, as parts."""

    pace: EnginePace
    read_error: float
    step_error: float


def fit(
    reads: Sequence[ReadSeen], steps: Sequence[StepSeen], slots: int, kv_tokens: int = 0, start_s: float = 0.0
) -> Fitted:
    """Fit by least squares of relative errors, nothing below zero; raises PaceError for too few measurements.

    Needed: prompts of two lengths, and tokens beside two numbers of answers. `reading_slows` is 1 where no step was
    measured while a prompt was read.
    """
    plain, slowed = [one for one in steps if not one.reading], [one for one in steps if one.reading]
    if len({one.tokens for one in reads}) < 2 or len({one.answers for one in plain}) < 2:
        raise PaceError(
            "needed prompts of at least two lengths and tokens beside at least two numbers of answers; got "
            f"{len(reads)} prompts and {len(plain)} numbers of answers"
        )
    call_s, token_s = _least([(1.0, float(one.tokens)) for one in reads], [one.seconds for one in reads])
    rows = [(1.0, one.answers - 1.0, one.kv_tokens) for one in plain]
    step_s, beside_s, kv_s = _least(rows, [one.seconds for one in plain])
    if token_s <= 0 or step_s <= 0:
        raise PaceError("the measurements do not grow with their size: longer prompts took no longer. Measure again")
    pace = EnginePace(1 / token_s, step_s, beside_s, kv_s, 1.0, slots, kv_tokens, start_s, start_s)
    slows = [one.seconds / pace.step(one.answers, one.kv_tokens, False) for one in slowed]
    pace = EnginePace(
        1 / token_s, step_s, beside_s, kv_s, max(1.0, sum(slows) / len(slows)) if slows else 1.0, slots, kv_tokens,
        start_s, start_s,
    )  # fmt: skip
    return Fitted(
        pace,
        _error([(call_s + one.tokens * token_s, one.seconds) for one in reads]),
        _error([(pace.step(one.answers, one.kv_tokens, one.reading), one.seconds) for one in steps]),
    )


def read_paces(path: Path = SHIPPED) -> Mapping[str, NamedPace]:
    """Read a file of paces, a table each; raises OSError, and PaceError with the table and the key at fault."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise PaceError(f"{path}: larger than {FILE_BYTES_MAX:,} bytes")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PaceError(f"{path}: not TOML: {error}") from None
    if not tables or not all(isinstance(one, dict) for one in tables.values()):
        raise PaceError(f'{path}: needed tables such as ["h100-80gb/8b-bf16"], one for each pace')
    return {name: _named(path, name, table) for name, table in tables.items()}


def written(one: NamedPace) -> str:
    """Write a pace as a table that `read_paces` reads."""
    numbers = asdict(one.pace)
    lines = [f'["{one.name}"]', f'accelerator = "{one.accelerator}"', f"devices = {one.devices}"]
    lines += [
        f"{key} = {value:.6g}" if isinstance(value, float) else f"{key} = {value}" for key, value in numbers.items()
    ]
    return "\n".join([*lines, f'source = "{one.source}"', f"assumed = {str(one.assumed).lower()}"]) + "\n"


def _named(path: Path, name: str, table: Mapping[str, Any]) -> NamedPace:
    known = {one.name for one in fields(EnginePace)}
    others: dict[str, Any] = {"accelerator": str, "devices": int, "source": str, "assumed": bool}
    if unknown := sorted(table.keys() - known - others.keys()):
        raise PaceError(f"{path}, [{name}]: {unknown[0]} is none of its keys: {', '.join(sorted(known | set(others)))}")
    if missing := [key for key in ("read_tokens_per_s", "step_s", "slots", "source") if key not in table]:
        raise PaceError(f"{path}, [{name}]: {missing[0]} is missing")
    for key, value in table.items():
        if (kind := others.get(key)) is not None:
            good = type(value) is kind and (key != "devices" or 1 <= value <= 1_024)
        else:
            whole = key in ("slots", "kv_tokens")
            good = type(value) in ((int,) if whole else (int, float)) and isfinite(value)
            good = good and (value >= 0 if key in _MAY_BE_ZERO else value > 0)
        if not good:
            raise PaceError(f"{path}, [{name}]: {key} = {value!r} is not a value that it can have")
    pace = EnginePace(**{key: value for key, value in table.items() if key in known})
    accelerator, devices = table.get("accelerator", name.partition("/")[0]), table.get("devices", 1)
    return NamedPace(name, pace, accelerator, devices, table["source"], table.get("assumed", path == SHIPPED))


def _least(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Weighted least squares with no coefficient below zero: the most negative one is set to zero, and again."""
    scaled = [[cell / value for cell in row] for row, value in zip(rows, values, strict=True)]
    used = list(range(len(rows[0])))
    while used:
        found = _solve([[row[at] for at in used] for row in scaled])
        if all(one >= 0 for one in found):
            return [found[used.index(at)] if at in used else 0.0 for at in range(len(rows[0]))]
        used.pop(min(range(len(used)), key=lambda at: found[at] * _size(scaled, used[at])))
    return [0.0] * len(rows[0])


def _size(rows: Sequence[Sequence[float]], at: int) -> float:
    return sqrt(sum(row[at] ** 2 for row in rows))


def _solve(rows: Sequence[Sequence[float]]) -> list[float]:
    """Solve the normal equations of rows x = 1 by elimination, columns scaled; a column that others span gets zero."""
    count = len(rows[0])
    sizes = [_size(rows, at) or 1.0 for at in range(count)]
    unit = [[cell / size for cell, size in zip(row, sizes, strict=True)] for row in rows]
    table = [
        [sum(row[a] * row[b] for row in unit) for b in range(count)] + [sum(row[a] for row in unit)]
        for a in range(count)
    ]
    for at in range(count):
        if table[at][at] < 1e-9:
            table[at] = [0.0] * (count + 1)
            continue
        table[at] = [cell / table[at][at] for cell in table[at]]
        for other in range(count):
            if other != at:
                table[other] = [
                    cell - table[other][at] * own for cell, own in zip(table[other], table[at], strict=True)
                ]
    return [table[at][count] / sizes[at] for at in range(count)]


def _error(pairs: Sequence[tuple[float, float]]) -> float:
    return sqrt(sum((modelled / seen - 1) ** 2 for modelled, seen in pairs) / len(pairs))
