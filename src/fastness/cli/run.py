"""`fastness run MODEL "prompt"`: one question, the answer as it comes, and what it took."""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fastness.cli import render
from fastness.cli.client import management
from fastness.cli.composition import Composition
from fastness.cli.outcome import ExitCode, Failure, exit_code_of
from fastness.cli.running import find_running, nothing_runs
from fastness.cli.talk import Json, Quiet, Talk
from fastness.config import Settings

if TYPE_CHECKING:
    import httpx

EXAMPLES = """\
fastness run smollm2-135m-instruct "What is a fastness?"
fastness run smollm2-135m-instruct - --system 'Summarise in one sentence.' < letter.txt"""

SILENCE_TIMEOUT_S: Final = 300.0
"""Between two events of the stream; the gateway's own limits are shorter and say why."""

GATEWAY_POLL_S: Final = 0.15
KEY_KNOWN_WITHIN_S: Final = 3.0
"""A gateway looks for new keys every 100 ms; a busy machine may make that longer."""


@dataclass(slots=True)
class Answer:
    """An answer as it is received. Times are seconds since the request was sent."""

    model: str
    parts: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    first_token_s: float | None = None
    elapsed_s: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """Speed after the first token, or None when there was no second one."""
        later = int(self.usage.get("completion_tokens", 0)) - 1
        if self.first_token_s is None or later < 1 or self.elapsed_s <= self.first_token_s:
            return None
        return later / (self.elapsed_s - self.first_token_s)

    def take(self, event: dict[str, Any], now_s: float) -> str:
        """Fold one event of the stream in; return the text it adds. Raises Failure for an error event."""
        if "error" in event:
            raise failure_of(502, event)
        self.model = event.get("model", self.model)
        self.usage = event.get("usage") or self.usage
        text = ""
        for choice in event.get("choices") or ():
            text += choice.get("delta", {}).get("content") or ""
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if text:
            self.first_token_s = self.first_token_s or now_s
            self.parts.append(text)
        self.elapsed_s = now_s
        return text

    def summary(self) -> str:
        """Say what it took: `512 tok in, 64 out, first token 0.41 s, 38 tok/s`."""
        said = [f"{render.count(self.usage.get('prompt_tokens'))} tok in"]
        said.append(f"{render.count(self.usage.get('completion_tokens'))} out")
        if self.first_token_s is not None:
            said.append(f"first token {render.duration(self.first_token_s)}")
        if self.tokens_per_s is not None:
            said.append(f"{self.tokens_per_s:.0f} tok/s")
        return ", ".join(said)

    def document(self) -> dict[str, Any]:
        """Return what `run --json` prints."""
        speed = self.tokens_per_s
        return {
            "model": self.model,
            "content": "".join(self.parts),
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "request_id": self.request_id,
            "first_token_s": None if self.first_token_s is None else round(self.first_token_s, 4),
            "tokens_per_s": None if speed is None else round(speed, 2),
            "elapsed_s": round(self.elapsed_s, 4),
        }


def run(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model served here: fastness models lists them.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to ask; `-` reads it from stdin.")],
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system message before the prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="N", min=1, help="Longest answer, in tokens.")] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="X", min=0, max=2, help="0 is the most predictable.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask a model; the answer is written as it comes.

    The answer goes to stdout; what it took, to stderr. Uses the key in FASTNESS_API_KEY, or one
    made for this run that expires by itself.
    """
    composition: Composition = ctx.obj
    talk = Talk(as_json, quiet)
    settings, _ = composition.load_settings({})
    running = find_running(settings)
    if running is None:
        raise nothing_runs(settings)
    text = sys.stdin.read() if prompt == "-" else prompt
    messages = [{"role": "system", "content": system}] if system is not None else []
    body = {
        "model": model,
        "messages": [*messages, {"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": max_tokens,
        "temperature": temperature,
    }
    given = {name: value for name, value in body.items() if value is not None}

    def ask(key: str) -> Answer:
        return _ask(running.base_url, key, given, settings.gateway.tls_certificate, talk)

    key = composition.environ.get("FASTNESS_API_KEY")
    answer = ask(key) if key else _with_new_key(_ephemeral_key(composition, settings), ask)
    if as_json:
        talk.document(answer.document())
    talk.say(answer.summary())
    if answer.finish_reason == "length":
        talk.say("The answer was cut at its longest; --max-tokens sets how long it may be.")


def _ephemeral_key(composition: Composition, settings: Settings) -> str:
    with management(composition, settings, must_run=True) as api:
        return str(api.post("/keys/ephemeral")["key"])


def _with_new_key(key: str, ask: Callable[[str], Answer]) -> Answer:
    """Ask with a key that gateways learn of at their next poll: until then they do not know it."""
    deadline = time.monotonic() + KEY_KNOWN_WITHIN_S
    while True:
        time.sleep(GATEWAY_POLL_S)
        try:
            return ask(key)
        except Failure as failure:
            if failure.code != "invalid_api_key" or time.monotonic() > deadline:
                raise


def _ask(base_url: str, key: str, body: dict[str, Any], certificate: str, talk: Talk) -> Answer:
    import httpx

    answer = Answer(body["model"])
    timeout = httpx.Timeout(SILENCE_TIMEOUT_S, connect=5.0)
    headers = {"authorization": f"Bearer {key}"}
    began_s = time.monotonic()
    try:
        with (
            httpx.Client(
                timeout=timeout, verify=_trust(base_url, certificate), trust_env=False, headers=headers
            ) as client,
            client.stream("POST", f"{base_url}/chat/completions", json=body) as response,
        ):
            answer.request_id = response.headers.get("x-request-id")
            if not response.is_success:
                response.read()
                raise _refusal(client, base_url, response, body["model"])
            _relay(response, answer, began_s, talk)
    except httpx.TimeoutException:
        raise Failure(
            ExitCode.UNREACHABLE, f"{base_url} said nothing for {SILENCE_TIMEOUT_S:g} s.", "fastness ps"
        ) from None
    except httpx.TransportError as error:
        raise Failure(ExitCode.UNREACHABLE, f"{base_url} cannot be reached: {error}.", "fastness ps") from None
    return answer


def _trust(base_url: str, certificate: str) -> Any:
    """Trust the gateway's own certificate where settings name it: it need not come from a public authority."""
    import ssl

    return ssl.create_default_context(cafile=certificate or None) if base_url.startswith("https:") else False


def _relay(response: httpx.Response, answer: Answer, began_s: float, talk: Talk) -> None:
    clean = sys.stdout.isatty()
    ended = False
    try:
        for event in _events(response):
            ended = event == "[DONE]"
            text = "" if ended else answer.take(json.loads(event), time.monotonic() - began_s)
            if text and not talk.as_json:
                sys.stdout.write(render.printable(text) if clean else text)
                sys.stdout.flush()
    finally:
        if answer.parts and not talk.as_json:
            typer.echo()
    if not ended:
        raise Failure(ExitCode.FAILED, "The stream ended before the answer was whole.", "fastness logs gateway-0")


def _events(response: httpx.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if line.startswith("data:"):
            yield line[5:].strip()


def _refusal(client: httpx.Client, base_url: str, response: httpx.Response, model: str) -> Failure:
    try:
        body = response.json()
    except ValueError:
        body = {}
    failure = failure_of(response.status_code, body)
    if failure.exit_code is not ExitCode.NOT_FOUND:
        return failure
    listed = client.get(f"{base_url}/models")
    names = [row["id"] for row in listed.json()["data"]] if listed.is_success else []
    if model in names:
        return failure  # it is there, but not for chats; the gateway says so
    near = difflib.get_close_matches(model, names, n=1, cutoff=0.4)
    return Failure(
        ExitCode.NOT_FOUND,
        f"There is no model {model!r} for this key." + (f" Did you mean {near[0]}?" if near else ""),
        "fastness models",
        tuple(f"served: {name}" for name in names),
    )


def failure_of(status: int, body: Any) -> Failure:
    """Read an OpenAI-shaped error, of an answer or of a stream event."""
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    code = str(error.get("code") or "")
    text = str(error.get("message") or f"The gateway answered {status}.")
    hints = {401: "unset FASTNESS_API_KEY to run with a key made for this run", 429: "the same again in a moment"}
    told = f"{text} ({code})" if code else text
    return Failure(exit_code_of(status, code), told, hints.get(status, ""), code=code)
