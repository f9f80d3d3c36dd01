from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

import pytest

from fastness.gateway.http import Exchange
from http_harness import Talk, echo, get, post, read_responses, run, serving, talking, until


def asked(handler, *requests: bytes, stock_loop: bool = False, **limits):
    """Send requests on one connection, one write each; return what came back until as many answers came."""

    async def main():
        async with serving(handler, **limits) as (_, port), talking(port) as talk:
            answers = []
            for request in requests:
                talk.send(request)
                answers.append(await talk.answer())
            return answers

    return run(main, stock_loop=stock_loop)


@pytest.mark.parametrize("stock_loop", [False, True], ids=["uvloop", "asyncio"])
def test_a_kept_connection_answers_request_after_request(stock_loop):
    bodies = [b"", b"x", b"y" * 100_000, b"z" * 16_384, b"last"]
    answers = asked(echo, *map(post, bodies), stock_loop=stock_loop)
    assert [answer.body for answer in answers] == bodies
    assert [answer.headers["x-request-id"] for answer in answers] == [f"req-{number}" for number in range(1, 6)]
    assert not any("connection" in answer.headers for answer in answers)


def test_the_handler_sees_the_whole_request():
    seen = {}

    def handler(exchange: Exchange) -> None:
        for name in ("method", "path", "query", "headers", "body", "client", "received_at", "request_id"):
            seen[name] = getattr(exchange, name)
        exchange.respond(204, b"", b"")

    before = time.monotonic()
    (answer,) = asked(handler, b"PUT /a/b?c=d HTTP/1.1\r\nHost: h\r\nX-Y: z\r\nContent-Length: 3\r\n\r\nabc")
    assert answer.status == 204
    assert "content-length" not in answer.headers
    assert before <= seen.pop("received_at") <= time.monotonic()
    assert seen == {
        "method": "PUT",
        "path": "/a/b",
        "query": "c=d",
        "headers": {"host": "h", "x-y": "z"},
        "body": b"abc",
        "client": "127.0.0.1",
        "request_id": "req-1",
    }


def stream_three(exchange: Exchange) -> None:
    exchange.start(200, ((b"content-type", b"text/event-stream"),))
    exchange.send(b"one")
    exchange.send(b"")
    exchange.send(b"2" * 20_000)
    exchange.finish(b"three")


def test_a_stream_is_chunked_and_the_connection_is_kept():
    answers = asked(stream_three, get(), get())
    assert [answer.body for answer in answers] == [b"one" + b"2" * 20_000 + b"three"] * 2
    assert answers[0].headers["transfer-encoding"] == "chunked"
    assert answers[0].headers["content-type"] == "text/event-stream"


def to_end(handler, request: bytes, **limits) -> bytes:
    async def main():
        async with serving(handler, **limits) as (_, port), talking(port) as talk:
            talk.send(request)
            return await talk.to_end()

    return run(main)


def test_an_http10_client_gets_a_stream_ended_by_closing():
    head, _, body = to_end(stream_three, b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert body == b"one" + b"2" * 20_000 + b"three"
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head


def test_connection_close_is_answered_and_obeyed():
    (answer,) = read_responses(to_end(echo, get("/", b"Connection: close\r\n")))
    assert answer.headers["connection"] == "close"


def test_an_answer_to_head_has_no_body():
    async def main():
        async with serving(lambda exchange: exchange.respond(405, b"", b"12345")) as (_, port), talking(port) as talk:
            talk.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + get())
            assert (await talk.until(b"12345")).count(b"content-length: 5") == 2
            assert talk.seen.count(b"12345") == 1

    run(main)
    head = to_end(stream_three, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1


def test_pipelined_requests_are_answered_in_order_one_at_a_time():
    async def main():
        asked: list[Exchange] = []
        async with serving(asked.append) as (_, port), talking(port) as talk:
            talk.send(post(b"1") + post(b"2") + post(b"3")[:20])
            await until(lambda: len(asked) == 1)
            talk.send(post(b"3")[20:])
            for number in range(1, 4):
                await until(lambda number=number: len(asked) == number)
                await asyncio.sleep(0.01)
                assert len(asked) == number, "a request was handed over before its turn"
                asked[-1].respond(200, b"", b"%d" % number)
            assert [(await talk.answer()).body for _ in range(3)] == [b"1", b"2", b"3"]

    run(main)


def test_thousands_of_pipelined_requests_need_no_stack_and_starve_nobody():
    async def main():
        async with serving(echo) as (_, port), talking(port) as talk, talking(port) as other:
            talk.send(post(b"x") * 5_000)
            other.send(post(b"me too"))
            assert (await other.answer()).body == b"me too"
            for _ in range(5_000):
                assert (await talk.answer()).body == b"x"

    run(main)


def test_a_client_that_pipelines_and_does_not_read_is_held_back():
    async def main():
        answered = 0

        def handler(exchange: Exchange) -> None:
            nonlocal answered
            answered += 1
            exchange.respond(200, b"", b"x" * 100_000)

        async with serving(handler, write_buffer_bytes_max=4_096) as (_, port), talking(port) as talk:
            talk.send(get() * 2_000)
            await asyncio.sleep(0.2)
            before = answered
            await asyncio.sleep(0.2)
            assert answered == before < 2_000
            for _ in range(2_000):
                await talk.answer()

    run(main)


def test_expect_100_continue_is_answered_when_the_body_is_still_to_come():
    async def main():
        async with serving(echo) as (_, port), talking(port) as talk:
            request = post(b"abc", extra=b"Expect: 100-continue\r\n")
            talk.send(request[:-3])
            await talk.until(b"HTTP/1.1 100 Continue\r\n\r\n")
            talk.send(b"abc")
            assert (await talk.answer()).body == b"abc"
            talk.send(request)
            await talk.until(b"abc")
            assert b"100 Continue" not in talk.seen

    run(main)


def test_a_chunked_request_is_put_together():
    wire = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nT: x\r\n\r\n"
    answers = asked(echo, wire, post(b"next"), wire)
    assert [answer.body for answer in answers] == [b"abcdefg", b"next", b"abcdefg"]


def test_the_client_leaving_is_told_once_and_at_once_and_silences_the_exchange():
    async def main():
        left = []
        asked: list[Exchange] = []
        async with serving(asked.append) as (server, port):
            for leave in ("eof", "reset", "eof while streaming"):
                talk = await Talk.to(port)
                talk.send(get())
                await until(lambda: bool(asked))
                exchange = asked.pop()
                exchange.on_disconnect = lambda leave=leave: left.append(leave)
                if leave == "eof while streaming":
                    exchange.start(200, b"")
                    exchange.send(b"x")
                if leave == "reset":
                    sock = talk.writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    talk.writer.transport.abort()
                elif leave == "eof":
                    talk.writer.write_eof()
                else:
                    talk.writer.close()
                await until(lambda leave=leave: leave in left)
                assert exchange.disconnected
                assert exchange.closed
                assert exchange.started
                exchange.respond(200, b"", b"")
                exchange.start(200, b"")
                exchange.send(b"x")
                exchange.finish()
                exchange.abort()
                await exchange.drained()
                await until(lambda: server.connections == 0)
                await talk.close()
        assert left == ["eof", "reset", "eof while streaming"]

    run(main)


def test_a_disconnect_callback_set_too_late_is_called_soon():
    async def main():
        asked: list[Exchange] = []
        async with serving(asked.append) as (_, port):
            async with talking(port) as talk:
                talk.send(get())
                await until(lambda: bool(asked))
            await until(lambda: asked[0].disconnected)
            told = asyncio.Event()
            asked[0].on_disconnect = told.set
            assert not told.is_set()
            await told.wait()

    run(main)


def test_a_finished_exchange_does_not_hear_of_the_client_leaving():
    async def main():
        asked: list[Exchange] = []
        async with serving(asked.append) as (server, port):
            async with talking(port) as talk:
                talk.send(get())
                await until(lambda: bool(asked))
                asked[0].on_disconnect = lambda: pytest.fail("the answer was complete")
                asked[0].respond(200, b"", b"")
                await talk.answer()
            await until(lambda: server.connections == 0)
            assert asked[0].closed
            assert not asked[0].disconnected

    run(main)


def test_an_aborted_stream_gives_what_was_sent_and_no_final_chunk():
    def handler(exchange: Exchange) -> None:
        exchange.start(200, b"")
        exchange.send(b"partial")
        exchange.abort()
        exchange.abort()
        assert exchange.closed
        assert not exchange.disconnected

    wire = to_end(handler, get() + get())
    assert wire.endswith(b"\r\n\r\n7\r\npartial\r\n")
    assert to_end(lambda exchange: exchange.abort(), get()) == b""


def test_misuse_is_an_error_and_does_no_harm():
    def handler(exchange: Exchange) -> None:
        for wrong in (lambda: exchange.send(b"x"), exchange.finish):
            with pytest.raises(RuntimeError):
                wrong()
        for wrong in (
            lambda: exchange.respond(99, b"", b""),
            lambda: exchange.respond(101, b"", b""),
            lambda: exchange.respond(600, b"", b""),
            lambda: exchange.respond(204, b"", b"x"),
            lambda: exchange.start(304, b""),
            lambda: exchange.respond(200, b"a: b", b""),
            lambda: exchange.respond(200, ((b"a", b"b\r\nc: d"),), b""),
            lambda: exchange.start(200, ((b"a\n", b"b"),)),
        ):
            with pytest.raises(ValueError, match=r"."):
                wrong()
        assert not exchange.started
        exchange.start(200, b"a: b\r\n")
        for wrong in (lambda: exchange.respond(200, b"", b""), lambda: exchange.start(200, b"")):
            with pytest.raises(RuntimeError):
                wrong()
        exchange.finish(b"fine")
        for wrong in (lambda: exchange.send(b"x"), exchange.finish, lambda: exchange.respond(200, b"", b"")):
            with pytest.raises(RuntimeError):
                wrong()

    (answer,) = asked(handler, get())
    assert (answer.status, answer.body, answer.headers["a"]) == (200, b"fine", "b")


def test_a_handler_that_raises_is_answered_for():
    async def main():
        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

        def handler(exchange: Exchange) -> None:
            if exchange.path == "/late":
                exchange.start(200, b"")
                exchange.send(b"x")
            raise LookupError("a defect")

        async with serving(handler) as (_, port), talking(port) as talk:
            talk.send(get())
            answer = await talk.answer()
            assert (answer.status, answer.code) == (500, "internal_error")
            assert b"a defect" not in answer.body
            talk.send(get("/late"))
            assert not (await talk.to_end()).endswith(b"0\r\n\r\n")
        assert [type(error) for error in reported] == [LookupError] * 2

    run(main)


def test_small_writes_go_out_at_once():
    async def main():
        asked: list[Exchange] = []
        async with serving(asked.append) as (server, port), talking(port) as talk:
            talk.send(get())
            await until(lambda: bool(asked))
            (connection,) = server._connections
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            asked[0].start(200, b"")
            await talk.until(b"\r\n\r\n")
            took_s = []
            for number in range(20):
                began = time.monotonic()
                asked[0].send(b"event %d." % number)
                await talk.until(b"event %d." % number)
                took_s.append(time.monotonic() - began)
            assert min(took_s[1:]) < 0.03, "Nagle and delayed acknowledgements cost 40 ms a chunk"
            asked[0].finish()

    run(main)


def test_the_date_is_a_date_of_now():
    (answer,) = asked(echo, get())
    stamp = time.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
    with suppress(AttributeError):
        assert abs(time.mktime(stamp) - time.timezone - time.time()) < 3


def test_a_listening_socket_can_be_handed_in():
    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        async with serving(echo) as (server, _):
            port = await server.listen_on(listener)
            async with talking(port) as talk:
                talk.send(post(b"x"))
                assert (await talk.answer()).body == b"x"

    run(main)
