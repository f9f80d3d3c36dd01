"""The head of an engine's whole answers: the same each time, but for the length of what follows. Pure."""

from __future__ import annotations

import re
from typing import Final

_END: Final = b"\r\n\r\n"
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
LENGTH_DIGITS_MAX: Final = 19


class AnswerMemory:
    """The head of the last whole answer on a connection that llhttp judged good, with status 200 and kept alive.

    Bytes that begin with the same head, with another number in Content-Length, and hold exactly so many bytes more, are
    one whole answer: llhttp would find the same, as tests/unit/gateway_http/test_http_answer_head.py shows.
    """

    __slots__ = ("_after", "_before")

    def __init__(self) -> None:
        self._before = self._after = b""

    def learn(self, answer: bytes) -> None:
        """Remember the head of bytes that were found to be one whole, good answer."""
        end = answer.find(_END) + len(_END)
        match = _LENGTH_LINE.search(answer, 0, end)
        if match is not None and end + int(match[1]) == len(answer):
            self._before, self._after = answer[: match.start(1)], answer[match.end(1) : end]

    def body_of(self, answer: bytes) -> bytes | None:
        """Return the body when this is one whole answer with the head that is remembered; else None."""
        before, after = self._before, self._after
        if not before or not answer.startswith(before):
            return None
        begin = len(before)
        end = answer.find(b"\r", begin, begin + LENGTH_DIGITS_MAX + 1)
        digits = answer[begin:end]
        if end < 0 or not digits.isdigit() or not answer.startswith(after, end):
            return None
        end += len(after)
        return answer[end:] if len(answer) == end + int(digits) else None
