"""Law 1 on a running installation: what each process holds, what its network lets out, and life without one."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.config import run_directory
from installation import CHAT, EMBEDDING, Installation, eventually, start, stop
from killing import child, forget, kill, processes_of
from traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MODELS = pytest.mark.parametrize("model", [CHAT, EMBEDDING])
NO_NAMESPACES = "this machine makes no network namespaces"
ATTEMPTS = """
import json, socket, sys
places = [
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(sys.argv[1]))),
    (socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 443)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 443)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", int(sys.argv[1]))),
]
said = []
for family, kind, place in places:
    with socket.socket(family, kind) as probe:
        probe.settimeout(5)
        said.append(probe.connect_ex(place))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    running = start(tmp_path_factory.mktemp("sealed"), environ={"FASTNESS__ENGINE__THREADS": "1"})
    try:
        yield running
        assert stop(running) == 0
    finally:
        forget(running.home)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def descriptors(pid: int) -> list[str]:
    """What each open descriptor of a process is: a path, or `socket:[inode]`, `pipe:[inode]`, `anon_inode:[…]`."""
    return [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()]


def inodes(pid: int) -> set[str]:
    found = (re.fullmatch(r"socket:\[(\d+)\]", one) for one in descriptors(pid))
    return {one[1] for one in found if one}


def outside(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip


def unshare() -> list[str]:
    """The command that makes an empty network namespace, with root's rights or with those of a user namespace."""
    command = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if outside([*command, "true"]).returncode:
        assert not os.environ.get("CI"), f"{NO_NAMESPACES}, so nothing shows that Fastness needs no network"
        pytest.skip(NO_NAMESPACES)
    return command


@MODELS
def test_all_sockets_of_an_engine_are_unix_sockets_of_its_own_namespace(sealed, model):
    pid = sealed.engine_pid(model)
    lines = Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]
    own = {line.split()[6] for line in lines}
    assert inodes(pid)
    assert inodes(pid) <= own, "a socket that was made elsewhere: a way out"
    named = [Path(line.split()[7]) for line in lines if len(line.split()) > 7]
    scratch = run_directory(sealed.home, os.getuid()) / "engines"
    assert all(path.is_relative_to(scratch) or path.name == "engine.sock" for path in named), "no abstract sockets"


@MODELS
def test_an_engine_holds_no_file_that_it_was_not_given(sealed, model):
    pid = sealed.engine_pid(model)
    run = run_directory(sealed.home, os.getuid())
    opened = [one for one in descriptors(pid) if one.startswith("/")]
    mapped = re.findall(r" (/\S.*)$", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE)
    for path in map(Path, {*opened, *mapped}):
        if path.is_relative_to(sealed.home) or path.is_relative_to(run):
            assert path.suffix == ".gguf" or path.is_relative_to(run / "engines"), path
    weights = [path for path in {*opened, *mapped} if path.endswith(".gguf")]
    assert len(set(weights)) <= 1, "the other model's weights are not its business"


@MODELS
def test_the_network_of_an_engine_leads_nowhere(sealed, model):
    unshare()
    pid, port = sealed.engine_pid(model), sealed.root.rpartition(":")[2]
    ways = ["--net"] if os.geteuid() == 0 else ["--user", "--net", "--preserve-credentials"]
    said = outside(["nsenter", "--target", str(pid), *ways, sys.executable, "-c", ATTEMPTS], port)
    assert said.returncode == 0, said.stderr
    answers = json.loads(said.stdout)
    assert set(answers) <= {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ECONNREFUSED}, answers
    assert answers[0] == answers[1] == errno.ENETUNREACH, "not even the gateway's own port can be reached"


def test_an_engine_that_was_started_again_is_sealed_again(sealed):
    before = sealed.engine_pid()
    kill(before)
    eventually(lambda: sealed.replicas()[0]["state"] == "ready" and sealed.engine_pid() != before, "ready again")
    after = status(sealed.engine_pid())
    assert (after["Seccomp"], after["NoNewPrivs"], int(after["CapEff"], 16)) == ("2", "1", 0)
    network = Path(f"/proc/{sealed.engine_pid()}/ns/net").readlink()
    assert network != Path("/proc/self/ns/net").readlink()


def test_no_process_of_a_working_installation_speaks_to_another_machine(sealed):
    ours = {pid: inodes(pid) for pid in processes_of(sealed.home)}
    with Traffic(sealed, seed=5, clients=4) as traffic:
        eventually(lambda: traffic.count() >= 8, "traffic flows", 60)
        ours |= {pid: inodes(pid) for pid in processes_of(sealed.home)}
        tables = [line.split() for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
                  for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]  # fmt: skip
    assert child(sealed, "gateway") in ours
    held = set().union(*ours.values())
    mine = [row for row in tables if row[9] in held]
    assert mine, "the gateway's own sockets are seen"
    loopback, nobody = "0100007F", "00000000"
    assert {row[1].split(":")[0] for row in mine} == {loopback}, "nobody listens on more than this machine"
    assert {row[2].split(":")[0] for row in mine} <= {loopback, nobody}


def test_everything_works_where_there_is_no_way_out(tmp_path):
    command = [*unshare(), sys.executable, str(Path(__file__).with_name("without_route.py"))]
    try:
        done = outside(command, str(tmp_path))
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
    finally:
        forget(tmp_path)
    assert said["way_out"] == "ENETUNREACH"
    assert said["interfaces"] == ["lo"]
    assert said["text"].strip()
    assert said["dimensions"] == 384
    assert said["sound"] is True
    assert said["exit_code"] == 0
