"""Who comes to a door, and who says whether they may come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Refused(Exception):  # noqa: N818 - an outcome
    """Somebody is not let in; the message says why, for our own log: a stranger hears nothing."""


class Guest(Protocol):
    """Who comes, as the authority has it."""

    @property
    def name(self) -> str:
        """The host's name."""
        ...

    @property
    def gives_orders(self) -> bool:
        """Whether it is a head."""
        ...


Judge = Callable[[bytes], Guest]
"""Takes a certificate (DER) whose chain and dates TLS has verified; raises Refused when it does not count."""
Tell = Callable[[str, str], None]
"""Takes whom it was about, and why it was refused."""
