"""The filter, executed here by a small interpreter of its four instructions, for both machines."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.perimeter.seccomp import filter_program
from fastness.perimeter.syscalls import ARCHITECTURES, allowed_numbers, conditional_numbers

MACHINES = sorted(ARCHITECTURES)
PID = 4_242
ALLOWED = 0
WORDS = st.integers(0, 2**64 - 1)
CLONE_THREAD_FLAGS = 0x3D0F00  # what a C library passes to start a thread


def verdict(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Run the filter on one call; return 0 for allowed, or the errno it answers with."""
    seen_as = ARCHITECTURES[machine] if architecture is None else architecture
    seen = struct.pack("=iIQ6Q", number, seen_as, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    program = list(struct.iter_unpack("=HBBI", filter_program(machine, PID)))
    accumulator = at = 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("=I", seen, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        else:
            assert code == 0x06
            if value == 0x7FFF0000:
                return ALLOWED
            assert value >> 16 == 5, "only an errno or an allowance is ever answered"
            return int(value & 0xFFFF)


def call(machine: str, name: str, *arguments: int) -> int:
    return verdict(machine, conditional_numbers(machine)[name], *arguments)


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**31 - 1), arguments=st.lists(WORDS, max_size=6))
def test_a_call_that_is_not_in_the_table_does_not_exist(machine: str, number: int, arguments: list[int]) -> None:
    known = {*allowed_numbers(machine).values(), *conditional_numbers(machine).values()}
    if number not in known:
        assert verdict(machine, number, *arguments) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_of_the_table_is_allowed(machine: str) -> None:
    for name, number in allowed_numbers(machine).items():
        assert verdict(machine, number) == ALLOWED, name


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_up_to_1000_that_is_allowed_stands_in_the_table(machine: str) -> None:
    allowed = {number for number in range(1_000) if verdict(machine, number, 2**40) == ALLOWED}
    assert allowed - set(conditional_numbers(machine).values()) == set(allowed_numbers(machine).values())


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**32 - 1).filter(lambda value: value not in ARCHITECTURES.values()))
def test_no_call_of_another_architecture_exists(machine: str, number: int) -> None:
    assert verdict(machine, allowed_numbers(machine)["read"], architecture=number) == errno.ENOSYS


def test_no_x32_call_exists() -> None:
    for number in range(1_000):
        assert verdict("x86_64", 0x40000000 | number) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["socket", "socketpair"])
@given(family=st.integers(0, 2**32 - 1), kind=st.integers(0, 2**32 - 1), high=st.integers(0, 2**32 - 1))
def test_only_unix_stream_sockets_can_be_opened(machine: str, name: str, family: int, kind: int, high: int) -> None:
    flags = 0o2004000  # close on exec, non-blocking
    assert call(machine, name, 1, 1 | flags, 0) == ALLOWED
    expected = ALLOWED if family == 1 and kind & 0xF == 1 else errno.EAFNOSUPPORT
    assert call(machine, name, family | high << 32, kind | high << 32, 0) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_a_thread_may_be_started_but_no_process_and_no_namespace(machine: str) -> None:
    assert call(machine, "clone", CLONE_THREAD_FLAGS) == ALLOWED
    for flags in (0, 17, 0x4000 | 0x100 | 17, 0x40000000, CLONE_THREAD_FLAGS | 0x10000000, CLONE_THREAD_FLAGS | 0x80):
        assert call(machine, "clone", flags) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["kill", "tgkill"])
@given(pid=st.integers(0, 2**32 - 1).filter(lambda pid: pid != PID))
def test_a_process_may_signal_itself_and_nobody_else(machine: str, name: str, pid: int) -> None:
    assert call(machine, name, PID) == ALLOWED
    assert call(machine, name, pid) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
@given(new=WORDS.filter(bool))
def test_limits_may_be_read_but_not_set_nor_read_of_others(machine: str, new: int) -> None:
    assert call(machine, "prlimit64", 0, 7, 0, 2**40) == ALLOWED
    assert call(machine, "prlimit64", PID, 7, 0, 2**40) == ALLOWED
    assert call(machine, "prlimit64", 0, 7, new, 0) == errno.EPERM
    assert call(machine, "prlimit64", 1, 7, 0, 2**40) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "at", "allowed", "refused"),
    [
        ("ioctl", 1, (0x5401, 0x5421, 0x5451), (0x5412, 0x541C, 0x5423, 0x8902, 0)),
        ("fcntl", 1, (1, 2, 3, 4, 1030), (8, 10, 15, 1024, 1026, 1033)),
        ("prctl", 0, (15, 16, 21, 0x53564D41), (1, 8, 22, 24, 28, 47, 36, 0x59616D61)),
        ("sched_setaffinity", 0, (0, PID), (1, PID + 1)),
    ],
)
def test_of_a_call_with_many_doors_only_the_harmless_open(
    machine: str, name: str, at: int, allowed: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    for value in allowed:
        assert call(machine, name, *(0,) * at, value) == ALLOWED, value
    for value in refused:
        assert call(machine, name, *(0,) * at, value) == errno.EPERM, value


@pytest.mark.parametrize("machine", MACHINES)
def test_the_calls_that_matter_most_are_in_no_table(machine: str) -> None:
    known = {*allowed_numbers(machine), *conditional_numbers(machine)}
    absent = """
        connect io_uring_setup io_uring_enter ptrace bpf mount umount2 unshare setns clone3 fork vfork execveat keyctl
        add_key kexec_load init_module finit_module perf_event_open process_vm_readv process_vm_writev userfaultfd
        memfd_create pidfd_open pidfd_getfd pidfd_send_signal chmod fchmod fchmodat chown truncate setxattr symlink
        mknod inotify_init1 fanotify_init setsid setpgid setuid setgid setgroups capset chroot pivot_root reboot
        shmget msgget semget mq_open setrlimit sched_setscheduler open_by_handle_at name_to_handle_at personality
        tkill rt_sigqueueinfo landlock_create_ruleset seccomp
    """
    assert known & set(absent.split()) == set()


def test_a_filter_fits_the_kernels_bounds() -> None:
    for machine in MACHINES:
        assert len(filter_program(machine, PID)) // 8 < 4_096


HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+) (\d+)"),
    "aarch64": ("/usr/include/asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+) (\d+)"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header, pattern = HEADERS[machine]
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    numbers = {name: int(number) for name, number in re.findall(pattern, Path(header).read_text())}
    numbers.setdefault("newfstatat", numbers.get("fstatat", -1))  # the generic table's older name
    for name, number in (allowed_numbers(machine) | conditional_numbers(machine)).items():
        assert numbers[name] == number, name


def test_an_unknown_machine_has_no_table() -> None:
    with pytest.raises(KeyError):
        allowed_numbers("riscv64")
