"""Probes of the kernel's other doors: processes, privileges, namespaces, limits, and calls with a history of holes."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource

from fastness.perimeter.probing import Ground, Probe

_PR_SET_PDEATHSIG = 1
_TIOCSTI = 0x5412
_PTRACE_SEIZE = 0x4206
_IPC_PRIVATE, _IPC_RMID = 0, 0
_SESSION_KEYRING = -3
_CLONE_NEWUTS = 0x0400_0000
_NO_SUCH_FLAG = 0x8000
_X32_BIT = 0x4000_0000

# Number on x86-64, number on AArch64. None of them is in the table of what a sealed process may call.
_CALLS = {
    "bpf": (321, 280),
    "clone3": (435, 435),
    "getpid": (39, 172),
    "init_module": (175, 105),
    "inotify_init1": (294, 26),
    "io_uring_setup": (425, 425),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "mount": (165, 40),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_open": (434, 434),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "setns": (308, 268),
    "shmctl": (31, 195),
    "shmget": (29, 194),
    "syslog": (103, 116),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_COLUMN = 1 if os.uname().machine == "aarch64" else 0
_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    _libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _try(name: str, *arguments: object) -> int:
    return _call(_CALLS[name][_COLUMN], *arguments)


def _open(name: str, *arguments: object) -> None:
    os.close(_try(name, *arguments))


def _fork(_ground: Ground) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _share_memory(_ground: Ground) -> None:
    segment = _try("shmget", _IPC_PRIVATE, mmap.PAGESIZE, 0o600)
    _try("shmctl", segment, _IPC_RMID, None)


def _read_parent(ground: Ground) -> None:
    here = ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
    remote = (ctypes.c_size_t * 2)(0, 8)
    _try("process_vm_readv", ground.parent_pid, local, 1, remote, 1, 0)


def _take_memory(ground: Ground) -> None:
    mmap.mmap(-1, ground.memory_bytes_max).close()


def _read_parent_limits(ground: Ground) -> None:
    resource.prlimit(ground.parent_pid, resource.RLIMIT_NOFILE)


def _raise_limit(_ground: Ground) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)  # 1 byte, sealed or not
    resource.prlimit(0, resource.RLIMIT_CORE, (soft, hard + 1))


def _lower_core_limit(_ground: Ground) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.prlimit(0, resource.RLIMIT_CORE, (0, hard))


def _forget_lifeline(_ground: Ground) -> None:
    if _libc.prctl(ctypes.c_int(_PR_SET_PDEATHSIG), ctypes.c_ulong(0)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _mount(ground: Ground) -> None:
    _try("mount", b"none", ground.own.encode(), b"no-such-file-system", 0, None)


KERNEL_PROBES = (
    Probe(
        "inherited-descriptor",
        "descriptors",
        "use a descriptor that the parent had open",
        lambda ground: os.fstat(ground.descriptor),
        also=(errno.EBADF,),
    ),
    Probe("start-process", "system calls", "start another process", _fork),
    Probe("clone3", "system calls", "start another process by clone3", lambda _: _try("clone3", None, 0)),
    Probe("signal-parent", "system calls", "signal the parent process", lambda ground: os.kill(ground.parent_pid, 0)),
    Probe("signal-everybody", "system calls", "signal every process of the user", lambda _: os.kill(-1, 0)),
    Probe(
        "owner-of-signals",
        "system calls",
        "have the kernel signal the parent process",
        lambda ground: fcntl.fcntl(0, fcntl.F_SETOWN, ground.parent_pid),
    ),
    Probe(
        "trace-parent",
        "system calls",
        "trace the parent process",
        lambda ground: _try("ptrace", _PTRACE_SEIZE, ground.parent_pid, 1, 0),
    ),
    Probe("read-parent", "system calls", "read the memory of the parent process", _read_parent),
    Probe("limit-parent", "system calls", "read the limits of the parent process", _read_parent_limits),
    Probe(
        "parent-handle",
        "system calls",
        "get a handle on the parent process",
        lambda ground: _open("pidfd_open", ground.parent_pid, 0),
    ),
    Probe("forget-lifeline", "system calls", "outlive the parent process", _forget_lifeline),
    Probe("leave-session", "system calls", "leave the process group by which it is stopped", lambda _: os.setsid()),
    Probe(
        "type-on-terminal", "system calls", "type on the operator's terminal", lambda _: fcntl.ioctl(0, _TIOCSTI, b"x")
    ),
    Probe("new-namespace", "system calls", "enter new namespaces", lambda _: _try("unshare", _CLONE_NEWUTS)),
    Probe("join-namespace", "system calls", "join another process's namespaces", lambda _: _try("setns", 0, 0)),
    Probe("mount", "system calls", "mount a file system", _mount),
    Probe("clone-mounts", "system calls", "copy the tree of mounts", lambda _: _open("open_tree", 0, b"/proc", 1)),
    Probe("change-groups", "capabilities", "leave or join groups", lambda _: os.setgroups([])),
    Probe("change-root", "capabilities", "change the root directory", lambda _: os.chroot("/")),
    Probe("lower-core-limit", "system calls", "have a crash piped to a crash reporter", _lower_core_limit),
    Probe("raise-limits", "capabilities", "raise a limit", _raise_limit),
    Probe("memory", "limits", "take more memory than allowed", _take_memory, also=(errno.ENOMEM,)),
    Probe("io-uring", "system calls", "set up io_uring", lambda _: _open("io_uring_setup", 1, bytes(120))),
    Probe("bpf", "system calls", "load a BPF program", lambda _: _try("bpf", 0, None, 0)),
    Probe("performance-events", "system calls", "open performance counters", lambda _: _try("perf_event_open", None)),
    Probe("page-faults", "system calls", "handle its own page faults", lambda _: _open("userfaultfd", 0)),
    Probe("memory-file", "system calls", "make a file in memory", lambda _: _open("memfd_create", b"fastness", 0)),
    Probe("shared-memory", "system calls", "share memory with the host", _share_memory),
    Probe("keys", "system calls", "open the session keyring", lambda _: _try("keyctl", 0, _SESSION_KEYRING, 1)),
    Probe("watch-files", "system calls", "watch directories of others", lambda _: _open("inotify_init1", 0)),
    Probe("kernel-log", "system calls", "ask for the kernel's log", lambda _: _try("syslog", 10, None, 0)),
    Probe("kernel-module", "capabilities", "load a kernel module", lambda _: _try("init_module", None, 0, b"")),
    Probe(
        "kernel-image", "capabilities", "replace the kernel", lambda _: _try("kexec_load", 0, 0, None, _NO_SUCH_FLAG)
    ),
    Probe("x32", "system calls", "call by the x32 numbers", lambda _: _call(_X32_BIT | _CALLS["getpid"][_COLUMN])),
)
