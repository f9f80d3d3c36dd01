"""The proof: refused inside, and the same attempts shown to succeed outside, so that a refusal means something."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import fastness
from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement, ProbeResult, SealUnavailable
from fastness.perimeter.probe import PROBES
from fastness.perimeter.proof import prepared_ground, run_probes

NOBODY = 65_534
PROOF_S_MAX = 3.0  # it takes 0.1 s on a quiet machine

# What anybody can do on any Linux, and nobody can do sealed.
ALLOWED_TO_ANYBODY = """
tcp4-loopback udp4-loopback abstract-socket neighbour-socket unix-datagram netlink any-other-family
root-directory secret neighbour parent-environment write-temporary write-neighbour write-secret truncate-secret
change-mode change-owner change-times link-in symbolic-link remove execute-own-file execute-shell
inherited-descriptor start-process signal-parent signal-everybody owner-of-signals limit-parent parent-handle
forget-lifeline leave-session type-on-terminal lower-core-limit memory-file shared-memory watch-files
"""
ALLOWED_TO_ROOT = """
home icmp4-raw ip4-raw packet device new-namespace join-namespace mount clone-mounts change-groups change-root
parent-memory read-parent trace-parent kernel-log
"""


class Unsealed(LocalPerimeter):
    """What a perimeter would be that does not seal."""

    def sealed_argv(self, argv: tuple[str, ...], confinement: Confinement) -> tuple[str, ...]:
        return super().sealed_argv(argv, replace(confinement, unsealed=True))


@pytest.fixture
def targets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP listener and a UDP socket on this machine's loopback address."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        mailbox = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        mailbox.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        mailbox.setblocking(False)
        yield listener, mailbox


def probed(
    perimeter: LocalPerimeter, targets: tuple[socket.socket, socket.socket]
) -> tuple[dict[str, ProbeResult], Path]:
    with prepared_ground() as (ground, confinement):
        ports = {"tcp_port": targets[0].getsockname()[1], "udp_port": targets[1].getsockname()[1]}
        results = run_probes(perimeter.probe_argv(confinement), ground | ports)
        return {result.id: result for result in results}, Path(str(ground["secret"]))


def test_no_probe_passes_in_a_seal_made_here_and_now() -> None:
    report = LocalPerimeter().prove()
    assert report.passed == ()
    assert {probe.id for probe in PROBES} < {result.id for result in report.results}
    assert report.elapsed_s < PROOF_S_MAX
    assert report.summary() == f"{len(report.results)} probes, 0 passed"


def test_a_seal_that_holds_passes_the_check() -> None:
    assert LocalPerimeter().check().passed == ()


def test_a_sealed_process_reaches_no_listener_of_this_machine(targets: tuple[socket.socket, socket.socket]) -> None:
    results, _ = probed(LocalPerimeter(), targets)
    assert all(result.refused for result in results.values())
    with pytest.raises(BlockingIOError):
        targets[0].accept()
    with pytest.raises(BlockingIOError):
        targets[1].recv(1)


def test_the_same_probes_get_through_without_a_seal(targets: tuple[socket.socket, socket.socket]) -> None:
    results, _ = probed(Unsealed(), targets)
    expected = (ALLOWED_TO_ANYBODY + (ALLOWED_TO_ROOT if os.geteuid() == 0 else "")).split()
    assert sorted(name for name in expected if results[name].refused) == []
    connection, _ = targets[0].accept()
    connection.close()
    assert targets[1].recv(1) == b""


def test_a_probe_that_would_leave_the_machine_is_not_tried_once_a_probe_before_it_got_through(
    targets: tuple[socket.socket, socket.socket],
) -> None:
    results, _ = probed(Unsealed(), targets)
    leaving = [probe.id for probe in PROBES if probe.leaves]
    assert {"tcp4-outside", "udp6-outside", "dns-lookup"} <= set(leaving)
    assert {results[name].answer for name in leaving} == {"not tried, because tcp4-loopback was allowed"}
    assert not any(results[name].refused for name in leaving)


def test_the_witness_sees_from_outside_that_there_is_no_seal(targets: tuple[socket.socket, socket.socket]) -> None:
    results, _ = probed(Unsealed(), targets)
    for name in ("seen-net", "seen-ipc", "seen-uts", "seen-nonewprivs", "seen-seccomp", "seen-session"):
        assert not results[name].refused, name


def test_a_seal_that_does_not_hold_fails_the_check_with_every_leak_named() -> None:
    with pytest.raises(SealUnavailable) as caught:
        Unsealed().check()
    for name in ("tcp4-loopback", "secret", "execute-shell", "seen-seccomp"):
        assert name in str(caught.value)


def test_a_program_that_ends_before_its_probes_proves_nothing() -> None:
    with prepared_ground() as (ground, _), pytest.raises(SealUnavailable, match="status 3"):
        run_probes((sys.executable, "-I", "-S", "-c", "import sys; sys.exit(3)"), ground)


def test_a_probe_without_an_answer_counts_as_passed() -> None:
    silent = "import os, sys; os.write(1, b'{}'); sys.stdin.readline(); os.write(1, b'[]\\nnot json\\n')"
    with prepared_ground() as (ground, _):
        results = run_probes((sys.executable, "-I", "-S", "-c", silent), ground)
    answers = {result.answer for result in results if not result.id.startswith("seen-")}
    assert answers == {"no answer"}
    assert not any(result.refused for result in results if not result.id.startswith("seen-"))


def test_a_machine_that_cannot_seal_says_why() -> None:
    class Unable(LocalPerimeter):
        def sealed_argv(self, argv: tuple[str, ...], confinement: Confinement) -> tuple[str, ...]:
            return super().sealed_argv(argv, replace(confinement, readable=(Path("/does/not/exist"),)))

    with pytest.raises(SealUnavailable, match=r"layer `files`: ENOENT: .*/does/not/exist"):
        Unable().check()


def test_the_ground_of_a_proof_is_gone_afterwards(targets: tuple[socket.socket, socket.socket]) -> None:
    _, secret = probed(LocalPerimeter(), targets)
    assert not secret.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody; everybody else is tested as they are")
def test_the_seal_holds_for_a_user_without_any_privilege(tmp_path: Path) -> None:
    root = str(Path(fastness.__file__).resolve().parents[1])
    prove = (
        f"import sys, json; sys.path.append({root!r}); from fastness.perimeter.local import LocalPerimeter; "
        "report = LocalPerimeter().prove(); "
        "print(json.dumps({'passed': [result.id for result in report.passed], 'tried': len(report.results)}))"
    )
    for python in (sys.executable, "/usr/bin/python3"):  # ours may stand in a home directory that nobody may enter
        try:
            done = subprocess.run(
                [python, "-I", "-S", "-c", prove],
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                timeout=60,
                check=False,
            )
        except PermissionError:
            continue
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout) == {"passed": [], "tried": len(LocalPerimeter().prove().results)}
        return
    pytest.skip("no Python on this machine that an unprivileged user may execute")
