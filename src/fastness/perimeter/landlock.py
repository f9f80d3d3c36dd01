"""The files layer: Landlock rules that allow what the confinement names and refuse all else.

Landlock judges opening, executing, making and removing. It does not judge what needs no open file (stat, chmod,
truncate by path, connecting to a Unix socket): the system-call layer refuses the dangerous ones of those.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from fastness.perimeter.bounds import Bounds
from fastness.perimeter.kernel import Kernel

# <linux/landlock.h>
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))

_FIRST_ABI = (1 << 13) - 1
_SINCE_ABI = ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
NETWORK_SINCE_ABI, _BIND_AND_CONNECT_TCP, _BIND_TCP, _CONNECT_TCP = 4, 0b11, 0b01, 0b10
_SCOPES_SINCE_ABI, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 0b11

_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_READ = READ_FILE | READ_DIR
# No symbolic links, devices or pipes: whoever looks into the directory later must not be led astray.
_WRITE = _READ | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | REFER
_PT_INTERP = 3
PROCESSES, SHARED_MEMORY = "/proc", "/dev/shm"  # noqa: S108 - of a family, which has its own of both


def restrict_files(bounds: Bounds, kernel: Kernel) -> None:
    """Allow reading beneath `bounds.readable`, writing beneath `bounds.writable`, executing the program: nothing else.

    Raises OSError; FileNotFoundError and the like name the path.
    """
    handled = handled_rights(kernel.landlock_abi(), family=bounds.family)
    ruleset = kernel.landlock_create(struct.pack("=QQQ", *handled))
    try:
        for right, paths in (
            (_READ | EXECUTE if bounds.family else _READ, bounds.readable),
            (_READ, (PROCESSES,) if bounds.family else ()),
            (_WRITE, (*bounds.writable, SHARED_MEMORY) if bounds.family else bounds.writable),
            (READ_FILE | WRITE_FILE | IOCTL_DEV, bounds.devices),
            (EXECUTE | READ_FILE, executables(bounds.program)),
        ):
            for path in paths:
                _allow(kernel, ruleset, path, right & handled[0])
        kernel.landlock_restrict(ruleset)
    finally:
        os.close(ruleset)


def restrict_tcp(ports: tuple[int, ...], kernel: Kernel, listening: tuple[int, ...] = ()) -> bool:
    """Let this thread connect to `ports` and bind those `listening` only; tell whether this kernel can judge that.

    It judges every socket, also one that was inherited: without it, a listening socket can be shut down and connected.
    """
    try:
        if kernel.landlock_abi() < NETWORK_SINCE_ABI:
            return False
    except OSError:
        return False
    ruleset = kernel.landlock_create(struct.pack("=QQQ", 0, _BIND_AND_CONNECT_TCP, 0))
    try:
        for port in ports:
            kernel.landlock_add_port(ruleset, struct.pack("=QQ", _CONNECT_TCP, port))
        for port in listening:
            kernel.landlock_add_port(ruleset, struct.pack("=QQ", _BIND_TCP, port))
        kernel.landlock_restrict(ruleset)
    finally:
        os.close(ruleset)
    return True


def handled_rights(abi: int, *, family: bool = False) -> tuple[int, int, int]:
    """Return what Landlock of version `abi` is asked to judge: file rights, TCP rights and scopes, as bit sets.

    A family speaks TCP, over the loopback of its own that is all its network.
    """
    files = _FIRST_ABI
    for since, right in _SINCE_ABI:
        if abi >= since:
            files |= right
    network = _BIND_AND_CONNECT_TCP if abi >= NETWORK_SINCE_ABI and not family else 0
    scopes = _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= _SCOPES_SINCE_ABI else 0
    return files, network, scopes


def executables(program: str) -> tuple[str, ...]:
    """Return `program` and the loader that its ELF header names: all that may ever be executed."""
    with open(program, "rb") as file:  # noqa: PTH123 - pathlib is not worth its import here
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
            raise OSError(errno.ENOEXEC, "only a 64-bit ELF program can be sealed, not a script", program)
        offset, size, count = *struct.unpack_from("<Q", header, 32), *struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        for segment in (file.read(size) for _ in range(count)):
            kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", segment)
            if kind == _PT_INTERP:
                file.seek(start)
                return program, file.read(length).rstrip(b"\0").decode()
    return (program,)


def files_remedy(error: int) -> str:
    """Say what the files layer needs."""
    if error == errno.ENOSYS:
        return "Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK is needed"
    if error == errno.EOPNOTSUPP:
        return "Landlock is built in but off: add landlock to the kernel's lsm= boot parameter"
    if error in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC, errno.ELOOP):
        return (
            "every allowed path must exist and be reachable by file modes alone: sealed, not even root overrides them"
        )
    return "the container runtime or another security module must permit the landlock system calls"


def _allow(kernel: Kernel, ruleset: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_A_FILE
        kernel.landlock_add(ruleset, struct.pack("=Qi", rights, place))
    finally:
        os.close(place)
