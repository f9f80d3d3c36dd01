"""One operating-system process: its last words are kept, its whole group ends with it, and no zombie stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, ClassVar, Final, Protocol

LINES_MAX: Final = 200
LINE_BYTES_MAX: Final = 2_048
READ_BYTES: Final = 65_536
FLOOD_PAUSE_S: Final = 0.005
"""Pause after a full read: a process that floods its stderr waits for us, not everybody else for it."""
LAST_WORDS_S: Final = 0.1
"""How long the stderr of an ended process may still be read: it is over at once unless somebody left the group."""


class Started(Protocol):
    """A child of this process, as its watcher needs it; subprocess.Popen is one."""

    pid: int
    stderr: IO[bytes] | None

    def wait(self) -> int:
        """Wait for its end, and return its exit status, negative for a signal."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


Start = Callable[[Sequence[str], Mapping[str, str], Sequence[int]], Started]
"""Starts a program with an environment and with descriptors that stay open in it; raises OSError."""


class Process:
    """A started process in a session of its own. `lines` are the last lines of its stderr, oldest first.

    `on_line` gets each line, cut at LINE_BYTES_MAX; what it raises as OSError is ignored. Use `start`.
    """

    watched: ClassVar[set[int]] = set()
    """The process ids of those that have not been waited for."""

    def __init__(self, inner: Started, on_line: Callable[[str], None] | None) -> None:
        self._inner = inner
        self._on_line = on_line
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        # A descriptor of the process, not its number: its end is seen at once on any event loop, in any thread.
        self._descriptor = os.pidfd_open(inner.pid)
        self.watched.add(inner.pid)
        self._loop.add_reader(self._descriptor, self._ended)
        self._listener = self._loop.create_task(self._listen())
        self.lines: deque[str] = deque(maxlen=LINES_MAX)

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        descriptors: Sequence[int] = (),
        on_line: Callable[[str], None] | None = None,
        start: Start | None = None,
    ) -> Process:
        """Start `argv` with exactly `environ`; `descriptors` stay open in it.

        `start` does it in another way than as our own child. Raises OSError.
        """
        inner = (start or _popen)(argv, environ, descriptors)
        try:
            return cls(inner, on_line)
        except OSError:
            inner.kill()
            inner.wait()
            if inner.stderr:
                inner.stderr.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._inner.pid

    async def wait(self) -> int:
        """Wait until it has ended and return its exit code, negative for a signal."""
        return await asyncio.shield(self._exit)

    async def end(self, timeout_s: float) -> int:
        """Ask it to end, insist after `timeout_s`; return its exit code when its last words are in `lines`."""
        if not self._exit.done():
            signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)
            try:
                await asyncio.wait((self._exit,), timeout=timeout_s)
            finally:
                self.kill()
        code = await self.wait()
        await asyncio.wait((self._listener,), timeout=LAST_WORDS_S)
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group, now; nothing once it has ended, when the group's number may be another's."""
        if not self._exit.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._inner.pid, signal.SIGKILL)

    def _ended(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.kill()  # what it left behind; it is not waited for yet, so its number is still its own
        self._exit.set_result(self._inner.wait())
        self.watched.discard(self._inner.pid)

    async def _listen(self) -> None:
        reader, rest = asyncio.StreamReader(limit=READ_BYTES), b""
        transport, _ = await self._loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._inner.stderr
        )
        try:
            while chunk := await reader.read(READ_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[:LINE_BYTES_MAX]
                for line in lines:
                    self._keep(line)
                if len(chunk) == READ_BYTES:
                    await asyncio.sleep(FLOOD_PAUSE_S)
        finally:
            if rest:
                self._keep(rest)
            transport.close()

    def _keep(self, line: bytes) -> None:
        text = line[:LINE_BYTES_MAX].decode(errors="replace").rstrip()
        self.lines.append(text)
        if self._on_line:
            with suppress(OSError):  # a full disk must not stop the reading: the process would wait for us
                self._on_line(text)


def reap_orphans() -> None:
    """Wait for children that have ended and that no Process watches: what others left to us, where we are a subreaper.

    Only for a process that starts nothing but by Process and by what does without an exit status.
    """
    with suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid in Process.watched:
                return  # it is just being waited for; those behind it are seen the next time
            os.waitpid(found.si_pid, 0)


def _popen(argv: Sequence[str], environ: Mapping[str, str], descriptors: Sequence[int]) -> Started:
    return subprocess.Popen(  # returns as soon as the program is executed, after a few ms
        list(argv),
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=tuple(descriptors),
    )
