"""Tenants that compete for the slots of one replica: shares, urgency, own time limits, bounds, and what is recorded."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastness.core.tenant import Principal
from fastness.traffic.counters import cost
from policed import ANN, CHAT, CLOSED, JSON_HEAD, Answer, Door, opened, run, until

HELLO = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
BOB = Principal("key_bob", "works", frozenset({"developer"}), tenant_clearance=CLOSED)
INTERACTIVE, BATCH = "Fastness-Priority: interactive", "Fastness-Priority: Batch"


async def ask(door: Door, key: str, *headers: str, **fields: Any) -> Answer:
    return await door.send(CHAT, HELLO | fields, "Fastness-Marking: CLOSED", *headers, key=key)


class Crowd:
    """Requests that wait, one after the other, behind one that holds the only slot."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.tasks: list[asyncio.Task[Answer]] = []

    async def hold(self) -> None:
        self.door.engines["high"].busy = True
        self.tasks.append(asyncio.create_task(ask(self.door, "ann")))
        await until(lambda: self.door.asked("high") == 1)

    async def join(self, key: str, *headers: str, **fields: Any) -> asyncio.Task[Answer]:
        before = self.door.waiting
        self.tasks.append(asyncio.create_task(ask(self.door, key, *headers, **fields)))
        await until(lambda: self.door.waiting == before + 1)
        return self.tasks[-1]

    async def served(self) -> list[tuple[str, str]]:
        """Free the slot; return tenant and band of whoever waited, in the order in which they were served."""
        self.door.engines["high"].free()
        assert {answer.status for answer in await asyncio.gather(*self.tasks)} == {200}
        return [(one["tenant"], one["band"]) for one in self.door.entries()][1:]


def test_tenants_are_served_by_their_shares_however_long_the_others_line_is(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, replace(BOB, share=4.0)) as door:
            crowd = Crowd(door)
            await crowd.hold()
            for _ in range(30):
                await crowd.join("ann")
            for _ in range(8):
                await crowd.join("bob")
            first = [tenant for tenant, _ in await crowd.served()][:10]
            assert first.count("works") == 8

    run(test)


def test_the_urgent_come_first_within_a_tenant_and_batches_after_everybody(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, BOB) as door:
            crowd = Crowd(door)
            await crowd.hold()
            await crowd.join("bob", BATCH)
            await crowd.join("ann", service_tier="flex")
            await crowd.join("ann")
            await crowd.join("ann", INTERACTIVE)
            await crowd.join("ann", service_tier="priority")
            for _ in range(3):
                await crowd.join("bob", service_tier="default")
            served = await crowd.served()
            assert [band for tenant, band in served if tenant == "health"] == [
                "interactive", "interactive", "standard", "batch",
            ]  # fmt: skip
            assert {band for _, band in served[-2:]} == {"batch"}

    run(test)


@pytest.mark.parametrize(
    ("headers", "fields", "tier"),
    [
        ((), {}, "default"),
        ((), {"service_tier": "auto"}, "default"),
        ((), {"service_tier": "priority"}, "priority"),
        ((), {"service_tier": "flex", "stream": True}, "flex"),
        ((INTERACTIVE,), {"service_tier": "flex", "stream": True}, "priority"),
        ((BATCH,), {}, "flex"),
    ],
)
def test_the_answer_says_under_which_tier_it_was_served(
    tmp_path: Path, headers: tuple[str, ...], fields: dict[str, Any], tier: str
) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            answer = await door.send(CHAT, HELLO | fields, *headers)
            assert answer.status == 200
            assert b'"service_tier":"%b"' % tier.encode() in answer.body

    run(test)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("Fastness-Priority: urgent", "it may be interactive, standard, batch."),
        ("Fastness-Timeout-Ms: 1.5", "a whole number of milliseconds"),
        ("Fastness-Timeout-Ms: -1", "a whole number of milliseconds"),
        ("Fastness-Timeout-Ms: 9999999999", "a whole number of milliseconds"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_what_can(tmp_path: Path, header: str, says: str) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            answer = await door.send(CHAT, HELLO, header)
            assert (answer.status, answer.code) == (400, "invalid_value")
            assert answer.error["param"] == header.partition(":")[0]
            assert says in answer.error["message"]
            twice = await door.send(CHAT, HELLO, INTERACTIVE, BATCH)
            assert (twice.status, twice.code) == (400, "malformed_http"), "of two priorities neither is chosen"
            assert door.asked("low") == door.asked("high") == 0

    run(test)


def test_a_callers_own_time_limit_ends_its_wait_and_is_not_to_be_retried(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, BOB) as door:
            crowd = Crowd(door)
            await crowd.hold()
            loop = asyncio.get_running_loop()
            long = await crowd.join("ann", "Fastness-Timeout-Ms: 19000")
            began = loop.time()
            answers = await asyncio.gather(
                *(ask(door, "bob", f"Fastness-Timeout-Ms: {ms}") for ms in (150, 0, 50, 150))
            )
            assert 0.15 <= loop.time() - began < 2.0
            assert {(one.status, one.code) for one in answers} == {(503, "queue_timeout")}
            assert "within 0.15 s" in answers[0].error["message"]
            assert "generations wait" in answers[0].error["message"]
            assert all(one.headers["x-should-retry"] == "false" for one in answers)
            assert all(1 <= int(one.headers["retry-after"]) <= 60 for one in answers)
            assert door.waiting == 1
            assert not long.done()
            await crowd.served()

    run(test)


def test_a_time_limit_of_nothing_is_no_hindrance_where_a_slot_is_free(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            assert (await door.send(CHAT, HELLO, "Fastness-Timeout-Ms: 0")).status == 200

    run(test)


def test_a_tenant_that_floods_finds_the_queue_full_and_others_do_not(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, BOB, queue_max=8, tenant_queue_percent=50) as door:
            crowd = Crowd(door)
            await crowd.hold()
            for _ in range(4):
                await crowd.join("ann")
            refused = await ask(door, "ann")
            assert (refused.status, refused.code) == (429, "queue_full")
            assert "4 generations of tenant health wait" in refused.error["message"]
            assert "a queue of 8" in refused.error["message"]
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert "x-should-retry" not in refused.headers, "the SDK retries a 429 by itself"
            await crowd.join("bob")
            await crowd.served()

    run(test)


def test_real_tokens_take_the_place_of_the_estimate_and_teach_the_next(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, replace(ANN, share=2.0)) as door:
            served = door.gateway.routing.find("small")
            assert served
            first = served.estimate.output_tokens
            await door.chat()
            account = served.queue.counters.find("health")
            assert account
            assert account.counter == pytest.approx(cost(3, 1, 2.0))
            assert served.estimate.output_tokens < first
            assert served.estimate.bytes_per_token > 4.0

    run(test)


def test_a_slot_on_an_engine_that_was_not_there_is_not_charged(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.replicas = [replace(one, socket=str(tmp_path / "nobody")) for one in door.replicas]
            door.publish()
            answer = await door.send(CHAT, HELLO, "Fastness-Timeout-Ms: 200")
            assert (answer.status, answer.code) == (502, "engine_failed")  # why nobody serves says more than that
            served = door.gateway.routing.find("small")
            assert served
            account = served.queue.counters.find("health")
            assert account
            assert account.counter == pytest.approx(0.0)

    run(test)


def test_an_input_that_is_counted_elsewhere_costs_its_tenant_nothing_more(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            counted = type(door.engines["low"])._answer
            said = iter([b"{}", b'{"input_tokens":5}'] * 2)

            async def every_other_time(path: str, asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
                if "input_tokens" in path:
                    writer.write(JSON_HEAD % (len(text := next(said)), text))
                    return False
                return await counted(door.engines["low"], path, asked, writer)

            for engine in door.engines.values():
                engine._answer = every_other_time  # type: ignore[method-assign]
            long = [{"role": "user", "content": "a " * 1_000}]
            assert (await door.chat(messages=long)).status == 200
            served = door.gateway.routing.find("small")
            assert served
            account = served.queue.counters.find("health")
            assert account
            assert (account.counter, account.pending) == (pytest.approx(cost(3, 1, 1.0)), 0.0)
            assert [lane.unread for lane in served.queue.lanes.values()] == [0, 0]
            assert (await door.chat(messages=long, max_tokens=2_044)).code == "context_length_exceeded"
            assert door.entries()[-1].get("replica") is None, "nothing ran for it"

    run(test)


def test_what_cannot_fit_whatever_its_tokens_are_is_not_given_to_an_engine_to_count(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            asked = []

            async def counted(path: str, _asked: object, _writer: object) -> bool:
                asked.append(path)
                return False

            for engine in door.engines.values():
                engine._answer = counted  # type: ignore[method-assign]
            answer = await door.chat(messages=[{"role": "user", "content": "a" * 3_000_000}])
            assert (answer.status, answer.code) == (400, "context_length_exceeded")
            assert "needs at least" in answer.error["message"]
            assert not asked

    run(test)


def test_a_text_to_embed_that_is_too_long_to_be_counted_is_given_to_no_engine(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            asked = []

            async def counted(path: str, _asked: object, _writer: object) -> bool:
                asked.append(path)
                return False

            for engine in door.engines.values():
                engine._answer = counted  # type: ignore[method-assign]
            most = 2_048 * 256
            for text in ("a" * (most + 256), "é" * (most // 2 + 128), "\N{SNOWMAN}" * most):
                answer = await door.send("/v1/embeddings", {"model": "mini", "input": ["short", text]})
                assert (answer.status, answer.code) == (400, "context_length_exceeded")
                assert f"has {len(text.encode()):,} bytes; mini takes {most:,} here" in answer.error["message"]
                assert answer.error["param"] == "input"
            assert not asked, "nor was the short one"
            may_fit = asyncio.create_task(door.send("/v1/embeddings", {"model": "mini", "input": "a" * most}))
            await until(lambda: bool(asked))  # to a tokeniser of words all of it may be one token
            may_fit.cancel()
            await asyncio.gather(may_fit, return_exceptions=True)

    run(test)


def test_band_and_wait_are_counted_and_logged(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, BOB) as door:
            crowd = Crowd(door)
            await crowd.hold()
            await crowd.join("bob", BATCH)
            page = (await door.send("/metrics")).body.decode()
            assert 'fastness_generations_waiting{band="batch",gen_ai_request_model="small"} 1.0' in page
            await crowd.served()
            for _ in range(2):
                page = (await door.send("/metrics")).body.decode()
                assert 'fastness_generations_dispatched_total{band="batch",gen_ai_request_model="small"} 1.0' in page
                assert 'fastness_generations_dispatched_total{band="standard",gen_ai_request_model="small"} 1.0' in page
            assert 'fastness_queue_wait_seconds_count{band="batch",gen_ai_request_model="small"} 1.0' in page
            door.gateway.log.flush()
            lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
            assert {one["band"] for one in lines if one["event"] == "request"} == {"standard", "batch"}

    run(test)


def test_how_many_replicas_are_wanted_is_told_beside_how_many_there_are(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            door.wanted = (("small", 3), ("removed", 2))
            door.publish()
            page = (await door.send("/metrics")).body.decode()
            assert 'fastness_replicas_wanted{gen_ai_request_model="small"} 3.0' in page
            assert 'fastness_replicas{gen_ai_request_model="small",state="ready"} 2.0' in page
            assert "removed" not in page
            door.wanted = (("small", 0),)
            door.publish()
            assert (
                'fastness_replicas_wanted{gen_ai_request_model="small"} 0.0'
                in (await door.send("/metrics")).body.decode()
            )

    run(test)


def test_what_an_engine_has_not_read_holds_back_the_next_prompt_and_its_first_token_lets_it_go(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, unread_tokens_max=8) as door:
            door.replicas = [replace(one, slots=4) for one in door.replicas]
            door.publish()
            crowd = Crowd(door)
            await crowd.hold()
            served = door.gateway.routing.find("small")
            assert served
            lane = served.queue.lanes["small-high"]
            assert lane.unread >= 8
            waits = await crowd.join("ann")
            assert lane.in_flight == 1, "three slots are free, and it waits in the gateway all the same"
            await crowd.served()
            assert (await waits).status == 200
            assert (lane.in_flight, lane.unread) == (0, 0)

    run(test)


def test_a_prompt_that_is_never_read_is_not_counted_for_ever(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, unread_tokens_max=8) as door:
            served = door.gateway.routing.find("small")
            assert served
            door.engines["high"].busy = True
            _, writer = await asyncio.open_connection("127.0.0.1", door.port)
            raw = json.dumps(HELLO).encode()
            head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ann\r\nFastness-Marking: CLOSED\r\n"
            writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
            await until(lambda: door.asked("high") == 1)
            assert served.queue.lanes["small-high"].unread > 0
            writer.close()
            await writer.wait_closed()
            await until(lambda: all(lane.in_flight == 0 for lane in served.queue.lanes.values()))
            assert all(lane.unread == 0 for lane in served.queue.lanes.values())

    run(test)


def test_inputs_of_embeddings_are_not_counted_as_unread(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, unread_tokens_max=1) as door:
            answers = await asyncio.gather(
                *(door.send("/v1/embeddings", {"model": "mini", "input": "x" * 999}) for _ in range(3))
            )
            assert {one.status for one in answers} == {200}
            served = door.gateway.routing.find("mini")
            assert served
            assert all(lane.unread == 0 for lane in served.queue.lanes.values())

    run(test)
