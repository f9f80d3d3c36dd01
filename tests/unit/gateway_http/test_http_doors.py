"""What is promised of engines on this host holds for those behind the door of another: the same tests, through one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine_harness
import test_http_engine as on_this_host
from door_world import Hosts, ThroughDoor, opened, remote_engines, route
from engine_harness import STREAM, WHOLE, Script, Taken, read_request, saying
from fastness.fleet.door.frames import FrameReader, frame
from fastness.gateway.http import EngineConnections, EngineUnreachable
from http_harness import run, until

UNLIKE = {
    "test_a_full_backlog_is_waited_for_and_then_unreachable",  # the door waits, and then it is as if it had closed
    "test_no_engine_is_unreachable",  # for the same reason
    "test_a_path_that_would_break_the_request_is_a_programming_error",  # it asks no engine
}
globals().update({
    name: one for name, one in vars(on_this_host).items() if name.startswith("test_") and name not in UNLIKE
})  # fmt: skip


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(autouse=True)
def _through_a_door(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    before = engine_harness.engine

    @asynccontextmanager
    async def engine(path: Path, script: Script, **kwargs: Any) -> AsyncIterator[tuple[EngineConnections, list[int]]]:
        async with before(path, script) as (_, accepted), opened(hosts.node, route(path)) as found:
            connections = ThroughDoor(found.socket(), remote_engines(hosts.head), **kwargs)
            try:
                yield connections, accepted
            finally:
                await connections.close()
                assert not connections._open

    monkeypatch.setattr(engine_harness, "engine", engine)
    monkeypatch.setattr(on_this_host, "engine", engine)


def test_streams_one_after_the_other_need_one_handshake(tmp_path, hosts):
    async def main():
        async with engine_harness.engine(tmp_path / "s", saying(STREAM, kept=False)) as (connections, accepted):
            for _ in range(5):
                taken = Taken()
                connections.stream("", "/v1/x", b"{}", taken)
                await until(lambda taken=taken: taken.over)
                assert taken.body == b"firstsecond"
            assert len(accepted) == 5
            remote = connections._remote
            await until(lambda: sum(map(len, remote._idle.values())) == 1)
            assert len(remote._open) == 1

    run(main)


def test_a_stream_that_is_left_frees_its_way_for_the_next(tmp_path):
    async def main():
        async def endless(reader, writer):
            await read_request(reader)
            writer.write(engine_harness.STREAM_HEAD)
            while True:
                writer.write(b"5\r\nfirst\r\n")
                await writer.drain()
                await asyncio.sleep(0)

        async with engine_harness.engine(tmp_path / "s", endless) as (connections, accepted):
            for number in range(1, 20):
                taken = Taken()
                stream = connections.stream("", "/v1/x", b"{}", taken)
                await until(lambda taken=taken: bool(taken.body))
                stream.cancel()
                await until(lambda: any(connections._remote._idle.values()))
                assert len(accepted) == number and len(connections._remote._open) == 1
                assert not taken.over

    run(main)


def test_an_engine_that_is_not_there_leaves_the_way_open(tmp_path, hosts):
    async def main():
        async with opened(hosts.node, route(tmp_path / "nobody")) as found:
            connections = EngineConnections(remote=remote_engines(hosts.head))
            for _ in range(3):
                with pytest.raises(engine_harness.EngineLost):
                    await connections.call(found.socket(), "/v1/x", b"{}", answer_bytes_max=10)
            assert len(connections._remote._open) == 1
            await connections.close()

    run(main)


def test_nobody_behind_a_door_is_unreachable(hosts):
    async def main():
        async with opened(hosts.node) as found:
            where = found.socket()
        connections = EngineConnections(remote=remote_engines(hosts.head))
        for socket, word in (
            (where, "refused|Connect"),
            ("tls://bristol:1/x", "ADDRESS:PORT"),
            ("tls://1.2.3.4/x", "ADD"),
        ):
            with pytest.raises(EngineUnreachable, match=word):
                await connections.call(socket, "/v1/x", b"{}", answer_bytes_max=10)
        await connections.close()
        without = EngineConnections()
        with pytest.raises(EngineUnreachable, match="no cluster"):
            await without.call(where, "/v1/x", b"{}", answer_bytes_max=10)
        await without.close()

    run(main)


def test_idle_ways_are_given_up_after_a_while(tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr("fastness.gateway.http.remote.IDLE_TIMEOUT_S", 0.05)
        async with engine_harness.engine(tmp_path / "s", saying(WHOLE), idle_timeout_s=0.05) as (connections, _):
            await connections.call("", "/v1/x", b"{}", answer_bytes_max=10)
            await until(lambda: not connections._remote._open)

    run(main)


@given(contents=st.lists(st.binary(max_size=40), max_size=6), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_frames_are_read_the_same_however_they_are_cut(contents, cuts):
    sent = b"".join(frame(one) if one else bytes(4) for one in contents)
    reader, found = FrameReader(), []
    edges = [0, *sorted(min(one, len(sent)) for one in cuts), len(sent)]
    for begin, end in pairwise(edges):
        if end > begin:
            found += reader.feed(sent[begin:end])
    ends = [number for number, one in enumerate(found) if not one]
    parts, begin = [], 0
    for end in ends:
        parts.append(b"".join(found[begin:end]))
        begin = end + 1
    parts.append(b"".join(found[begin:]))
    wanted, current = [], b""
    for one in contents:
        if one:
            current += one
        else:
            wanted, current = [*wanted, current], b""
    assert parts == [*wanted, current]
