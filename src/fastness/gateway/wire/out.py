"""What is sent: answers with every field that OpenAI's reference calls required. Also the source of our OpenAPI."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastness.core.request import TokenLogprob, Usage


class PromptDetails(msgspec.Struct):
    """Breakdown of the input tokens."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class OutputDetails(msgspec.Struct):
    """Breakdown of the output tokens."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class UsageOut(msgspec.Struct):
    """Tokens, as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: OutputDetails


class TopLogprobOut(msgspec.Struct):
    """One alternative token."""

    token: str
    bytes: list[int] | None
    logprob: float


class TokenLogprobOut(msgspec.Struct):
    """One token that was written."""

    token: str
    bytes: list[int] | None
    logprob: float
    top_logprobs: list[TopLogprobOut]


class ChatLogprobs(msgspec.Struct):
    """Log probabilities of a choice."""

    content: list[TokenLogprobOut] | None
    refusal: list[TokenLogprobOut] | None = None


class FunctionOut(msgspec.Struct):
    """The function called."""

    name: str
    arguments: str


class ToolCallOut(msgspec.Struct):
    """One tool call."""

    id: str
    function: FunctionOut
    type: Literal["function"] = "function"


class MessageOut(msgspec.Struct):
    """What the model wrote. `tool_calls` is absent when there are none."""

    content: str | None
    refusal: str | None = None
    role: Literal["assistant"] = "assistant"
    annotations: list[str] = []
    tool_calls: list[ToolCallOut] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct):
    """One choice."""

    index: int
    message: MessageOut
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(msgspec.Struct):
    """An answer of /v1/chat/completions."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageOut
    system_fingerprint: str
    object: Literal["chat.completion"] = "chat.completion"
    service_tier: Literal["default", "flex", "priority"] = "default"


class CompletionLogprobs(msgspec.Struct):
    """Log probabilities in the older shape: parallel lists, offsets in characters of the text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(msgspec.Struct):
    """One choice."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class Completion(msgspec.Struct):
    """An answer, or one chunk, of /v1/completions. In chunks `usage` is absent or null but for the last."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    system_fingerprint: str
    usage: UsageOut | msgspec.UnsetType | None = msgspec.UNSET
    object: Literal["text_completion"] = "text_completion"


class Embedding(msgspec.Struct):
    """One vector: a list of floats, or base64 of little-endian float32."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct):
    """Tokens of an embeddings request."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    """An answer of /v1/embeddings."""

    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


class ModelOut(msgspec.Struct):
    """One model. `kind`, `context_tokens`, `digest`, `licence`, `ceiling` and `adapter` are ours.

    `adapter` is the digest of the adapter that answers under this name; null: the model alone does.
    """

    id: str
    created: int
    kind: str
    context_tokens: int
    digest: str
    licence: str
    ceiling: str
    adapter: str | None = None
    object: Literal["model"] = "model"
    owned_by: str = "fastness"


class ModelList(msgspec.Struct):
    """An answer of /v1/models."""

    data: list[ModelOut]
    object: Literal["list"] = "list"


class ErrorBody(msgspec.Struct):
    """What went wrong, in OpenAI's shape."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorOut(msgspec.Struct):
    """Every error has this one shape."""

    error: ErrorBody


def usage_out(usage: Usage) -> UsageOut:
    """Write usage in OpenAI's words."""
    return UsageOut(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=OutputDetails(),
    )


def chat_logprobs(tokens: tuple[TokenLogprob, ...] | list[TokenLogprob], top: int) -> ChatLogprobs:
    """Write log probabilities in the chat shape, with `top` alternatives each (an engine may give more)."""
    return ChatLogprobs([_token_logprob(one, top) for one in tokens])


def _token_logprob(one: TokenLogprob, top: int) -> TokenLogprobOut:
    return TokenLogprobOut(
        one.token, list(one.token_bytes), one.logprob, [_top_logprob(other) for other in one.top[:top]]
    )


def _top_logprob(one: TokenLogprob) -> TopLogprobOut:
    return TopLogprobOut(one.token, list(one.token_bytes), one.logprob)


def completion_logprobs(
    tokens: tuple[TokenLogprob, ...] | list[TokenLogprob], top: int, offset: int
) -> CompletionLogprobs:
    """Write log probabilities in the older shape; `offset` counts the characters of text before them."""
    offsets = []
    for one in tokens:
        offsets.append(offset)
        offset += len(one.token)
    return CompletionLogprobs(
        tokens=[one.token for one in tokens],
        token_logprobs=[one.logprob for one in tokens],
        top_logprobs=[{other.token: other.logprob for other in one.top[:top]} for one in tokens] if top else None,
        text_offset=offsets,
    )
