"""The format of a log, and the one file that knows it. Core and the standard library only.

line    {"fields":{...},"index":n,"prev":"<hex>","time_ms":n,"type":"...","v":1}   sorted, no spaces, UTF-8, a newline
chain   chain(-1) = SHA-256("fastness ledger v1\\n" + log name);  chain(n) = SHA-256(chain(n-1) + line n)
        where "prev" of line n is chain(n-1) in hex, so that the chain can be taken up at any line
files   00000000.jsonl, 00000001.jsonl, ...: the lines; head.json: see `Head`

With these keys and values, sorted compact JSON is byte for byte RFC 8785 (the JSON Canonicalization Scheme).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, Final

from fastness.core.event import Scalar

VERSION: Final = 1
ENTRY_BYTES_MAX: Final = 65_536
STRING_CHARS_MAX: Final = 1_024
INTEGER_MAX: Final = 2**53 - 1
HEAD_NAME: Final = "head.json"

_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TYPE: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_LINK: Final = re.compile(rb'},"index":(0|[1-9][0-9]*),"prev":"')
_SEGMENT: Final = re.compile(r"[0-9]{8}\.jsonl")
_ENTRY_KEYS: Final = frozenset({"fields", "index", "prev", "time_ms", "type", "v"})
_LINK_CHARS_MAX: Final = len(f'{INTEGER_MAX},"prev":"') + 64
_SHAPES_MAX: Final = 1_024

Draft = tuple[str, str]
"""An entry without its link: what stands before the index, and what stands after `prev`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, read. `prev` and `chain` are the hash of the chain before and after it, in hex."""

    index: int
    time_ms: int
    type: str
    fields: dict[str, Scalar]
    prev: str
    chain: str


@dataclass(frozen=True, slots=True)
class Head:
    """What head.json holds: that `log` once had `entries` durable entries, with `chain` (hex) after the last.

    It is written now and then, so a log may be longer than its head says, and never shorter.
    """

    log: str
    entries: int
    chain: str


def genesis(log: str) -> bytes:
    """Return the chain before the first entry, 32 bytes. It binds the log's name."""
    return sha256(b"fastness ledger v1\n" + log.encode()).digest()


def draft(kind: str, time_ms: int, fields: Mapping[str, Scalar]) -> Draft:
    """Write all of an entry but its link; raises ValueError for what the format does not hold.

    It does not hold floats, nested values, keys other than lower-case ASCII identifiers, strings beyond
    STRING_CHARS_MAX characters, integers beyond INTEGER_MAX, and entries beyond ENTRY_BYTES_MAX bytes.
    """
    names, template = _shapes.get(keys := tuple(fields)) or _shape(keys)
    values: Iterable[Any] = map(fields.__getitem__, names)
    try:
        before = template % tuple(
            [  # the two common types are written here, without a call: this line is most of what an entry costs
                encode_basestring(value)
                if (of := type(value)) is str
                else (value if of is int and -INTEGER_MAX <= value <= INTEGER_MAX else _WRITERS[of](value))
                for value in values
            ]
        )
    except ValueError as error:
        raise ValueError(f"{kind}: {error}") from None
    if type(time_ms) is not int or not 0 <= time_ms <= INTEGER_MAX:
        raise ValueError(f"{kind}: time_ms is {time_ms!r}; it needs an integer from 0 to {INTEGER_MAX}")
    if kind not in _types:
        _learn_type(kind)
    if len(before) > STRING_CHARS_MAX:
        _check_lengths(kind, fields)
    after = f'","time_ms":{time_ms},"type":"{kind}","v":1}}\n'
    size_bytes = len(before) if before.isascii() else len(before.encode())  # a lone surrogate is a ValueError here
    if size_bytes + len(after) + _LINK_CHARS_MAX > ENTRY_BYTES_MAX:
        raise ValueError(f"{kind}: the entry would be longer than {ENTRY_BYTES_MAX} bytes; record a digest instead")
    return before, after


def seal(drafted: Draft, index: int, chain: bytes) -> tuple[bytes, bytes]:
    """Link a draft to the chain before it; returns the line and the chain after it (32 bytes)."""
    line = f'{drafted[0]}{index},"prev":"{chain.hex()}{drafted[1]}'.encode()
    return line, sha256(chain + line).digest()


def parse(line: bytes) -> Entry:
    """Read one line; raises ValueError, which says why, unless it is exactly what `seal` writes."""
    if len(line) > ENTRY_BYTES_MAX:
        raise ValueError(f"it is longer than the {ENTRY_BYTES_MAX} bytes an entry may have")
    if not line.endswith(b"\n"):
        raise ValueError("it does not end in a newline")
    found = _object(line, _ENTRY_KEYS)
    index, prev, fields = found["index"], found["prev"], found["fields"]
    if type(index) is not int or not 0 <= index <= INTEGER_MAX:
        raise ValueError("its index is not a number from 0")
    if not isinstance(fields, dict) or not isinstance(found["type"], str):
        raise ValueError("its fields or its type are not what they must be")  # noqa: TRY004 - a line is read here
    chain = _digest(prev)
    again, after = seal(draft(found["type"], found["time_ms"], fields), index, chain)
    if again != line:
        raise ValueError("it is not canonical JSON")
    return Entry(index, found["time_ms"], found["type"], fields, prev, after.hex())


def index_of(line: bytes) -> int | None:
    """Return the index that stands in a line, without reading the rest of it; None for what is no whole entry."""
    # Quotes within strings are escaped, and fields hold no objects: nothing else in an entry reads like its link.
    found = _LINK.search(line)
    return int(found[1]) if found and line.endswith(b"\n") else None


def write_head(head: Head) -> bytes:
    """Return the bytes of head.json."""
    return f'{{"chain":"{head.chain}","entries":{head.entries},"log":"{head.log}","v":{VERSION}}}\n'.encode()


def parse_head(text: bytes) -> Head:
    """Read head.json; raises ValueError, which says why, unless it is exactly what `write_head` writes."""
    found = _object(text, frozenset({"chain", "entries", "log", "v"}))
    if type(found["entries"]) is not int or found["entries"] < 0 or not isinstance(found["log"], str):
        raise ValueError("its number of entries or its log is not what it must be")
    head = Head(found["log"], found["entries"], _digest(found["chain"]).hex())
    if write_head(head) != text:
        raise ValueError("it is not canonical JSON")
    return head


def segment_path(directory: Path, number: int) -> Path:
    """Return the file of segment `number`, from 0."""
    return directory / f"{number:08d}.jsonl"


def segment_numbers(directory: Path) -> list[int]:
    """List the segments that are there, ascending."""
    return sorted(int(path.stem) for path in directory.iterdir() if _SEGMENT.fullmatch(path.name))


def _integer(value: int) -> str:
    if -INTEGER_MAX <= value <= INTEGER_MAX:
        return int.__repr__(value)
    raise ValueError(f"an integer is beyond {INTEGER_MAX} in size; record it as a string")


class _Writers(dict[type, Callable[[Any], str]]):
    """How each type of value is written; subclasses (an enum of strings) as what they are."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        for base in (str, int):
            if issubclass(kind, base):
                self[kind] = self[base]
                return self[base]
        raise ValueError(f"a value is a {kind.__name__}; an entry holds strings, integers, booleans and null")


_WRITERS: Final = _Writers(
    {
        str: encode_basestring,
        int: _integer,
        bool: lambda value: "true" if value else "false",
        type(None): lambda value: "null",  # noqa: ARG005 - the table's signature
    }
)
# Filled as they are met: a process records few types and few sets of keys, and meets them at every request.
_shapes: Final[dict[tuple[str, ...], tuple[tuple[str, ...], str]]] = {}
_types: Final[set[str]] = set()


def _shape(keys: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    for key in keys:
        if not _KEY.fullmatch(f"{key}"):
            raise ValueError(f"{key!r} cannot be the name of a field; it needs to match {_KEY.pattern}")
    names = tuple(sorted(keys))
    shape = names, '{"fields":{' + ",".join(f'"{name}":%s' for name in names) + '},"index":'
    if len(_shapes) < _SHAPES_MAX:
        _shapes[keys] = shape
    return shape


def _learn_type(kind: str) -> None:
    if not _TYPE.fullmatch(kind):
        raise ValueError(f"{kind!r} cannot be the type of an entry; it needs to match {_TYPE.pattern}")
    if len(_types) < _SHAPES_MAX:
        _types.add(kind)


def _check_lengths(kind: str, fields: Mapping[str, Scalar]) -> None:
    for key, value in fields.items():
        if isinstance(value, str) and len(value) > STRING_CHARS_MAX:
            raise ValueError(f"{kind}: {key} has {len(value)} characters of at most {STRING_CHARS_MAX}")


def _object(text: bytes, keys: frozenset[str]) -> dict[str, Any]:
    try:
        found = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON in UTF-8") from None
    if not isinstance(found, dict) or found.keys() != keys:
        raise ValueError(f"it is not an object of {', '.join(sorted(keys))}")
    if type(found["v"]) is not int or found["v"] != VERSION:
        raise ValueError(f"it has version {found['v']!r}; this program knows version {VERSION}")
    return found


def _digest(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != 64:
        raise ValueError("its hash is not 64 hex digits")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("its hash is not 64 hex digits") from None
