"""The kernel calls that a seal is made of, in one place, so that a test can pass a kernel that refuses one of them."""

from __future__ import annotations

import ctypes
import errno
import os
import resource

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# Added to every architecture under the same number.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1


class Kernel:
    """Every method raises OSError with the kernel's errno when the kernel refuses."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def prctl(self, option: int, *arguments: int) -> int:
        """Call prctl(2) with up to four further numbers (or addresses)."""
        words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
        return self._checked(self._libc.prctl(ctypes.c_int(option), *words))

    def unshare(self, flags: int) -> None:
        """Leave the namespaces that `flags` name for new, empty ones."""
        self._checked(self._libc.unshare(ctypes.c_int(flags)))

    def mount(self, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        """Mount; an empty `source`, `kind` or `options` is none."""
        words = [ctypes.c_char_p(text.encode()) if text else None for text in (source, target, kind, options)]
        self._checked(self._libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]))

    def unmount(self, target: str, flags: int) -> None:
        """Unmount."""
        self._checked(self._libc.umount2(ctypes.c_char_p(target.encode()), ctypes.c_int(flags)))

    def pivot_root(self, new: str, old: str) -> None:
        """Make `new`, a mount, the root, and put the root that was at `old`, below it."""
        number = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine)
        if number is None:
            raise OSError(errno.ENOSYS, "pivot_root has no number here")
        paths = (ctypes.c_char_p(path.encode()) for path in (new, old))
        self._checked(self._libc.syscall(ctypes.c_long(number), *paths))

    def drop_capabilities(self) -> None:
        """Empty the effective, permitted and inheritable capability sets."""
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
        self._checked(self._libc.capset(header, (ctypes.c_uint32 * 6)()))

    def setrlimit(self, kind: int, limit: int) -> None:
        """Lower the soft and the hard limit to `limit`; a hard limit that is lower already stays."""
        hard = resource.getrlimit(kind)[1]
        bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.prlimit(0, kind, (bound, bound))  # which raises OSError where setrlimit raises ValueError

    def write(self, path: str, text: str) -> None:
        """Write `text` with one write(2), as files under /proc want it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def install_filter(self, program: bytes) -> None:
        """Install a seccomp filter: `program` is an array of 8-byte BPF instructions."""
        instructions = ctypes.create_string_buffer(program, len(program))
        header = _FilterProgram(len(program) // 8, ctypes.addressof(instructions))
        self.prctl(PR_SET_SECCOMP, 2, ctypes.addressof(header))  # 2 = SECCOMP_MODE_FILTER

    def landlock_abi(self) -> int:
        """Return the version of Landlock that this kernel speaks, from 1."""
        return self._landlock(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)

    def landlock_create(self, attributes: bytes) -> int:
        """Create a ruleset and return its descriptor."""
        return self._landlock(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)

    def landlock_add(self, ruleset: int, rule: bytes) -> None:
        """Add a rule that allows access beneath a path."""
        self._landlock(_LANDLOCK_ADD_RULE, ruleset, 1, rule, 0)

    def landlock_add_port(self, ruleset: int, rule: bytes) -> None:
        """Add a rule that allows TCP on a port, to any address."""
        self._landlock(_LANDLOCK_ADD_RULE, ruleset, 2, rule, 0)

    def landlock_restrict(self, ruleset: int) -> None:
        """Bind this process and all that it executes to `ruleset`, for good."""
        self._landlock(_LANDLOCK_RESTRICT_SELF, ruleset, 0)

    def _landlock(self, number: int, *arguments: bytes | int | None) -> int:
        words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
        return self._checked(self._libc.syscall(ctypes.c_long(number), *words))

    def _checked(self, result: int) -> int:
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return result


class _FilterProgram(ctypes.Structure):
    """`struct sock_fprog`: how many instructions, and where."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))
