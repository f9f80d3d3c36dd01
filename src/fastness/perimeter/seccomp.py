"""The system-call layer: a seccomp filter that knows the calls of `syscalls.py`, and for some of them which arguments.

A filter sees numbers, never what a pointer points to; so everything here is decided on numbers.
"""

from __future__ import annotations

import errno
import os
import struct

from fastness.perimeter.bounds import Bounds
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.syscalls import ARCHITECTURES, allowed_numbers, conditional_numbers

# <linux/bpf_common.h>, <linux/seccomp.h>
_LOAD_WORD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_AF_UNIX = _SOCK_STREAM = 1
_SOCK_TYPE_MASK = 0xF
_CLONE_THREAD = 0x0001_0000
_CLONE_NAMESPACES = 0x7E02_0080  # every CLONE_NEW* flag
_ALL = 0xFFFF_FFFF

# Close-on-exec, blocking mode, what waits to be read, and "is this a terminal?" (TCGETS, TCGETS2, TIOCGWINSZ).
_IOCTLS = (0x5401, 0x802C_542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# Duplicates, flags, locks, pipe size; not the ones that have the kernel send signals to a process of our choosing.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032)
# Thread and memory names, what the seal looks like, dumpable, speculation; not the lifeline.
_PRCTLS = (2, 3, 4, 15, 16, 21, 23, 38, 39, 52, 53, 0x5356_4D41)


class Test:
    """One condition: the word at `at`, masked, is one of `values`."""

    __slots__ = ("at", "mask", "values")

    def __init__(self, at: int, values: tuple[int, ...], mask: int = _ALL) -> None:
        self.at = at
        self.values = values
        self.mask = mask


def restrict_system_calls(_bounds: Bounds, kernel: Kernel) -> None:
    """Install the filter for this process; raises OSError, with ENOSYS for a machine whose calls we do not know."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"there is no table of system calls for a {8 * struct.calcsize('P')}-bit {machine}")
    kernel.install_filter(filter_program(machine, os.getpid()))


def filter_program(machine: str, pid: int) -> bytes:
    """Assemble the filter: for `machine`, and for a process that keeps the id `pid` through exec."""
    refuse = _instruction(_RETURN, _ERRNO | errno.ENOSYS)
    program = [_instruction(_LOAD_WORD, _ARCHITECTURE_AT)]
    # A 32-bit call (int 0x80) has other numbers. An x32 call has bit 30 set, and so is not in the table.
    program += [_instruction(_JUMP_IF_EQUAL, ARCHITECTURES[machine], 1, 0), refuse]
    program += [_instruction(_LOAD_WORD, _NUMBER_AT)]
    for number in allowed_numbers(machine).values():
        program += [_instruction(_JUMP_IF_EQUAL, number, 0, 1), _instruction(_RETURN, _ALLOW)]
    conditions = _conditions(pid)
    for name, number in conditional_numbers(machine).items():
        body = _body(*conditions[name])
        program += [_instruction(_JUMP_IF_EQUAL, number, 0, len(body)), *body]
    return b"".join([*program, refuse])


def system_calls_remedy(error: int) -> str:
    """Say what the system-call layer needs."""
    if error == errno.ENOSYS:
        return f"an x86-64 or AArch64 Python is needed (tables are in {__name__.rpartition('.')[0]}.syscalls)"
    return "Linux with CONFIG_SECCOMP_FILTER is needed"


def _conditions(pid: int) -> dict[str, tuple[int, tuple[Test, ...]]]:
    stream_to_this_machine = (Test(_low(0), (_AF_UNIX,)), Test(_low(1), (_SOCK_STREAM,), _SOCK_TYPE_MASK))
    ourselves = Test(_low(0), (0, pid))
    return {
        "socket": (errno.EAFNOSUPPORT, stream_to_this_machine),
        "socketpair": (errno.EAFNOSUPPORT, stream_to_this_machine),
        # A thread, never a process: a child would outlive the engine, and the lifeline with it.
        "clone": (errno.EPERM, (Test(_low(0), (_CLONE_THREAD,), _CLONE_THREAD | _CLONE_NAMESPACES),)),
        "kill": (errno.EPERM, (Test(_low(0), (pid,)),)),
        "tgkill": (errno.EPERM, (Test(_low(0), (pid,)),)),
        "prctl": (errno.EPERM, (Test(_low(0), _PRCTLS),)),
        "ioctl": (errno.EPERM, (Test(_low(1), _IOCTLS),)),
        "fcntl": (errno.EPERM, (Test(_low(1), _FCNTLS),)),
        # Read a limit of ours, set none: a lower core limit would let a crash be piped to a crash reporter.
        "prlimit64": (errno.EPERM, (ourselves, Test(_low(2), (0,)), Test(_high(2), (0,)))),
        "sched_setaffinity": (errno.EPERM, (ourselves,)),
    }


def _body(error: int, tests: tuple[Test, ...]) -> list[bytes]:
    """Assemble `tests`, all of which must hold; each jumps over what follows when it fails."""
    body = [_instruction(_RETURN, _ALLOW), _instruction(_RETURN, _ERRNO | error)]
    for test in reversed(tests):
        skip = len(body) - 1  # to the refusal, which stays last
        jumps = [
            _instruction(_JUMP_IF_EQUAL, value, left, 0 if left else skip)
            for left, value in zip(range(len(test.values) - 1, -1, -1), test.values, strict=True)
        ]
        body = [_instruction(_LOAD_WORD, test.at), _instruction(_AND, test.mask), *jumps, *body]
    return body


def _low(argument: int) -> int:
    return _ARGUMENTS_AT + 8 * argument


def _high(argument: int) -> int:
    return _ARGUMENTS_AT + 8 * argument + 4


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
