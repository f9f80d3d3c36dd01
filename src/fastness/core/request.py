"""A request, once parsed at the door: no wire type crosses into here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastness.core.priority import Band
from fastness.core.value import quick


class Operation(StrEnum):
    """What is asked; the values are OpenTelemetry's `gen_ai.operation.name`."""

    CHAT = "chat"
    COMPLETION = "text_completion"
    EMBEDDING = "embeddings"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool: `arguments` is the JSON text the model wrote."""

    id: str
    name: str
    arguments: str


@quick
@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat; several text parts have been joined into `content`."""

    role: str
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call. `parameters` is its JSON schema as raw JSON."""

    name: str
    description: str
    parameters: bytes


class ToolMode(StrEnum):
    """`tool_choice`: never, if the model wants to, at least one, or one named tool (mode REQUIRED, one tool)."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


@quick
@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. None means the engine's default. `top_logprobs` None: no log probabilities asked."""

    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    max_output_tokens: int | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class JsonConstraint:
    """The whole answer is one JSON value; `schema` is raw JSON schema, or None for any object."""

    schema: bytes | None


@dataclass(frozen=True, slots=True)
class ToolConstraint:
    """The answer is calls of `tools` between `open` and `close`; in mode AUTO it may be plain text instead.

    At most `calls_max` calls are written. `answer_schema` (raw JSON schema, or None) binds the plain text of AUTO.
    """

    tools: tuple[Tool, ...]
    mode: ToolMode
    open: str
    close: str
    calls_max: int


Constraint = JsonConstraint | ToolConstraint


@quick
@dataclass(frozen=True, slots=True)
class Generation:
    """One execution on one engine slot: messages, or a plain prompt (text or token ids), sampled once.

    A request with `n` choices or several prompts becomes several generations, so that usage adds up. `slot` is the
    engine's slot that takes it, and `cache_prompt` whether it may build on what that slot has read before.
    `cache_salt` keeps what an engine remembers apart by itself: only prompts of one salt share a prefix (law 12).
    `band` is for engines that have a queue of their own. `adapters` are the LoRAs that the engine has loaded, in its
    order, by digest, and `adapter` is the one of them that it runs with; None: the model alone.
    """

    sampling: Sampling
    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] | None = None
    constraint: Constraint | None = None
    stream: bool = False
    cache_prompt: bool = False
    slot: int | None = None
    cache_salt: str | None = None
    band: Band = Band.STANDARD
    adapter: str | None = None
    adapters: tuple[str, ...] = ()

    def placed(
        self,
        *,
        cache_prompt: bool = False,
        slot: int | None = None,
        cache_salt: str | None = None,
        adapters: tuple[str, ...] = (),
    ) -> Generation:
        """Return it with its place in an engine; what `replace` does, at a fraction of the cost."""
        return Generation(
            self.sampling,
            self.messages,
            self.prompt,
            self.constraint,
            self.stream,
            cache_prompt,
            slot,
            cache_salt,
            self.band,
            self.adapter,
            adapters,
        )


@quick
@dataclass(frozen=True, slots=True)
class ChatRequest:
    """POST /v1/chat/completions, parsed. `band` None: it does not say how urgent it is."""

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling
    choices: int = 1
    stream: bool = False
    include_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tool_mode: ToolMode = ToolMode.NONE
    parallel_tool_calls: bool = True
    constraint: JsonConstraint | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    band: Band | None = None


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """POST /v1/completions, parsed. `logprobs` of that route is `sampling.top_logprobs`."""

    model: str
    prompts: tuple[str | tuple[int, ...], ...]
    sampling: Sampling
    choices: int = 1
    stream: bool = False
    include_usage: bool = False
    echo: bool = False


GENERATING = (ChatRequest, CompletionRequest)
"""The requests that are answered by generations; for `isinstance`, to which a union costs several times as much."""


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """POST /v1/embeddings, parsed. `base64` tells the encoding of the vectors."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    base64: bool = False
    dimensions: int | None = None


@quick
@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens metered by the engine."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its log probability and the most likely alternatives (same shape, no nesting)."""

    token: str
    token_bytes: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


class FinishReason(StrEnum):
    """Why a generation ended, in the engine's view; a tool call is the gateway's reading of the text."""

    STOP = "stop"
    LENGTH = "length"


@quick
@dataclass(frozen=True, slots=True)
class Delta:
    """What one event of an engine's stream adds; `finish` and `usage` come at the end (maybe in separate events)."""

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None
    usage: Usage | None = None
