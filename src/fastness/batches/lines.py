"""The lines of an input file: found, checked, and given to whoever asks them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from fastness.core.batch import LineError

CUSTOM_ID_CHARS_MAX: Final = 512
ERRORS_MAX: Final = 100
"""Errors told of one file; the rest is left out."""
_BOM: Final = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One well-formed line. `number` counts lines of the file from 1, `body` is JSON as it was written."""

    number: int
    custom_id: str
    body: bytes


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct):
    model: str
    stream: bool | None = None


_WIRE: Final = msgspec.json.Decoder(_Wire)
_BODY: Final = msgspec.json.Decoder(_Body)


class BadLine(Exception):  # noqa: N818 - an outcome
    """A line that cannot be worked on."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def split(pieces: Iterable[bytes], line_bytes_max: int) -> Iterator[tuple[int, bytes]]:
    """Number the lines that are not blank, whatever pieces the file comes in. Too long a one is cut one byte later."""
    held = b""
    number = 0
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            number += 1
            if line.strip():
                yield number, _trimmed(number, line, line_bytes_max)
        held = held[: line_bytes_max + 1]
    if held.strip():
        yield number + 1, _trimmed(number + 1, held, line_bytes_max)


def read(number: int, raw: bytes, endpoint: str, line_bytes_max: int) -> Line:
    """Read one line; raises BadLine. No message quotes the line."""
    if len(raw) > line_bytes_max:
        raise BadLine("line_too_long", f"The line has more than {line_bytes_max} bytes.")
    try:
        wire = _WIRE.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadLine(
            "invalid_json_line",
            "The line is not a JSON object with `custom_id`, `method`, `url` and `body`, and nothing else: "
            + (str(error) if isinstance(error, msgspec.ValidationError) else "it is not valid JSON")
            + ".",
        ) from None
    if not 1 <= len(wire.custom_id) <= CUSTOM_ID_CHARS_MAX:
        needed = f"`custom_id` needs 1 to {CUSTOM_ID_CHARS_MAX} characters; {len(wire.custom_id)} came."
        raise BadLine("invalid_custom_id", needed, "custom_id")
    if wire.method != "POST":
        raise BadLine("invalid_method", "`method` needs to be `POST`.", "method")
    if wire.url != endpoint:
        raise BadLine("mismatched_url", f"`url` needs to be the endpoint of the batch, `{endpoint}`.", "url")
    body = bytes(wire.body)
    try:
        if _BODY.decode(body).stream:
            raise BadLine("invalid_value", "`stream` cannot be true in a batch: leave it out.", "body.stream")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        needed = "`body` needs to be an object with a `model`, as the endpoint takes it."
        raise BadLine("invalid_request", needed, "body") from None
    return Line(number, wire.custom_id, body)


def check(lines: Iterable[tuple[int, bytes]], endpoint: str, line_bytes_max: int, lines_max: int) -> int:
    """Read all lines and return how many there are; raises BadInput with everything found wrong."""
    errors: list[LineError] = []
    seen: set[str] = set()
    total = 0
    for number, raw in lines:
        total += 1
        if total > lines_max:
            errors.append(LineError("too_many_lines", f"The file has more than {lines_max} lines: split it."))
            break
        try:
            name = read(number, raw, endpoint, line_bytes_max).custom_id
        except BadLine as bad:
            errors.append(LineError(bad.code, bad.message, number, bad.param))
        else:
            if name in seen:
                message = "The `custom_id` was used by an earlier line."
                errors.append(LineError("duplicate_custom_id", message, number, "custom_id"))
            seen.add(name)
        if len(errors) >= ERRORS_MAX:
            break
    if not total:
        errors.append(LineError("empty_file", "The file has no lines."))
    if errors:
        raise BadInput(tuple(errors))
    return total


class BadInput(Exception):  # noqa: N818 - an outcome
    """A file of which at least one line cannot be worked on."""

    def __init__(self, errors: tuple[LineError, ...]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


def _trimmed(number: int, line: bytes, line_bytes_max: int) -> bytes:
    line = line.removesuffix(b"\r")
    if number == 1:
        line = line.removeprefix(_BOM)
    return line[: line_bytes_max + 1]
