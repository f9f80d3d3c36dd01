"""Our OpenAPI document, made from the wire types and the error table, so that it cannot drift from either."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from fastness import __version__
from fastness.config import LimitSettings
from fastness.core.error import ERROR_CODES
from fastness.gateway import openapi_batches
from fastness.gateway.binding import RECEIPT_HEADER
from fastness.gateway.in_force import MARKING_CHARS_MAX
from fastness.gateway.receipts import ReceiptOut
from fastness.gateway.usage import UsageOut
from fastness.gateway.wire import out
from fastness.gateway.wire.chat import ChatBody
from fastness.gateway.wire.completion import CompletionBody
from fastness.gateway.wire.embedding import EmbeddingBody

_BOUND: Final = ("createChatCompletion", "createCompletion", "createEmbedding")
_REF: Final = "#/components/schemas/{name}"
_MARKING: Final = "Fastness-Marking"
_ASKED: Final = {
    "name": _MARKING,
    "in": "header",
    "required": False,
    "description": "`MARKING` or `MARKING; CAVEAT, CAVEAT`, as the profile in force defines them. If not sent: the "
    "tenant's default, or the profile's.",
    "schema": {"type": "string", "maxLength": MARKING_CHARS_MAX},
}
_HANDLED: Final = {_MARKING: {"description": "What it was handled under.", "schema": {"type": "string"}}}
_RECEIPT: Final = {RECEIPT_HEADER: {"description": "The id of its receipt.", "schema": {"type": "string"}}}
_LIMITED: Final = {
    f"x-ratelimit-{what}-{of}": {"description": f"{said} (on {of}), where one applies.", "schema": {"type": kind}}
    for of in ("requests", "tokens")
    for what, kind, said in (
        ("limit", "integer", "The tightest limit"),
        ("remaining", "integer", "What is left of the tightest limit"),
        ("reset", "string", "In what time all of the tightest limit is there again, such as `6m0s`, `1s` or `20ms`"),
    )
}
_BODIES: Final = (ChatBody, CompletionBody, EmbeddingBody, *openapi_batches.BODIES)
_ANSWERS: Final = (
    *(out.ChatCompletion, out.Completion, out.EmbeddingList, out.ModelList, out.ModelOut, out.ErrorOut),
    UsageOut,
    ReceiptOut,
    *openapi_batches.ANSWERS,
)


@cache
def openapi_document() -> bytes:
    """Return the document as JSON."""
    schemas, components = msgspec.json.schema_components((*_BODIES, *_ANSWERS), ref_template=_REF)
    refs = dict(zip((*_BODIES, *_ANSWERS), schemas, strict=True))
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Fastness", "version": __version__, "description": __doc__},
        "security": [{"key": []}],
        "paths": {
            "/v1/chat/completions": {
                "post": _post("createChatCompletion", refs[ChatBody], refs[out.ChatCompletion], streams=True)
            },
            "/v1/completions": {
                "post": _post("createCompletion", refs[CompletionBody], refs[out.Completion], streams=True)
            },
            "/v1/embeddings": {"post": _post("createEmbedding", refs[EmbeddingBody], refs[out.EmbeddingList])},
            "/v1/models": {"get": _get("listModels", refs[out.ModelList])},
            "/v1/models/{model}": {"get": _get("retrieveModel", refs[out.ModelOut], "model")},
            "/v1/usage": {"get": _get("retrieveUsage", refs[UsageOut])},
            "/v1/receipts/{receipt}": {"get": _receipt(refs[ReceiptOut])},
            **openapi_batches.batch_paths(refs, _post, _get),
            "/livez": {"get": _page("isAlive")},
            "/readyz": {"get": _page("isReady", 503)},
            "/metrics": {"get": _page("metrics")},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "x-limits": {name: getattr(LimitSettings(), name) for name in LimitSettings.__dataclass_fields__},
    }
    return msgspec.json.encode(document)


def _post(operation: str, body: Any, answer: Any, *, streams: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    headers = _HANDLED | _LIMITED | (_RECEIPT if operation in _BOUND else {})
    return {
        "operationId": operation,
        "parameters": [_ASKED],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "The answer.", "headers": headers, "content": content}, **_errors()},
    }


def _get(operation: str, answer: Any, parameter: str | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": answer}}
    in_path = {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "operationId": operation,
        "parameters": [in_path, _ASKED] if parameter else [_ASKED],
        "responses": {"200": {"description": "The answer.", "headers": _HANDLED, "content": content}, **_errors()},
    }


def _receipt(answer: Any) -> dict[str, Any]:
    chain = {"name": "chain", "in": "query", "required": False, "schema": {"type": "boolean"}}
    found = _get("retrieveReceipt", answer, "receipt")
    found["parameters"].append(chain)
    return found


def _page(operation: str, *others: int) -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    statuses = {str(status): {"description": "Text.", "content": text} for status in (200, *others)}
    return {"operationId": operation, "security": [], "responses": {**statuses, **_errors()}}


def _errors() -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for row in ERROR_CODES.values():
        by_status.setdefault(row.status, []).append(row.code)
    content = {"application/json": {"schema": {"$ref": _REF.format(name="ErrorOut")}}}
    return {
        str(status): {"description": ", ".join(codes), "content": content}
        for status, codes in sorted(by_status.items())
    }
