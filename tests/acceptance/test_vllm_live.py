"""vLLM as a user has it: a model of safetensors is admitted, two sealed replicas serve it, and one is killed."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

import vllm_place
from fastness.core.desired import Parameters
from fastness.registry.folder_shape import folder_shape
from fastness.scheduling.memory import replica_memory
from fastness.scheduling.memory_adapters import adapters_memory
from installation import Installation, eventually, start, stop
from killing import forget, kill_companion
from lora_files import peft_lora

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
START_LIMIT_S = 600
ADAPTER_BYTES = 940_000
DEPLOYMENT = """
[[deployment]]
name = "chat"
model = "town-hall"
adapters = ["letters"]

[deployment.parameters]
engine = "vllm"
slots = 4
slot_context_tokens = 1024
threads = 1

[deployment.needs]
accelerator = "cpu"

[deployment.scaling]
min = 2
max = 2
"""
STORY = {"model": "chat", "prompt": "Once upon a time in a small village", "temperature": 0, "max_tokens": 240}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("vllm")
    environ = {
        "FASTNESS__ENGINE__CHAT_MODEL": "",
        "FASTNESS__ENGINE__EMBEDDING_MODEL": "",
        "FASTNESS__ENGINE__START_TIMEOUT_S": str(START_LIMIT_S),
        "FASTNESS__ENGINE__VLLM_PYTHON": str(vllm_place.python()),
    }
    installation = start(home, environ=environ)
    try:
        folder = str(vllm_place.chat_folder())
        told(installation, "models", "import", folder, "--name", "town-hall", "--licence", "Apache-2.0")
        told(installation, "models", "admit", "town-hall", "--ceiling", "OFFICIAL")
        adapter = peft_lora(home / "letters", base_name="town-hall")
        told(
            installation,
            "models",
            "import",
            str(adapter),
            "--kind",
            "adapter",
            "--base",
            "town-hall",
            "--licence",
            "MIT",
        )
        told(installation, "models", "admit", "letters", "--ceiling", "OFFICIAL")
        (home / "deployment.toml").write_text(DEPLOYMENT)
        told(installation, "apply", str(home / "deployment.toml"), "--no-wait")
        eventually(lambda: len(ready(installation)) == 2, "two replicas are ready", START_LIMIT_S)
        yield installation
        families = [one for pid in pids(installation) for one in family(pid)]
        assert stop(installation) == 0
        assert not [pid for pid in families if Path(f"/proc/{pid}").exists()], "it left a process behind"
    finally:
        forget(home)


def told(installation: Installation, *arguments: str) -> str:
    done = installation.run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ready(installation: Installation) -> list[dict[str, object]]:
    return [one for one in installation.replicas() if one["state"] == "ready"]


def pids(installation: Installation) -> list[int]:
    return [int(str(one["pid"])) for one in installation.replicas() if one["pid"]]


def family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def proportional_bytes(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) << 10 for row in rows if row.startswith("Pss:"))


def is_busy(one: dict[str, object]) -> bool:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(one["socket"])), base_url="http://engine") as engine:
        lines = engine.get("/metrics").text.splitlines()
    return any(line.startswith("vllm:num_requests_running") and not line.endswith(" 0.0") for line in lines)


def key_of(installation: Installation, tenant: str) -> str:
    told(installation, "tenants", "create", tenant)
    return str(json.loads(told(installation, "keys", "create", "--tenant", tenant, "--json"))["key"])


def first_token_s(client: OpenAI, prompt: str) -> float:
    began = time.monotonic()
    client.completions.create(model="chat", prompt=prompt, max_tokens=1, temperature=0)
    return time.monotonic() - began


def test_its_processes_are_sealed_each_of_them(running: Installation) -> None:
    host = os.readlink("/proc/self/ns/net")
    for one in ready(running):
        assert one["sealed"]
        guard, *others = family(int(str(one["pid"])))
        assert len(others) >= 3, "vLLM has several processes"
        for pid in others:
            status = Path(f"/proc/{pid}/status").read_text()
            assert "Seccomp:\t2\n" in status and "NoNewPrivs:\t1\n" in status
            assert "CapEff:\t0000000000000000\n" in status
            assert os.readlink(f"/proc/{pid}/ns/net") != host
            assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink(f"/proc/{guard}/ns/pid")
            interfaces = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
            assert [row.partition(":")[0].strip() for row in interfaces] == ["lo"]


def test_a_replica_takes_no_more_memory_than_was_said(running: Installation) -> None:
    with running.client() as client:
        for number in range(8):
            client.completions.create(model="chat", prompt=f"{number} " * 400, max_tokens=8, temperature=0)
    folder = vllm_place.chat_folder()
    parameters = Parameters(engine="vllm", slots=4, slot_context_tokens=1_024)
    said = replica_memory(folder_shape(folder), parameters, 0).device_bytes + adapters_memory([ADAPTER_BYTES], "vllm")
    weights = sum(file.stat().st_size for _, file in vllm_place.files_of(folder))
    for one in ready(running):
        taken = weights + sum(map(proportional_bytes, family(int(str(one["pid"])))))
        print(f"a replica takes {taken:,} bytes; {said:,} were said")
        assert 0.6 * said < taken <= said


def test_an_adapter_answers_beside_its_model_and_the_record_names_it(running: Installation) -> None:
    with running.client() as client:
        ids = [one.id for one in client.models.list()]
        alone, adapted = ({**STORY, "model": name, "max_tokens": 16} for name in ("chat", "chat:letters"))
        texts = [client.completions.create(**asked).choices[0].text for asked in (alone, adapted, alone)]
    assert {"chat", "chat:letters"} <= set(ids)
    assert texts[0] == texts[2] != texts[1]
    (adapter,) = {one["adapters"][0] for one in ready(running)}  # type: ignore[index]
    log = "".join(file.read_text() for file in sorted((running.home / "ledger/gateway-0").glob("*.jsonl")))
    assert f'"adapter":"letters","adapter_digest":"{adapter}"' in log


def test_what_one_tenant_sent_is_no_quicker_for_another(running: Installation) -> None:
    """Timing shows what is remembered: of one tenant's own prompt it is, of another's not."""
    keys = [key_of(running, tenant) for tenant in ("health", "justice")]
    known, foreign = [], []
    with running.client(keys[0]) as ours, running.client(keys[1]) as theirs:
        for number in range(4):
            prompt = f"Record {number}: " + " ".join(str(number * 1_000 + n) for n in range(200))
            for _ in range(2):  # on either replica
                first_token_s(ours, prompt)
            known.append(first_token_s(ours, prompt))
            foreign.append(first_token_s(theirs, prompt))
    hit, miss = statistics.median(known), statistics.median(foreign)
    print(f"first token: {1000 * hit:.0f} ms of a prompt that one's own tenant sent, {1000 * miss:.0f} ms of another's")
    assert miss > 2 * hit


def test_a_stream_goes_on_when_its_replica_is_killed(running: Installation) -> None:
    there = ready(running)
    with running.client() as client:
        whole = client.completions.create(**STORY).choices[0]
        texts, killed, gap_s, last = [], [], 0.0, time.monotonic()
        for event in client.completions.create(**STORY, stream=True):
            gap_s, last = max(gap_s, time.monotonic() - last), time.monotonic()
            texts += [one.text for one in event.choices]
            if len(texts) == 20:
                (one,) = (one for one in there if is_busy(one))
                killed = family(int(str(one["pid"])))
                os.kill(killed[-1], signal.SIGKILL)  # the worker that computes
                os.kill(killed[0], signal.SIGKILL)
    assert "".join(texts) == whole.text
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in killed), "none of its family is left")
    print(f"{len(texts)} events, {len(killed)} processes killed after 20, largest gap {gap_s:.2f} s")


def test_a_replica_is_started_again_after_the_starter_was_killed(running: Installation) -> None:
    eventually(lambda: len(ready(running)) == 2, "both are ready again", START_LIMIT_S, 1)
    kill_companion(running, "starter")
    killed = pids(running)[0]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(ready(running)) == 2 and killed not in pids(running), "it is ready again", START_LIMIT_S, 1)
