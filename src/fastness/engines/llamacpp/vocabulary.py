"""What the process in the seal reads of a GGUF file itself: the chat template, and which texts are control tokens.

Control tokens are what `engines/literal.py` keeps out of messages.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

CONTROL: Final = 3
"""llama.cpp's type of a token that steers the model and is never shown."""

_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LENGTH: Final = struct.Struct("<Q")
_TOKENS: Final = "tokenizer.ggml.tokens"
_TYPES: Final = "tokenizer.ggml.token_type"
_TEMPLATE: Final = "tokenizer.chat_template"


def read_vocabulary(weights: Path) -> tuple[str | None, tuple[str, ...]]:
    """Return the chat template, if there is one, and the control tokens; raises OSError, or ValueError."""
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _Reader(content).read()
        except (struct.error, KeyError, OverflowError):
            raise ValueError("the file is no GGUF file, or ends within its header") from None


class _Reader:
    """Walks the key-value pairs at the front of a GGUF file, and stops when it has what it came for."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 24

    def read(self) -> tuple[str | None, tuple[str, ...]]:
        magic, _, _, pairs = struct.unpack_from("<4sIQQ", self._content)
        if magic != b"GGUF":
            raise ValueError("the file does not begin with GGUF")
        template: str | None = None
        spans: list[tuple[int, int]] = []
        types: tuple[int, ...] = ()
        for _ in range(pairs):
            key = self._text()
            kind = self._scalar("I")
            if key == _TEMPLATE and kind == _STRING:
                template = self._text()
            elif kind == _ARRAY:
                item, count = self._scalar("I"), self._scalar("Q")
                if item == _STRING:
                    found = self._skip_texts(count, keep=key == _TOKENS)
                    spans = found or spans
                else:
                    if key == _TYPES:
                        types = struct.unpack_from(f"<{count}{_SCALARS[item]}", self._content, self._at)
                    self._at += count * struct.calcsize(f"<{_SCALARS[item]}")
            elif kind == _STRING:
                self._text()
            else:
                self._scalar(_SCALARS[kind])
        controls = (span for span, kind in zip(spans, types, strict=False) if kind == CONTROL)
        return template, tuple(self._content[begin:end].decode() for begin, end in controls)

    def _scalar(self, code: str) -> int:
        (value,) = struct.unpack_from(f"<{code}", self._content, self._at)
        self._at += struct.calcsize(f"<{code}")
        return int(value) if code not in "fd" else 0

    def _text(self) -> str:
        begin = self._at + 8
        self._at = begin + self._scalar("Q")
        return self._content[begin : self._at].decode(errors="replace")

    def _skip_texts(self, count: int, *, keep: bool) -> list[tuple[int, int]]:
        content, at, unpack, spans = self._content, self._at, _LENGTH.unpack_from, []
        for _ in range(count):
            begin = at + 8
            at = begin + unpack(content, at)[0]
            if keep:
                spans.append((begin, at))
        self._at = at
        return spans
