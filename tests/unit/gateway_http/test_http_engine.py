"""Our side towards engines: whole answers, streams, hostile engines."""

from __future__ import annotations

import asyncio

import pytest

from engine_harness import (
    BROKEN,
    STREAM,
    STREAM_HEAD,
    WHOLE,
    Taken,
    called,
    engine,
    read_request,
    saying,
    streamed,
)
from fastness.gateway.http import EngineBroken, EngineConnections, EngineUnreachable
from http_harness import run, until


@pytest.mark.parametrize("stock_loop", [False, True], ids=["uvloop", "asyncio"])
def test_whole_answers_reuse_one_connection(tmp_path, stock_loop):
    async def main():
        async with engine(tmp_path / "s", saying(WHOLE)) as (connections, accepted):
            for size in (2, 20_000, 300_000):
                answer = await connections.call(str(tmp_path / "s"), "/v1/x", b"x" * size, answer_bytes_max=5)
                assert answer == (200, b"whole")
            assert len(accepted) == 1

    run(main, stock_loop=stock_loop)


def test_a_whole_answer_may_be_chunked_and_an_error(tmp_path):
    answer = called(tmp_path, saying(STREAM.replace(b"200 OK", b"400 Bad Request")))
    assert (answer.status, answer.body) == (400, b"firstsecond")


def test_a_stream_is_given_as_it_comes_and_its_connection_not_used_again(tmp_path):
    async def main():
        async with engine(tmp_path / "s", saying(STREAM)) as (connections, accepted):
            for number in (1, 2):
                taken = Taken()
                connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", taken)
                await until(lambda taken=taken: taken.over)
                assert (taken.status, taken.body, taken.ended) == (200, b"firstsecond", True)
                assert len(accepted) == number

    run(main)


def test_a_stream_uses_an_idle_connection(tmp_path):
    async def main():
        async with engine(tmp_path / "s", saying(STREAM)) as (connections, accepted):
            socket = str(tmp_path / "s")
            await connections.call(socket, "/v1/x", b"{}", answer_bytes_max=100)
            taken = Taken()
            connections.stream(socket, "/v1/x", b"{}", taken)
            await until(lambda: taken.over)
            assert taken.ended
            assert len(accepted) == 1

    run(main)


def test_calls_at_the_same_time_have_connections_of_their_own(tmp_path):
    async def main():
        async with engine(tmp_path / "s", saying(b"", WHOLE), idle_max=3) as (connections, accepted):
            for _ in range(3):
                calls = [connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9) for _ in range(20)]
                assert {answer.body for answer in await asyncio.gather(*calls)} == {b"whole"}
            assert len(connections._open) <= 20
            await until(lambda: len(connections._open) == 3)
            assert len(accepted) == 20 + 17 + 17

    run(main)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_an_error_of_its_own_type(tmp_path, name):
    with pytest.raises(EngineBroken):
        called(tmp_path, saying(BROKEN[name], kept=False))
    taken = streamed(tmp_path, saying(BROKEN[name], kept=False))
    assert isinstance(taken.error, EngineBroken)
    assert not taken.ended


def test_an_endless_head_ends_even_when_the_engine_does_not_close(tmp_path):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X: y\r\n" * 1_000)
            await writer.drain()

    with pytest.raises(EngineBroken, match="head"):
        called(tmp_path, script)


def test_answers_are_bounded(tmp_path):
    assert called(tmp_path, saying(WHOLE), answer_bytes_max=5).body == b"whole"
    with pytest.raises(EngineBroken, match="exceeds 4 bytes"):
        called(tmp_path, saying(WHOLE), answer_bytes_max=4)
    assert streamed(tmp_path, saying(STREAM), stream_bytes_max=11).ended
    assert isinstance(streamed(tmp_path, saying(STREAM), stream_bytes_max=10).error, EngineBroken)


def test_surplus_after_an_answer_never_becomes_the_answer_of_the_next_call(tmp_path):
    async def main():
        script = saying(WHOLE + WHOLE.replace(b"whole", b"wrong"))
        async with engine(tmp_path / "s", script) as (connections, accepted):
            for number in (1, 2, 3):
                answer = await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
                assert answer.body == b"whole"
                assert len(accepted) == number

    run(main)


def test_an_idle_connection_that_speaks_is_dropped(tmp_path):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(WHOLE)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(WHOLE.replace(b"whole", b"wrong"))
        await read_request(reader)

    async def main():
        async with engine(tmp_path / "s", script) as (connections, accepted):
            await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
            await until(lambda: not connections._open)
            answer = await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
            assert answer.body == b"whole"
            assert len(accepted) == 2

    run(main)


def test_a_kept_connection_found_closed_is_replaced_once(tmp_path):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(WHOLE)
        await read_request(reader)  # and then it closes, without a byte

    async def main():
        async with engine(tmp_path / "s", script) as (connections, accepted):
            for _ in range(5):
                answer = await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
                assert answer.body == b"whole"
            assert len(accepted) == 5

    run(main)


def test_a_fresh_connection_found_closed_is_not_tried_again(tmp_path):
    async def main():
        async with engine(tmp_path / "s", saying(b"", kept=False)) as (connections, accepted):
            with pytest.raises(EngineBroken, match="without an answer"):
                await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
            assert len(accepted) == 1

    run(main)


def test_a_kept_connection_that_breaks_after_the_first_byte_is_not_tried_again(tmp_path):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(WHOLE)
        await read_request(reader)
        writer.write(b"H")

    async def main():
        async with engine(tmp_path / "s", script) as (connections, accepted):
            await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
            with pytest.raises(EngineBroken):
                await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
            assert len(accepted) == 1

    run(main)


def test_no_engine_is_unreachable(tmp_path):
    async def main():
        connections = EngineConnections()
        (tmp_path / "file").write_text("")
        for socket in (tmp_path / "absent", tmp_path / "file", tmp_path / ("x" * 150)):
            with pytest.raises(EngineUnreachable):
                await connections.call(str(socket), "/v1/x", b"{}", answer_bytes_max=9)
            taken = Taken()
            connections.stream(str(socket), "/v1/x", b"{}", taken)
            assert not taken.over
            await until(lambda taken=taken: taken.over)
            assert isinstance(taken.error, EngineUnreachable)
        await connections.close()

    run(main)


def test_a_full_backlog_is_waited_for_and_then_unreachable(tmp_path):
    import socket as sockets

    async def main():
        listener = sockets.socket(sockets.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        connections = EngineConnections(connect_timeout_s=0.3)
        streams = [Taken() for _ in range(6)]
        for taken in streams:
            connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", taken)
        await asyncio.sleep(0.05)
        assert not any(taken.over for taken in streams)
        accepted = [listener.accept()[0]]
        await until(lambda: sum(taken.over for taken in streams) == 3)
        assert all(isinstance(taken.error, EngineUnreachable) for taken in streams if taken.over)
        await connections.close()
        assert all(taken.over for taken in streams)
        for sock in (*accepted, listener):
            sock.close()

    run(main)


def test_cancelling_closes_the_connection_at_once_and_silences_the_sink(tmp_path):
    async def main():
        gone = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(STREAM[:-5])
            await writer.drain()
            assert await reader.read() == b""
            gone.set()

        async with engine(tmp_path / "s", script) as (connections, accepted):
            taken = Taken()
            call = connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", taken)
            await until(lambda: taken.body == b"firstsecond")
            call.cancel()
            call.cancel()
            call.pause()
            call.resume()
            await gone.wait()
            assert not taken.over
            gone.clear()
            waiting = asyncio.create_task(connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=100))
            await until(lambda: len(accepted) == 2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await gone.wait()
            early = Taken()
            connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", early).cancel()
            await asyncio.sleep(0.05)
            assert not early.status
            assert not early.over

    run(main)


def test_cancelling_from_inside_the_sink_is_heard_at_once(tmp_path):
    class Stopping(Taken):
        def on_data(self, data: bytes) -> None:
            super().on_data(data)
            self.call.cancel()

    async def main():
        first = Stopping()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(STREAM[:-16])
            await until(lambda: bool(first.body))
            writer.write(STREAM[-16:])

        async with engine(tmp_path / "s", script) as (connections, _):
            first.call = connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", first)
            await until(lambda: bool(first.body))
            await asyncio.sleep(0.02)
            assert (first.body, first.over) == (b"first", False)

    run(main)


def test_a_paused_stream_holds_the_engine_back_and_goes_on_when_resumed(tmp_path):
    async def main():
        sent = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await read_request(reader)
            writer.write(STREAM_HEAD)
            for _ in range(100):
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
                sent += 65_536
            writer.write(b"0\r\n\r\n")
            await writer.drain()

        async with engine(tmp_path / "s", script) as (connections, _):
            taken = Taken()
            call = connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", taken)
            call.pause()
            await asyncio.sleep(0.1)
            assert sent < 2_000_000
            assert len(taken.body) < 500_000
            call.resume()
            await until(lambda: taken.over)
            assert len(taken.body) == sent == 6_553_600

    run(main)


def test_a_sink_that_raises_ends_its_call_and_is_reported(tmp_path):
    class Failing(Taken):
        def on_data(self, data: bytes) -> None:
            raise LookupError("a defect")

    async def main():
        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        async with engine(tmp_path / "s", saying(STREAM)) as (connections, _):
            taken = Failing()
            connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", taken)
            await until(lambda: taken.over)
            assert isinstance(taken.error, EngineBroken)
            assert [type(error) for error in reported] == [LookupError]

    run(main)


def test_idle_connections_are_dropped_after_a_while(tmp_path):
    async def main():
        async with engine(tmp_path / "s", saying(WHOLE), idle_timeout_s=0.1) as (connections, accepted):
            await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
            await until(lambda: not connections._open)
            await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=9)
            assert len(accepted) == 2

    run(main)


def test_a_forgotten_socket_has_no_kept_connections(tmp_path):
    async def main():
        go = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                request = await read_request(reader)
                if request.endswith(b"slow"):
                    await go.wait()
                writer.write(WHOLE)

        async with engine(tmp_path / "s", script) as (connections, accepted):
            socket = str(tmp_path / "s")
            slow = asyncio.create_task(connections.call(socket, "/v1/x", b"slow", answer_bytes_max=9))
            await connections.call(socket, "/v1/x", b"{}", answer_bytes_max=9)
            await until(lambda: len(accepted) == 2)
            connections.forget(socket)
            await until(lambda: len(connections._open) == 1)
            go.set()
            assert (await slow).body == b"whole"
            await until(lambda: not connections._open)
            await connections.call(socket, "/v1/x", b"{}", answer_bytes_max=9)
            assert len(accepted) == 3
            assert len(connections._open) == 1

    run(main)


def test_closing_ends_calls_in_progress(tmp_path):
    async def main():
        async with engine(tmp_path / "s", saying(b"HTTP/1.1 200 OK\r\n")) as (connections, accepted):
            taken, starting = Taken(), Taken()
            connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", taken)
            await until(lambda: len(accepted) == 1)
            await asyncio.sleep(0.05)  # whoever asked has heard that it was accepted
            connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", starting)
            await connections.close()
            assert isinstance(taken.error, EngineBroken)
            assert isinstance(starting.error, EngineUnreachable)
            late = Taken()
            connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", late)
            await until(lambda: late.over)

    run(main)


def test_a_path_that_would_break_the_request_is_a_programming_error(tmp_path):
    async def main():
        connections = EngineConnections()
        for path in ("x", "/a b", "/a\r\nx: y", "/\xe9", ""):
            with pytest.raises(ValueError, match="cannot be asked"):
                connections.stream(str(tmp_path / "s"), path, b"{}", Taken())
        await connections.close()

    run(main)
