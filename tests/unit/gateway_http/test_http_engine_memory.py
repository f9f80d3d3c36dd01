"""A call to an engine that is over is gone at once, not when a collector comes by."""

import gc

import pytest

from engine_harness import WHOLE, engine, saying
from fastness.gateway.http.client import WholeAnswer
from fastness.gateway.http.engine_stream import EngineStream
from http_harness import run


@pytest.mark.slow
def test_no_answer_and_no_call_is_left_in_a_cycle(tmp_path):
    async def main():
        async with engine(tmp_path / "s", saying(WHOLE)) as (connections, _):
            for _ in range(10):
                asked = connections.ask(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=99)
                await asked.future
                asked.cancel()
            del asked
            return sum(isinstance(one, WholeAnswer | EngineStream) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert run(main) <= 1, "but for what the last callback may still hold"
    finally:
        gc.enable()
