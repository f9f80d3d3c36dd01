"""The arena and the capture: what is sent there is seen, whoever it was for, and reaches nobody."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastness
from fastness.perimeter.arena import enter_arena
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.seal import NotSealed

ROOT = Path(fastness.__file__).parent
NOBODY = 65_534
PROGRAM = """
import json, socket, sys
sys.path.append(sys.argv[1])
from fastness.perimeter.arena import enter_arena
from fastness.perimeter.capture import Capture
from fastness.perimeter.kernel import Kernel
enter_arena(Kernel(), everywhere=True)
with Capture() as inside:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(bytes(100_000))
with Capture() as outside:
    for family, places in ((socket.AF_INET, ("192.0.2.1", "224.0.0.1")), (socket.AF_INET6, ("2001:db8::1", "ff02::1"))):
        for place in places:
            with socket.socket(family, socket.SOCK_DGRAM) as speaker:
                speaker.sendto(b"x", (place, 53))
    with socket.socket() as stream:
        stream.connect_ex(("192.0.2.1", 443))
told = {"inside": inside.counts.outside_total, "all": inside.counts.by_interface["lo"], "missed": inside.counts.missed}
told["outside"] = sorted(f"{one.protocol} {one.destination} {one.port}" for _, one in outside.counts.outside)
told["count"] = outside.counts.outside_total
print(json.dumps(told))
"""


def judged(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["inside"], said["missed"]) == (0, 0)
    assert said["all"] > 5
    assert said["outside"] == [
        "tcp 192.0.2.1 443",
        "udp 192.0.2.1 53",
        "udp 2001:db8::1 53",
        "udp 224.0.0.1 53",
        "udp ff02::1 53",
    ]
    assert said["count"] == 5, "answers of this machine to itself are not packets for outside"


def test_every_packet_for_anybody_is_seen_and_none_for_this_machine_is_counted_as_outside() -> None:
    argv = [sys.executable, "-c", PROGRAM, str(ROOT.parent)]
    judged(subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody; everybody else is tested as they are")
def test_it_works_for_a_user_without_any_privilege(tmp_path: Path) -> None:
    copy = Path("/tmp") / f"fastness-arena-{os.getpid()}"  # tmp_path is closed to nobody
    shutil.copytree(ROOT, copy / "fastness", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for python in (sys.executable, "/usr/bin/python3"):
            argv = [python, "-I", "-S", "-c", PROGRAM, str(copy)]
            try:
                done = subprocess.run(
                    argv,
                    user=NOBODY,
                    group=NOBODY,
                    extra_groups=[],
                    cwd="/",
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
            except PermissionError:
                continue
            return judged(done)
    finally:
        shutil.rmtree(copy)
    return pytest.skip("no Python on this machine that an unprivileged user may execute")


def test_where_there_is_no_route_nothing_is_sent() -> None:
    program = PROGRAM.partition("with Capture")[0].replace("everywhere=True", "everywhere=False")
    program += "print(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex(('192.0.2.1', 53)))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT.parent)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == f"{errno.ENETUNREACH}\n", done.stderr


def test_a_machine_that_makes_no_namespaces_is_told_what_to_enable() -> None:
    class Unable(Kernel):
        def unshare(self, flags: int) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    with pytest.raises(NotSealed, match=r"no network of its own can be made: EPERM.*CAP_SYS_ADMIN"):
        enter_arena(Unable(), everywhere=True)
