"""Which replica takes a prompt: where (what it must read anew) x (how busy it is) is least. Nothing to set.

What must be read anew is the part of the prompt that is not remembered there. How busy a replica is: those under way
there and this one, over its slots, times 1 to 2 by the share of what is under way there that is still unread. All
counts from the moment it is sent, not from when an answer begins. The product is LMetric's: twice the reading weighs
like twice the company, so no weight between the two has to be guessed; where everything is remembered everywhere it is
least load, and where nothing is, too. docs/decisions/0012-lmetric.md says what was tried and rejected.

Pure. Sizes are in the prompt's unit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fastness.traffic.prefix_index import PrefixIndex, Sent
from fastness.traffic.prompt import Prompt


class Lane(Protocol):
    """What the queue knows of a replica."""

    @property
    def replica(self) -> str:
        """Its id."""
        ...

    @property
    def capacity(self) -> int:
        """The generations that it takes at the same time."""
        ...

    @property
    def in_flight(self) -> int:
        """The generations that it has, from the moment they were sent."""
        ...


class Memory(Protocol):
    """What one start of a replica remembers. Two kinds: `EngineSlots`, which rules it, and `PrefixIndex`, a belief."""

    def known(self, prompt: Prompt) -> int:
        """The size of the beginning that need not be read again."""
        ...


class Candidate(NamedTuple):
    """One replica that could have taken it: what it remembers, what it must read, who is under way, what is unread."""

    replica: str
    cached: int
    to_read: int
    in_flight: int
    capacity: int
    unread: int
    score: float


class Choice(NamedTuple):
    """Which replica was chosen, and from what; `cached` of the prompt's `size` need not be read there."""

    replica: str
    size: int
    cached: int
    weighed: Sequence[tuple[str, int, int, int, int, int, float]]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those that were weighed; named only when somebody asks, since each request is weighed."""
        return tuple(map(Candidate._make, self.weighed))


@dataclass(slots=True)
class Reading:
    """A prompt on its way through a replica, of `size`: `unread` is what it still has to read of it."""

    at: _Known
    size: int
    unread: int
    sent: tuple[PrefixIndex, Sent] | None = None


@dataclass(slots=True)
class _Known:
    epoch: Hashable
    memory: Memory
    adapters: frozenset[str]
    under_way: int = 0
    unread: int = 0
    chosen: int = 0


@dataclass(slots=True)
class ReplicaChoice:
    """The replicas of one model, and what is known of each."""

    _known: dict[str, _Known] = field(default_factory=dict)
    _choices: int = 0

    def start(self, replica: str, epoch: Hashable, memory: Callable[[], Memory], adapters: Iterable[str] = ()) -> None:
        """Know a replica. Another epoch is another engine: it remembers nothing, and has nothing to read."""
        known = self._known.get(replica)
        if known is None or known.epoch != epoch:
            self._known[replica] = _Known(epoch, memory(), frozenset(adapters))
        else:
            known.adapters = frozenset(adapters)

    def retain(self, replicas: Iterable[str]) -> None:
        """Forget all others."""
        for name in self._known.keys() - set(replicas):
            del self._known[name]

    def memory(self, replica: str) -> Memory:
        """What a known replica remembers; raises KeyError."""
        return self._known[replica].memory

    def under_way(self, replica: str) -> int:
        """The size of the prompts that a replica has; 0 for one that is not known."""
        known = self._known.get(replica)
        return known.under_way if known is not None else 0

    def able(self, adapter: str | None) -> frozenset[str] | None:
        """The replicas that have loaded an adapter: no other may take a prompt for it. None: any may."""
        if adapter is None:
            return None
        return frozenset(name for name, known in self._known.items() if adapter in known.adapters)

    def choose(self, prompt: Prompt, lanes: Sequence[Lane]) -> Choice:
        """Weigh the lanes, all of them replicas that `start` told of. Raises LookupError: none has the adapter.

        Of equals the least loaded is taken, then the one that was chosen longest ago.
        """
        adapter, size, found = prompt.adapter, prompt.size, []
        least: tuple[float, float, int] | None = None
        chosen, spared = "", 0
        for lane in lanes:
            name, in_flight, capacity = lane.replica, lane.in_flight, lane.capacity
            known = self._known.get(name)
            if known is None or (adapter is not None and adapter not in known.adapters):
                continue
            cached, unread = known.memory.known(prompt), known.unread
            to_read = size - cached if size > cached else 1  # the end of a prompt is always read
            load = (1 + in_flight) / capacity
            if unread:
                load *= 1 + unread / known.under_way
            score = to_read * load
            found.append((name, cached, to_read, in_flight, capacity, unread, score))
            order = (score, load, known.chosen)
            if least is None or order < least:
                least, chosen, spared = order, name, cached
        if least is None:
            raise LookupError(f"no replica with the adapter {adapter} is open")
        return Choice(chosen, size, spared, found)

    def send(self, prompt: Prompt, choice: Choice) -> Reading:
        """Count a prompt as on its way to where it was chosen to; to be followed by `ended`, whatever happens."""
        known = self._known[choice.replica]
        self._choices += 1
        known.chosen = self._choices
        memory = known.memory
        size, unread = choice.size, choice.size - choice.cached
        known.unread += unread
        known.under_way += size
        return Reading(known, size, unread, (memory, memory.send(prompt)) if isinstance(memory, PrefixIndex) else None)

    def read(self, reading: Reading) -> None:
        """The first token came: its prompt has been read."""
        reading.at.unread -= reading.unread
        reading.unread = 0

    def ended(self, reading: Reading, cached: int | None = None) -> None:
        """It is over, however it ended; the engine had `cached` of it (None: it did not say)."""
        at = reading.at
        at.unread -= reading.unread
        at.under_way -= reading.size
        reading.unread = reading.size = 0
        if reading.sent is not None:
            index, sent = reading.sent
            index.ended(sent, cached)
            reading.sent = None
