"""Enough of PromQL to tell which series an expression is about: names, labels, and the values asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

FUNCTIONS = {"rate", "increase", "sum", "count", "max", "min", "avg", "histogram_quantile", "label_values"}
GROUPING = {"by", "without", "on", "ignoring"}
OPERATORS = {"and", "or", "unless", "offset"}

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<text>\"[^\"]*\")|(?P<range>\[[^\]]*\])|(?P<duration>\d+[smhd]\b)|(?P<number>\d+(\.\d+)?)"
    r"|(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)|(?P<match>=~|!~|!=|==|>=|<=|=)|(?P<mark>[(){},<>+*/-])"
)


@dataclass(slots=True)
class Read:
    """What an expression names: selectors as (series, {label: (operator, text)}), and the labels it groups by."""

    selectors: list[tuple[str, dict[str, tuple[str, str]]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)


def read(expression: str) -> Read:
    """Read an expression; raises ValueError for what is no token, an unknown function, or a brace left open."""
    tokens = _tokens(expression)
    found, at = Read(), 0
    while at < len(tokens):
        kind, text = tokens[at]
        at += 1
        if kind != "name" or text in OPERATORS:
            continue
        if text in GROUPING:
            at = _labels(tokens, at, found)
        elif (at < len(tokens) and tokens[at][1] == "(") or text in FUNCTIONS:
            if text not in FUNCTIONS:
                raise ValueError(f"{text} is no function that we use")
            if at < len(tokens) and tokens[at][0] == "name" and tokens[at][1] in GROUPING:
                at = _labels(tokens, at + 1, found)
        else:
            at = _selector(tokens, at, text, found)
    return found


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(expression):
        one = _TOKEN.match(expression, at)
        if one is None:
            raise ValueError(f"{expression!r}: what is {expression[at : at + 12]!r}?")
        if one.lastgroup != "space":
            tokens.append((str(one.lastgroup), one[0]))
        at = one.end()
    depth = 0
    for _, text in tokens:
        depth += text == "("
        depth -= text == ")"
        if depth < 0:
            break
    if depth:
        raise ValueError(f"{expression!r}: brackets do not match")
    return tokens


def _labels(tokens: list[tuple[str, str]], at: int, found: Read) -> int:
    end = tokens.index(("mark", ")"), at)
    found.grouped |= {text for kind, text in tokens[at:end] if kind == "name"}
    return end + 1


def _selector(tokens: list[tuple[str, str]], at: int, series: str, found: Read) -> int:
    matchers: dict[str, tuple[str, str]] = {}
    if at < len(tokens) and tokens[at][1] == "{":
        end = tokens.index(("mark", "}"), at)
        inside = [one for one in tokens[at + 1 : end] if one[1] != ","]
        for label, operator, text in zip(*[iter(inside)] * 3, strict=True):
            if (label[0], operator[0], text[0]) != ("name", "match", "text"):
                raise ValueError(f"{series}: {label[1]} {operator[1]} {text[1]}")
            matchers[label[1]] = operator[1], text[1].strip('"')
        at = end + 1
    found.selectors.append((series, matchers))
    return at
