"""The arena: a network of its own in which every address there is leads to the loopback, where a capture sees it.

In an ordinary empty network a packet for outside is refused before it exists, and a capture would show nothing whether
somebody tried or not. Here it is sent, seen, and counted, and reaches nobody. Standard library only: no `ip` program.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

from fastness.perimeter.kernel import Kernel
from fastness.perimeter.namespaces import CLONE_NEWNET, CLONE_NEWUSER, namespaces_remedy
from fastness.perimeter.seal import NotSealed

# <linux/sockios.h>, <linux/if.h>
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
# <linux/netlink.h>, <linux/rtnetlink.h>
_NETLINK_ROUTE, _NLMSG_ERROR, _RTM_NEWROUTE = 0, 2, 24
_REQUEST_CREATE_ACKNOWLEDGE = 0x1 | 0x4 | 0x400
_TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL = 255, 3, 254, 2
_ATTRIBUTE_INTERFACE, _ATTRIBUTE_SOURCE = 4, 7


def enter_arena(kernel: Kernel, *, everywhere: bool) -> None:
    """Move this process into a new network with the loopback up and, if `everywhere`, every address leading there.

    Where that is not ours to do, inside a new user namespace. Call it before any thread is started. Raises NotSealed.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        try:
            if uid:
                raise PermissionError(errno.EPERM, "only root does without a user namespace")  # noqa: TRY301
            kernel.unshare(CLONE_NEWNET)
        except PermissionError:
            kernel.unshare(CLONE_NEWUSER | CLONE_NEWNET)
            kernel.write("/proc/self/setgroups", "deny")
            kernel.write("/proc/self/gid_map", f"{gid} {gid} 1")
            kernel.write("/proc/self/uid_map", f"{uid} {uid} 1")
        raise_loopback()
        if everywhere:
            _lead_everything_to_loopback(socket.AF_INET, "127.0.0.1")
            if os.path.exists("/proc/net/if_inet6"):  # noqa: PTH110 - a kernel without IPv6 has nothing to lead
                _lead_everything_to_loopback(socket.AF_INET6, "::1")
    except OSError as error:
        number = error.errno or 0
        reason = f"{errno.errorcode.get(number, number)}: {error.strerror}"
        raise NotSealed(f"no network of its own can be made: {reason}; {namespaces_remedy(number)}") from error


def raise_loopback() -> None:
    """Bring the loopback interface up; raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = b"lo".ljust(16, b"\0")
        (flags,) = struct.unpack_from("<H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, name + bytes(24)), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, name + struct.pack("<H22x", flags | _IFF_UP))


def _lead_everything_to_loopback(family: int, source: str) -> None:
    """What `ip route add local default dev lo` does; answers come from `source`, which is inside. Raises OSError."""
    route = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL, 0)
    attributes = _attribute(_ATTRIBUTE_INTERFACE, struct.pack("=I", socket.if_nametoindex("lo")))
    attributes += _attribute(_ATTRIBUTE_SOURCE, socket.inet_pton(family, source))
    length = 16 + len(route) + len(attributes)
    message = struct.pack("=IHHII", length, _RTM_NEWROUTE, _REQUEST_CREATE_ACKNOWLEDGE, 1, 0) + route + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as speaker:
        speaker.settimeout(5.0)
        speaker.send(message)
        answer = speaker.recv(4_096)
    kind, (error,) = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)
    if kind != _NLMSG_ERROR or error:
        raise OSError(-error or errno.EPROTO, os.strerror(-error or errno.EPROTO))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value
