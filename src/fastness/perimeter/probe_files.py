"""Probes of the file system: reading, writing and executing what the confinement does not name."""

# System calls are under test here, not the handling of paths; to become a program is one of them.
# ruff: noqa: PTH101, PTH108, PTH208, PTH211, S606

from __future__ import annotations

import errno
import os

from fastness.perimeter.probing import Ground, Probe

_ABSENT = (errno.ENOENT,)  # a machine without this file has nothing to lose there


def _read(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.read(descriptor, 1)
    finally:
        os.close(descriptor)


def _make(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)  # nothing is left behind where there was no seal


def _make_special(ground: Ground) -> None:
    os.mknod(ground.own + "/device", 0o020600, os.makedev(1, 3))  # a character device: what /dev/null is


def _execute_own_file(ground: Ground) -> None:
    path = ground.own + "/program"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o700)
    os.write(descriptor, b"not a program: ENOEXEC means that it would have been executed")
    os.close(descriptor)
    os.execv(path, [path])


def _execute_shell(identifier: str) -> None:
    """Become a shell that reports itself allowed, unless that is refused."""
    row = f'{{"id": "{identifier}", "refused": false, "answer": "allowed"}}'
    os.execv("/bin/sh", ["/bin/sh", "-c", f"echo '{row}'"])


FILE_PROBES = (
    Probe("accounts", "files", "read /etc/passwd", lambda _: _read("/etc/passwd"), also=_ABSENT),
    Probe("home", "files", "list the home directory of root", lambda _: os.listdir("/root"), also=_ABSENT),
    Probe("root-directory", "files", "list the root directory", lambda _: os.listdir("/")),
    Probe("secret", "files", "read the installation's secret", lambda ground: _read(ground.secret)),
    Probe("neighbour", "files", "list another replica's directory", lambda ground: os.listdir(ground.neighbour)),
    Probe(
        "parent-environment",
        "files",
        "read the environment of the parent process",
        lambda ground: _read(f"/proc/{ground.parent_pid}/environ"),
    ),
    Probe(
        "parent-memory",
        "files",
        "open the memory of the parent process",
        lambda ground: os.close(os.open(f"/proc/{ground.parent_pid}/mem", os.O_RDONLY)),
    ),
    Probe("write-temporary", "files", "make a file in /tmp", lambda _: _make(f"/tmp/fastness-{os.getpid()}")),  # noqa: S108
    Probe("write-neighbour", "files", "make a file for another replica", lambda ground: _make(ground.neighbour + "/x")),
    Probe(
        "write-secret",
        "files",
        "open the installation's secret for writing",
        lambda ground: os.close(os.open(ground.secret, os.O_WRONLY)),
    ),
    Probe(
        "truncate-secret", "system calls", "cut the secret off by path", lambda ground: os.truncate(ground.secret, 6)
    ),
    Probe(
        "change-mode", "system calls", "let everybody read the secret", lambda ground: os.chmod(ground.secret, 0o600)
    ),
    Probe("change-owner", "system calls", "give the secret away", lambda ground: os.chown(ground.secret, -1, -1)),
    Probe("change-times", "system calls", "change the secret's times", lambda ground: os.utime(ground.secret)),
    Probe(
        "link-in",
        "files",
        "link the secret into the own directory",
        lambda ground: os.link(ground.secret, ground.own + "/l"),
    ),
    Probe(
        "symbolic-link",
        "files",
        "leave a symbolic link behind",
        lambda ground: os.symlink(ground.secret, ground.own + "/s"),
    ),
    Probe("device", "files", "make a device file", _make_special),
    Probe("remove", "files", "remove the installation's secret", lambda ground: os.unlink(ground.secret)),
    Probe("execute-own-file", "files", "execute a file of its own making", _execute_own_file),
)

LAST_PROBES = (
    Probe("execute-shell", "files", "execute /bin/sh", lambda _: _execute_shell("execute-shell"), also=_ABSENT),
)
"""Where it is allowed, the shell says so, and this process is no more."""
