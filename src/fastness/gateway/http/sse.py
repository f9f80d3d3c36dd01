"""Server-sent events: bytes in, event payloads out. Pure."""

from __future__ import annotations


class EventTooLarge(ValueError):  # noqa: N818 - says what happened
    """An event grew past its bound."""


class SseSplitter:
    """Cuts a stream of bytes into the payloads of its events.

    Takes LF, CRLF and CR line ends, comments, and `data` over several lines (joined by LF); other fields are skipped,
    as are events without data. `event_bytes_max` bounds one event, and so what is held between two reads.
    """

    __slots__ = ("_after_cr", "_begun", "_event_bytes_max")

    def __init__(self, event_bytes_max: int = 1_048_576) -> None:
        self._event_bytes_max = event_bytes_max
        self._begun = bytearray()
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the payloads of the events that they complete. Raises EventTooLarge."""
        if (
            not self._begun
            and data[:6] == b"data: "
            and data.find(b"\n") == len(data) - 2
            and data[-1:] == b"\n"
            and len(data) <= self._event_bytes_max
            and b"\r" not in data
        ):
            return [data[6:-2]]  # one whole event a read: what an engine sends per token
        return self._feed(data)

    @property
    def partial(self) -> bool:
        """Whether an event was begun and not ended; at the end of the stream that means it was cut off."""
        return bool(self._begun.strip(b"\n"))

    def _feed(self, data: bytes) -> list[bytes]:
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        begun = self._begun
        searched = len(begun)
        begun += data
        end = begun.rfind(b"\n\n", max(0, searched - 1))
        if end < 0:
            self._check(len(begun))
            return []
        whole = bytes(begun[:end])
        del begun[: end + 2]
        self._check(len(begun))
        payloads = []
        for event in whole.split(b"\n\n"):
            if len(event) > self._event_bytes_max:
                self._check(len(event))
            if event.startswith(b"data: ") and b"\n" not in event:
                payloads.append(event[6:])
            elif (payload := _payload(event)) is not None:
                payloads.append(payload)
        return payloads

    def _with_lf(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _check(self, size: int) -> None:
        if size > self._event_bytes_max:
            raise EventTooLarge(f"an event exceeds {self._event_bytes_max} bytes")


def _payload(event: bytes) -> bytes | None:
    lines = []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines) if lines else None
