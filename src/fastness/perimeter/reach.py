"""How far our own processes reach: the gateway, control and the supervisor to this machine only; the broker to ports.

These are not engines: they read files and start processes. What is taken from them is the way out, for good and for
everything that they start. Standard library only.
"""

from __future__ import annotations

import errno
import os
import struct

from fastness.perimeter import kernel as k
from fastness.perimeter.bpf import (
    ALLOW,
    AND,
    ARCHITECTURE_AT,
    ERRNO,
    JUMP_IF_EQUAL,
    LOAD_WORD,
    NUMBER_AT,
    RETURN,
    Test,
    body,
    instruction,
    low,
)
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.landlock import restrict_tcp
from fastness.perimeter.seal import NotSealed
from fastness.perimeter.seccomp import system_calls_remedy
from fastness.perimeter.syscalls import ARCHITECTURES

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
SOCK_STREAM, SOCK_DGRAM = 1, 2
_SOCK_TYPE_MASK = 0xF
_PROTOCOLS = (0, 6, 17)  # the family's own, TCP, UDP: no ICMP, no multipath TCP
_MSG_FASTOPEN = 0x2000_0000  # a connection made by sending: no rule about connect sees it
_X32_BIT = 0x4000_0000

# Number on x86-64, number on AArch64.
_CALLS = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
}
# Other ways to a socket: a ring that makes them, another process's descriptors, another process's hands.
_ABSENT = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "bpf": (321, 280),
}


def stay_local(kernel: Kernel | None = None) -> bool:
    """Let this process, and all that it starts, make Unix sockets only. What is open stays open.

    Returns whether this kernel also keeps an inherited TCP socket from being connected anew (Landlock 4, Linux 6.7).
    Call it before any thread is started. Raises NotSealed.
    """
    local = (Test(low(0), (AF_UNIX,)),)
    return _restrict({"socket": local, "socketpair": local}, (), kernel or Kernel())


def speak_to(ports: tuple[int, ...], *, names: bool, kernel: Kernel | None = None) -> bool:
    """Let this process, and all that it starts, make Unix and TCP sockets, and UDP ones where `names` are looked up.

    Returns whether this kernel also keeps TCP to `ports`. Call it before any thread is started. Raises NotSealed.
    """
    return _restrict(_streams(SOCK_DGRAM) if names else _streams(), ports, kernel or Kernel())


def keep_to(ports: tuple[int, ...], kernel: Kernel | None = None) -> bool:
    """Let this process, and all that it starts, make Unix and TCP sockets, listening on `ports` or connected to them.

    Returns whether this kernel judges ports. Call it before any thread is started. Raises NotSealed.
    """
    return _restrict(_streams(), ports, kernel or Kernel(), listening=ports)


def _streams(*also: int) -> dict[str, tuple[Test, ...]]:
    some = (
        Test(low(0), (AF_UNIX, AF_INET, AF_INET6)),
        Test(low(1), (SOCK_STREAM, *also), _SOCK_TYPE_MASK),
        Test(low(2), _PROTOCOLS),
    )
    return {"socket": some, "socketpair": (Test(low(0), (AF_UNIX,)),)}


def reach_filter(machine: str, sockets: dict[str, tuple[Test, ...]]) -> bytes:
    """Assemble the filter for `machine`: `sockets` says what `socket` and `socketpair` may be called with."""
    column = list(ARCHITECTURES).index(machine)
    absent = instruction(RETURN, ERRNO | errno.ENOSYS)
    program = [instruction(LOAD_WORD, ARCHITECTURE_AT)]
    program += [instruction(JUMP_IF_EQUAL, ARCHITECTURES[machine], 1, 0), absent]
    # An x32 call is one of this architecture with bit 30 set, under which every number means itself once more.
    program += [instruction(LOAD_WORD, NUMBER_AT), instruction(AND, _X32_BIT)]
    program += [instruction(JUMP_IF_EQUAL, 0, 1, 0), absent, instruction(LOAD_WORD, NUMBER_AT)]
    for numbers in _ABSENT.values():
        program += [instruction(JUMP_IF_EQUAL, numbers[column], 0, 1), absent]
    sending = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}
    rules = {name: body(errno.EAFNOSUPPORT, tests) for name, tests in sockets.items()}
    rules |= {name: body(errno.EPERM, (Test(low(at), (0,), _MSG_FASTOPEN),)) for name, at in sending.items()}
    for name, tests in rules.items():
        program += [instruction(JUMP_IF_EQUAL, _CALLS[name][column], 0, len(tests)), *tests]
    return b"".join([*program, instruction(RETURN, ALLOW)])


def watched_filter(machine: str) -> bytes:
    """Assemble the filter of a process in an empty network, which may make sockets, but not take those of others."""
    return reach_filter(machine, {})


def _restrict(
    sockets: dict[str, tuple[Test, ...]], ports: tuple[int, ...], kernel: Kernel, listening: tuple[int, ...] = ()
) -> bool:
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - pathlib is slow to import
    if threads != 1:
        raise NotSealed(f"layer `reach`: it binds one thread, and {threads} run already: set it before any is started")
    machine = os.uname().machine
    try:
        if machine not in ARCHITECTURES or struct.calcsize("P") != 8:
            raise OSError(errno.ENOSYS, f"there is no table of system calls for {machine}")  # noqa: TRY301
        kernel.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
        judged = restrict_tcp(ports, kernel, listening)
        kernel.install_filter(reach_filter(machine, sockets))
    except OSError as error:
        number = error.errno or 0
        reason = f"{errno.errorcode.get(number, number)}: {error.strerror}"
        raise NotSealed(f"layer `reach`: {reason}; {system_calls_remedy(number)}") from error
    return judged
