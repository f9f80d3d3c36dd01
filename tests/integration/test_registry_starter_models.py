"""The starter models as their distributions ship them, and the embedding model on the real engine."""

import http.client
import json
import math
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fastness.registry.gguf_reader import read_gguf
from fastness.registry.library import ModelLibrary

SENTENCES = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
SERVE = """
import sys, time, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.hostnames = sys.argv[1], [sys.argv[2]]
p.embedding, p.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
p.n_parallel, p.n_ctx, p.n_batch, p.n_ubatch, p.cache_ram_mib, p.cpuparams.n_threads = 1, 512, 1024, 1024, 0, 1
server = xllamacpp.Server(p)
time.sleep(600)
"""


def silent(stage, done_bytes, total_bytes):
    pass


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return ModelLibrary(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(
    ("name", "architecture", "tensors", "tokens"),
    [("smollm2-135m-instruct", "llama", 272, 49_152), ("minilm-l6-v2", "bert", 101, 30_522)],
)
def test_a_starter_model_is_laid_down_whole(library, name, architecture, tensors, tokens):
    card, path, _ = library.ensure(name, silent)
    header = read_gguf(memoryview(path.read_bytes()))
    assert path.stat().st_size == card.size_bytes
    assert header.text("general.architecture") == architecture
    assert len(header.tensors) == tensors
    assert len(header.metadata["tokenizer.ggml.tokens"].value) == tokens
    assert header.number(f"{architecture}.context_length") == card.context_tokens


def test_a_starter_model_laid_down_already_is_verified_and_not_laid_down_anew(library):
    before = library.ensure("smollm2-135m-instruct", silent)[1].stat()
    after = library.ensure("smollm2-135m-instruct", silent)[1].stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path, method, route, body=None):
    connection = UnixConnection(path)
    try:
        connection.request(method, route, body and json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except OSError:
        return 0, None
    finally:
        connection.close()


@pytest.fixture
def engine(library):
    _, weights, _ = library.ensure("minilm-l6-v2", silent)
    with tempfile.TemporaryDirectory(prefix="fst-") as folder:
        path = Path(folder) / "e.sock"
        argv = [sys.executable, "-c", SERVE, str(weights), str(path)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not path.exists() or ask(path, "GET", "/health")[0] != 200:
                assert process.poll() is None, "the engine ended"
                assert time.monotonic() < deadline, "the engine did not become ready"
                time.sleep(0.05)
            yield path
        finally:
            process.kill()
            process.wait()


def embed(path, inputs):
    status, answer = ask(path, "POST", "/v1/embeddings", {"input": inputs, "model": "m"})
    assert status == 200, answer
    return [row["embedding"] for row in answer["data"]]


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


@pytest.mark.slow
def test_the_converted_model_embeds_as_the_reference_does(engine):
    happy, happier, sunny = embed(engine, SENTENCES)
    assert len(happy) == 384
    assert cosine(happy, happier) == pytest.approx(0.943, abs=0.001)
    assert cosine(happy, sunny) == pytest.approx(0.257, abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("hello world", [101, 7592, 2088, 102]),
        ("Caf\u00e9s, na\u00efvely!", [101, 23812, 1010, 15743, 2135, 999, 102]),
        ("unaffable", [101, 14477, 20961, 3468, 102]),
        ("\u4eca\u65e5", [101, 100, 1864, 102]),
    ],
)
def test_the_converted_vocabulary_splits_words_as_the_reference_does(engine, text, tokens):
    assert ask(engine, "POST", "/tokenize", {"content": text, "add_special": True})[1]["tokens"] == tokens


@pytest.mark.slow
def test_the_whole_context_of_the_card_is_usable(engine):
    status, answer = ask(engine, "POST", "/v1/embeddings", {"input": "word " * 510, "model": "m"})
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 512)
    status, _ = ask(engine, "POST", "/v1/embeddings", {"input": "word " * 511, "model": "m"})
    assert status == 400
