"""The layer of gangs: one interface more, whose other end is the door of this host. Standard library only.

A family that is a member of a gang has to speak to the other members, which are on other hosts. It gets no cable: it
gets an interface whose packets the door carries, over the connections that hosts trust each other by, to the hosts
that orders name and to no other. There is no other route, and inside the seal nobody has the right to make one.

The connection to the door stays with the guard: when either end closes it, the family ends.
"""

from __future__ import annotations

import errno
import os

from fastness.perimeter.bounds import Bounds
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.process import hold_lifeline

TUN = "/dev/net/tun"
NAME_BYTES_MAX = 256
JOINED = b"+"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x4004_54CA, 0x0001, 0x1000
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8916, 0x891C, 0x8922
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_NETMASK = "255.255.255.0"


def join_gang(bounds: Bounds, kernel: Kernel) -> None:
    """Make the interface, hand its other end to the door, and return when every member has done so.

    How long that takes is for whoever started us to bound. Raises OSError; ECONNREFUSED when the door let go of it.
    """
    import socket  # here, because other starts need it not

    hold_lifeline(bounds, kernel)  # set again later, by its own layer: this one waits
    door, replica, interface, address, mtu = bounds.gang
    other_end = make_interface(interface, address, int(mtu))
    try:
        joining = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        joining.connect(door)
        socket.send_fds(joining, [f"{replica}\n".encode()[:NAME_BYTES_MAX]], [other_end])
    except OSError as error:
        error.filename = error.filename or door
        raise
    finally:
        os.close(other_end)
    if joining.recv(1) != JOINED:
        raise OSError(errno.ECONNREFUSED, f"the door of this host let go of {replica}")
    bounds.attachment = joining.detach()


def make_interface(name: str, address: str, mtu_bytes: int) -> int:
    """Make it in the network of this process, up and with its address; return its other end. Raises OSError."""
    import fcntl
    import socket
    import struct

    end = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    label = name.encode()
    try:
        fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", label, _IFF_TUN | _IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, _NETMASK)):
                asked = struct.pack("16sHH4s16x", label, socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(any_socket, request, asked)
            fcntl.ioctl(any_socket, _SIOCSIFMTU, struct.pack("16si20x", label, mtu_bytes))
            came = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16s24x", label))
            (flags,) = struct.unpack_from("<H", came, 16)
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("<16sH22x", label, flags | _IFF_UP))
    except BaseException:
        os.close(end)
        raise
    return end


def interface_trouble() -> str:
    """Say why no such interface can be made here; empty: nothing that shows without making one is in the way."""
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def gang_remedy(error: int) -> str:
    """Say what the interface needs."""
    if error in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENXIO):
        return f"a gang needs {TUN}, which this user may open (load the module tun; a container must be given it)"
    return "the door of this host and those of the other members must run: see their logs, and fastness nodes"
