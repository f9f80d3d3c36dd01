"""POST /v1/completions."""

from __future__ import annotations

from typing import Final

import msgspec

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.core.request import CompletionRequest, Sampling
from fastness.gateway.wire.inputs import Inputs, to_inputs
from fastness.gateway.wire.reading import limit, read_body, refuse_unless, unsupported
from fastness.gateway.wire.sampling import (
    StreamOptions,
    check_logit_bias,
    check_numbers,
    check_output_tokens,
    check_stop,
)

OUTPUT_TOKENS_DEFAULT: Final = 16
"""What OpenAI's reference says this route writes when `max_tokens` is not sent."""


class CompletionBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body as it arrives."""

    model: str
    prompt: Inputs
    best_of: int | None = None
    echo: bool | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: int | None = None
    max_tokens: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    user: str | None = None


_DECODER: Final = msgspec.json.Decoder(CompletionBody)
LOGPROBS_MAX: Final = 5


def parse_completion(raw: bytes, limits: LimitSettings) -> CompletionRequest:
    """Parse a body into a request; raises Refusal naming the first field that cannot be honoured."""
    body = read_body(_DECODER, raw)
    prompts = to_inputs(body.prompt, "prompt", limits.choices_max)
    choices = 1 if body.n is None else body.n
    refuse_unless(choices >= 1, "n", "at least 1", choices)
    limit(choices * len(prompts), limits.choices_max, "n", "choices over all prompts")
    stream = body.stream or False
    if body.stream_options is not None and not stream:
        raise Refusal(
            "invalid_value", "`stream_options` is only allowed when `stream` is true.", param="stream_options"
        )
    _refuse_unsupported(body, prompts, choices)
    return CompletionRequest(
        model=body.model,
        prompts=prompts,
        sampling=_sampling(body, limits),
        choices=choices,
        stream=stream,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        echo=body.echo or False,
    )


def _refuse_unsupported(body: CompletionBody, prompts: tuple[str | tuple[int, ...], ...], choices: int) -> None:
    if body.best_of not in (None, choices):
        raise unsupported("best_of", "candidates are not ranked here; leave it out or send the value of `n`.")
    if body.suffix:
        raise unsupported("suffix", "this model cannot fill in the middle.")
    if body.stream_options and body.stream_options.include_obfuscation:
        raise unsupported("stream_options.include_obfuscation", "chunks are not padded; leave it out or send false.")
    if body.echo and body.logprobs is not None:
        raise unsupported("echo", "the engine gives no log probabilities of the prompt; leave out `logprobs`.")
    if body.echo and not all(isinstance(prompt, str) for prompt in prompts):
        raise unsupported("echo", "a prompt of token ids is not turned back into text; send text.")


def _sampling(body: CompletionBody, limits: LimitSettings) -> Sampling:
    check_numbers(
        temperature=body.temperature,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
    )
    if body.logprobs is not None:
        refuse_unless(0 <= body.logprobs <= LOGPROBS_MAX, "logprobs", f"from 0 to {LOGPROBS_MAX}", body.logprobs)
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
        stop=check_stop(body.stop, limits),
        logit_bias=check_logit_bias(body.logit_bias, limits),
        max_output_tokens=check_output_tokens(
            OUTPUT_TOKENS_DEFAULT if body.max_tokens is None else body.max_tokens, limits, "max_tokens"
        ),
        top_logprobs=body.logprobs,
    )
