"""With the real llama.cpp: what was read with an adapter is in no answer of the model alone, to the last bit."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.request import Delta, Generation, Message, Sampling
from fastness.engines.llamacpp.dialect import LlamaCppDialect
from fastness.engines.llamacpp.engine import LlamaCppEngine
from fastness.engines.port import EngineAdapter, EngineTask
from fastness.gateway.choosing import prompt_of
from fastness.traffic.engine_slots import EngineSlots
from honest_corpus import starter_weights
from lora_files import gguf_lora
from test_llamacpp_engine import request, task_of

pytestmark = pytest.mark.slow
DIALECT = LlamaCppDialect()
OWNER = ("health", "OFFICIAL")
READY_S_MAX = 60.0
QUESTIONS = ("Who may fish in a harbour?", "Who may fish in a harbour? And who may not, and why?")


@contextmanager
def running(task: EngineTask) -> Iterator[EngineTask]:
    launch = LlamaCppEngine().launch(task)
    with (task.scratch / "stderr").open("wb") as stderr:
        process = subprocess.Popen(launch.argv, env=launch.environ, stderr=stderr)
    try:
        deadline = time.monotonic() + READY_S_MAX
        while not _is_ready(task.socket):
            assert process.poll() is None, (task.scratch / "stderr").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield task
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(path: Path) -> bool:
    try:
        return request(path, "GET", "/health")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.fixture
def adapters(tmp_path: Path) -> tuple[EngineAdapter, ...]:
    files = [gguf_lora(tmp_path / f"{seed}.gguf", seed) for seed in (1, 2)]
    return tuple(EngineAdapter(f"{seed}" * 64, file.stat().st_size, (("", file),)) for seed, file in enumerate(files))


def one_slot(folder: Path, *adapters: EngineAdapter) -> EngineTask:
    folder.mkdir()
    return replace(task_of(folder, starter_weights()), slots=1, context_tokens=512, threads=1, adapters=adapters)


def asked(engine: EngineTask, slots: EngineSlots, text: str, adapter: str | None = None) -> Delta:
    """Ask as a gateway does: on the slot that it gives, going on from what that has read only where it may."""
    sampling = Sampling(temperature=0.0, max_output_tokens=8, top_logprobs=5)
    work = Generation(sampling, (Message("user", text),), adapter=adapter)
    seat = slots.take(prompt_of(OWNER, "m", work))
    assert seat is not None
    loaded = tuple(one.digest for one in engine.adapters)
    call = DIALECT.generation(work.placed(cache_prompt=seat.reuse, slot=seat.number, adapters=loaded))
    try:
        status, body = request(engine.socket, "POST", call.path, call.body)
        assert status == 200, body
        return DIALECT.answer(body)
    finally:
        slots.give(seat.number)


def test_the_model_alone_after_an_adapter_is_bit_for_bit_the_model_that_never_met_one(tmp_path, adapters) -> None:
    with running(one_slot(tmp_path / "fresh")) as fresh:
        slots = EngineSlots(1)
        expected = [asked(fresh, slots, text) for text in QUESTIONS]
    with running(one_slot(tmp_path / "mixed", *adapters)) as mixed:
        slots, (first, second) = EngineSlots(1), (one.digest for one in adapters)
        with_first = [asked(mixed, slots, text, first) for text in QUESTIONS]
        alone = [asked(mixed, slots, text) for text in QUESTIONS]
        with_second = asked(mixed, slots, QUESTIONS[0], second)
        between = asked(mixed, slots, QUESTIONS[0])
        again = [asked(mixed, slots, text, first) for text in QUESTIONS]
    assert (between.text, between.logprobs) == (expected[0].text, expected[0].logprobs)
    assert [(one.text, one.logprobs) for one in alone] == [(one.text, one.logprobs) for one in expected]
    assert [(one.text, one.logprobs) for one in again] == [(one.text, one.logprobs) for one in with_first]
    assert len({expected[0].text, with_first[0].text, with_second.text}) == 3, "each says something else"
    assert alone[1].usage and alone[1].usage.cached_tokens, "what the same owner read alone is gone on from"


def test_without_a_word_of_its_adapters_the_engine_would_mix_them_which_is_why_they_are_always_told(
    tmp_path, adapters
) -> None:
    with running(one_slot(tmp_path / "e", *adapters)) as engine:
        slots = EngineSlots(1)
        alone = asked(engine, slots, QUESTIONS[0])
        asked(engine, slots, QUESTIONS[0], adapters[1].digest)
        work = Generation(
            Sampling(temperature=0.0, max_output_tokens=8, top_logprobs=5), (Message("user", QUESTIONS[0]),)
        )
        call = DIALECT.generation(work.placed(cache_prompt=True, slot=0))
        assert b"lora" not in call.body
        mixed = DIALECT.answer(request(engine.socket, "POST", call.path, call.body)[1])
    assert mixed.logprobs != alone.logprobs, "llama.cpp now forgets by itself: say so in the docs"
