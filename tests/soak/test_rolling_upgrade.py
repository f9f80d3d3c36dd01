"""A cluster goes over to a new release, host by host and line by line as docs/how-to/operate.md says, under traffic."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "acceptance"))

from cluster import HEAD, OTHERS, Cluster, cluster, deploy, join_all
from fastness import __version__
from fastness.ledger.verify import read, verify
from installation import CHAT, eventually
from killing import recorded
from releases import OLDER_CLUSTER, installed, older

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2_400)]
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/operate.md"
OLD, NEW = "fastness-OLD", "fastness-NEW"
NODE = "bristol-07"
"""The node of the page, in whose place each node is put in turn."""
PATIENT = {
    "FASTNESS__TRAFFIC__QUEUE_TIMEOUT_S": "600",
    "FASTNESS__TRAFFIC__RESUME_TIMEOUT_S": "600",
    "FASTNESS__GATEWAY__DRAIN_TIMEOUT_S": "300",
}
"""Nothing is refused here because this machine is slow."""
LIMIT_S = 300.0


def steps_of(section: str) -> list[list[tuple[str, list[str]]]]:
    """The console blocks of a section of the page: of each line the host that it is for, and its words."""
    text = re.split("^##", PAGE.read_text().partition(f"\n### {section}\n")[2], flags=re.MULTILINE)[0]
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [re.findall(r"^(\S+)[$#] (.*)$", block, re.MULTILINE) for block in blocks]
    return [[(host, shlex.split(words)) for host, words in block] for block in lines]


class Drill:
    """Does on the hosts of a cluster what the page says, and keeps the time of each step. systemd is this test."""

    def __init__(self, made: Cluster, releases: dict[str, Path]) -> None:
        self.made, self.rows, self._restarted_s = made, list[tuple[str, float]](), 0.0
        for name in made.net.hosts:
            opt = self.opt(name)
            opt.mkdir()
            for release, prefix in releases.items():
                (opt / release).symlink_to(prefix)
            (opt / "fastness").symlink_to(opt / OLD)
            made.programs[name] = opt / "fastness/bin/fastness"

    def opt(self, host: str) -> Path:
        return self.made.folder / f"opt-{host}"

    def perform(self, host: str, words: list[str], node: str) -> None:
        """Do one line of the page, with `node` in the place of the node there."""
        host, words = (node if host == NODE else host), [word.replace(NODE, node) for word in words]
        began_s = time.monotonic()
        if words[0] == "systemctl":
            if words[1] in ("stop", "restart"):
                self.made.stop_head() if host == HEAD else self.made.stop(host)
            self._restarted_s = time.time()
            if words[1] in ("start", "restart"):
                self.made.start_head() if host == HEAD else self.made.join(host)
        elif words[0] == "fastness":
            self.made.verb(host, *words[1:])
            if words[1:] == ["nodes"]:  # who looks waits for what is said to be seen there
                eventually(lambda: self.is_back(node), f"{node} is back", LIMIT_S, 0.2)
        else:
            subprocess.run([word.replace("/opt", str(self.opt(host))) for word in words], check=True, timeout=60)
        self.rows.append((f"{host}: {' '.join(words)}", time.monotonic() - began_s))
        print(f"{self.rows[-1][0]:<72} {self.rows[-1][1]:6.1f} s", flush=True)

    def is_back(self, node: str) -> bool:
        """Whether the head has answered a node since it was restarted, and counts on it."""
        granted_s = self.made.told(node, "lease.granted")[-1:]
        return granted_s > [self._restarted_s] and not self.made.seen()[node]["lost"]

    def versions(self, host: str) -> list[str]:
        """The releases that were started on a host, as its ledger has them."""
        return [str(one.fields["version"]) for one in read(self.made.home(host) / "ledger/node") if one.type == "boot"]


class Clients:
    """Clients on the head's host that ask all the time: those of the drills."""

    def __init__(self, made: Cluster) -> None:
        assert made.head
        self._file = made.folder / "heard.jsonl"
        self._file.touch()
        address = made.net[HEAD].address
        script = [sys.executable, str(ROOT / "deploy/drills/traffic.py"), "8080", CHAT, str(self._file)]
        self._process = made.net[HEAD].popen(
            [*script, "--address", address], os.environ | {"FASTNESS_API_KEY": made.head.admin_key}
        )

    def heard(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_text().rpartition("\n")[0].splitlines()]

    def more(self, count: int) -> None:
        """Wait for so many answers to what is asked from now on."""
        now_s = time.time()
        eventually(lambda: self._since(now_s) >= count, f"{count} answers", LIMIT_S, 0.1)

    def _since(self, began_s: float) -> int:
        return sum(one["began_s"] > began_s for one in self.heard())

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(LIMIT_S) == 0


@contextmanager
def asking(made: Cluster) -> Iterator[Clients]:
    clients = Clients(made)
    try:
        yield clients
    finally:
        clients.close()


def answering(made: Cluster) -> set[str]:
    """The nodes of replicas that are ready and have answered. Each of three replicas on two nodes of two slots will."""
    entries, ready = read(made.home(HEAD) / "ledger/gateway-0"), made.ready()
    return {ready[one] for entry in entries if (one := str(entry.fields.get("replica"))) in ready}


def test_a_cluster_goes_over_to_a_new_release_host_by_host_and_no_request_fails(tmp_path: Path) -> None:
    source, is_older = older(tmp_path / "older", OLDER_CLUSTER)
    print("from an earlier commit" if is_older else "this clone has no earlier commit: from the same source, renamed")
    releases = {OLD: installed(tmp_path / OLD, source, "ray.txt"), NEW: Path(sys.prefix)}
    of_a_node, of_the_head = steps_of("Several machines")
    (folder := tmp_path / "hosts").mkdir()
    programs = dict.fromkeys((HEAD, *OTHERS), releases[OLD] / "bin/fastness")
    with cluster(folder, *OTHERS, own={HEAD: PATIENT}, programs=programs) as made:
        join_all(made, *OTHERS)
        deploy(made)
        drill = Drill(made, releases)
        with asking(made) as clients:
            clients.more(12)
            for node in OTHERS:
                for host, words in of_a_node:
                    drill.perform(host, words, node)
                clients.more(12)
            drill.perform(*of_the_head[0], HEAD)
            eventually(lambda: answering(made) == set(OTHERS), "new nodes answer what the old head asks", LIMIT_S)
            leaves_s = time.time()
            for host, words in of_the_head[1:]:
                drill.perform(host, words, HEAD)
            clients.more(12)
        heard = clients.heard()
        assert [drill.versions(host) for host in (HEAD, *OTHERS)] == 3 * [["0.0.9", __version__]]
        made.state()
    entries = recorded(made.home(HEAD))
    assert [one for one in heard if not one["whole"]] == []
    assert [one for one in heard if one["tries"] > 1 and one["ended_s"] < leaves_s] == [], "while the head was there"
    assert [one for one in heard if entries[one["request_id"]] != 1] == [], "every answer is on record, once"
    assert all(verify(made.home(host) / "ledger").sound for host in (HEAD, *OTHERS))
    waited = max(one["waited_s"] for one in heard)
    print(f"{len(heard)} answers, none lost; the longest wait, for the head: {waited:.1f} s")
