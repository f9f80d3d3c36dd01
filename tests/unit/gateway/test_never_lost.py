"""An engine may die at any byte: what the client gets is what it would have got."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dying import BEGINNING, WORDS, Told, dying, stream_of, told
from fastness.core.replica import ReplicaState
from fastness.traffic.counters import cost
from leasing import Control
from policed import Answer, Rules, run, until

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["name", "count"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "count", "strict": True, "parameters": SCHEMA}}
OPEN_AT_ONCE: dict[str, Any] = {"circuit_failures": 1, "circuit_open_s": 60, "circuit_open_max_s": 60}
CHAT = {"messages": [{"role": "user", "content": "hello there 12"}], "temperature": 0}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": CHAT,
    "limited": CHAT | {"max_tokens": 5},
    "stopped": CHAT | {"stop": [" win", "zz"]},
    "scored": CHAT | {"logprobs": True, "top_logprobs": 2},
    "choices": CHAT | {"n": 3, "max_tokens": 6},
    "json": CHAT | {"response_format": FORMAT},
    "json of chance": CHAT | {"response_format": FORMAT, "temperature": 1},
    "seeded": CHAT | {"seed": 4, "temperature": 1},
    "tools": CHAT | {"tools": [TOOL], "tool_choice": "required"},
    "prompt": {"prompt": "hello there", "temperature": 0},
    "scored prompt": {"prompt": "hello there", "logprobs": 2, "temperature": 0},
    "tokens": {"prompt": [5, 6, 7], "temperature": 0, "max_tokens": 4},
    "prompts": {"prompt": ["hello", "there"], "temperature": 0},
}
LENGTHS = {
    name: len(stream_of(json.dumps({**{k: v for k, v in body.items() if k in ("messages", "max_tokens")},
        "prompt": body["prompt"] if isinstance(body.get("prompt"), str) else None, "stream": True}).encode()))
    for name, body in SHAPES.items()
}  # fmt: skip


async def ask(door: Any, shape: str, *, stream: bool = True, key: str = "ann") -> Answer:
    body = {"model": "small"} | SHAPES[shape] | {"stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return await door.send("/v1/completions" if "prompt" in body else "/v1/chat/completions", body, key=key)


def undisturbed(home: Path, shape: str, *, stream: bool = True) -> Told:
    found: list[Told] = []

    async def test() -> None:
        async with dying(home) as site:
            found.append(told(await ask(site.door, shape, stream=stream)))

    run(test)
    return found[0]


def same(one: Told, other: Told, *, ended_without_usage: bool = False) -> None:
    assert one.texts == other.texts
    assert one.finishes == other.finishes
    assert one.logprobs == other.logprobs
    assert len(one.ids) == 1
    if not ended_without_usage:
        assert one.usage == other.usage


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_an_answer_is_the_same_whatever_byte_its_engine_dies_at(tmp_path, shape, stream):
    expected = undisturbed(tmp_path, shape, stream=stream)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(deaths=st.lists(st.integers(0, LENGTHS[shape] + 200), min_size=1, max_size=2))
    def dies(deaths: list[int]) -> None:
        async def test() -> None:
            async with dying(tmp_path, *deaths, attempts_max=9) as site:
                heard = told(await ask(site.door, shape, stream=stream))
                # An engine that dies between its last word and its count leaves the count to us: one more for a stop.
                same(heard, expected, ended_without_usage=heard.usage != expected.usage)
                written = (expected.usage["completion_tokens"], heard.usage["completion_tokens"])
                assert 0 <= written[1] - written[0] <= len(expected.texts)
                assert heard.usage["prompt_tokens"] == expected.usage["prompt_tokens"]

        run(test)

    dies()


@pytest.mark.slow
def test_every_byte_of_a_stream_may_be_its_engines_last(tmp_path):
    expected = undisturbed(tmp_path, "plain")
    assert "café☕" in expected.texts[0], "some of these bytes are in the middle of a character"

    async def test() -> None:
        async with dying(tmp_path, circuit_failures=1_000, retry_burst=10_000) as site:
            for death in range(0, LENGTHS["plain"] + 40, 3):
                site.low.deaths.append(death)
                heard = told(await ask(site.door, "plain"))
                same(heard, expected, ended_without_usage=True)
                assert not site.low.deaths

    run(test)


def test_a_request_whose_engine_fails_before_a_word_is_tried_on_another_unseen_by_its_client(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, -500) as site:
            heard = told(await ask(site.door, "plain"))
            assert len(heard.texts[0].split(" ")) == WORDS
            assert (len(site.low.asked), len(site.high.asked)) == (1, 1)
            (entry,) = site.door.entries()
            assert entry["retried"] == 1
            assert "resumed" not in entry
            assert entry["replica"] in ("small-low", "small-high")

    run(test)


def test_what_an_engine_refuses_is_refused_once(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, -400) as site:
            assert (await ask(site.door, "plain")).code == "invalid_value"
            assert len(site.low.asked + site.high.asked) == 1
            assert "retried" not in site.door.entries()[0]

    run(test)


def test_a_resumed_answer_says_so_in_ledger_and_metrics(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, BEGINNING) as site:
            told(await ask(site.door, "plain"))
            (entry,) = site.door.entries()
            assert entry["resumed"] == 1
            first, second = (site.low, site.high) if "/tokenize" in site.high.asked else (site.high, site.low)
            assert first.asked == ["/v1/chat/completions"]
            assert second.asked == ["/apply-template", "/tokenize", "/tokenize", "/v1/completions"]
            page = (await site.door.send("/metrics")).body
            assert b'fastness_retries_total{gen_ai_request_model="small",outcome="resumed"} 1.0' in page
            assert b'fastness_circuits{circuit="closed",gen_ai_request_model="small"} 2.0' in page

    run(test)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("deaths", [(), (BEGINNING,), (-500, BEGINNING), (-400,), (0, 0, 0, 0, 0, 0)])
@pytest.mark.parametrize("shape", ["plain", "choices", "json", "prompts"])
def test_what_failed_is_charged_to_nobody_and_what_was_answered_once(tmp_path, shape, deaths, stream):
    async def test() -> None:
        async with dying(tmp_path, *deaths) as site:
            answer = await ask(site.door, shape, stream=stream)
            served = site.door.gateway.routing.find("small")
            assert served
            queue = served.queue
            account = queue.counters.find("health")
            assert account
            assert (account.pending, account.waiting, queue.waiting) == (0.0, 0, {})
            assert {(lane.in_flight, lane.unread) for lane in queue.lanes.values()} <= {(0, 0)}
            known = served.choosing.replicas._known.values()
            assert [(one.under_way, one.unread) for one in known] == [(0, 0)] * 2
            if answer.status == 200 and b'"error"' not in answer.body:
                usage = told(answer).usage
                inputs = usage["prompt_tokens"] * SHAPES[shape].get("n", 1)
                assert account.counter == pytest.approx(cost(inputs, usage["completion_tokens"], 1.0))

    run(test)


def test_a_stuck_engine_is_left_and_its_stream_goes_on_elsewhere(tmp_path):
    expected = undisturbed(tmp_path, "plain")

    async def test() -> None:
        async with dying(tmp_path, BEGINNING, stuck=True, progress_timeout_s=0.1) as site:
            same(told(await ask(site.door, "plain")), expected)
            assert site.door.entries()[0]["resumed"] == 1

    run(test)


def test_an_engine_that_never_begins_is_left_for_another(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, 0, stuck=True, first_token_timeout_s=0.1) as site:
            told(await ask(site.door, "plain"))
            assert site.door.entries()[0]["retried"] == 1

    run(test)


def test_a_stream_waits_for_its_only_replica_to_be_started_again(tmp_path):
    expected = undisturbed(tmp_path, "plain")

    async def test() -> None:
        async with dying(tmp_path, BEGINNING, 0, 0, **OPEN_AT_ONCE) as site:
            site.alone()
            asking = asyncio.create_task(ask(site.door, "plain"))
            await until(lambda: site.door.waiting == 1)
            site.low.deaths.clear()
            site.restart(ReplicaState.STARTING)
            await asyncio.sleep(0.05)
            assert not asking.done()
            site.restart()
            same(told(await asking), expected)
            assert site.door.entries()[0]["epoch"] == 3

    run(test)


def test_a_stream_whose_replica_does_not_come_back_in_time_ends_with_an_error_event(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, BEGINNING, resume_timeout_s=0.1, **OPEN_AT_ONCE) as site:
            site.alone()
            heard = await ask(site.door, "plain")
            assert heard.status == 200
            assert b'"code":"engine_failed"' in heard.body
            assert b"[DONE]" not in heard.body
            (entry,) = site.door.entries()
            assert entry["code"] == "engine_failed"

    run(test)


def test_a_request_that_kills_every_engine_is_given_up(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, *([0] * 50), attempts_max=3) as site:
            heard = await ask(site.door, "plain")
            assert (heard.status, heard.code) == (502, "engine_failed")
            assert len(site.low.asked) + len(site.high.asked) == 3

    run(test)


def test_retries_end_with_their_budget(tmp_path):
    async def test() -> None:
        budget = {"retry_burst": 2, "retry_floor_per_s": 0, "retry_percent": 0}
        async with dying(tmp_path, *([-500] * 50), attempts_max=9, **budget) as site:
            answers = [await ask(site.door, "plain") for _ in range(5)]
            assert {one.status for one in answers} == {502}
            assert len(site.low.asked) + len(site.high.asked) == 5 + 2
            page = (await site.door.send("/metrics")).body
            assert b'fastness_circuits{circuit="closed",gen_ai_request_model="small"} 2.0' in page, "may be the request"

    run(test)


def test_an_engine_whose_failures_others_do_not_have_is_sent_nothing_for_a_while(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, circuit_failures=2, circuit_open_s=60, circuit_open_max_s=60) as site:
            site.low.deaths = [-500] * 50
            site.high.deaths = []
            for _ in range(12):
                told(await ask(site.door, "plain"))
            assert len(site.low.asked) == 2

    run(test)


def test_a_choice_of_an_answer_is_resumed_by_itself(tmp_path):
    expected = undisturbed(tmp_path, "choices")

    async def test() -> None:
        async with dying(tmp_path, 500, None, 900) as site:
            same(told(await ask(site.door, "choices")), expected)
            assert site.door.entries()[0]["resumed"] == 2

    run(test)


def test_no_stream_is_resumed_where_policy_does_not_let_it_any_more(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, BEGINNING, **OPEN_AT_ONCE) as site:
            site.alone()
            asking = asyncio.create_task(ask(site.door, "seeded"))
            await until(lambda: site.door.waiting == 1)
            asked = len(site.low.asked)
            site.door.enforce(Rules(denies="seed"))
            heard = await asking
            assert b'"code":"parameter_not_allowed"' in heard.body
            assert len(site.low.asked) == asked

    run(test)


def test_texts_to_embed_are_embedded_elsewhere(tmp_path):
    async def test() -> None:
        async with dying(tmp_path) as site:
            site.door.replicas = [
                replace(one, socket=str(tmp_path / "none")) if one.node == "low" else one for one in site.door.replicas
            ]
            site.door.publish()
            for _ in range(4):
                heard = await site.door.send("/v1/embeddings", {"model": "mini", "input": ["a", "b"]})
                assert heard.status == 200
                assert len(json.loads(heard.body)["data"]) == 2

    run(test)


def test_a_draining_replica_finishes_its_streams_and_gets_no_others(tmp_path):
    async def test() -> None:
        async with dying(tmp_path) as site:
            site.alone()
            site.low.hold = asyncio.Event()
            asking = asyncio.create_task(ask(site.door, "plain"))
            await until(lambda: site.low.asked != [])
            site.door.replicas = [replace(one, state=ReplicaState.DRAINING) for one in site.door.replicas]
            site.door.publish()
            later = asyncio.create_task(ask(site.door, "plain"))
            await until(lambda: site.door.waiting == 1)
            site.low.hold.set()
            told(await asking)
            assert "resumed" not in site.door.entries()[0]
            assert len(site.low.asked) == 1
            site.restart()
            told(await later)

    run(test)


def test_a_gateway_that_drains_ends_what_waits_to_be_resumed_with_an_error_event(tmp_path):
    async def test() -> None:
        async with dying(tmp_path, BEGINNING, **OPEN_AT_ONCE) as site:
            site.alone()
            asking = asyncio.create_task(ask(site.door, "plain"))
            await until(lambda: site.door.waiting == 1)
            await site.door.app.cut()
            heard = await asking
            assert b'"code":"draining"' in heard.body
            assert not site.door.waiting

    run(test)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_an_answer_that_is_made_anew_and_fails_again_counts_for_what_came_once(tmp_path, stream):
    charged: list[int] = []

    async def test(*deaths: int, attempts: int) -> None:
        async with dying(tmp_path, *deaths, attempts_max=attempts) as site:
            control, path = Control(site.door), tmp_path / "control.sock"
            async with await asyncio.start_unix_server(control.serve, str(path)):
                control.limit(tokens_per_day=1_000_000)
                await ask(site.door, "json", stream=stream)
                await site.door.gateway.leases.close()
            assert len(site.low.asked) + len(site.high.asked) == attempts
            (entry,) = site.door.entries()
            charged.append(entry["charged_tokens"])

    run(partial(test, 900, attempts=1))
    run(partial(test, 900, 900, attempts=2))
    once, again = charged
    assert once == again > 0
