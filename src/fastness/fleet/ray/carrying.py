"""Carrying letters between the run directory of the head and the couriers: what is done, whatever carries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from fastness.fleet.letter_files import LETTER_BYTES_MAX, LETTERS_IN, LETTERS_OUT, fetch, put

PERIOD_S: Final = 0.2
"""How often letters are exchanged with each host, if it answers in time; never more than one is on its way to it."""
LOOK_S: Final = 1.0
"""How often it is asked which hosts there are."""


class Cluster(Protocol):
    """Hosts with couriers. Nothing here waits for one that does not answer."""

    def ways(self) -> Iterable[str]:
        """Return the hosts that are there, but this one; each by a name that no other ever has."""
        ...

    def begin(self, way: str, letter: bytes) -> None:
        """Begin to exchange letters with a host, unless the last exchange with it goes on."""
        ...

    def ended(self, limit_s: float) -> list[tuple[str, bytes]]:
        """Return the letters of exchanges that came to an end; wait for the first no longer than the limit."""
        ...


class Carrying:
    """Letters out of `letters/out/WAY` and into `letters/in/WAY` below the run directory."""

    def __init__(self, cluster: Cluster, run_directory: Path, now: Callable[[], float]) -> None:
        self._cluster, self._now = cluster, now
        self._out, self._in = run_directory / LETTERS_OUT, run_directory / LETTERS_IN
        self._ways: tuple[str, ...] = ()
        self._looked_s = float("-inf")
        self._begun: dict[str, float] = {}
        self._last: dict[str, bytes] = {}

    def turn(self) -> None:
        """Do what is due, and wait for a moment. Raises OSError when a letter cannot be written."""
        now = self._now()
        if now - self._looked_s >= LOOK_S:
            self._looked_s, self._ways = now, tuple(self._cluster.ways())
            for gone in self._begun.keys() - set(self._ways):
                del self._begun[gone]
                self._last.pop(gone, None)
                (self._in / gone).unlink(missing_ok=True)
        for way in self._ways:
            if now - self._begun.get(way, float("-inf")) >= PERIOD_S:
                self._begun[way] = now
                self._cluster.begin(way, fetch(f"{self._out}/{way}"))
        for way, letter in self._cluster.ended(PERIOD_S / 4):
            if letter and len(letter) <= LETTER_BYTES_MAX and way in self._begun and letter != self._last.get(way):
                self._last[way] = letter
                put(str(self._in), way, letter)
