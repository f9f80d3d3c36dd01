"""The turns: every case of every gateway, interleaved, so that a moment of the machine falls on all of them."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import median
from benchmarks.gateway import callgrind
from benchmarks.gateway.cases import CASES, SATURATED, Case, Figure, lost, window
from benchmarks.gateway.peers import PEERS
from benchmarks.gateway.subjects import DIRECT, FASTNESS, Subject, engines, fastness, peer
from benchmarks.gateway.tree import tree_resident_bytes

HALF = 0.5
"""Of the saturation load."""
COUNTED = ("vllm-router", "sglang-router", "smg")
"""Peers that are counted under callgrind. LiteLLM would take minutes to start there; nginx's worker is not found."""
COUNT_S = 25.0
"""What one count may take, about: none is begun with less time left."""


class Comparison:
    """Measures what runs, round by round, until `ends` on the clock `time.perf_counter`.

    `figures` holds the windows of each (gateway, case); `loads` those at half the saturation load, each beside one of
    the stand-in alone at the same rate, and `problems` what could not be measured.
    """

    def __init__(self, running: Sequence[Subject], window_s: float, ends: float, *, count: bool) -> None:
        self.running = running
        self.window_s = window_s
        self.ends = ends
        self.count = count
        self.figures: dict[tuple[str, str], list[Figure]] = {}
        self.loads: dict[str, list[tuple[float, Figure, Figure]]] = {}
        self.problems: dict[str, str] = {}
        self.resident_mib: dict[str, float] = {}
        self.longest_round_s = 0.0
        self._turn = 0

    def check(self) -> None:
        """Note who does not deliver streams as they are: done before anything is measured."""
        for subject in self.running:
            if why := lost(subject):
                self.problems[subject.name] = why

    def round(self) -> None:
        """Run each case once for each gateway, beginning with another one each time."""
        began = time.perf_counter()
        for case in CASES:
            for subject in self._rotated():
                if seen := self._try(subject, case):
                    self.figures.setdefault((subject.name, case.name), []).append(seen)
        direct = next(one for one in self.running if one.name == DIRECT)
        for subject in self._rotated():
            if subject is not direct:
                self._at_half_load(subject, direct)
        self.longest_round_s = max(self.longest_round_s, time.perf_counter() - began)

    def look_at_memory(self) -> None:
        """Note what each gateway holds now, after its load."""
        for one in self.running:
            if one.pid:
                self.resident_mib[one.name] = tree_resident_bytes(one.pid) / 2**20

    def _at_half_load(self, subject: Subject, direct: Subject) -> None:
        saturated = self.figures.get((subject.name, SATURATED.name))
        if not saturated:
            return
        rate = median([one.requests_per_s for one in saturated]) * HALF
        through, bare = self._try(subject, SATURATED, rate), self._try(direct, SATURATED, rate)
        if through and bare:
            self.loads.setdefault(subject.name, []).append((rate, through, bare))

    def _try(self, subject: Subject, case: Case, rate: float = 0.0) -> Figure | None:
        if time.perf_counter() > self.ends:
            self.problems.setdefault(subject.name, "no time was left for some of its cases")
            return None
        try:
            return window(subject, case, self.window_s, count=self.count, rate=rate)
        except RuntimeError as error:
            self.problems[subject.name] = str(error)
            return None

    def _rotated(self) -> list[Subject]:
        self._turn += 1
        first = self._turn % len(self.running)
        return [*self.running[first:], *self.running[:first]]


def counts(folder: Path, only: Sequence[str], ends: float) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Count user instructions under callgrind, of those for whom there is time; and say why not of the others."""
    wanted = [name for name in only if name in FASTNESS or name in COUNTED]
    if why := callgrind.absent():
        return {}, dict.fromkeys(wanted, why)
    starters: Mapping[str, callgrind.Starter]
    counted, why_not = dict[str, dict[str, float]](), dict[str, str]()
    with engines(folder) as behind:
        starters = {name: functools.partial(_row, name, folder, behind) for name in FASTNESS}
        starters = {**starters, **{one.name: functools.partial(peer, one, folder, behind) for one in PEERS}}
        for name in wanted:
            if time.perf_counter() + COUNT_S > ends:
                why_not[name] = "no time was left"
                continue
            try:
                counted[name] = callgrind.count(starters[name], folder)
            except (OSError, RuntimeError) as error:
                why_not[name] = f"{error}"
    return counted, why_not


@contextmanager
def _row(name: str, folder: Path, behind: object, under: Sequence[str]) -> Iterator[Subject]:
    with fastness(folder, behind, under) as rows:  # type: ignore[arg-type]
        yield next(one for one in rows if one.name == name)
