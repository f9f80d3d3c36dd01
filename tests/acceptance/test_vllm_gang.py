"""One replica over two hosts, real vLLM: the text of a single engine, only TLS between hosts, one end for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

import vllm_place
from cluster import HEAD, Cluster, cluster
from fastness.fleet.ray.ports import RayPorts
from hosts_world import enter
from installation import eventually
from wire_tap import WireTap

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
OTHER, READY_S = "bristol", 400
RAY, DOOR = RayPorts(6379), 7443
PROMPT, TOKENS = "Once upon a time in a quillwort village", 48
OWN = {
    "FASTNESS__ENGINE__EMBEDDING_MODEL": "",
    "FASTNESS__ENGINE__START_TIMEOUT_S": str(READY_S),
    "FASTNESS__ENGINE__VLLM_PYTHON": "",
    "FASTNESS__NODE__CPU_SLOTS": "1",
}
DEPLOYMENT = """
[[deployment]]
name = "chat"
model = "town-hall"
[deployment.parameters]
engine = "vllm"
slots = 2
slot_context_tokens = 512
threads = 1
[deployment.needs]
accelerator = "cpu"
nodes = 2
"""
SINGLE = """
import sys
from vllm import LLM, SamplingParams
if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=2,
              gpu_memory_utilization=0.01, kv_cache_memory_bytes=200_000_000, block_size=32)
    print("TEXT" + llm.generate([sys.argv[2]], SamplingParams(temperature=0, max_tokens=48))[0].outputs[0].text)
"""


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A single engine that says the same, while the others start."""
    folder = tmp_path_factory.mktemp("single")
    (folder / "single.py").write_text(SINGLE)
    environ = {
        "HOME": str(folder), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1", "VLLM_PLUGINS": "",
        "VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    argv = [str(vllm_place.python()), str(folder / "single.py"), str(vllm_place.chat_folder()), PROMPT]
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, single: subprocess.Popen[str]) -> Iterator[Cluster]:
    """Two hosts with one device each, and a deployment that takes both for one replica."""
    own = OWN | {"FASTNESS__ENGINE__VLLM_PYTHON": str(vllm_place.python())}
    with cluster(tmp_path_factory.mktemp("gang"), OTHER, own={HEAD: own, OTHER: own}) as one:
        one.join(OTHER)
        eventually(lambda: sum(each["heard_s"] is not None for each in one.seen().values()) == 2, "both joined", 90)
        folder = str(vllm_place.chat_folder())
        one.verb(HEAD, "models", "import", folder, "--name", "town-hall", "--licence", "Apache-2.0")
        one.verb(HEAD, "models", "admit", "town-hall", "--ceiling", "OFFICIAL")
        (one.folder / "deployment.toml").write_text(DEPLOYMENT)
        one.verb(HEAD, "apply", str(one.folder / "deployment.toml"), "--no-wait")
        eventually(lambda: one.ready(), "the replica is ready", READY_S)
        yield one


def answered(made: Cluster) -> str:
    """What it says, asked on the head's host."""
    found: list[str | BaseException] = []

    def ask() -> None:
        try:
            enter(made.net[HEAD].holder.pid)
            assert made.head
            headers = {"authorization": f"Bearer {made.head.admin_key}"}
            body = {"model": "chat", "prompt": PROMPT, "temperature": 0, "max_tokens": TOKENS}
            answer = httpx.post(
                f"{made.head.base_url}/completions", json=body, headers=headers, timeout=120, trust_env=False
            )
            assert answer.is_success, answer.text
            found.append(answer.json()["choices"][0]["text"])
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    (text,) = found
    assert isinstance(text, str), text
    return text


def family(pids: list[int]) -> dict[int, bytes]:
    """Those processes and all that they started, each with its command line."""
    found = dict.fromkeys(pids, b"")
    waiting = list(pids)
    for pid in waiting:
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
            for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
                if child not in found:
                    found[child] = b""
                    waiting.append(child)
    return found


def members(made: Cluster) -> dict[str, dict[int, bytes]]:
    return {name: family(made.engines(name)) for name in (HEAD, OTHER)}


def test_its_text_is_a_single_engines_and_between_the_hosts_there_is_only_tls_on_declared_ports(
    made: Cluster, single: subprocess.Popen[str]
) -> None:
    assert len(made.ready()) == 1, "requests go to the first member only"
    with WireTap(made.net, (b"quillwort", b"hidden_states", b"198.18.0.")) as tap:
        text = answered(made)
    output, _ = single.communicate(timeout=READY_S)
    assert text == output.partition("TEXT")[2].removesuffix("\n") != ""
    seen = tap.seen
    assert seen.packets > TOKENS and seen.missed == 0
    assert seen.addresses <= {made.net[name].address for name in (HEAD, OTHER)} and not seen.other
    assert {port for _, port in seen.servers} <= {*RAY.all(), DOOR}
    assert not seen.legible


def test_when_one_member_is_killed_the_others_end_with_it_and_all_come_back(made: Cluster) -> None:
    before = members(made)
    first = "local" in made.ready().values()
    follower = OTHER if first else HEAD
    (victim, *_) = [pid for pid, line in before[follower].items() if line.startswith(b"VLLM::Worker")]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: not made.ready(), "it gets no requests any more", 60)
    gone = [pid for there in before.values() for pid in there]
    eventually(lambda: not [pid for pid in gone if Path(f"/proc/{pid}").exists()], "all of it has ended", 60)
    eventually(lambda: made.ready(), "it is ready again", READY_S)
    assert answered(made)


def test_a_member_sees_no_network_but_that_of_its_gang(made: Cluster) -> None:
    for rank_host, there in members(made).items():
        (guard, *_) = made.engines(rank_host)
        inside = [pid for pid in there if pid != guard]
        routes = Path(f"/proc/{inside[0]}/net/route").read_text().splitlines()[1:]
        assert [line.split()[0] for line in routes] == ["gang0"], routes
        assert json.dumps(sorted(os.listdir(f"/proc/{inside[0]}/net/dev_snmp6"))) == '["gang0", "lo"]'
