"""Limits at the door: what fits is answered and told the truth, what does not is refused with a reason."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastness.core.limit import Metric, Scope
from fastness.traffic.meter import Meter
from leasing import NOON_S, limited
from policed import ANN, CHAT, Door, run, until

BOB = replace(ANN, id="key_bob")
EVE = replace(ANN, id="key_eve", tenant="works")
ANSWERED = 4  # what the engines of these tests count for a chat: 3 tokens in, 1 out


def meter(door: Door, metric: Metric) -> Meter:
    return next(one for one in door.gateway.leases.limits.about("health", "") if one.metric is metric)


def test_what_fits_is_answered_and_the_next_is_refused_with_limit_needed_left_and_when(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(requests_per_minute=2)
            first, second, third = [await door.chat() for _ in range(3)]
            assert [one.status for one in (first, second, third)] == [200, 200, 429]
            assert [one.headers["x-ratelimit-remaining-requests"] for one in (first, second, third)] == ["1", "0", "0"]
            assert first.headers["x-ratelimit-limit-requests"] == "2"
            assert first.headers["x-ratelimit-reset-requests"] == "50s"
            assert "x-ratelimit-limit-tokens" not in first.headers
            assert third.code == "rate_limit_exceeded"
            assert third.headers["retry-after"] == "50"
            assert "x-should-retry" not in third.headers
            message = third.error["message"]
            assert "limit of tenant health is 2 requests a minute; 0 are left" in message
            assert "needs about 1 request. All of it is there again in 50 s" in message
            assert door.asked("low") + door.asked("high") == 2
            control.now_s += 50
            assert (await door.chat()).status == 200, "a new minute"

    run(test)


def test_tokens_are_taken_as_estimated_and_settled_as_the_engine_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(tokens_per_day=1_000)
            answer = await door.chat(max_tokens=100)
            left = int(answer.headers["x-ratelimit-remaining-tokens"])
            assert 850 < left < 900, "at admission, with what it may need"
            assert meter(door, Metric.TOKENS_PER_DAY).taken == ANSWERED
            answer = await door.chat(max_tokens=100, stream=True)
            assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
            assert answer.headers["x-ratelimit-reset-tokens"] == "11h59m50s"
            assert meter(door, Metric.TOKENS_PER_DAY).taken == 2 * ANSWERED
            refused = await door.chat(max_tokens=976)
            assert (refused.status, refused.code) == (429, "insufficient_quota")
            assert refused.headers["retry-after"] == str(43_190)
            assert refused.headers["x-should-retry"] == "false", "by itself the SDK would ask again at once"
            assert meter(door, Metric.TOKENS_PER_DAY).taken == 2 * ANSWERED, "who is refused takes nothing"

    run(test)


def test_what_will_never_fit_is_told_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(tokens_per_minute=50)
            answer = await door.chat(max_tokens=100)
            assert (answer.status, answer.code) == (429, "rate_limit_exceeded")
            assert "it will never fit" in answer.error["message"]
            assert ("retry-after" in answer.headers, answer.headers["x-should-retry"]) == (False, "false")
            control.limit(tokens_per_minute=0)
            assert "nothing is allowed" in (await door.chat()).error["message"]
            assert control.asked == 0

    run(test)


@pytest.mark.parametrize("stream", [False, True])
def test_all_choices_count_and_their_input_once(tmp_path: Path, stream: bool) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(tokens_per_minute=1_000, requests_per_minute=10)
            assert (await door.chat(n=2, max_tokens=5, stream=stream)).status == 200
            assert meter(door, Metric.TOKENS_PER_MINUTE).taken == 3 + 2
            assert meter(door, Metric.REQUESTS_PER_MINUTE).taken == 1

    run(test)


def test_embeddings_count_their_input(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(tokens_per_minute=1_000)
            assert (await door.send("/v1/embeddings", {"model": "mini", "input": ["a", "b"]})).status == 200
            assert meter(door, Metric.TOKENS_PER_MINUTE).taken == 1

    run(test)


def test_every_limit_that_applies_is_kept_and_the_tightest_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path, ANN, BOB, EVE) as (door, control):
            control.limit(requests_per_minute=9)
            control.limit(Scope(key="key_ann"), requests_per_minute=2)
            control.limit(Scope("health", model="mini"), requests_per_minute=1)
            assert (await door.chat()).headers["x-ratelimit-remaining-requests"] == "1"
            assert (await door.chat()).headers["x-ratelimit-limit-requests"] == "2"
            refused = await door.chat()
            assert "limit of key key_ann" in refused.error["message"]
            bob = await door.chat(key="bob")
            assert bob.headers["x-ratelimit-remaining-requests"] == "6", "two of the other key, one of this"
            embedded = [await door.send("/v1/embeddings", {"model": "mini", "input": "a"}, key="bob") for _ in "ab"]
            assert [one.status for one in embedded] == [200, 429]
            assert "tenant health, model mini" in embedded[1].error["message"]
            eve = await door.chat(key="eve")
            assert eve.status == 200
            assert not [name for name in eve.headers if name.startswith("x-ratelimit")]

    run(test)


def test_what_was_refused_before_an_engine_worked_counts_for_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path, queue_max=0) as (door, control):
            control.limit(requests_per_minute=10, tokens_per_minute=1_000, concurrent=5)
            for engine in door.engines.values():
                engine.busy = True
            running = [asyncio.create_task(door.chat(max_tokens=9)) for _ in range(2)]
            await until(lambda: door.asked("low") + door.asked("high") == 2)
            assert (await door.chat(max_tokens=9)).code == "queue_full"
            assert meter(door, Metric.REQUESTS_PER_MINUTE).taken == 2
            assert meter(door, Metric.CONCURRENT).taken == 2
            for engine in door.engines.values():
                engine.free()
            await asyncio.gather(*running)
            assert meter(door, Metric.REQUESTS_PER_MINUTE).taken == 2
            assert meter(door, Metric.TOKENS_PER_MINUTE).taken == 2 * ANSWERED
            assert meter(door, Metric.CONCURRENT).taken == 0
            refused = door.entries()[0]
            assert (refused["code"], refused.get("admitted_s")) == ("queue_full", None)

    run(test)


def test_at_most_so_many_run_at_the_same_time_and_a_place_is_free_however_one_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(concurrent=1)
            for engine in door.engines.values():
                engine.busy = True
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "x"}], "stream": True})
            head = (
                f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ann\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write((head + body).encode())
            await until(lambda: door.asked("low") + door.asked("high") == 1)
            refused = await door.chat()
            assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
            assert "1 requests at the same time" in refused.error["message"]
            assert refused.headers["retry-after"] == "1"
            writer.close()  # the client leaves
            await writer.wait_closed()
            await until(lambda: meter(door, Metric.CONCURRENT).taken == 0)
            for engine in door.engines.values():
                engine.free()
            assert (await door.chat()).status == 200
            assert reader.at_eof() or True
            left = next(one for one in door.entries() if one.get("code") == "client_closed")
            assert (left["admitted_s"], left["charged_tokens"]) == (NOON_S + 10, 0), "nothing had come yet"

    run(test)


def test_what_a_client_leaves_in_the_middle_counts_for_what_came(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(tokens_per_minute=1_000, requests_per_minute=10)
            cut: dict[str, Any] = {"choices": [{"delta": {"content": "hi"}, "finish_reason": None}]}

            async def stall(_path: str, _asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: %b\n\n" % json.dumps(cut).encode())
                await door.engines["low"].freed.wait()
                return True

            for engine in door.engines.values():
                engine._answer = stall  # type: ignore[method-assign]
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "x"}], "stream": True})
            head = (
                f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ann\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write((head + body).encode())
            await reader.readuntil(b"hi")
            writer.close()
            await until(lambda: bool(door.entries()))
            charged = -(-len(body) // 4) + 1
            assert door.entries()[0]["charged_tokens"] == charged
            await until(lambda: meter(door, Metric.TOKENS_PER_MINUTE).taken == charged)
            assert meter(door, Metric.REQUESTS_PER_MINUTE).taken == 1

    run(test)


def test_control_is_not_asked_for_each_request(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(requests_per_minute=1_000, tokens_per_day=100_000, concurrent=100)
            for _ in range(50):
                assert (await door.chat(max_tokens=10)).status == 200
            assert control.asked <= 5, "one to begin with, the others in the background"

    run(test)


def test_who_comes_after_a_pause_into_a_new_minute_is_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(requests_per_minute=1_000, tokens_per_minute=1_000_000)
            control.now_s = NOON_S + 57.0
            assert (await door.chat(max_tokens=10)).status == 200
            asked = control.asked
            control.now_s = NOON_S + 60.5
            assert [(await door.chat(max_tokens=10)).status for _ in range(5)] == [200] * 5
            assert control.asked == asked + 1

    run(test)


def test_hammering_a_limit_that_is_used_up_does_not_hammer_control(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(requests_per_minute=1)
            await door.chat()
            asked = control.asked
            assert {(await door.chat()).status for _ in range(30)} == {429}
            assert control.asked <= asked + 1

    run(test)


def test_when_control_is_away_what_is_in_hand_lasts_and_then_limited_callers_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path, ANN, EVE) as (door, control):
            control.limit(requests_per_minute=160)
            assert (await door.chat()).status == 200
            control.away = True
            statuses = [(await door.chat()).status for _ in range(20)]
            in_hand = statuses.index(503)
            assert set(statuses[:in_hand]) == {200}
            assert in_hand >= 5
            refused = await door.chat()
            assert (refused.code, refused.headers["retry-after"]) == ("quota_unavailable", "2")
            assert (await door.chat(key="eve")).status == 200, "who has no limit is not affected"
            usage = await door.send("/v1/usage")
            assert (usage.status, json.loads(usage.body)["current"]) == (200, False)
            control.away = False
            control.now_s += 1
            assert (await door.chat()).status == 200

    run(test)


def test_a_gateway_that_ends_gives_back_what_it_did_not_use(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(requests_per_day=160, concurrent=16)
            assert (await door.chat()).status == 200
            assert control.held(Metric.REQUESTS_PER_DAY) > 1
            await door.gateway.leases.close()
            assert (control.held(Metric.REQUESTS_PER_DAY), control.held(Metric.CONCURRENT)) == (1, 0)

    run(test)


def test_who_is_over_quota_can_still_read_models_and_usage(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path, ANN, EVE) as (door, control):
            control.limit(requests_per_day=1)
            control.limit(Scope(key="key_eve"), requests_per_day=5)
            await door.chat()
            assert (await door.chat()).code == "insufficient_quota"
            assert (await door.send("/v1/models")).status == 200
            usage = json.loads((await door.send("/v1/usage")).body)
            assert usage == {
                "object": "usage",
                "tenant": "health",
                "key": "key_ann",
                "current": True,
                "limits": [
                    {
                        "tenant": "health",
                        "key": None,
                        "model": None,
                        "metric": "requests_per_day",
                        "limit": 1,
                        "used": 1,
                        "remaining": 0,
                        "window_s": NOON_S - 43_200,
                        "resets_s": NOON_S + 43_200,
                    }
                ],
            }
            assert (await door.send("/v1/usage", {})).status == 405

    run(test)


def test_whoever_asks_for_usage_is_answered_even_by_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, _):
            monkeypatch.setattr("fastness.gateway.app.usage_page", None)
            answer = await door.send("/v1/usage")
            assert (answer.status, answer.code) == (500, "internal_error")

    run(test)


def test_a_limit_that_is_lowered_counts_from_the_next_request_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with limited(tmp_path) as (door, control):
            control.limit(requests_per_minute=100)
            assert (await door.chat()).status == 200
            control.limit(requests_per_minute=1)
            refused = await door.chat()
            assert (refused.status, refused.headers["x-ratelimit-limit-requests"]) == (429, "1")
            control.store.remove_limit("tenant:health")
            control.publish()
            assert (await door.chat()).status == 200

    run(test)
