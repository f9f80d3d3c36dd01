"""The filter of our own processes, executed by the interpreter that the engines' filter is tested with."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.perimeter.kernel import Kernel
from fastness.perimeter.reach import _ABSENT, _CALLS, speak_to, stay_local
from fastness.perimeter.seal import NotSealed
from fastness.perimeter.syscalls import ARCHITECTURES

MACHINES = list(ARCHITECTURES)
ALLOWED = 0
WORDS = st.integers(0, 2**32 - 1)
UNIX, INET, INET6, NETLINK, PACKET = 1, 2, 10, 16, 17
STREAM, DGRAM, RAW = 1, 2, 3
FLAGS = 0o2004000  # close on exec, non-blocking


class Writing(Kernel):
    """Keeps the filter instead of installing it, and has no Landlock."""

    program = b""

    def prctl(self, option: int, *arguments: int) -> int:
        return 0

    def landlock_abi(self) -> int:
        return 3

    def install_filter(self, program: bytes) -> None:
        self.program = program


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    class Uname:
        machine = request.param

    monkeypatch.setattr("os.uname", Uname)
    monkeypatch.setattr("os.listdir", lambda _: ["1"])
    return str(request.param)


def verdict(program: bytes, machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    seen = struct.pack("=IIQ6Q", number, architecture or ARCHITECTURES[machine], 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    lines, accumulator, at = list(struct.iter_unpack("=HBBI", program)), 0, 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("=I", seen, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        else:
            return ALLOWED if value == 0x7FFF0000 else int(value & 0xFFFF)


def local(machine: str) -> tuple[bytes, int]:
    kernel = Writing()
    stay_local(kernel)
    return kernel.program, MACHINES.index(machine)


def broker(machine: str, *, names: bool) -> tuple[bytes, int]:
    kernel = Writing()
    speak_to((443,), names=names, kernel=kernel)
    return kernel.program, MACHINES.index(machine)


def test_only_unix_sockets_can_be_made(machine: str) -> None:
    program, column = local(machine)

    @given(family=WORDS, kind=WORDS, high=WORDS)
    def judged(family: int, kind: int, high: int) -> None:
        for name in ("socket", "socketpair"):
            expected = ALLOWED if family == UNIX else errno.EAFNOSUPPORT
            assert verdict(program, machine, _CALLS[name][column], family | high << 32, kind) == expected

    judged()
    assert verdict(program, machine, _CALLS["socket"][column], UNIX, STREAM | FLAGS) == ALLOWED


def test_the_other_ways_to_a_socket_do_not_exist(machine: str) -> None:
    for program, column in (local(machine), broker(machine, names=True)):
        for name, numbers in _ABSENT.items():
            assert verdict(program, machine, numbers[column]) == errno.ENOSYS, name


def test_no_call_of_another_architecture_or_of_x32_exists(machine: str) -> None:
    program, column = local(machine)
    socket = _CALLS["socket"][column]
    assert verdict(program, machine, 0x40000000 | socket, UNIX) == errno.ENOSYS
    for other in ARCHITECTURES.values():
        if other != ARCHITECTURES[machine]:
            assert verdict(program, machine, socket, UNIX, architecture=other) == errno.ENOSYS


def test_sending_may_not_connect(machine: str) -> None:
    program, column = local(machine)
    for name, at in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        assert verdict(program, machine, _CALLS[name][column], *(0,) * at, 0x4040) == ALLOWED
        assert verdict(program, machine, _CALLS[name][column], *(0,) * at, 0x20004040) == errno.EPERM


def test_everything_else_is_as_it_was(machine: str) -> None:
    program, column = local(machine)
    special = {numbers[column] for numbers in (*_ABSENT.values(), *_CALLS.values())}
    assert all(verdict(program, machine, number) == ALLOWED for number in range(600) if number not in special)


def test_the_broker_makes_tcp_sockets_and_udp_ones_only_to_look_names_up(machine: str) -> None:
    for names in (False, True):
        program, column = broker(machine, names=names)
        socket = _CALLS["socket"][column]
        for family in (INET, INET6):
            assert verdict(program, machine, socket, family, STREAM | FLAGS, 6) == ALLOWED
            expected = ALLOWED if names else errno.EAFNOSUPPORT
            assert verdict(program, machine, socket, family, DGRAM | FLAGS, 17) == expected
            assert verdict(program, machine, socket, family, RAW, 255) == errno.EAFNOSUPPORT
            assert verdict(program, machine, socket, family, DGRAM, 1) == errno.EAFNOSUPPORT, "ICMP"
            assert verdict(program, machine, socket, family, STREAM, 262) == errno.EAFNOSUPPORT, "multipath TCP"
        for family in (NETLINK, PACKET, 40, 44):
            assert verdict(program, machine, socket, family, STREAM) == errno.EAFNOSUPPORT


def test_it_is_refused_when_threads_run_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.listdir", lambda _: ["1", "2"])
    with pytest.raises(NotSealed, match="2 run already"):
        stay_local(Writing())


def test_an_unknown_machine_or_a_kernel_without_filters_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unable(Writing):
        def install_filter(self, program: bytes) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    class Uname:
        machine = "riscv64"

    monkeypatch.setattr("os.listdir", lambda _: ["1"])
    with pytest.raises(NotSealed, match=r"EINVAL.*CONFIG_SECCOMP_FILTER"):
        stay_local(Unable())
    monkeypatch.setattr("os.uname", Uname)
    with pytest.raises(NotSealed, match="riscv64"):
        stay_local(Writing())
