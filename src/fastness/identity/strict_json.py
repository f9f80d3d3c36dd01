"""JSON objects from strangers, read so that no second reader could understand them differently."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def read_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in `content`; raises ValueError, whose message repeats nothing of it.

    Refused: anything but UTF-8, a name twice in one object at any depth, NaN and infinities, other values than
    objects, and nesting or numbers that Python will not read.
    """
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON, or not JSON that can be read in one way only") from error
    if not isinstance(value, dict):
        raise ValueError("it is JSON, but no object")  # noqa: TRY004 - a value from outside, not a defect
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(_text: str) -> NoReturn:
    raise ValueError("not a number")
