"""A client that takes its time."""

from __future__ import annotations

import asyncio

from fastness.gateway.http import Exchange
from http_harness import get, run, serving, talking, until


def test_a_slow_client_pauses_its_source_and_resumes_it():
    async def main():
        asked: list[Exchange] = []
        heard: list[str] = []
        async with serving(asked.append, write_buffer_bytes_max=65_536) as (_, port), talking(port) as talk:
            talk.send(get())
            await until(lambda: bool(asked))
            exchange = asked[0]
            exchange.on_pause = lambda: heard.append("pause")
            exchange.on_resume = lambda: heard.append("resume")
            exchange.start(200, b"")
            sent = 0
            while exchange.writable:
                exchange.send(b"x" * 50_000)
                sent += 50_000
                await asyncio.sleep(0)
            assert heard == ["pause"]
            waiting = [asyncio.create_task(exchange.drained()) for _ in range(2)]
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in waiting)
            reading = asyncio.create_task(talk.answer())
            await asyncio.gather(*waiting)
            assert exchange.writable
            assert heard == ["pause", "resume"]
            await exchange.drained()
            exchange.finish()
            assert len((await reading).body) == sent

    run(main)


def test_waiting_for_a_client_that_leaves_ends():
    async def main():
        asked: list[Exchange] = []
        async with serving(asked.append, write_buffer_bytes_max=4_096) as (_, port), talking(port) as talk:
            talk.send(get())
            await until(lambda: bool(asked))
            asked[0].start(200, b"")
            while asked[0].writable:
                asked[0].send(b"x" * 100_000)
                await asyncio.sleep(0)
            waiting = asyncio.create_task(asked[0].drained())
            await talk.close()
            await waiting
            assert asked[0].disconnected

    run(main)
