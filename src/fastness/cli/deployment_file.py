"""The file of deployments: TOML read for the management API, and written from what it exports."""

from __future__ import annotations

import difflib
import json
import math
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fastness.cli.outcome import ExitCode, Failure

FILE_BYTES_MAX: Final = 1_048_576
_PAGE: Final = "docs/reference/deployment-file.md lists every name"


def read_deployments(path: Path) -> list[dict[str, Any]]:
    """Read a file (`-`: standard input) as the management API takes it; raises Failure."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Failure(ExitCode.USAGE, f"{name} cannot be read: {error.strerror}.") from None
    if len(content) > FILE_BYTES_MAX:
        raise Failure(ExitCode.USAGE, f"{name} has more than {FILE_BYTES_MAX:,} bytes.", "several files, one by one")
    return parse_deployments(content, name)


def parse_deployments(content: bytes, name: str) -> list[dict[str, Any]]:
    """Read the text of a file that is called `name`; raises Failure."""
    try:
        tree = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise Failure(ExitCode.USAGE, f"{name} is not UTF-8 at byte {error.start}.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Failure(ExitCode.USAGE, f"{name} is not TOML: {error}.", _PAGE) from None
    for key in tree:
        if key != "deployment":
            near = difflib.get_close_matches(key, ["deployment"], n=1)
            hint = "did you mean [[deployment]]?" if near else _PAGE
            raise Failure(ExitCode.USAGE, f"{name}: there is no `{key[:80]}`; it has [[deployment]] and no more.", hint)
    found = tree.get("deployment", [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Failure(ExitCode.USAGE, f"{name}: `deployment` stands in single brackets.", "write [[deployment]]")
    if not found:
        raise Failure(ExitCode.USAGE, f"{name} has no [[deployment]].", _PAGE)
    _check_values(found, "deployment", name)
    return found


def written(deployments: list[dict[str, Any]]) -> str:
    """Write deployments as the management API exports them; read again, they are the same."""
    return "\n".join("\n".join(_lines(one)) + "\n" for one in deployments)


def _lines(deployment: dict[str, Any]) -> Iterator[str]:
    yield "[[deployment]]"
    yield from _pairs(deployment)
    for name, section in deployment.items():
        if isinstance(section, dict):
            yield ""
            yield f"[deployment.{name}]"
            yield from _pairs(section)


def _pairs(table: dict[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if value is not None and not isinstance(value, dict):
            yield f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        # A string of JSON is one of TOML, but for the one control character that JSON does not escape.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(one)}' for key, one in value.items() if one is not None)} }}"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _check_values(value: Any, place: str, name: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_values(inner, f"{place}.{key}", name)
    elif isinstance(value, list):
        for inner in value:
            _check_values(inner, place, name)
    elif not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise Failure(ExitCode.USAGE, f"{name}: `{place}` is {value}, which no field here takes.", _PAGE)
