"""The namespaces layer: a network with nothing in it, and no shared memory or host name in common with anyone."""

from __future__ import annotations

import errno
import os

from fastness.perimeter.bounds import Bounds
from fastness.perimeter.kernel import Kernel

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
_OWN = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
_OF_A_FAMILY = CLONE_NEWNS | CLONE_NEWPID
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

_SWITCHES = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
    ("/proc/sys/user/max_net_namespaces", "0", "sysctl user.max_net_namespaces=15000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for this Python with `userns,`",
    ),
)


def enter_namespaces(bounds: Bounds, kernel: Kernel) -> None:
    """Enter new network, IPC and host-name namespaces; where that is not ours to do, inside a new user namespace.

    The loopback interface of the new network stays down, so not even 127.0.0.1 exists. A family gets one that is up,
    its only interface, and namespaces for its mounts and its processes (whichever it starts from then on).
    """
    _enter(_OWN | _OF_A_FAMILY if bounds.family else _OWN, kernel)
    if bounds.family:
        raise_loopback()


def enter_empty_network(kernel: Kernel) -> None:
    """Enter a new network with nothing in it; where that is not ours to do, inside a new user namespace."""
    _enter(CLONE_NEWNET, kernel)


def raise_loopback() -> None:
    """Bring the loopback interface up; raises OSError."""
    import fcntl  # here, because a single process needs neither
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16s24x", b"lo")
        (flags,) = struct.unpack_from("<H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("<16sH22x", b"lo", flags | _IFF_UP))


def _enter(namespaces: int, kernel: Kernel) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            kernel.unshare(namespaces)
        except PermissionError:  # root of a container that was not given CAP_SYS_ADMIN
            pass
        else:
            return
    kernel.unshare(CLONE_NEWUSER | namespaces)
    kernel.write("/proc/self/setgroups", "deny")  # the kernel's condition for the next line
    kernel.write("/proc/self/gid_map", f"{gid} {gid} 1")
    kernel.write("/proc/self/uid_map", f"{uid} {uid} 1")


def namespaces_remedy(error: int) -> str:
    """Say what to enable, naming the switch of this machine that is off, if one is."""
    for path, off, switch in _SWITCHES:
        try:
            with open(path) as file:  # noqa: PTH123 - pathlib costs more than all the rest of this file
                if file.read().strip() == off:
                    return f"enable user namespaces: {switch}"
        except OSError:
            continue
    if error == errno.ENOSPC:
        return "raise sysctl user.max_user_namespaces or user.max_net_namespaces: the limit is reached"
    return (
        "allow user and network namespaces (CONFIG_USER_NS, CONFIG_NET_NS), or start as root; in a container, give it "
        "CAP_SYS_ADMIN or a seccomp profile that permits unshare"
    )
