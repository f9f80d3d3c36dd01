"""The words of following values through a template: what a value may hold, and what is asked of it where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final

from jinja2 import nodes


class Kind(IntEnum):
    """What a value may hold; the larger wins where two meet."""

    CLEAN = 0
    MESSAGES = 1
    CONTENT = 2
    MADE = 3


NUMBER_MAX: Final = 100
"""A comparison with a larger number, or an item beyond it, is about how long a conversation is."""
CLEAN_KEYS: Final = frozenset({"role", "type", "id", "tool_call_id"})
MESSAGE_KEYS: Final = frozenset({"tool_calls", "function", "previtem", "nextitem"})
SHAPE_TESTS: Final = frozenset(
    {"defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float"}
    | {"boolean", "true", "false"}
)
QUESTIONS: Final = frozenset(
    {"startswith", "endswith", "find", "rfind", "index", "count", "isdigit", "isalpha", "isspace", "isupper", "islower"}
)
ORDERING: Final = frozenset({"sort", "unique", "min", "max", "sum", "dictsort"})
PLACES: Final = frozenset({"index", "index0", "revindex", "revindex0", "length"})
KEEPING: Final = frozenset({"first", "last", "list", "reverse", "select", "reject", "default", "d"})
ARITHMETIC: Final = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg)
DELIMITER: Final = re.compile(
    r"[^\w]*|\s*(?:</?[\w|:.\-\uff5c\u2581]{1,40}/?>|<[|\uff5c][^<>]{1,40}[|\uff5c]>|\[/?[A-Z_]{1,24}\])\s*"
)


def is_delimiter(text: str) -> bool:
    """Say whether a text is a delimiter, such as `</think>` or `[INST]`, or has no letter or digit at all."""
    return DELIMITER.fullmatch(text) is not None


def of_key(base: Kind, key: object) -> Kind:
    """Return what is under `key` of a value that holds `base`."""
    if not isinstance(key, str) or base is Kind.MADE:  # an index, a slice, or something computed
        return base
    if key in CLEAN_KEYS:
        return Kind.CLEAN
    return Kind.MESSAGES if key in MESSAGE_KEYS else Kind.CONTENT


def called(node: nodes.Node) -> str:
    """Return the name of the function or method that a node calls."""
    target = node.node if isinstance(node, nodes.Call) else None
    if isinstance(target, nodes.Getattr):
        return target.attr
    return target.name if isinstance(target, nodes.Name) else ""


def is_filter(node: nodes.Node, name: str) -> bool:
    """Say whether a node is the filter `name`."""
    return isinstance(node, nodes.Filter) and node.name == name


def are_delimiters(given: Iterable[nodes.Node]) -> bool:
    """Say whether all that is given is written out there, and no text in it has a word."""
    given = list(given)
    return all(map(is_plain, given)) and all(map(is_delimiter, texts(given)))


def is_large(node: nodes.Node) -> bool:
    """Say whether a value is a number beyond NUMBER_MAX, written out."""
    return isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value > NUMBER_MAX


def texts(parts: Iterable[nodes.Node]) -> Iterator[str]:
    """Yield every text that is written out within `parts`."""
    for part in parts:
        for const in [part] if isinstance(part, nodes.Const) else part.find_all(nodes.Const):
            if isinstance(const.value, str):
                yield const.value


def is_plain(node: nodes.Node) -> bool:
    """Say whether a value is written out where it is used, so that what it is held against can be seen."""
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(is_plain(item) for item in node.items)
    return isinstance(node, nodes.Const)


def is_shape(node: nodes.Node) -> bool:
    """Say whether a comparison with this asks only whether something is there: nothing, empty, 0 or 1."""
    if isinstance(node, nodes.List | nodes.Tuple | nodes.Dict):
        return not node.items
    return isinstance(node, nodes.Const) and (node.value is None or node.value in ("", 0, 1, True, False))
