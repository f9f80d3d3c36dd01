"""Which replica takes a generation, asked by the queue in the moment it gives a slot; and what was decided lately.

Nothing of a prompt is kept but hashes under a key of this process, and sizes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from fastness.core.replica import Replica
from fastness.core.request import Generation, Usage
from fastness.traffic.engine_slots import EngineSlots
from fastness.traffic.lanes import Lane
from fastness.traffic.portion import Dealt, Portion
from fastness.traffic.prefix_index import PrefixIndex
from fastness.traffic.prompt import Prompt, chat_prompt, plain_prompt
from fastness.traffic.replica_choice import Choice, Memory, Reading, ReplicaChoice

EXPLAINED_MAX: Final = 1_024
"""Requests whose choices are kept to be explained: the last ones, about 1 KiB each."""
CHOICES_MAX: Final = 64
"""Choices kept of one request: its generations and their attempts, the first ones."""
TOKEN_BYTES: Final = 4
"""How much of a prompt stands for a token of an engine's memory, when nothing better is known."""
NOTHING: Final = Prompt(None, (), ())
"""What is no prompt that could be remembered: an embedding's texts."""


class Explained(NamedTuple):
    """One choice of one request: of which deployment, when (seconds since 1970), from what.

    `hedged`: it was sent there beside the one before, which was late to begin.
    """

    model: str
    at_s: float
    choice: Choice
    hedged: bool = False

    def document(self) -> dict[str, object]:
        """Return it as JSON values; sizes are in bytes of prompt."""
        choice = self.choice
        candidates = [one._asdict() for one in sorted(choice.candidates, key=lambda one: one.score)]
        return {
            "model": self.model,
            "at_s": self.at_s,
            "replica": choice.replica,
            "size": choice.size,
            "cached": choice.cached,
            "hedged": self.hedged,
            "candidates": candidates,
        }


class Explanations:
    """The choices of the last requests, by request id."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, list[Explained]] = OrderedDict()

    def keep(self, request_id: str, one: Explained) -> None:
        """Keep a choice; the oldest request's are forgotten for it."""
        kept = self._kept.get(request_id)
        if kept is None:
            kept = self._kept[request_id] = []
            if len(self._kept) > EXPLAINED_MAX:
                self._kept.popitem(last=False)
        if len(kept) < CHOICES_MAX:
            kept.append(one)

    def of(self, request_id: str) -> Sequence[Explained]:
        """The choices made for a request; none when it is not known, or not any more."""
        return self._kept.get(request_id, ())


class Asked:
    """What the choice needs to know of one generation, and what became of it on the replica that has it now."""

    __slots__ = ("choice", "heard", "hedges", "is_read", "prompt", "reading", "request_id")

    def __init__(self, request_id: str, prompt: Prompt = NOTHING) -> None:
        self.request_id = request_id
        self.prompt = prompt
        self.choice: ReplicaChoice | None = None
        self.reading: Reading | None = None
        self.heard: Callable[[], None] | None = None
        """Whom to tell once the prompt has been read; None: nobody any more."""
        self.is_read = False
        self.hedges = False
        """Whether it is asked of a second replica, while the first has it as well."""

    def read(self) -> None:
        """The first token came: the prompt has been read."""
        if self.choice and self.reading:
            self.choice.read(self.reading)
        self.is_read = True
        self.let_next()

    def let_next(self) -> None:
        """The replica may be sent another prompt: this one is read, or nobody will hear when it is."""
        tell, self.heard = self.heard, None
        if tell is not None:
            tell()

    def told(self, usage: Usage) -> None:
        """The engine says how much of the prompt it had: what is believed of it is corrected."""
        self._end(self.prompt.size * usage.cached_tokens // usage.input_tokens if usage.input_tokens else None)

    def over(self) -> None:
        """It is over, or never began; nothing more happens when it was told before."""
        self.heard = None
        self._end(None)

    def _end(self, cached: int | None) -> None:
        if self.choice and self.reading:
            self.choice.ended(self.reading, cached)
        self.choice = self.reading = None


@dataclass(slots=True)
class Choosing:
    """The choice among one deployment's replicas. `clock` tells seconds since 1970."""

    model: str
    explanations: Explanations = field(default_factory=Explanations)
    clock: Callable[[], float] = lambda: 0.0
    replicas: ReplicaChoice = field(default_factory=ReplicaChoice)
    portion: Portion = field(default_factory=Portion)
    """What this gateway has of each replica's slots."""

    def know(self, replicas: Iterable[tuple[Replica, bool]]) -> None:
        """Know these replicas and no others; of each, whether its slots are pinned. A new epoch remembers nothing."""
        names = []
        for replica, pinned in replicas:
            names.append(replica.id)
            dealt = self.dealt(replica)
            start = (replica.epoch, dealt, pinned, replica.model_digest, replica.adapters)
            self.replicas.start(replica.id, start, partial(_memory, replica, pinned, dealt), replica.adapters)
        self.replicas.retain(names)

    def choose(self, ticket: Hashable, lanes: Sequence[Lane]) -> Lane:
        """Choose for the queue, which gives the lane's slot to the ticket in the same moment."""
        asked = getattr(ticket, "asked", None) or Asked("")
        choice = self.weigh(asked.prompt, lanes)
        if asked.choice is not None or asked.heard is not None:
            asked.over()
        asked.choice, asked.reading = self.replicas, self.replicas.send(asked.prompt, choice)
        if asked.request_id:
            self.explanations.keep(asked.request_id, Explained(self.model, self.clock(), choice, asked.hedges))
        chosen = choice.replica
        for lane in lanes:
            if lane.replica == chosen:
                return lane
        raise LookupError(f"{chosen} is none of the lanes")

    def weigh(self, prompt: Prompt, lanes: Sequence[Lane]) -> Choice:
        """Choose without sending; a benchmark puts another rule here."""
        return self.replicas.choose(prompt, lanes)

    def dealt(self, replica: Replica) -> Dealt:
        """This gateway's slots of a replica."""
        return self.portion.deal(replica.id, replica.slots)

    def used_part(self, replica: Replica) -> float:
        """What part of our slots' context on a replica the prompts under way take, by estimate, 0.0 to 1.0."""
        size = _context_bytes(replica, self.dealt(replica))
        return min(1.0, self.replicas.under_way(replica.id) / size) if size else 0.0

    def slots_of(self, replica: Replica) -> EngineSlots:
        """The pinned slots of a replica's engine, and whose memory is in each."""
        memory = self.replicas.memory(replica.id)
        assert isinstance(memory, EngineSlots)
        return memory


def prompt_of(owner: Hashable, model: str, work: Generation) -> Prompt:
    """Hash what a generation asks, for its owner (a tenant and a label: law 12); `model` is the digest of its model."""
    if work.prompt is not None:
        return plain_prompt(owner, model, work.prompt, work.adapter)
    return chat_prompt(owner, model, [(message.role, message.content) for message in work.messages], work.adapter)


def _memory(replica: Replica, pinned: bool, dealt: Dealt) -> Memory:
    if pinned:
        return EngineSlots(dealt.count, dealt.first, dealt.step, dealt.own)
    return PrefixIndex(_context_bytes(replica, dealt))


def _context_bytes(replica: Replica, dealt: Dealt) -> int:
    return dealt.count * replica.context_tokens * TOKEN_BYTES
