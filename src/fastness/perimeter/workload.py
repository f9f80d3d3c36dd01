"""The workload: what departments and operators do with an installation, step by step."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fastness.perimeter.installation import STEP_TIMEOUT_S, Installation, StepFailed, expect
from fastness.perimeter.live import look_at

CHAT: Final = "smollm2-135m-instruct"
EMBEDDING: Final = "minilm-l6-v2"
_WORD: Final = {"type": "string", "maxLength": 8}
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {
            "type": "object",
            "properties": {"word": _WORD},
            "required": ["word"],
        },
    },
}
_SCHEMA: Final = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}


def journey(one: Installation) -> tuple[tuple[str, Callable[[], str]], ...]:
    """Return the steps between start and stop, in order."""
    return (
        ("models", lambda: _models(one)),
        ("chat", lambda: _chat(one)),
        ("stream", lambda: _stream(one)),
        ("tools", lambda: _tools(one)),
        ("json schema", lambda: _schema(one)),
        ("completion", lambda: _completion(one)),
        ("embeddings", lambda: _embeddings(one)),
        ("refusals", lambda: _refusals(one)),
        ("cancel", lambda: _cancel(one)),
        ("engine killed", lambda: _kill(one)),
        ("tenants and keys", lambda: _keys(one)),
        ("policy", lambda: _policy(one)),
        ("ledger", lambda: _ledger(one)),
        ("processes", lambda: _processes(one)),
        ("engine networks", lambda: _networks(one)),
    )


def no_way_out() -> str:
    """See that this network has no route to anybody, over either family."""
    answers = []
    for family, place in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as speaker:
                speaker.connect((place, 53))
            answers.append("open")
        except OSError as error:
            answers.append(errno.errorcode.get(error.errno or 0, str(error)))
    expect("no route", answers, not {"open"} & set(answers))
    return ", ".join(answers)


def _messages(text: str, **more: Any) -> dict[str, Any]:
    return {"model": CHAT, "messages": [{"role": "user", "content": text}], **more}


def _models(one: Installation) -> str:
    status, said = one.ask("/models", None)
    names = sorted(model["id"] for model in said.get("data", []))
    expect("both models", (status, said), status == 200 and {CHAT, EMBEDDING} <= set(names))
    return ", ".join(names)


def _chat(one: Installation, key: str | None = None) -> str:
    status, said = one.ask("/chat/completions", _messages("Name three colours.", max_tokens=12), key)
    expect("an answer", (status, said), status == 200 and bool(said["choices"][0]["message"]["content"]))
    return f"{said['usage']['completion_tokens']} tokens"


def _stream(one: Installation) -> str:
    with one.asked("/chat/completions", _messages("Count to ten.", max_tokens=24, stream=True)) as answer:
        text = answer.read().decode()
    events = [line for line in text.splitlines() if line.startswith("data: ")]
    expect("a stream to its end", text[-200:], answer.status == 200 and bool(events) and events[-1] == "data: [DONE]")
    return f"{len(events)} events"


def _tools(one: Installation) -> str:
    wish = _messages("Look up the word fort.", tools=[_TOOL], tool_choice="required", max_tokens=64, temperature=0)
    status, said = one.ask("/chat/completions", wish)
    calls = said["choices"][0]["message"].get("tool_calls", []) if status == 200 else []
    expect("a tool call", (status, said), len(calls) > 0)
    arguments = json.loads(calls[0]["function"]["arguments"])
    expect("arguments as declared", arguments, set(arguments) == {"word"})
    return f"{calls[0]['function']['name']}, valid arguments"


def _schema(one: Installation) -> str:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA, "strict": True}}
    status, said = one.ask("/chat/completions", _messages("Is water wet?", response_format=form, max_tokens=32))
    expect("an answer", (status, said), status == 200)
    found = json.loads(said["choices"][0]["message"]["content"])
    return expect("an answer of the schema", found, isinstance(found.get("yes"), bool))


def _completion(one: Installation) -> str:
    status, said = one.ask("/completions", {"model": CHAT, "prompt": "A fastness is", "max_tokens": 8})
    return expect("a completion", (status, said), status == 200 and bool(said["choices"]))


def _embeddings(one: Installation) -> str:
    status, said = one.ask("/embeddings", {"model": EMBEDDING, "input": ["a stronghold", "a river"]})
    expect("two vectors", (status, said), status == 200 and len(said["data"]) == 2)
    return f"2 vectors of {len(said['data'][0]['embedding'])} dimensions"


def _refusals(one: Installation) -> str:
    cases = (
        ("/chat/completions", _messages("x"), "fst_nobody", 401),
        ("/chat/completions", _messages("x") | {"model": "no-such-model"}, None, 404),
        ("/chat/completions", _messages("word " * 20_000), None, 400),
        ("/chat/completions", _messages("x", no_such_parameter=1), None, 400),
    )
    came = [one.ask(path, body, key)[0] for path, body, key, _ in cases]
    wanted = [status for *_, status in cases]
    expect(f"refusals {wanted}", came, came == wanted)
    return ", ".join(map(str, wanted))


def _cancel(one: Installation) -> str:
    with one.asked("/chat/completions", _messages("Tell me a long story.", max_tokens=1_500, stream=True)) as answer:
        first = answer.readline()
        expect("a stream that begins", first, first.startswith(b"data: "))
    return f"left in mid-stream; then {_chat(one)}"


def _kill(one: Installation) -> str:
    before = one.replica(CHAT)
    os.kill(before["pid"], signal.SIGKILL)
    began = time.monotonic()
    while time.monotonic() - began < STEP_TIMEOUT_S:
        after = one.replica(CHAT)
        if after["state"] == "ready" and after["pid"] != before["pid"]:
            _chat(one)
            expect("an engine that is sealed again", after, after["sealed"])
            return f"sealed again, answers after {time.monotonic() - began:.1f} s"
        time.sleep(0.1)
    raise StepFailed("the engine that was killed was not started again")


def _keys(one: Installation) -> str:
    one.verb("tenants", "create", "proof", "--name", "Proof")
    made = one.verb("keys", "create", "--tenant", "proof", "--name", "proof")
    _until(lambda: one.ask("/chat/completions", _messages("x", max_tokens=1), made["key"])[0] == 200, "the key works")
    one.verb("keys", "revoke", made["id"], "--yes")
    _until(lambda: one.ask("/models", None, made["key"])[0] == 401, "the key is refused")
    return "made, used, revoked, refused"


def _policy(one: Installation) -> str:
    shown = one.verb("policy", "show")
    return expect("a policy in force", shown, bool(shown))


def _ledger(one: Installation) -> str:
    said = one.verb("ledger", "verify")
    expect("a sound ledger", said, said["sound"])
    return f"sound, {sum(log['entries'] for log in said['logs'])} entries"


def _processes(one: Installation) -> str:
    # A client that stays: what the gateway holds for it is seen, too.
    with socket.create_connection((one.place.hostname or "", one.place.port or 0), timeout=STEP_TIMEOUT_S):
        seen = look_at(one.pid, one.place.port or 0)
    wrong = [f"{found.kind} {found.pid}: {found.answer}" for found in seen if not found.holds]
    expect("Unix sockets and the listener only", "; ".join(wrong), not wrong)
    return f"{len(seen)} hold Unix sockets and the listener only"


def _networks(one: Installation) -> str:
    """An engine's own network is not captured, for it is not this one: its counters tell."""
    sent = []
    for replica in one.verb("ps")["replicas"]:
        rows = Path(f"/proc/{replica['pid']}/net/dev").read_text().splitlines()[2:]
        sent += [int(row.partition(":")[2].split()[8]) for row in rows]
    expect("0 packets in the engines' own networks", sent, not any(sent))
    return f"{len(sent)} interfaces, 0 packets"


def _until(condition: Callable[[], bool], wanted: str, limit_s: float = 10.0) -> None:
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s:
            raise StepFailed(f"within {limit_s:g} s: {wanted}")
        time.sleep(0.05)
