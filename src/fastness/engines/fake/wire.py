"""The fake engine's bytes: the shapes of llama.cpp's answers."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fastness.engines.fake.answer import Answer, Ask, logprob

STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nserver: fake\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_DONE: Final = b"data: [DONE]\n\n"
STREAM_END: Final = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_DONE), _DONE)
_REASONS: Final = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 500: b"Internal Server Error"}
_encode: Final = msgspec.json.Encoder().encode


def head(status: int, length: int, content_type: bytes) -> bytes:
    """Return the head of a whole answer."""
    return b"HTTP/1.1 %d %b\r\nserver: fake\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (
        status,
        _REASONS[status],
        content_type,
        length,
    )


def whole(ask: Ask, answer: Answer) -> bytes:
    """Return the body of an answer that is not streamed."""
    text = "".join(answer.tokens)
    said: dict[str, Any] = {"text": text}
    if ask.prompt is None:
        said = {"message": {"role": "assistant", "content": text}}
    choice = {"finish_reason": answer.finish, "index": 0, **said}
    if (alternatives := ask.alternatives) is not None:
        choice["logprobs"] = {"content": [_token(token, alternatives) for token in answer.tokens]}
    return _encode({"id": "fake", "choices": [choice], "usage": _usage(answer)})


def events(ask: Ask, answer: Answer, tokens_a_chunk: int) -> list[bytes]:
    """Return the chunks of a stream: one for every `tokens_a_chunk` tokens, and one with the end and the usage."""
    chat, alternatives = ask.prompt is None, ask.alternatives
    before = b'{"id":"fake","choices":[{"finish_reason":null,"index":0,' + (
        b'"delta":{"content":' if chat else b'"text":'
    )
    after = b"}}]}" if chat else b"}]}"
    chunks = (
        [_event(b'{"id":"fake","choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}')] if chat else []
    )
    tokens = answer.tokens
    for at in range(0, len(tokens), tokens_a_chunk):
        part = tokens[at : at + tokens_a_chunk]
        if alternatives is None:
            chunks.append(_event(before + _encode("".join(part)) + after))
        else:
            chunks.append(_event(_with_logprobs("".join(part), part, alternatives, chat=chat)))
    said: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
    end = _event(_encode({"choices": [{"finish_reason": answer.finish, "index": 0, **said}]}))
    end += _event(_encode({"choices": [], "usage": _usage(answer)}))
    if chat and len(chunks) > 1:
        chunks[:2] = [chunks[0] + chunks[1]]
    return [*chunks, end]


def embeddings(rows: list[list[float]], input_tokens: int) -> bytes:
    """Return the body of embeddings."""
    listed = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": input_tokens, "total_tokens": input_tokens}
    return _encode({"object": "list", "data": listed, "usage": usage})


def error(status: int, message: str, kind: str) -> bytes:
    """Return the body of an error."""
    return _encode({"error": {"code": status, "message": message, "type": kind}})


def overflow(needed: int, limit: int) -> bytes:
    """Return the body of the error for an input that does not fit."""
    message = f"request ({needed} tokens) exceeds the available context size ({limit} tokens), try increasing it"
    counts = {"n_prompt_tokens": needed, "n_ctx": limit}
    return _encode({"error": {"code": 400, "message": message, "type": "exceed_context_size_error", **counts}})


def metrics(counters: dict[str, int]) -> bytes:
    """Return the counters in Prometheus' text format."""
    return "".join(f"# TYPE fake_{name} counter\nfake_{name} {value}\n" for name, value in counters.items()).encode()


def _event(data: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


def _usage(answer: Answer) -> dict[str, Any]:
    counts = {"prompt_tokens": answer.input_tokens, "completion_tokens": len(answer.tokens)}
    details = {"cached_tokens": answer.cached_tokens}
    return counts | {"total_tokens": sum(counts.values()), "prompt_tokens_details": details}


def _with_logprobs(text: str, part: list[str], alternatives: int, *, chat: bool) -> bytes:
    said: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
    logprobs = {"content": [_token(token, alternatives) for token in part]}
    return _encode({"choices": [{"finish_reason": None, "index": 0, **said, "logprobs": logprobs}]})


def _token(token: str, alternatives: int) -> dict[str, Any]:
    ranked = [token] + [f"{token}{rank}" for rank in range(1, alternatives)]
    top = [
        {"token": other, "bytes": list(other.encode()), "logprob": logprob(token, rank)}
        for rank, other in enumerate(ranked[:alternatives])
    ]
    return {"token": token, "bytes": list(token.encode()), "logprob": logprob(token, 0), "top_logprobs": top}
