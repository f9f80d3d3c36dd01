"""`python -m benchmarks.cluster_scaling [--rounds N]`: tokens a second of one replica and of three, on other hosts.

Hosts are network namespaces with a Ray each (as in tests/acceptance/cluster.py; it has to be run as root, or in a user
namespace). Engines are fake and take their time like an accelerator, so that what is measured is everything between
a client and them: gateway, doors, routing. The head runs no engine. Each client asks again as soon as it was answered.
Two deployments, of one replica and of three, are asked in turns, so that what else this machine does meets both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "acceptance")]

from cluster import HEAD, Cluster, cluster  # noqa: E402
from hosts_world import enter  # noqa: E402
from installation import CHAT, eventually  # noqa: E402

HOSTS = ("bristol", "leeds", "york")
SLOTS, TOKENS, TOKEN_MS, FIRST_MS, CHUNK = 8, 32, 60.0, 200.0, 8
BEGIN_S = 2.0
WAITING = 4
"""Clients for each replica beyond its slots, so that a slot that is free is taken at once."""
PATIENT = f"""
import sys
from types import MappingProxyType
from fastness.engines import catalogue
from fastness.engines.fake.behaviour import Behaviour
from fastness.engines.fake.engine import FakeEngine
pace = Behaviour(answer_tokens={TOKENS}, tokens_a_chunk={CHUNK}, first_token_ms={FIRST_MS}, token_ms={TOKEN_MS})
catalogue._ENGINES = MappingProxyType({{**catalogue._ENGINES, "fake": FakeEngine(pace)}})
"""
COUNTS = {"one": 1, "three": 3}
DEPLOYMENTS = "".join(
    f"""
[[deployment]]
name = "{name}"
model = "{CHAT}"
[deployment.parameters]
engine = "fake"
slots = {SLOTS}
slot_context_tokens = 256
[deployment.needs]
apart = true
device_bytes = 1000000
[deployment.scaling]
min = {count}
"""
    for name, count in COUNTS.items()
)


class Clients:
    """So many at the same time on the head's host, each beginning when it likes; counts what they are told."""

    def __init__(self, made: Cluster, model: str, count: int, seconds: float) -> None:
        self._made, self._model, self._count, self._seconds = made, model, count, seconds
        self.told, self.failed = 0, 0
        self.failure: BaseException | None = None
        thread = threading.Thread(target=self._begin)
        thread.start()
        thread.join()
        if self.failure is not None:
            raise self.failure

    def _begin(self) -> None:
        try:
            enter(self._made.net[HEAD].holder.pid)
            asyncio.run(self._run())
        except BaseException as error:
            self.failure = error

    async def _run(self) -> None:
        assert self._made.head
        headers = {"authorization": f"Bearer {self._made.head.admin_key}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=self._made.head.base_url, headers=headers, timeout=60, trust_env=False, limits=limits
        ) as client:
            self._from_s = time.monotonic() + 2 * BEGIN_S  # by then all have begun
            self._until_s = self._from_s + self._seconds
            await asyncio.gather(*(self._ask(client) for _ in range(self._count)))

    async def _ask(self, client: httpx.AsyncClient) -> None:
        body: dict[str, Any] = {"model": self._model, "prompt": "Say something.", "max_tokens": TOKENS, "stream": True}
        await asyncio.sleep(random.uniform(0.0, BEGIN_S))
        while time.monotonic() < self._until_s:
            whole = False
            async with client.stream("POST", "/completions", json=body) as answer:
                async for line in answer.aiter_lines():
                    self.told += line.startswith("data: {") and self._from_s <= time.monotonic() < self._until_s
                    whole = whole or line == "data: [DONE]"
            self.failed += not whole


@contextmanager
def hosts_with_patient_engines() -> Iterator[Cluster]:
    """Have the cluster, with no engine on the head."""
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder:
        patient = Path(folder) / "patient"
        patient.mkdir()
        (patient / "sitecustomize.py").write_text(PATIENT)
        with cluster(Path(folder), *HOSTS, own={HEAD: {"FASTNESS__TRAFFIC__ENGINE_QUEUE": "0"}}) as made:
            for name in HOSTS:
                made.own[name] = {"PYTHONPATH": str(patient), "FASTNESS__NODE__CPU_SLOTS": "2"}
                made.join(name)
            eventually(lambda: sum(one["heard_s"] is not None for one in made.seen().values()) == 4, "joined", 120)
            made.verb(HEAD, "nodes", "cordon", "local")
            file = Path(folder) / "deployment.toml"
            file.write_text(DEPLOYMENTS)
            made.verb(HEAD, "apply", str(file), "--yes")
            eventually(lambda: len(made.ready()) == sum(COUNTS.values()), "all replicas are ready", 60)
            yield made


def measure(rounds: int, seconds: float) -> float:
    """Print answers a second of each, and return the efficiency: three replicas by three times one."""
    found: dict[str, list[float]] = {name: [] for name in COUNTS}
    with hosts_with_patient_engines() as made:
        for _ in range(rounds):
            for name, count in COUNTS.items():
                clients = Clients(made, name, count * (SLOTS + WAITING), seconds)
                assert not clients.failed, f"{clients.failed} failed"
                found[name].append(clients.told / seconds)
    one, three = (statistics.median(each) for each in found.values())
    for name, each in found.items():
        told = " ".join(f"{value:.2f}" for value in each)
        print(f"{COUNTS[name]} replica(s)  {statistics.median(each):6.2f} events/s  ({told})")
    print(f"efficiency  {three / (3 * one):.1%}")
    return three / (3 * one)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0)
    given = parser.parse_args()
    measure(given.rounds, given.seconds)


if __name__ == "__main__":
    main()
