"""What the fake engine says: a pure function of what it was sent."""

from __future__ import annotations

import math
import zlib
from typing import Final

import msgspec

from fastness.engines.fake.sample import constrained
from fastness.engines.llamacpp.dialect import SEEDS

_WORDS: Final = (
    "stone river lantern copper meadow harbour winter signal garden timber saffron window ladder thunder velvet "
    "orchard marble compass feather island quarry beacon walnut ribbon canyon pepper mirror gravel linen anchor "
    "hollow café☕"
)
WORDS: Final = tuple(f" {word}" for word in _WORDS.split())
_NUMBERS: Final = {word: number for number, word in enumerate(_WORDS.split())}
_WORD: Final = 1 << 31
"""Tokens from here on are words that it said, in the order of WORDS; those below stand for what it was told."""
CHARS_A_TOKEN: Final = 4
TOKENS_A_MESSAGE: Final = 4


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str
    content: str


class Scale(msgspec.Struct):
    """How much of an adapter is added: by its number among those of the engine."""

    id: int
    scale: float


class Ask(msgspec.Struct):
    """A request for text, in llama.cpp's words; what does not bear on the answer is left unread."""

    messages: list[Message] = []
    prompt: str | list[int] | None = None
    max_tokens: int | None = None
    stop: list[str] = []
    stream: bool = False
    seed: int | None = None
    temperature: float = 1.0
    grammar: str | None = None
    logprobs: bool | int | None = None
    top_logprobs: int = 0
    cache_salt: str | None = None
    lora: list[Scale] = []

    @property
    def adapted(self) -> int:
        """The number of the adapter that it runs with, from 1; 0: the model alone."""
        return next((one.id + 1 for one in self.lora if one.scale), 0)

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to each token are asked for; None: no log probabilities."""
        if self.logprobs is None or self.logprobs is False:
            return None
        return self.top_logprobs if self.logprobs is True else self.logprobs


class Answer(msgspec.Struct, frozen=True):
    """All of an answer: its tokens' texts, why it ends, and what it took."""

    tokens: list[str]
    finish: str
    input_tokens: int
    cached_tokens: int = 0


def count_text(text: str | list[int]) -> int:
    """Return how many tokens a plain text has."""
    return len(text) if isinstance(text, list) else -(-len(text) // CHARS_A_TOKEN)


def count(ask: Ask) -> int:
    """Return how many tokens the input has."""
    if ask.prompt is not None:
        return count_text(ask.prompt)
    return sum(count_text(message.content) + TOKENS_A_MESSAGE for message in ask.messages)


def template(messages: list[Message]) -> str:
    """Return the text that messages become; it has as many tokens as they have."""
    parts = [f"<{message.role:<14.14}>{message.content}" for message in messages]
    return "".join(part + " " * (-len(part) % CHARS_A_TOKEN) for part in parts)


def tokens_of(text: str, *, begins: bool) -> list[int]:
    """Return the tokens of a text; `begins`: it begins an input, and is no words of its own."""
    words = [_NUMBERS.get(word) for word in text.lstrip(" ").split(" ")]
    if not begins and None not in words:
        return [_WORD + word for word in words if word is not None]
    return [zlib.crc32(text[at : at + CHARS_A_TOKEN].encode()) >> 1 for at in range(0, len(text), CHARS_A_TOKEN)]


def answer(ask: Ask, answer_tokens: int, context_tokens: int) -> Answer:
    """Say something: the same for the same input and seed; raises ValueError for a grammar that it cannot follow."""
    input_tokens = count(ask)
    said = ask.messages[-1].content if ask.messages else ask.prompt
    bound = None if ask.grammar is None else constrained(ask.grammar, said if isinstance(said, str) else "")
    if bound is None:
        prompt, before = _parted(ask)
        seed = 0 if ask.temperature <= 0 or ask.seed is None else ask.seed % SEEDS
        state = zlib.crc32(",".join(map(str, prompt)).encode(), seed + ask.adapted)
        tokens = _words(state, min(answer_tokens, before + (ask.max_tokens or answer_tokens)))[before:]
        finish = "length" if ask.max_tokens is not None and len(tokens) >= ask.max_tokens else "stop"
    else:
        tokens = [bound[at : at + CHARS_A_TOKEN] for at in range(0, len(bound), CHARS_A_TOKEN)]
        finish = "stop"
    room = min(context_tokens - input_tokens, len(tokens) if ask.max_tokens is None else ask.max_tokens)
    if len(tokens) > room:
        tokens, finish = tokens[:room], "length"
    return Answer(*_stopped(tokens, finish, ask.stop), input_tokens)


def _parted(ask: Ask) -> tuple[list[int], int]:
    """Return the tokens of the input, and how many words follow them that it said itself, before it died."""
    prompt = template(ask.messages) if ask.prompt is None else ask.prompt
    tokens = tokens_of(prompt, begins=True) if isinstance(prompt, str) else prompt
    said = 0
    while said < len(tokens) and tokens[-1 - said] >= _WORD:
        said += 1
    return tokens[: len(tokens) - said], said


def vector(text: str | list[int], dimensions: int) -> list[float]:
    """Return a unit vector that belongs to `text`."""
    state = zlib.crc32(text.encode() if isinstance(text, str) else str(text).encode()) or 1
    raw = []
    for _ in range(dimensions):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        raw.append(state / 0x3FFFFFFF - 1.0)
    norm = math.sqrt(sum(value * value for value in raw))
    return [value / norm for value in raw]


def logprob(token: str, rank: int) -> float:
    """Return a log probability for `token`, falling with its rank."""
    return -(zlib.crc32(token.encode()) % 1_000) / 2_000 - rank


def _words(state: int, count: int) -> list[str]:
    tokens = []
    for _ in range(count):
        state = (state * 1_103_515_245 + 12_345) & 0xFFFFFFFF
        tokens.append(WORDS[state >> 16 & 31])
    if tokens:
        tokens[0] = tokens[0][1:]
    return tokens


def _stopped(tokens: list[str], finish: str, stop: list[str]) -> tuple[list[str], str]:
    """Cut before the first stop sequence."""
    text = "".join(tokens)
    cuts = [at for sequence in stop if (at := text.find(sequence)) >= 0]
    if not cuts:
        return tokens, finish
    kept, left = [], min(cuts)
    for token in tokens:
        if left > 0:
            kept.append(token[:left])
        left -= len(token)
    return kept, "stop"
