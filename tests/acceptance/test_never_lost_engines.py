"""Real engines are killed under streams: no stream is lost, and each goes on where it was."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from installation import CHAT, Installation, eventually, start, stop
from killing import QUICK, forget, kill
from losing import TWO, Found, all_ready, kill_under_streams, resumed_of, undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = 5
KILLS_ALONE = 2
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 4},
    },
    "required": ["city", "tags"],
    "additionalProperties": False,
}
SHAPES: dict[str, dict[str, Any]] = {
    "scored": {"logprobs": True, "top_logprobs": 2},
    "stopped": {"stop": ["zebra"]},
    "json": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "c", "strict": True, "schema": SCHEMA}}
    },
    "json of chance": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "c", "strict": True, "schema": SCHEMA}},
        "temperature": 1,
    },
    "choices": {"n": 3, "temperature": 1, "seed": 5},
}


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with two replicas."""
    running = start(tmp_path_factory.mktemp("pair"), environ=TWO)
    yield running
    try:
        assert stop(running) == 0
    finally:
        forget(running.home)


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with one replica."""
    running = start(tmp_path_factory.mktemp("alone"), environ=TWO | QUICK | {"FASTNESS__ENGINE__REPLICAS": "1"})
    yield running
    try:
        assert stop(running) == 0
    finally:
        forget(running.home)


def test_streams_go_on_at_another_replica_when_their_engine_is_killed(pair):
    found, expected = Found(), undisturbed(pair)
    for _ in range(KILLS):
        kill_under_streams(pair, expected, found)
    print(found)
    assert not found.failed
    assert not found.other
    assert found.resumed >= KILLS
    assert found.identical + found.tied == found.streams
    assert found.identical > 0.8 * found.streams


def test_streams_wait_for_their_only_replica_and_go_on(alone):
    found, expected = Found(), undisturbed(alone)
    for _ in range(KILLS_ALONE):
        kill_under_streams(alone, expected, found, count=1)
    print(found)
    assert not found.failed
    assert not found.other
    assert found.resumed >= KILLS_ALONE


def have(chunks: dict[str, list[Any]], events: int) -> bool:
    """Whether each answer has had so many events, or its usage, which is the last."""
    return all(len(said) > events or (said and said[-1].usage) for said in chunks.values())


def test_whatever_was_asked_for_holds_also_for_an_answer_that_goes_on(pair):
    victims, chunks, lock = all_ready(pair, 2), {name: [] for name in SHAPES}, threading.Lock()

    def ask(name: str) -> None:
        body: dict[str, Any] = {
            "model": CHAT, "messages": [{"role": "user", "content": "Describe Paris."}], "temperature": 0,
            "max_tokens": 60, "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        with pair.client() as client:
            for chunk in client.chat.completions.create(**(body | SHAPES[name])):
                with lock:
                    chunks[name].append(chunk)

    threads = [threading.Thread(target=ask, args=(name,)) for name in SHAPES]
    for thread in threads:
        thread.start()
    for events, victim in ((4, victims[0]), (12, victims[1])):
        eventually(partial(have, chunks, events), "all flow, or have ended", 60, 0.002)
        kill(int(victim["pid"]))
        all_ready(pair, 2)
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a client is kept in silence"
    for name, said in chunks.items():
        usage = said[-1].usage
        choices = [choice for chunk in said for choice in chunk.choices]
        ends = [choice.finish_reason for choice in choices if choice.finish_reason]
        assert len(ends) == SHAPES[name].get("n", 1)
        assert len({chunk.id for chunk in said}) == 1
        text = "".join(choice.delta.content or "" for choice in choices)
        if name == "scored":
            tokens = [token.token for choice in choices if choice.logprobs for token in choice.logprobs.content or ()]
            assert "".join(tokens) == text
            assert len(tokens) in (usage.completion_tokens, usage.completion_tokens - 1)
        if name.startswith("json") and ends == ["stop"]:
            assert json.loads(text)["city"]
        if ends == ["length"] * len(ends):
            assert usage.completion_tokens == 60 * len(ends)
    assert sum(resumed_of(pair).values()) >= len(SHAPES) // 2
