"""Text that occurs nowhere else, in every shape that something could keep it in."""

from __future__ import annotations

import base64
import secrets
from urllib.parse import quote

WINDOW_CHARS = 12
"""A part of the canary of this length, anywhere, counts as the canary: what is cut or quoted in part is found too."""


class Canary:
    """Random text that occurs nowhere else, and the shapes it could be kept in."""

    def __init__(self) -> None:
        self.text = f"{secrets.token_hex(16)}é{secrets.token_hex(8)}"
        shapes = [self.text.encode(), self.text.encode("utf-16-le"), self.text.encode().hex().encode()]
        shapes += [base64.b64encode(bytes(lead) + self.text.encode())[4:-4] for lead in range(3)]
        shapes += [base64.b16encode(self.text.encode()), self.text.encode("unicode_escape"), self.text[::-1].encode()]
        shapes += [quote(self.text).encode(), self.text.upper().encode()]
        shapes += ["".join(f"\\u{ord(char):04x}" for char in self.text).encode()]
        widths = [WINDOW_CHARS * (2 if b"\0" in shape or index == 2 else 1) for index, shape in enumerate(shapes)]
        self._windows = tuple(
            {shape[at : at + width] for shape, width in zip(shapes, widths, strict=True)
             for at in range(0, len(shape) - width, 3)}
        )  # fmt: skip

    def within(self, text: bytes) -> bool:
        return any(window in text for window in self._windows)
