"""Moments by chance: a Poisson process on an event loop, finer than the loop's timers, which count milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SEED = 4
"""Every run asks at the same moments."""
_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1


class _Timer(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns"))


@contextmanager
def arrivals(loop: asyncio.AbstractEventLoop, rate: float, arrive: Callable[[float], None]) -> Iterator[None]:
    """Call `arrive` `rate` times a second on average, within the block, with the moment that was meant.

    Moments are those of `time.perf_counter`, which is CLOCK_MONOTONIC on Linux. One that has passed already, because
    the loop was busy, is called at once. Raises OSError where there are no timer descriptors.
    """
    system = ctypes.CDLL(None, use_errno=True)
    timer = system.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    chance = random.Random(SEED)
    due = time.perf_counter() + chance.expovariate(rate)

    def arm() -> None:
        seconds, nanoseconds = divmod(int(due * 1e9), 1_000_000_000)
        system.timerfd_settime(timer, _ABSOLUTE, ctypes.byref(_Timer(0, 0, seconds, nanoseconds)), None)

    def ring() -> None:
        nonlocal due
        with contextlib.suppress(BlockingIOError):
            os.read(timer, 8)
        while due <= time.perf_counter():
            arrive(due)
            due += chance.expovariate(rate)
        arm()

    loop.add_reader(timer, ring)
    arm()
    try:
        yield
    finally:
        loop.remove_reader(timer)
        os.close(timer)
