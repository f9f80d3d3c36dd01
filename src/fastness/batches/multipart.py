"""One upload out of a multipart/form-data body (RFC 7578), strictly: what a client of ours never sends is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from fastness.core.error import Refusal

PARTS_MAX: Final = 8
"""Parts of one body."""
PART_HEAD_BYTES_MAX: Final = 4_096
"""Headers of one part."""
VALUE_BYTES_MAX: Final = 1_024
"""A part that is no file."""
_BOUNDARY: Final = re.compile(r"""multipart/form-data;\s*boundary=("?)([0-9A-Za-z'()+_,./:=?\- ]{1,70})\1\s*""")
_NAMES: Final = re.compile(r'form-data; name="([^"]*)"(?:; filename="((?:[^"\\]|\\.)*)")?')


@dataclass(slots=True)
class Form:
    """What was sent: the fields that are text, and the one file."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    content: memoryview | None = None


def read_form(content_type: str, body: bytes) -> Form:
    """Read a whole body; raises Refusal: invalid_type, invalid_value, limit_exceeded.

    The content of the file is a view of `body`, not a copy.
    """
    match = _BOUNDARY.fullmatch(content_type.strip(), 0)
    if match is None or match[2].endswith(" "):
        raise Refusal(
            "invalid_type",
            "A file is uploaded as `multipart/form-data; boundary=…`; the content type that came is another. "
            "The official SDK sends it: client.files.create(file=…, purpose='batch').",
            param="file",
        )
    delimiter = b"--" + match[2].encode("ascii")
    form = Form()
    at = _begin(body, delimiter)
    for _ in range(PARTS_MAX):
        end = body.find(b"\r\n" + delimiter, at)
        if end < 0:
            raise _malformed("a part has no end")
        _take(form, body, at, end)
        after = end + 2 + len(delimiter)
        tail = body[after : after + 4]
        if tail in (b"--", b"--\r\n"):
            return form
        if tail[:2] != b"\r\n":
            raise _malformed("a boundary is followed by something else than a line end")
        at = after + 2
    raise Refusal("limit_exceeded", f"The form has more than {PARTS_MAX} parts.", param="file")


def _begin(body: bytes, delimiter: bytes) -> int:
    begin = delimiter + b"\r\n"
    if not body.startswith(begin):
        raise _malformed("it does not begin with its boundary")
    return len(begin)


def _take(form: Form, body: bytes, at: int, end: int) -> None:
    head_end = body.find(b"\r\n\r\n", at, min(end, at + PART_HEAD_BYTES_MAX) + 4)
    if head_end < 0 or head_end > end:
        raise _malformed(f"a part has no headers that end within {PART_HEAD_BYTES_MAX} bytes")
    name, filename = _named(body[at:head_end])
    begin = min(head_end + 4, end)
    if name in form.fields or (name == "file" and form.content is not None):
        raise Refusal("invalid_value", f"The field `{name}` came more than once.", param=name)
    if name == "file":
        if filename is None:
            raise Refusal("invalid_type", "`file` needs a file name: it is a file, not a text.", param="file")
        form.filename, form.content = filename, memoryview(body)[begin:end]
        return
    if filename is not None:
        raise Refusal("unknown_field", f"`{name}` is a file; the one file there is, is called `file`.", param=name)
    if end - begin > VALUE_BYTES_MAX:
        raise Refusal("limit_exceeded", f"`{name}` has more than {VALUE_BYTES_MAX} bytes.", param=name)
    try:
        form.fields[name] = body[begin:end].decode()
    except UnicodeDecodeError:
        raise Refusal("invalid_value", f"`{name}` is not UTF-8.", param=name) from None


def _named(head: bytes) -> tuple[str, str | None]:
    try:
        lines = head.decode().split("\r\n")
    except UnicodeDecodeError:
        raise _malformed("the headers of a part are not UTF-8") from None
    for line in lines:
        label, colon, value = line.partition(":")
        if colon and label.lower() == "content-disposition":
            match = _NAMES.fullmatch(value.strip())
            if match is None:
                raise _malformed("a part's Content-Disposition is not `form-data` with a name")
            filename = None if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            return match[1][:128], filename
    raise _malformed("a part has no Content-Disposition")


def _malformed(reason: str) -> Refusal:
    return Refusal("invalid_value", f"The body is not well-formed multipart/form-data: {reason}.", param="file")
