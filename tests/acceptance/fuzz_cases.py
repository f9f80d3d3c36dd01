"""What may come: valid bodies with something wrong in them, and bytes that are nearly HTTP."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from installation import CHAT, EMBEDDING

Case = tuple[str, bytes]

USER = {"role": "user", "content": "What is the weather in Paris?"}
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 9}, "unit": {"enum": ["c", "f"]}, "tags": {"$ref": "#/$defs/t"},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"t": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 2}},
}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": WEATHER}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
SAMPLING = {
    "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["x", "y"], "presence_penalty": 1, "frequency_penalty": -1,
    "logit_bias": {"12": 5}, "n": 2, "user": "u",
}  # fmt: skip


def chat(**more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"model": CHAT, "messages": [USER], "max_tokens": 4} | more


VALID = (
    chat(),
    chat(stream=True, stream_options={"include_usage": True}),
    chat(**SAMPLING, logprobs=True, top_logprobs=2),
    chat(messages=[{"role": "system", "content": [{"type": "text", "text": "Be kind."}]}, USER], stream=True, n=2),
    chat(tools=[TOOL], tool_choice="required", parallel_tool_calls=False, max_tokens=60),
    chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "weather"}}, stream=True),
    chat(messages=[USER, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                   {"role": "tool", "tool_call_id": "call_1", "content": "31"}], tools=[TOOL]),
    chat(response_format={"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER, "strict": True}}),
    chat(response_format={"type": "json_object"}, metadata={"a": "b"}),
    ("/v1/completions", {"model": CHAT, "prompt": ["a", "b"], "max_tokens": 3, "logprobs": 1, **SAMPLING}),
    ("/v1/completions", {"model": CHAT, "prompt": [1, 2, 3], "max_tokens": 3, "stream": True}),
    ("/v1/completions", {"model": CHAT, "prompt": "a", "max_tokens": 3, "echo": True}),
    ("/v1/embeddings", {"model": EMBEDDING, "input": ["a", "b"], "encoding_format": "base64"}),
    ("/v1/embeddings", {"model": EMBEDDING, "input": [[1, 2], [3]], "dimensions": 384}),
)  # fmt: skip

ODD = (
    None, True, False, 0, -0.0, 1, -1, 2, 0.5, 17, 10**6, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40,
    1e308, 5e-324, float("nan"), float("inf"), "", "\0", "\ud800", "\U0001f3f0", "a" * 300, "a" * 70_000,
    "<tool_call>", "data: [DONE]", "$ref", "#/$defs/t", CHAT, EMBEDDING, "auto", "none", "required", "user", "tool",
    "text", "function", "json_schema", [], {}, [[]], [{}], [None], ["a"] * 20, [0] * 5_000, {"type": "text"},
    {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}, TOOL, CALL, WEATHER, USER,
)  # fmt: skip
NAMES = (
    "", "role", "type", "content", "name", "model", "messages", "stream", "tools", "n", "audio", "functions", "store",
    "suffix", "best_of", "echo", "$ref", "anyOf", "oneOf", "not", "pattern", "additionalProperties", "minimum",
    "format", "const", "enum", "items", "prefixItems", "\0", "__proto__",
)  # fmt: skip
SCRAPS = (b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\0", b"\xff", b"\xef\xbb\xbf", b"null",
          b"NaN", b"-", b"1e999", b"[" * 2_000, b'{"a":' * 2_000, b"/**/", b" " * 99, b"\r\n")  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
Place = tuple[Any, Any]


def places(tree: Any) -> list[Place]:
    """Every place in a tree, as the container and the key in it."""
    if not isinstance(tree, dict | list):
        return []
    here = list(tree.items() if isinstance(tree, dict) else enumerate(tree))
    return [(tree, key) for key, _ in here] + [place for _, value in here for place in places(value)]


def change(draw: st.DrawFn, tree: dict[str, Any]) -> None:
    """Change one thing somewhere."""
    found = places(tree)
    if not found:
        return
    container, key = found[draw(st.integers(0, len(found) - 1))]
    how = draw(st.integers(0, 9))
    if how <= 3:
        container[key] = kindred(draw, container[key])
    elif how <= 5:
        container[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    elif how == 6:
        container[key] = draw(JSON)
    elif how == 7:
        del container[key]
    elif how == 8:
        container[key] = [container[key]] if draw(st.booleans()) else {draw(st.sampled_from(NAMES)): container[key]}
    elif isinstance(container, dict):
        container[draw(st.sampled_from(NAMES))] = copy.deepcopy(draw(st.sampled_from(ODD)))
    else:
        container.append(container[key])


def kindred(draw: st.DrawFn, value: Any) -> Any:
    """Another value of the same kind: often still valid, so that engines are reached too."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return draw(st.integers(-2, 9) | st.floats(-2, 2))
    if isinstance(value, str):
        return draw(st.text(max_size=30))
    if isinstance(value, dict):
        return dict(reversed(list(value.items())))
    return [*value, *value[:1]] if isinstance(value, list) else None


@st.composite
def bodies(draw: st.DrawFn) -> Case:
    """A route and a body for it: valid but for a few changes, of its values or of its bytes."""
    path, valid = VALID[draw(st.integers(0, len(VALID) - 1))]
    tree = copy.deepcopy(valid)
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2, 4)))):
        change(draw, tree)
    wire = bytearray(json.dumps(tree, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass"))
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(wire)))
        wire[at : at + draw(st.integers(0, 9))] = draw(st.sampled_from(SCRAPS))
    return path, bytes(wire)


class Many(list[Any]):
    """Many cases at once; too many to be printed."""

    def __repr__(self) -> str:
        return f"<{len(self)} cases>"


@st.composite
def many(draw: st.DrawFn, case: st.SearchStrategy[Any], count: int) -> Many:
    """So many cases, to be tried at the same time."""
    return Many(draw(case) for _ in range(count))


LINES = (
    b"Host: a\r\n", b"Host: b\r\n", b"Content-Length: 3\r\n", b"Content-Length: 99\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: 999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n", b"Expect: cake\r\n", b"Authorization: Bearer x\r\n", b"Authorization: Basic eDp5\r\n",
    b"Content-Type: text/plain\r\n", b"Content-Encoding: gzip\r\n", b"X: " + b"y" * 20_000 + b"\r\n", b"X:y\r\n" * 99,
    b" folded\r\n", b"NoColon\r\n", b": none\r\n", b"X\0: y\r\n", b"X: \xff\xfe\r\n", b"X: y\n",
)  # fmt: skip
BITS = (b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b"0\r\n\r\n", b"5\r\nabcde\r\n", b"ffffffffffffffff\r\n",
        b"-1\r\n", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b"GET", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01",
        b"//", b"%00", b"?", b"#", b"http://a/v1/models", b"*", b"\xff")  # fmt: skip
METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"get", b"BREW")
TARGETS = (b"/v1/chat/completions", b"/v1/models", b"/v1/models/x", b"/v1/models/%2e%2e", b"/livez", b"/metrics", b"/",
           b"/v1/embeddings?a=b", b"/openapi.json", b"/v1/chat/completions/", b"*", b"http://a/livez",
           b"//livez")  # fmt: skip


@st.composite
def wires(draw: st.DrawFn, authorization: bytes) -> bytes:
    """The bytes of one request, or nearly so."""
    method, target = draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS))
    body = json.dumps(chat()[1]).encode() if method == b"POST" else b""
    lines = [b"Host: a\r\n", authorization]
    if body and draw(st.booleans()):
        lines.append(b"Transfer-Encoding: chunked\r\n")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif body:
        lines.append(b"Content-Length: %d\r\n" % len(body))
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
    wire = bytearray(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, b"".join(lines), body))
    for _ in range(draw(st.sampled_from((0, 1, 1, 3)))):
        at = draw(st.integers(0, len(wire)))
        wire[at : at + draw(st.integers(0, 4))] = draw(st.sampled_from(BITS) | st.binary(max_size=3))
    return bytes(wire)
