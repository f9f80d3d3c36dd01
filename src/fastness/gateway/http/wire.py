"""The bytes of responses: status lines, header blocks, chunks."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

ResponseHeaders = bytes | tuple[tuple[bytes, bytes], ...]
"""Either a prebuilt block of constants (each line ends in CRLF) or pairs, which are checked. `content-length`,
`transfer-encoding`, `connection`, `date`, `server` and `x-request-id` are written by the server itself."""

LARGE_BYTES: Final = 16_384
"""From here on a body is handed to the transport beside its head instead of being copied behind it."""
LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON: Final = b"content-type: application/json\r\n"
BODILESS: Final = frozenset({204, 304})


class ResponseHeads:
    """The beginnings of response heads: status line, server and date, each made once a second and status."""

    __slots__ = ("_beginnings", "_second")

    def __init__(self) -> None:
        self._beginnings: dict[int, bytes] = {}
        self._second = 0

    def tick(self, now_s: float) -> None:
        """Take the wall clock; a new second makes new dates."""
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._beginnings.clear()

    def beginning(self, status: int) -> bytes:
        """Return the first lines of a final response; raises ValueError for a status that is not one."""
        found = self._beginnings.get(status)
        return found if found is not None else self._begin(status)

    def _begin(self, status: int) -> bytes:
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is not the status of a final response; it needs 200 to 599")
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        date = formatdate(self._second, usegmt=True)
        head = f"HTTP/1.1 {status} {phrase}\r\nserver: fastness\r\ndate: {date}\r\n".encode("ascii")
        self._beginnings[status] = head
        return head


def header_block(headers: ResponseHeaders) -> bytes:
    """Write pairs as lines; raises ValueError where a name or a value would break out of its line."""
    if isinstance(headers, bytes):
        if headers and not headers.endswith(b"\r\n"):
            raise ValueError("a prebuilt header block must end in CRLF")
        return headers
    for pair in headers:
        for part in pair:
            if b"\r" in part or b"\n" in part or b"\0" in part:
                raise ValueError("a response header holds a line break or NUL")
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])
