"""What a request sets, in the words that policies bound it by."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from fastness.core.policy import Parameters
from fastness.core.request import ChatRequest, CompletionRequest, EmbeddingRequest, Sampling, ToolMode
from fastness.gateway.wire.completion import OUTPUT_TOKENS_DEFAULT


def parameters_of(request: ChatRequest | CompletionRequest | EmbeddingRequest) -> Parameters:
    """Return what `request` sets. Names are those of the OpenAI API; what is set to its default is not set.

    `max_tokens` stands for `max_completion_tokens` as well.
    """
    if isinstance(request, EmbeddingRequest):
        return _of_embedding(request)
    if isinstance(request, ChatRequest) and not (request.tools or request.constraint):
        return _of_plain_chat(request.sampling, request.choices, request.stream, request.include_usage)
    return _of(request)


@lru_cache(maxsize=4_096)  # clients repeat what they set; the same object again is recognised by policy at once
def _of_plain_chat(sampling: Sampling, choices: int, stream: bool, include_usage: bool) -> Parameters:
    return _of(ChatRequest("", (), sampling, choices, stream, include_usage))


def _of(request: ChatRequest | CompletionRequest) -> Parameters:
    sampling = request.sampling
    uses = _of_sampling(sampling)
    tools = 0
    if isinstance(request, ChatRequest):
        uses += _of_chat(request)
        tools = len(request.tools) if request.tool_mode is not ToolMode.NONE else 0
    else:
        uses += _of_completion(request)
    if request.choices != 1:
        uses.append("n")
    if request.stream:
        uses.append("stream")
        if request.include_usage:
            uses.append("stream_options")
    uses.sort()
    return Parameters(
        tuple(uses),
        request.choices,
        sampling.max_output_tokens,
        None if sampling.temperature is None else _milli(sampling.temperature),
        None if sampling.top_p is None else _milli(sampling.top_p),
        tools,
    )


def _of_chat(request: ChatRequest) -> list[str]:
    uses: list[str] = []
    if request.sampling.max_output_tokens is not None:
        uses.append("max_tokens")
    if request.tool_mode is not ToolMode.NONE:
        uses.append("tools")
        if not request.parallel_tool_calls:
            uses.append("parallel_tool_calls")
    if request.constraint is not None:
        uses.append("response_format")
    return uses


def _of_completion(request: CompletionRequest) -> list[str]:
    uses: list[str] = []
    if request.sampling.max_output_tokens != OUTPUT_TOKENS_DEFAULT:
        uses.append("max_tokens")
    if request.echo:
        uses.append("echo")
    return uses


def _of_sampling(sampling: Sampling) -> list[str]:
    uses: list[str] = []
    if sampling.temperature is not None:
        uses.append("temperature")
    if sampling.top_p is not None:
        uses.append("top_p")
    if sampling.presence_penalty is not None:
        uses.append("presence_penalty")
    if sampling.frequency_penalty is not None:
        uses.append("frequency_penalty")
    if sampling.seed is not None:
        uses.append("seed")
    if sampling.stop:
        uses.append("stop")
    if sampling.logit_bias:
        uses.append("logit_bias")
    if sampling.top_logprobs is not None:
        uses.append("logprobs")
    return uses


def _of_embedding(request: EmbeddingRequest) -> Parameters:
    uses = ("dimensions",) if request.dimensions is not None else ()
    return Parameters((*uses, "encoding_format") if request.base64 else uses)


def _milli(value: float) -> int:
    """Round up, so that a bound is never passed by what rounding takes away; past the noise of binary fractions."""
    return ceil(round(value * 1_000, 6))
