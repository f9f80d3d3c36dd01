"""20,000 cases against our own OpenAPI document: no fault of the server, no hang, every error in the one shape."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from fuzz_cases import Many, bodies, many, wires
from fuzzing import SILENCE_S, Door, Reply, defects, door, judge, replies, wait_until_open
from installation import CHAT, EMBEDDING, Installation, start, stop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DOCUMENT_CASES = {
    ("createChatCompletion", "positive"): 500, ("createChatCompletion", "negative"): 500,
    ("createCompletion", "positive"): 300, ("createCompletion", "negative"): 300,
    ("createEmbedding", "positive"): 200, ("createEmbedding", "negative"): 200,
    ("listModels", "positive"): 10, ("listModels", "negative"): 30,
    ("retrieveModel", "positive"): 20, ("retrieveModel", "negative"): 40,
    ("retrieveUsage", "positive"): 10, ("retrieveUsage", "negative"): 30,
    ("isAlive", "positive"): 1, ("isReady", "positive"): 1, ("metrics", "positive"): 1,
}  # fmt: skip
"""Cases of each operation: what the document allows, and what it forbids."""
BODY_CASES = 11_000
REAL_CASES, REAL_CASES_AT_ONCE = 500, 20
WIRE_CASES, WIRE_CASES_AT_ONCE = 7_000, 70
assert sum(DOCUMENT_CASES.values()) + BODY_CASES + WIRE_CASES >= 20_000

LONG = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True)
CONFORMANCE = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with door(tmp_path_factory.mktemp("fuzz")) as opened:
        wait_until_open(opened)
        yield opened


# ---- what the document describes, and what it forbids


@pytest.fixture(scope="module")
def document(gateway: Door) -> Any:
    connection = gateway.connect()
    connection.request("GET", "/openapi.json")
    with connection.getresponse() as answer:
        found = json.loads(answer.read())
    connection.close()
    return schemathesis.openapi.from_dict(narrowed(found))


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The same document with the values that are served here, so that many cases reach an engine."""
    schemas = document["components"]["schemas"]
    for body in ("ChatBody", "CompletionBody", "EmbeddingBody"):
        fields = schemas[body]["properties"]
        fields["model"] = {"enum": [EMBEDDING if body == "EmbeddingBody" else CHAT]}
        for name, served in SERVED.items():
            if name in fields:
                fields[name] = served
    document["paths"]["/v1/models/{model}"]["get"]["parameters"][0]["schema"] = {"enum": [CHAT, EMBEDDING]}
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "header":
                    parameter["schema"] = {"enum": ["OFFICIAL", "official", "SECRET", "NONSENSE"]}
    return document


def number(low: int, high: int) -> dict[str, Any]:
    return {"type": "number", "minimum": low, "maximum": high}


NOTHING: dict[str, Any] = {"type": "null"}
SERVED = {
    "temperature": number(0, 2), "top_p": number(0, 1), "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2), "max_tokens": {"type": "integer", "minimum": 1, "maximum": 8},
    "n": {"type": "integer", "minimum": 1, "maximum": 3}, "logit_bias": NOTHING, "top_logprobs": NOTHING,
    "max_completion_tokens": NOTHING, "best_of": NOTHING, "suffix": NOTHING, "dimensions": NOTHING, "echo": NOTHING,
    "audio": NOTHING, "prediction": NOTHING, "web_search_options": NOTHING, "functions": NOTHING,
    "function_call": NOTHING, "moderation": NOTHING, "prompt_cache_options": NOTHING, "store": NOTHING,
    "modalities": NOTHING, "service_tier": NOTHING, "verbosity": NOTHING, "prompt_cache_retention": NOTHING,
    "reasoning_effort": NOTHING, "stream_options": NOTHING,
}  # fmt: skip


@pytest.mark.parametrize(("operation", "mode"), DOCUMENT_CASES)
def test_the_document_says_what_happens(gateway, document, operation, mode):
    found = document.find_operation_by_id(operation)
    cases, seen = DOCUMENT_CASES[operation, mode], Counter[int]()
    checks = [CHECKS.get_one(name) for name in CONFORMANCE]
    headers = {"authorization": f"Bearer {gateway.key}"}

    @settings(LONG, max_examples=cases)
    @given(found.as_strategy(generation_mode=GenerationMode(mode)))
    def ask(case: Any) -> None:
        answer = case.call(base_url=gateway.base_url, headers=headers, timeout=SILENCE_S)
        seen[answer.status_code] += 1
        names = {name.lower(): ", ".join(value) for name, value in answer.headers.items()}
        judge(Reply(answer.status_code, names, answer.content), case)
        # OpenAPI 3.1 cannot say what the events of a stream are; `judge` has read them.
        streams = names.get("content-type") == "text/event-stream"
        case.validate_response(answer, checks=checks[:-1] if streams else checks)

    ask()
    gateway.cases += seen.total()
    print(operation, mode, dict(seen))
    assert mode == "negative" or seen[200], "no case was answered: nothing was tested"


# ---- bodies that are nearly right


def test_a_body_with_something_wrong_is_answered_or_refused_by_name(gateway):
    connection, seen = gateway.connect(), Counter[int]()
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}

    @settings(LONG, max_examples=BODY_CASES)
    @given(bodies())
    def ask(case: tuple[str, bytes]) -> None:
        path, body = case
        connection.request("POST", path, body, headers)
        with connection.getresponse() as answer:
            names = {name.lower(): value for name, value in answer.getheaders()}
            reply = Reply(answer.status, names, answer.read())
        seen[reply.status] += 1
        judge(reply, case)

    try:
        ask()
    finally:
        connection.close()
    print(dict(seen))
    assert seen.total() >= BODY_CASES
    assert seen[200] > BODY_CASES / 50, "hardly any case was answered: nothing was tested"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The real engines, with a context so small that no answer takes long."""
    environ = {"FASTNESS__ENGINE__SLOT_CONTEXT_TOKENS": "256", "FASTNESS__ENGINE__THREADS": "1"}
    running = start(tmp_path_factory.mktemp("small"), environ=environ)
    yield running
    assert stop(running) == 0


def test_no_body_with_something_wrong_breaks_the_real_engines(small):
    seen: Counter[int] = Counter()
    before = {one["id"]: one["pid"] for one in small.replicas()}

    @settings(LONG, max_examples=REAL_CASES // REAL_CASES_AT_ONCE, phases=[Phase.generate])
    @given(many(bodies(), REAL_CASES_AT_ONCE))
    def ask(cases: Many) -> None:
        for case, reply in zip(cases, asyncio.run(ask_all(small, cases)), strict=True):
            seen[reply.status] += 1
            judge(reply, case)

    ask()
    print(dict(seen))
    assert seen[200] > REAL_CASES / 50
    assert defects(small.home) == []
    assert {one["id"]: one["pid"] for one in small.replicas()} == before, "an engine was restarted"


async def ask_all(installation: Installation, cases: list[tuple[str, bytes]]) -> list[Reply]:
    headers = {"authorization": f"Bearer {installation.admin_key}", "content-type": "application/json"}
    async with httpx.AsyncClient(headers=headers, timeout=120, trust_env=False, base_url=installation.root) as client:
        answers = await asyncio.gather(*(client.post(path, content=body) for path, body in cases))
    return [Reply(one.status_code, dict(one.headers), one.content) for one in answers]


# ---- bytes that are nearly HTTP


def test_no_bytes_on_the_wire_are_kept_in_silence_or_break_the_gateway(tmp_path):
    seen: Counter[int] = Counter()
    short = {"gateway__header_timeout_s": 0.3, "gateway__body_timeout_s": 0.3, "gateway__idle_timeout_s": 0.4}
    with door(tmp_path, **short) as gateway:
        wait_until_open(gateway)
        authorization = b"Authorization: Bearer %b\r\n" % gateway.key.encode()

        @settings(LONG, max_examples=-(-WIRE_CASES // WIRE_CASES_AT_ONCE), phases=[Phase.generate])
        @given(many(wires(authorization), WIRE_CASES_AT_ONCE))
        def send(cases: Many) -> None:
            for case, heard in zip(cases, asyncio.run(send_all(gateway, cases)), strict=True):
                found = replies(heard, case)
                seen.update(reply.status for reply in found)
                gateway.cases += 1
                assert found or not case.strip(b"\r\n"), f"silence for {case!r}"

        send()
        assert gateway.cases >= WIRE_CASES
    print(dict(seen))
    assert seen[200] > 10, "hardly any case was a request: nothing was tested"


async def send_all(gateway: Door, cases: list[bytes]) -> list[bytes]:
    """Send each on a connection of its own, all at once; return what came until the gateway closed."""

    async def listen(sent: socket.socket) -> bytes:
        reader, writer = await asyncio.open_connection(sock=sent)
        heard = b""
        try:
            async with asyncio.timeout(SILENCE_S):
                while part := await reader.read(65_536):
                    heard += part
        except ConnectionResetError:
            pass
        finally:
            writer.close()
        return heard

    return await asyncio.gather(*(listen(gateway.send(case)) for case in cases))
