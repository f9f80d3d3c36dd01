"""Server-sent events: bytes in, event payloads out."""

from __future__ import annotations


class EventTooLarge(ValueError):  # noqa: N818 - says what happened
    """An event grew past its bound."""


class SseSplitter:
    """Cuts a stream of bytes into the payloads of its events.

    Accepts LF, CRLF and CR line ends, comments, and `data:` over several lines (joined by LF); other fields are
    skipped. `event_bytes_max` bounds what is held between two reads.
    """

    __slots__ = ()

    def __init__(self, event_bytes_max: int = 1_048_576) -> None:
        raise NotImplementedError

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the payloads of the events they complete. Raises EventTooLarge."""
        raise NotImplementedError

    @property
    def partial(self) -> bool:
        """Whether an event was begun and not ended; at the end of the stream that means it was cut off."""
        raise NotImplementedError
