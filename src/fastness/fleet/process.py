"""One operating-system process: its last words are kept, its whole group ends with it, and no zombie stays."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

LINES_MAX: Final = 200
LINE_BYTES_MAX: Final = 2_048
READ_BYTES: Final = 65_536


class Process:
    """A started process in a session of its own. `lines` are the last lines of its stderr, oldest first."""

    def __init__(self, inner: asyncio.subprocess.Process, on_line: Callable[[str], None] | None) -> None:
        self._inner = inner
        self._on_line = on_line
        self.lines: deque[str] = deque(maxlen=LINES_MAX)
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        descriptors: Sequence[int] = (),
        on_line: Callable[[str], None] | None = None,
    ) -> Process:
        """Start `argv` with exactly `environ`; `descriptors` stay open in it. Raises OSError."""
        inner = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(descriptors),
        )
        return cls(inner, on_line)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._inner.pid

    async def wait(self) -> int:
        """Wait until it has ended and return its exit code, negative for a signal."""
        return await self._inner.wait()

    async def end(self, timeout_s: float) -> int:
        """Ask it to end, insist after `timeout_s`, and end what it left behind; return its exit code."""
        if self._inner.returncode is None:
            with suppress(ProcessLookupError):
                self._inner.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(timeout_s):
                    await self._inner.wait()
            except TimeoutError:
                self.kill()
        code = await self._inner.wait()
        self.kill()
        # Somebody who left the group may still hold the pipe: its last words are not worth waiting for.
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._listener)
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group, now."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._inner.pid, signal.SIGKILL)

    async def _listen(self) -> None:
        stderr = self._inner.stderr
        assert stderr is not None
        rest = b""
        while chunk := await stderr.read(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:LINE_BYTES_MAX]
            for line in lines:
                self._keep(line)
        if rest:
            self._keep(rest)

    def _keep(self, line: bytes) -> None:
        # What an engine writes is shown to people: no control character of a terminal may come with it.
        text = "".join(
            char if char.isprintable() else " " for char in line[:LINE_BYTES_MAX].decode(errors="replace")
        ).rstrip()
        self.lines.append(text)
        if self._on_line:
            self._on_line(text)
