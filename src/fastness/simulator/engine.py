"""One engine in virtual time: prompts are read one after the other, answers are written side by side. Pure.

That is the shape of continuous batching on one replica. A prompt waits until a slot and enough KV cache are free, then
it is read; its first token comes when it has been read. Each output token of an answer then takes `step_s`, more for
each other answer that is written at the same time and for each token in the KV cache, and longer while a prompt is
read. Nothing here knows a clock: whoever runs it says what time it is, and asks when the next thing happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heapify, heappop, heappush
from typing import Final

_ALMOST_TOKENS: Final = 1e-6
"""An answer that lacks so little has its last token: times are added up in floating point."""


@dataclass(frozen=True, slots=True)
class EnginePace:
    """What a replica can do; to be fitted to measured engines. The defaults: a mid-sized model on one accelerator.

    It reads `read_tokens_per_s` of prompts, one prompt at a time. An output token takes `step_s`, plus
    `step_beside_s` for each other answer, plus `step_s_per_kv_token` for each token that answers hold of the KV cache;
    while a prompt is read it takes `reading_slows` times longer (1: as long as otherwise). At most `slots` answers, of
    together `kv_tokens` tokens (0: no bound), are under way; one that is larger than that alone. From its order to
    ready it takes `start_s`, a second start on the same node `warm_start_s`.
    """

    read_tokens_per_s: float = 8_000.0
    step_s: float = 0.02
    step_beside_s: float = 0.0004
    step_s_per_kv_token: float = 0.0
    reading_slows: float = 1.0
    slots: int = 32
    kv_tokens: int = 0
    start_s: float = 30.0
    warm_start_s: float = 10.0

    def step(self, answers: int, kv_tokens: float, reading: bool) -> float:
        """Seconds for the next token of each of `answers` answers, at least one, which hold `kv_tokens` together."""
        plain = self.step_s + self.step_beside_s * (answers - 1) + self.step_s_per_kv_token * kv_tokens
        return plain * self.reading_slows if reading else plain


class Progress(StrEnum):
    """What happened to a run: its first token came, or its last."""

    FIRST = "first"
    LAST = "last"


@dataclass(eq=False, slots=True)
class Run:
    """One generation on one engine. `input_tokens` are in the KV cache; `read_tokens` of them must be read anew.

    `ticket` is whatever the caller knows it by. `kv_tokens` is what it holds of the cache until it ends.
    """

    ticket: Hashable
    input_tokens: int
    output_tokens: int
    read_tokens: int = -1
    _goal: float = -1.0
    _since: float = 0.0

    def __post_init__(self) -> None:
        if self.read_tokens < 0:
            self.read_tokens = self.input_tokens

    @property
    def kv_tokens(self) -> int:
        """What it takes of the KV cache."""
        return self.input_tokens + self.output_tokens


@dataclass(slots=True)
class Engine:
    """See the module. `now_s` never goes back from one call to the next."""

    pace: EnginePace
    waiting: deque[Run] = field(default_factory=deque)
    reading: Run | None = None
    writing: int = 0
    kv_tokens: int = 0
    """Held by what is read or written."""
    busy_s: float = 0.0
    """For how long it has read or written anything."""
    _runs: dict[Run, None] = field(default_factory=dict)
    _read_at_s: float = 0.0
    _written: float = 0.0
    """Tokens that an answer which was there from the start would have by now."""
    _looked_s: float = 0.0
    _answers: list[tuple[float, int, Run]] = field(default_factory=list)
    _count: int = 0
    _answer_tokens: int = 0
    _paused_s: float | None = None

    @property
    def runs(self) -> int:
        """How many are under way, those that wait here included."""
        return len(self._runs)

    def under_way(self) -> tuple[Run, ...]:
        """Every run that is here, in the order in which they were taken."""
        return tuple(self._runs)

    @property
    def is_within_bounds(self) -> bool:
        """Whether it does no more at a time than it can."""
        under_way = self.writing + (self.reading is not None)
        return under_way <= 1 or (under_way <= self.pace.slots and not 0 < self.pace.kv_tokens < self.kv_tokens)

    def take(self, now_s: float, run: Run) -> None:
        """Begin a run, or let it wait in the engine."""
        self._look(now_s)
        self._runs[run] = None
        self.waiting.append(run)
        self._read_next(now_s)

    def drop(self, now_s: float, run: Run) -> None:
        """Forget a run: its caller left. One that is not here is none."""
        if run not in self._runs:
            return
        self._look(now_s)
        self._runs.pop(run, None)
        if run is self.reading:
            self.reading = None
            self.kv_tokens -= run.kv_tokens
        elif run._goal >= 0.0:
            self._answers = [entry for entry in self._answers if entry[2] is not run]
            heapify(self._answers)
            self._leave(run)
        else:
            self.waiting.remove(run)
        self._read_next(now_s)

    def written(self, now_s: float, run: Run) -> int:
        """How many output tokens of a run there are by now."""
        if run._goal < 0.0:
            return 0
        self._look(now_s)
        return min(run.output_tokens, 1 + int(self._written - run._since + _ALMOST_TOKENS))

    def pause(self, now_s: float) -> None:
        """Let it stand still: it hangs, or nobody hears of what it does."""
        if self._paused_s is None:
            self._look(now_s)
            self._paused_s = now_s

    def go_on(self, now_s: float) -> None:
        """Let it go on where it stood still."""
        if self._paused_s is not None:
            self._read_at_s += now_s - self._paused_s
            self._looked_s, self._paused_s = now_s, None

    def due_s(self) -> float | None:
        """When something happens next, if nothing is taken or dropped before; None: nothing does."""
        if self._paused_s is not None:
            return None
        due = self._read_at_s if self.reading is not None else None
        if self._answers:
            left = max(0.0, self._answers[0][0] - self._written)
            ends = self._looked_s + left * self._step_s()
            due = ends if due is None else min(due, ends)
        return due

    def advance(self, now_s: float) -> list[tuple[Progress, Run]]:
        """Let time pass until `now_s`, not beyond `due_s`; return what happened, in order."""
        self._look(now_s)
        happened: list[tuple[Progress, Run]] = []
        while self._answers and self._answers[0][0] <= self._written + _ALMOST_TOKENS:
            run = heappop(self._answers)[2]
            self._leave(run)
            self._runs.pop(run, None)
            happened.append((Progress.LAST, run))
        run_read = self.reading
        if run_read is not None and self._read_at_s <= now_s:
            self.reading = None
            happened.append((Progress.FIRST, run_read))
            self._write(run_read, happened)
        self._read_next(now_s)
        return happened

    def _write(self, run: Run, happened: list[tuple[Progress, Run]]) -> None:
        if run.output_tokens <= 1:
            self.kv_tokens -= run.kv_tokens
            self._runs.pop(run, None)
            happened.append((Progress.LAST, run))
            return
        self._count += 1
        run._since, run._goal = self._written, self._written + run.output_tokens - 1
        heappush(self._answers, (run._goal, self._count, run))
        self.writing += 1
        self._answer_tokens += run.kv_tokens

    def _leave(self, run: Run) -> None:
        self.writing -= 1
        self.kv_tokens -= run.kv_tokens
        self._answer_tokens -= run.kv_tokens

    def _read_next(self, now_s: float) -> None:
        if self.reading is not None or not self.waiting or self.writing >= self.pace.slots:
            return
        run, most = self.waiting[0], self.pace.kv_tokens
        if most and self.kv_tokens and self.kv_tokens + run.kv_tokens > most:
            return
        self.waiting.popleft()
        self.reading = run
        self.kv_tokens += run.kv_tokens
        self._read_at_s = now_s + max(1, run.read_tokens) / self.pace.read_tokens_per_s

    def _step_s(self) -> float:
        return self.pace.step(max(1, self.writing), self._answer_tokens, self.reading is not None)

    def _look(self, now_s: float) -> None:
        passed = now_s - self._looked_s
        if passed > 0.0 and self._paused_s is None:
            if self.writing:
                self._written += passed / self._step_s()
            if self.writing or self.reading is not None:
                self.busy_s += passed
        self._looked_s = now_s
