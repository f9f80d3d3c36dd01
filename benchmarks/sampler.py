"""Where a process's main thread spends its CPU: stacks sampled by its own CPU clock, so that waiting does not count.

cProfile counts the clock on the wall, and on a busy machine shows who else ran: a write that wakes its reader looks
expensive. Samples are at most one for each tick of the kernel, a few hundred for each second of CPU.
"""

from __future__ import annotations

import collections
import signal
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY_S = 0.001
"""Asked for; the kernel's tick is the floor."""


@contextmanager
def sampled(into: Path) -> Iterator[None]:
    """Sample the main thread within the block, and write the stacks, one a line with its count, for a flame graph.

    The clock is that of the process: what other threads used shows up wherever the main thread was.
    """
    seen: collections.Counter[str] = collections.Counter()

    def sample(_number: int, frame: types.FrameType | None) -> None:
        names = []
        while frame is not None:
            code = frame.f_code
            names.append(f"{code.co_qualname} ({Path(code.co_filename).name}:{code.co_firstlineno})")
            frame = frame.f_back
        seen[";".join(reversed(names))] += 1

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        into.write_text("".join(f"{stack} {count}\n" for stack, count in seen.most_common()))
