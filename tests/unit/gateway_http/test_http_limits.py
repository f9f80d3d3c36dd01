from __future__ import annotations

import asyncio
import time

import pytest

from fastness.gateway.http import Exchange
from http_harness import Talk, echo, get, post, read_responses, run, serving, talking, until


def refused(wire: bytes, **limits):
    """Send bytes; the server must answer once and close, and no handler may be called."""

    async def main():
        called: list[Exchange] = []
        async with serving(called.append, **limits) as (_, port), talking(port) as talk:
            talk.send(wire)
            (answer,) = read_responses(await talk.to_end())
            assert not called
            assert answer.headers["connection"] == "close"
            assert answer.headers["content-type"] == "application/json"
            return answer

    return run(main)


def test_headers_that_do_not_come_in_time_are_refused():
    answer = refused(b"GET / HTTP/1.1\r\nHost: a\r\n", header_timeout_s=0.1)
    assert (answer.status, answer.code) == (408, "request_timeout")


def test_a_body_that_does_not_come_in_time_is_refused():
    answer = refused(post(b"abc")[:-1], body_timeout_s=0.1)
    assert (answer.status, answer.code) == (408, "request_timeout")
    wire = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"
    assert refused(wire, body_timeout_s=0.1).code == "request_timeout"


@pytest.mark.parametrize("drip", ["headers", "body"])
def test_a_slow_client_cannot_stretch_a_time_limit_by_dripping(drip):
    async def main():
        limits = {"header_timeout_s": 0.2} if drip == "headers" else {"body_timeout_s": 0.2}
        async with serving(echo, **limits) as (_, port), talking(port) as talk:
            talk.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " if drip == "headers" else post(b"x" * 1_000)[:-1_000])
            began = time.monotonic()
            end = asyncio.create_task(talk.to_end())
            while not end.done():
                talk.send(b"x")
                await asyncio.sleep(0.01)
            assert time.monotonic() - began < 4
            assert [answer.code for answer in read_responses(end.result())] == ["request_timeout"]

    run(main)


def test_an_idle_connection_is_closed_without_a_word():
    async def main():
        async with serving(echo, idle_timeout_s=0.15) as (_, port):
            async with talking(port) as talk:
                assert await talk.to_end() == b""
            async with talking(port) as talk:
                for _ in range(3):
                    talk.send(post(b"x"))
                    await talk.answer()
                    await asyncio.sleep(0.05)
                assert await talk.to_end() == b""

    run(main)


def test_a_request_being_answered_has_no_time_limit_here():
    async def main():
        asked: list[Exchange] = []
        short = {"header_timeout_s": 0.02, "body_timeout_s": 0.02, "idle_timeout_s": 0.02, "write_timeout_s": 0.02}
        async with serving(asked.append, **short) as (_, port), talking(port) as talk:
            talk.send(get())
            await until(lambda: bool(asked))
            await asyncio.sleep(0.3)
            asked[0].respond(200, b"", b"at last")
            assert (await talk.answer()).body == b"at last"

    run(main)


def test_a_client_that_takes_nothing_is_cut():
    async def main():
        asked: list[Exchange] = []
        left = asyncio.Event()
        async with serving(asked.append, write_timeout_s=0.2) as (server, port), talking(port) as talk:
            talk.writer.transport.pause_reading()
            talk.send(get())
            await until(lambda: bool(asked))
            asked[0].on_disconnect = left.set
            asked[0].start(200, b"")
            began = time.monotonic()
            while not left.is_set():
                if asked[0].writable:
                    asked[0].send(b"x" * 100_000)
                await asyncio.sleep(0.001)
            assert time.monotonic() - began < 5
            await until(lambda: server.connections == 0)

    run(main)


def test_a_client_that_takes_a_little_now_and_then_is_not_cut():
    async def main():
        async with serving(lambda x: x.respond(200, b"", b"x" * 8_000_000), write_timeout_s=0.3) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
            writer.write(get())
            seen = 0
            began = time.monotonic()
            while seen < 8_000_000:
                seen += len(await reader.read(400_000))
                await asyncio.sleep(0.05)
            assert time.monotonic() - began > 0.6
            writer.close()
            await writer.wait_closed()

    run(main)


def test_an_answer_left_unread_after_its_end_is_cut_too():
    async def main():
        async with serving(lambda x: x.respond(200, b"", b"x" * 30_000_000), write_timeout_s=0.2) as (server, port):
            for extra in (b"", b"Connection: close\r\n"):
                async with talking(port) as talk:
                    talk.writer.transport.pause_reading()
                    talk.send(get("/", extra))
                    await until(lambda: server.connections == 1)
                    await until(lambda: server.connections == 0)

    run(main)


def test_sizes_are_bounded():
    assert refused(b"GET / HTTP/1.1\r\nX: " + b"y" * 2_000, header_bytes_max=1_024).code == "headers_too_large"
    assert refused(get("/" + "x" * 2_000), header_bytes_max=1_024).code == "headers_too_large"
    assert refused(get("/", b"X: y\r\n" * 4), headers_max=4).code == "headers_too_large"
    answer = refused(post(b"x" * 2_000), body_bytes_max=1_024)
    assert (answer.status, answer.code) == (413, "body_too_large")
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n"
    assert refused(chunked, body_bytes_max=1_024).code == "body_too_large"


def test_a_body_too_large_is_refused_before_it_is_sent_and_also_while_it_is():
    announced = post(b"")[:-2].replace(b"Content-Length: 0", b"Content-Length: 99999999999") + b"\r\n"
    assert refused(announced).code == "body_too_large"

    async def main():
        async with serving(echo, body_bytes_max=1_024) as (_, port), talking(port) as talk:
            talk.send(post(b"x" * 3_000_000))
            await talk.writer.drain()
            (answer,) = read_responses(await talk.to_end())
            assert answer.code == "body_too_large"

    run(main)


def test_a_refused_client_that_goes_on_sending_is_cut_in_the_end():
    async def main():
        async with serving(echo) as (server, port), talking(port) as talk:
            talk.send(b"nonsense\r\n\r\n")
            assert (await talk.answer()).status == 400
            began = time.monotonic()
            while server.connections:
                talk.send(b"x" * 1_000)
                await asyncio.sleep(0.01)
            assert 1 < time.monotonic() - began < 4

    run(main)


def test_connections_over_the_limit_are_closed_at_once():
    async def main():
        async with serving(echo, connections_max=2) as (server, port):
            talks = [await Talk.to(port) for _ in range(2)]
            await until(lambda: server.connections == 2)
            async with talking(port) as third:
                assert await third.to_end() == b""
            talks[0].send(post(b"still here"))
            assert (await talks[0].answer()).body == b"still here"
            await talks.pop().close()
            await until(lambda: server.connections == 1)
            talks.append(await Talk.to(port))
            talks[1].send(post(b"again"))
            assert (await talks[1].answer()).body == b"again"
            for talk in talks:
                await talk.close()

    run(main)


def test_the_bytes_of_arriving_requests_are_bounded_over_all_clients():
    async def main():
        async with serving(echo, held_bytes_max=100_000) as (server, port):
            partial = post(b"x" * 60_000)[:-1]
            async with talking(port) as first, talking(port) as second:
                first.send(partial)
                await until(lambda: server.held_bytes >= 59_000)
                second.send(partial)
                (answer,) = read_responses(await second.to_end())
                assert (answer.status, answer.code) == (503, "overloaded")
                assert answer.headers["retry-after"] == "1"
                first.send(b"x")
                assert len((await first.answer()).body) == 60_000
                assert server.held_bytes == 0

    run(main)


def test_bytes_sent_while_an_answer_is_made_are_bounded_by_not_reading_them():
    async def main():
        asked: list[Exchange] = []
        limits = {"header_bytes_max": 1_024, "body_bytes_max": 200_000}
        async with serving(asked.append, **limits) as (server, port), talking(port) as talk:
            talk.send(get())
            await until(lambda: len(asked) == 1)
            flood = post(b"x" * 190_000) * 100
            talk.send(flood)
            await asyncio.sleep(0.3)
            assert server.held_bytes < 1_000_000
            for number in range(100):
                await until(lambda number=number: len(asked) == number + 1)
                asked[-1].respond(200, b"", b"")
                await talk.answer()
            await until(lambda: len(asked) == 101)
            asked[-1].respond(200, b"", b"")
            await until(lambda: server.held_bytes == 0)

    run(main)


def test_draining_lets_answers_finish_and_closes_the_rest():
    async def main():
        asked: list[Exchange] = []
        async with (
            serving(asked.append) as (server, port),
            talking(port) as idle,
            talking(port) as waiting,
            talking(port) as streaming,
            talking(port) as late,
        ):
            waiting.send(get())
            await until(lambda: len(asked) == 1)
            streaming.send(get())
            await until(lambda: len(asked) == 2)
            asked[1].start(200, b"")
            asked[1].send(b"begun")
            late.send(get()[:-2])
            await until(lambda: server.connections == 4)
            await asyncio.sleep(0.05)
            drain = asyncio.create_task(server.drain(10))
            assert await idle.to_end() == b""
            assert server.draining
            with pytest.raises(OSError):  # noqa: PT011 - refused or reset
                await (await Talk.to(port)).answer()
            late.send(b"\r\n")
            await until(lambda: len(asked) == 3)
            for exchange in (asked[0], asked[2]):
                exchange.respond(200, b"", b"whole")
            asked[1].finish()
            for talk in (waiting, late):
                (answer,) = read_responses(await talk.to_end())
                assert (answer.body, answer.headers["connection"]) == (b"whole", "close")
            (answer,) = read_responses(await streaming.to_end())
            assert answer.body == b"begun"
            assert await drain == 0

    run(main)


def test_draining_cuts_what_does_not_finish_and_counts_it():
    async def main():
        asked: list[Exchange] = []
        async with serving(asked.append) as (server, port), talking(port) as one, talking(port) as two:
            for talk in (one, two):
                talk.send(get())
            await until(lambda: len(asked) == 2)
            left = []
            for exchange in asked:
                exchange.on_disconnect = lambda: left.append(1)
            assert await server.drain(0.1) == 2
            assert len(left) == 2
            assert await one.to_end() == b""

    run(main)
