"""The system-call layer: a seccomp filter that knows the calls of `syscalls.py`, and for some of them which arguments.

It is a closed table: what is not in it does not exist.
"""

from __future__ import annotations

import errno
import os
import struct

from fastness.perimeter.bounds import Bounds
from fastness.perimeter.bpf import (
    ALLOW,
    ARCHITECTURE_AT,
    ERRNO,
    JUMP_IF_EQUAL,
    LOAD_WORD,
    NUMBER_AT,
    RETURN,
    Test,
    body,
    high,
    instruction,
    low,
)
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.syscalls import ARCHITECTURES, allowed_numbers, conditional_numbers, family_numbers

_AF_UNIX = _SOCK_STREAM = 1
_AF_INET, _SOCK_DGRAM, _AF_INET6, _SOCK_RAW, _AF_NETLINK = 2, 2, 10, 3, 16
_SOCK_TYPE_MASK = 0xF
_CLONE_THREAD = 0x0001_0000
_CLONE_NAMESPACES = 0x7E02_0080  # every CLONE_NEW* flag

# Close-on-exec, blocking mode, what waits to be read, and "is this a terminal?" (TCGETS, TCGETS2, TIOCGWINSZ).
_IOCTLS = (0x5401, 0x802C_542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# Duplicates, flags, locks, pipe size; not the ones that have the kernel send signals to a process of our choosing.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032)
# Thread and memory names, what the seal looks like, dumpable, speculation; not the lifeline.
_PRCTLS = (2, 3, 4, 15, 16, 21, 23, 38, 39, 52, 53, 0x5356_4D41)
# Streams and datagrams, over a loopback that leads nowhere else. Netlink tells of it; to change it, there is no right.
_FAMILY: dict[str, tuple[int, tuple[Test, ...]]] = {
    "socket": (
        errno.EAFNOSUPPORT,
        (
            Test(low(0), (_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK)),
            Test(low(1), (_SOCK_STREAM, _SOCK_DGRAM, _SOCK_RAW), _SOCK_TYPE_MASK),
            Test(low(2), (0, 6, 17)),  # of the family's own (of netlink: routes), TCP, UDP
        ),
    ),
    "clone": (errno.EPERM, (Test(low(0), (0,), _CLONE_NAMESPACES),)),
    # Signals reach the family only: there is nobody else in its namespace.
    "kill": (errno.EPERM, ()),
    "tgkill": (errno.EPERM, ()),
    "sched_setaffinity": (errno.EPERM, ()),
}
_DEVICES: dict[str, tuple[int, tuple[Test, ...]]] = {"ioctl": (errno.EPERM, ())}


def restrict_system_calls(bounds: Bounds, kernel: Kernel) -> None:
    """Install the filter for this process; raises OSError, with ENOSYS for a machine whose calls we do not know."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"there is no table of system calls for a {8 * struct.calcsize('P')}-bit {machine}")
    wide = bounds.family
    kernel.install_filter(filter_program(machine, os.getpid(), family=wide, devices=bool(bounds.devices)))


def filter_program(machine: str, pid: int, *, family: bool = False, devices: bool = False) -> bytes:
    """Assemble the filter: for `machine`, and for a process that keeps the id `pid` through exec.

    `family`: it may have processes and loopback sockets. `devices`: it may control what it can open.
    """
    refuse = instruction(RETURN, ERRNO | errno.ENOSYS)
    program = [instruction(LOAD_WORD, ARCHITECTURE_AT)]
    # A 32-bit call (int 0x80) has other numbers. An x32 call has bit 30 set, and so is not in the table.
    program += [instruction(JUMP_IF_EQUAL, ARCHITECTURES[machine], 1, 0), refuse]
    program += [instruction(LOAD_WORD, NUMBER_AT)]
    more = family_numbers(machine) if family else {}
    for number in (*allowed_numbers(machine).values(), *more.values()):
        program += [instruction(JUMP_IF_EQUAL, number, 0, 1), instruction(RETURN, ALLOW)]
    conditions = _conditions(pid) | (_FAMILY if family else {}) | (_DEVICES if devices else {})
    for name, number in conditional_numbers(machine).items():
        tests = body(*conditions[name])
        program += [instruction(JUMP_IF_EQUAL, number, 0, len(tests)), *tests]
    return b"".join([*program, refuse])


def system_calls_remedy(error: int) -> str:
    """Say what the system-call layer needs."""
    if error == errno.ENOSYS:
        return f"an x86-64 or AArch64 Python is needed (tables are in {__name__.rpartition('.')[0]}.syscalls)"
    return "Linux with CONFIG_SECCOMP_FILTER is needed"


def _conditions(pid: int) -> dict[str, tuple[int, tuple[Test, ...]]]:
    stream_to_this_machine = (Test(low(0), (_AF_UNIX,)), Test(low(1), (_SOCK_STREAM,), _SOCK_TYPE_MASK))
    ourselves = Test(low(0), (0, pid))
    return {
        "socket": (errno.EAFNOSUPPORT, stream_to_this_machine),
        "socketpair": (errno.EAFNOSUPPORT, stream_to_this_machine),
        # A thread, never a process: a child would outlive the engine, and the lifeline with it.
        "clone": (errno.EPERM, (Test(low(0), (_CLONE_THREAD,), _CLONE_THREAD | _CLONE_NAMESPACES),)),
        "kill": (errno.EPERM, (Test(low(0), (pid,)),)),
        "tgkill": (errno.EPERM, (Test(low(0), (pid,)),)),
        "prctl": (errno.EPERM, (Test(low(0), _PRCTLS),)),
        "ioctl": (errno.EPERM, (Test(low(1), _IOCTLS),)),
        "fcntl": (errno.EPERM, (Test(low(1), _FCNTLS),)),
        # Read a limit of ours, set none: a lower core limit would let a crash be piped to a crash reporter.
        "prlimit64": (errno.EPERM, (ourselves, Test(low(2), (0,)), Test(high(2), (0,)))),
        "sched_setaffinity": (errno.EPERM, (ourselves,)),
    }
