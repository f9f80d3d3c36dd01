"""Our OpenAPI document: valid, complete, and made of the same tables as the code."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

from jsonschema import Draft202012Validator

from fastness.config import LimitSettings
from fastness.core.error import ERROR_CODES
from fastness.gateway.app import INFERENCE
from fastness.gateway.openapi import openapi_document

DOCUMENT: dict[str, Any] = json.loads(openapi_document())


def operations() -> list[dict[str, Any]]:
    return [operation for path in DOCUMENT["paths"].values() for operation in path.values()]


def test_it_is_made_once() -> None:
    assert openapi_document() is openapi_document()


def test_every_route_that_infers_is_in_it() -> None:
    assert set(INFERENCE) <= set(DOCUMENT["paths"])
    assert all("post" in DOCUMENT["paths"][path] for path in INFERENCE)


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref": ?"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)):
        assert reference in DOCUMENT["components"]["schemas"]


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for operation in operations()]
    assert len(set(names)) == len(names)


def test_every_status_of_the_error_table_is_in_every_operation_with_its_codes() -> None:
    for operation in operations():
        for row in ERROR_CODES.values():
            answer = operation["responses"][str(row.status)]
            assert row.code in answer["description"] or answer["description"] == "Text."


def test_every_limit_is_told() -> None:
    assert DOCUMENT["x-limits"] == {one.name: one.default for one in fields(LimitSettings)}


def test_bodies_allow_nothing_unknown_at_any_depth() -> None:
    seen = set()

    def forbids(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        schema = DOCUMENT["components"]["schemas"][name]
        assert schema["additionalProperties"] is False, name
        for other in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schema)):
            forbids(other)

    for body in ("ChatBody", "CompletionBody", "EmbeddingBody"):
        forbids(body)
