"""`fastness run`: the answer on stdout as it comes, what it took on stderr, and a refusal that is no riddle."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fastness.cli.run import Answer

MODELS = ["smollm2-135m-instruct", "minilm-l6-v2"]


def chunk(text=None, finish=None, usage=None):
    choices = [] if usage else [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    return {"id": "chatcmpl-1", "model": MODELS[0], "choices": choices, "usage": usage}


WHOLE = [
    chunk("A strong"),
    chunk("hold.\n\x1b[2J"),
    chunk(finish="stop"),
    chunk(usage={"prompt_tokens": 512, "completion_tokens": 64, "total_tokens": 576}),
    "[DONE]",
]


class Gateway(ThreadingHTTPServer):
    """A scripted gateway: answers chats with `events`, or with `refusal` (status and error)."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Route)
        self.events, self.refusal, self.unknown_for, self.asked = WHOLE, None, 0, []

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Route(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers["authorization"], body))
        refusal = self.server.refusal
        if len(self.server.asked) <= self.server.unknown_for:
            refusal = (401, {"message": "Unknown.", "code": "invalid_api_key"})
        if refusal:
            status, error = refusal
            self._answer(status, json.dumps({"error": error}).encode(), "application/json")
        else:
            lines = [event if isinstance(event, str) else json.dumps(event) for event in self.server.events]
            self._answer(200, "".join(f"data: {line}\n\n" for line in lines).encode(), "text/event-stream")

    def do_GET(self):
        self._answer(200, json.dumps({"data": [{"id": name} for name in MODELS]}).encode(), "application/json")

    def _answer(self, status, content, kind):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.send_header("x-request-id", "req_1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def serving(fastness):
    with Gateway() as gateway:
        thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with fastness.supervisor(gateway.base_url):
                yield gateway
        finally:
            gateway.shutdown()
            thread.join()


@pytest.fixture
def gateway(fastness):
    fastness.environ["FASTNESS_API_KEY"] = "fst_mine"
    with serving(fastness) as gateway:
        yield gateway


def test_the_answer_is_on_stdout_and_what_it_took_on_stderr(fastness, gateway):
    result = fastness("run", MODELS[0], "What is a fastness?")
    assert result.exit_code == 0
    assert result.stdout == "A stronghold.\n\x1b[2J\n", "off a terminal, the model's bytes as they are"
    assert re.fullmatch(r"512 tok in, 64 out, first token [\d.]+ s, \d+ tok/s\n", result.stderr)
    path, authorization, body = gateway.asked[0]
    assert (path, authorization) == ("/v1/chat/completions", "Bearer fst_mine")
    assert body == {
        "model": MODELS[0],
        "messages": [{"role": "user", "content": "What is a fastness?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_options_become_fields_and_the_prompt_can_come_from_stdin(fastness, gateway):
    words = ("run", MODELS[0], "-", "--system", "Be brief.", "--max-tokens", "7", "--temperature", "0", "--quiet")
    assert fastness(*words, stdin="a letter").stderr == ""
    body = gateway.asked[0][2]
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a letter"},
    ]
    assert (body["max_completion_tokens"], body["temperature"]) == (7, 0.0)


def test_json_is_one_document_with_the_answer_and_what_it_took(fastness, gateway):
    document = fastness.document("run", MODELS[0], "Hi")
    assert document["content"] == "A stronghold.\n\x1b[2J"
    assert document["finish_reason"] == "stop"
    assert document["usage"]["total_tokens"] == 576
    assert document["request_id"] == "req_1"
    assert document["first_token_s"] <= document["elapsed_s"]


def test_an_answer_that_was_cut_is_said_to_be(fastness, gateway):
    gateway.events = [
        chunk("A"),
        chunk(finish="length"),
        chunk(usage={"prompt_tokens": 1, "completion_tokens": 1}),
        "[DONE]",
    ]
    result = fastness("run", MODELS[0], "Hi")
    assert result.exit_code == 0
    assert "The answer was cut" in result.stderr


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid_value", 2),
        (400, "context_length_exceeded", 3),
        (401, "revoked_api_key", 3),
        (403, "permission_denied", 3),
        (429, "queue_full", 3),
        (503, "no_replica_ready", 1),
    ],
)
def test_a_refusal_is_told_in_the_gateways_words(fastness, gateway, status, code, exit_code):
    gateway.refusal = (status, {"message": "Needs 9; takes 8.", "type": "t", "param": None, "code": code})
    result = fastness("run", MODELS[0], "Hi")
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert result.stderr.splitlines()[0] == f"error  Needs 9; takes 8. ({code})"


def test_a_mistyped_model_is_told_what_was_meant_and_what_there_is(fastness, gateway):
    gateway.refusal = (404, {"message": "No such model.", "code": "model_not_found"})
    result = fastness("run", "smolm2-135m", "Hi")
    assert result.exit_code == 4
    assert result.stderr.splitlines() == [
        "error  There is no model 'smolm2-135m' for this key. Did you mean smollm2-135m-instruct?",
        "       served: smollm2-135m-instruct",
        "       served: minilm-l6-v2",
        "try    fastness models",
    ]


def test_a_model_that_cannot_chat_is_told_in_the_gateways_words(fastness, gateway):
    gateway.refusal = (404, {"message": "minilm-l6-v2 only embeds.", "code": "model_not_found"})
    result = fastness("run", "minilm-l6-v2", "Hi")
    assert result.exit_code == 4
    assert result.stderr == "error  minilm-l6-v2 only embeds. (model_not_found)\n"


def test_a_failure_in_the_middle_is_told_and_what_came_is_kept(fastness, gateway):
    gateway.events = [chunk("A strong"), {"error": {"message": "The engine ended.", "code": "engine_failed"}}]
    result = fastness("run", MODELS[0], "Hi")
    assert result.exit_code == 1
    assert result.stdout == "A strong\n"
    assert result.stderr.splitlines()[0] == "error  The engine ended. (engine_failed)"


def test_a_stream_that_ends_without_its_end_is_a_failure(fastness, gateway):
    gateway.events = [chunk("A strong")]
    result = fastness("run", MODELS[0], "Hi")
    assert result.exit_code == 1
    assert "ended before the answer was whole" in result.stderr


def test_without_a_key_one_is_made_that_expires_by_itself(fastness):
    with fastness.control(), serving(fastness) as gateway:
        fastness.ok("tenants", "create", "default")
        fastness.ok("run", MODELS[0], "Hi")
        made = fastness.document("keys")["keys"][0]
    assert gateway.asked[0][1].startswith(f"Bearer {made['hint']}")
    assert 0 < made["expires_s"] - made["created_s"] <= 3_600


def test_a_key_just_made_is_tried_again_until_the_gateway_knows_it(fastness, monkeypatch):
    monkeypatch.setattr("fastness.cli.run.GATEWAY_POLL_S", 0.01)
    with fastness.control(), serving(fastness) as gateway:
        fastness.ok("tenants", "create", "default")
        gateway.unknown_for = 2
        assert fastness.ok("run", MODELS[0], "Hi").startswith("A stronghold.")
        assert len(gateway.asked) == 3
        assert len({authorization for _, authorization, _ in gateway.asked}) == 1, "the same key each time"


def test_a_key_that_was_given_is_tried_once(fastness, gateway):
    gateway.unknown_for = 1
    result = fastness("run", MODELS[0], "Hi")
    assert result.exit_code == 3
    assert len(gateway.asked) == 1
    assert "unset FASTNESS_API_KEY" in result.stderr


def test_a_gateway_that_does_not_answer_is_unreachable(fastness):
    fastness.environ["FASTNESS_API_KEY"] = "fst_mine"
    with fastness.supervisor("http://127.0.0.1:9/v1"):
        result = fastness("run", MODELS[0], "Hi")
    assert result.exit_code == 5
    assert "http://127.0.0.1:9/v1 cannot be reached" in result.stderr


def test_nothing_running_is_unreachable(fastness):
    result = fastness("run", MODELS[0], "Hi")
    assert result.exit_code == 5
    assert "fastness up" in result.stderr


def test_a_text_of_no_tokens_has_no_speed():
    answer = Answer("m")
    answer.take(chunk("x"), 0.5)
    answer.take(chunk(usage={"prompt_tokens": 3, "completion_tokens": 1}), 0.6)
    assert answer.summary() == "3 tok in, 1 out, first token 0.50 s"
    answer.take(chunk(usage={"prompt_tokens": 3, "completion_tokens": 39}), 1.5)
    assert answer.summary() == "3 tok in, 39 out, first token 0.50 s, 38 tok/s"
