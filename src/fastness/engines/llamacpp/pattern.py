"""The regular expressions of JSON schema's `pattern` that the engine's grammar enforces as ECMA-262 means them.

The engine's regular expressions differ from ECMA-262's and Python's in details (what a digit or a dot is, where `$` may
match), and it drops, without a word, what it cannot compile or what outgrows it in the middle of an answer. So a
pattern is parsed here, measured (automaton.py), and written anew in explicit character sets. Where readings differ the
set is the smaller one: what the engine writes then matches under all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Ranges = tuple[tuple[int, int], ...]

PATTERN_CHARS_MAX: Final = 512
COPIES_MAX: Final = 256
"""Characters of a pattern once its repetitions are written out."""

_LAST_CHAR: Final = 0x10FFFF
_PRINTABLE: Final = ((0x20, 0x7E),)
_DIGIT: Final = ((0x30, 0x39),)
_WORD: Final = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Final = ((0x09, 0x0A), (0x0D, 0x0D), (0x20, 0x20))
_LINE_ENDS: Final = ((0x0A, 0x0A), (0x0D, 0x0D), (0x85, 0x85), (0x2028, 0x2029))
_CONTROLS: Final = {"n": 0x0A, "r": 0x0D, "t": 0x09, "f": 0x0C, "v": 0x0B}


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of `ranges` (inclusive code points, sorted, disjoint)."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; none of them is the empty string."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """At least `low` times, at most `high` times (None: without end)."""

    item: Node
    low: int
    high: int | None


Node = Chars | Sequence | Choice | Repeat


def without(ranges: Ranges, universe: Ranges = ((0, 0xD7FF), (0xE000, _LAST_CHAR))) -> Ranges:
    """Return `universe` less `ranges`; surrogates are no characters."""
    kept: list[tuple[int, int]] = []
    for low, high in universe:
        for taken_low, taken_high in sorted(ranges):
            if taken_high < low or taken_low > high:
                continue
            if taken_low > low:
                kept.append((low, taken_low - 1))
            low = taken_high + 1
        if low <= high:
            kept.append((low, high))
    return tuple(kept)


ANY_CHAR: Final = Chars(without(()))
_ANYTHING: Final = Repeat(ANY_CHAR, 0, None)
_SETS: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE} | {
    "D": without(_DIGIT, _PRINTABLE),
    "W": without(_WORD, _PRINTABLE),
    "S": without(_SPACE, _PRINTABLE),
}


def parse(pattern: str) -> Node:
    """Read an ECMA-262 pattern as what whole strings must look like; raises ValueError, with a sentence."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise ValueError(f"the pattern has {len(pattern)} characters; at most {PATTERN_CHARS_MAX} are supported")
    node = _Reader(pattern).anchored_choice()
    check_copies(node)
    return node


def check_copies(node: Node) -> None:
    """Raise ValueError, with a sentence, when a node is too long with its repetitions written out."""
    if copies(node) > COPIES_MAX:
        raise ValueError(f"with its repetitions written out the pattern has more than {COPIES_MAX} characters")


def text(node: Node) -> str:
    """Write a node for the engine, without anchors."""
    match node:
        case Chars(ranges):
            if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
                return _char(ranges[0][0])
            return f"[{''.join(_char(a) if a == b else f'{_char(a)}-{_char(b)}' for a, b in ranges)}]"
        case Sequence(items):
            return "".join(map(text, items))
        case Choice(options):
            return f"(?:{'|'.join(map(text, options))})"
        case Repeat(item, low, high):
            return f"(?:{text(item)}){{{low},{'' if high is None else high}}}"


def copies(node: Node) -> int:
    """Return how many characters the node has with its repetitions written out."""
    match node:
        case Chars():
            return 1
        case Sequence(items) | Choice(items):
            return sum(map(copies, items))
        case Repeat(item, low, high):
            return copies(item) * max(low if high is None else high, 1)


def can_be_empty(node: Node) -> bool:
    """Tell whether the empty string matches."""
    match node:
        case Chars():
            return False
        case Sequence(items):
            return all(map(can_be_empty, items))
        case Choice(options):
            return any(map(can_be_empty, options))
        case Repeat(item, low, _):
            return low == 0 or can_be_empty(item)


class _Reader:
    """A recursive descent over one pattern."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def anchored_choice(self) -> Node:
        """Read the whole pattern: `^` and `$` may stand at the ends of each of its alternatives."""
        options: list[Node] = []
        while not options or self._took("|"):
            head = () if self._took("^") else (_ANYTHING,)
            body = self._sequence(top=True)
            tail = () if self._took("$") else (_ANYTHING,)
            options.append(Sequence((*head, body, *tail)))
        if self._at < len(self._source):
            raise self._refusal(f"`{self._source[self._at]}` is out of place")
        return Choice(tuple(options))

    def _sequence(self, *, top: bool = False) -> Sequence:
        items: list[Node] = []
        while (char := self._source[self._at : self._at + 1]) and char not in "|)":
            if top and char == "$" and self._source[self._at + 1 : self._at + 2] in ("", "|"):
                break
            items.append(self._quantified(self._atom()))
        return Sequence(tuple(items))

    def _atom(self) -> Node:
        char = self._next("the pattern ends too early")
        if char == "(":
            return self._group()
        if char == "[":
            return Chars(self._set())
        if char == ".":
            return Chars(without(_LINE_ENDS))
        if char == "\\":
            return Chars(self._escape())
        if char in "^$":
            raise self._refusal("`^` and `$` are supported at the ends of the pattern only")
        if char in "*+?{}]":
            raise self._refusal(f"`{char}` is out of place; write `\\{char}` for the character")
        return Chars(((ord(char), ord(char)),))

    def _group(self) -> Node:
        if self._took("?") and not self._took(":"):
            raise self._refusal("lookaround and named groups are not supported")
        options = [self._sequence()]
        while self._took("|"):
            options.append(self._sequence())
        if not self._took(")"):
            raise self._refusal("a group is not closed")
        return Choice(tuple(options))

    def _quantified(self, item: Node) -> Node:
        char = self._source[self._at : self._at + 1]
        if not char or char not in "*+?{":
            return item
        self._at += 1
        low, high = self._counts() if char == "{" else {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        self._took("?")  # lazy or greedy: the same strings match
        if high is not None and high < low:
            raise self._refusal(f"a repetition of at least {low} and at most {high} is empty")
        if (high or low) > 1 and can_be_empty(item):  # the engine tells counts apart that are all the same
            raise self._refusal("a counted repetition of something that may be empty is not supported")
        repeat = Repeat(item, low, high)
        check_copies(repeat)
        return repeat

    def _counts(self) -> tuple[int, int | None]:
        end = self._source.find("}", self._at)
        low, comma, high = self._source[self._at : end].partition(",")
        digits = low + high
        if end < 0 or not low or len(digits) > 8 or not (digits.isascii() and digits.isdigit()):
            raise self._refusal("`{` does not begin a repetition; write `\\{` for the character")
        self._at = end + 1
        if not comma:
            return int(low), int(low)
        return int(low), int(high) if high else None

    def _set(self) -> Ranges:
        negated = self._took("^")
        ranges: list[tuple[int, int]] = []
        named = False
        while not self._took("]"):
            first, is_name = self._set_item()
            named |= is_name
            if is_name or not self._source.startswith("-", self._at) or self._source.startswith("-]", self._at):
                ranges += first
                continue
            self._at += 1
            last, is_name = self._set_item()
            if is_name or last[0][0] < first[0][0]:
                raise self._refusal("a range of characters is empty, or ends in a class")
            ranges.append((first[0][0], last[0][0]))
        # Readings differ on what is a digit or a letter beyond ASCII.
        excluded = without(tuple(ranges), _PRINTABLE if negated and named else ANY_CHAR.ranges)
        found = excluded if negated else without(excluded)
        if not found:
            raise self._refusal("a set has no character")
        return found

    def _set_item(self) -> tuple[Ranges, bool]:
        char = self._next("a set of characters is not closed")
        if char != "\\":
            return ((ord(char), ord(char)),), False
        return self._escape(), self._source[self._at - 1] in _SETS

    def _escape(self) -> Ranges:
        char = self._next("the pattern ends in a backslash")
        if char in _SETS:
            return _SETS[char]
        code = _CONTROLS.get(char, ord(char))
        if char in "xu":
            digits = self._source[self._at : self._at + (2 if char == "x" else 4)]
            self._at += len(digits)
            is_hex = all(digit in "0123456789abcdefABCDEF" for digit in digits)
            if len(digits) != (2 if char == "x" else 4) or not is_hex or 0xD800 <= int(digits, 16) <= 0xDFFF:
                raise self._refusal(f"`\\{char}{digits}` is not a character")
            code = int(digits, 16)
        elif char.isalnum() and char not in _CONTROLS:
            raise self._refusal(f"`\\{char}` is not supported")
        return ((code, code),)

    def _next(self, missing: str) -> str:
        if self._at == len(self._source):
            raise self._refusal(missing)
        self._at += 1
        return self._source[self._at - 1]

    def _took(self, char: str) -> bool:
        found = self._source.startswith(char, self._at)
        self._at += found
        return found

    def _refusal(self, reason: str) -> ValueError:
        return ValueError(f"{reason} (character {self._at} of the pattern)")


def _char(code: int) -> str:
    return chr(code) if code < 0x80 and chr(code).isalnum() else f"\\x{{{code:02X}}}"
