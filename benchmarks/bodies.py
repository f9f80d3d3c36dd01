"""What is asked, in OpenAI's format, and the same as the gateway writes it for an engine."""

from __future__ import annotations

import json
from typing import Any

from fastness.config import LimitSettings
from fastness.core.request import Generation
from fastness.engines.catalogue import dialect
from fastness.gateway.wire.chat import parse_chat

CHAT_PATH = "/v1/chat/completions"
MODEL = "smollm2-135m-instruct"
END_TOKENS = (0, 2)
"""The starter model's tokens that end an answer; forbidding them makes every answer as long as it may be."""


def exact_body(prompt: str, output_tokens: int) -> str:
    """Write a streamed request to the starter model whose answer has exactly so many tokens."""
    never = {str(token): -100 for token in END_TOKENS}
    return _chat(MODEL, prompt, output_tokens, logit_bias=never, stream=True, stream_options={"include_usage": True})


def sized_body(model: str, prompt_bytes: int, *, stream: bool) -> str:
    """Write a request with a prompt of so many bytes of words."""
    words = ("word " * (prompt_bytes // 5 + 1))[:prompt_bytes]
    return _chat(model, words, 256, **({"stream": True} if stream else {}))


def engine_body(body: str) -> str:
    """Write what the gateway sends to a llama.cpp engine for a request."""
    asked = parse_chat(body.encode(), LimitSettings())
    work = Generation(asked.sampling, asked.messages, stream=asked.stream, cache_prompt=True)
    return dialect("llamacpp").generation(work).body.decode()


def _chat(model: str, prompt: str, output_tokens: int, **more: Any) -> str:
    asked = {"messages": [{"role": "user", "content": prompt}], "model": model}
    return json.dumps(asked | {"max_tokens": output_tokens, "temperature": 0} | more, separators=(",", ":"))
