"""The courier: the one thing of ours that Ray runs on a host. Standard library only, and as little as possible.

It takes a letter, puts it where the host's supervisor looks, and returns the supervisor's last one. Both are sealed, so
whoever else can call it, or take its place, can delay letters and lose them, and nothing else.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

BYTES_MAX: Final = 16_777_216


class Courier:
    """Exchanges letters at the run directory that its host's environment names."""

    def __init__(self) -> None:
        run = Path(os.environ["FASTNESS_COURIER_RUN"])
        self._to, self._from = run / "letters/in/head", run / "letters/out/head"

    def exchange(self, letter: bytes) -> bytes:
        """Leave `letter`, if there is one; return what the host wants to say, or nothing."""
        if letter and len(letter) <= BYTES_MAX:
            draft = self._to.with_name(f".head.{os.getpid()}")
            with suppress(OSError):  # nobody lives there now
                draft.write_bytes(letter)
                draft.replace(self._to)
        try:
            with self._from.open("rb") as file:
                return file.read(BYTES_MAX)
        except OSError:
            return b""
