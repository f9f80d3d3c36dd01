"""Runs the tests with no route out: `python tests/unplugged.py ARGUMENT…` is pytest in an empty network namespace.

Only the loopback is up there. Where this machine makes no namespaces, it says so and runs the tests plugged in;
with CI=true that is an error.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

INSIDE = "FASTNESS_TESTS_UNPLUGGED"
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = b"lo".ljust(16, b"\0")
        (flags,) = struct.unpack_from("<H", fcntl.ioctl(any_socket, SIOCGIFFLAGS, name + bytes(24)), 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, name + struct.pack("<H22x", flags | IFF_UP))


def main() -> None:
    tests = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    if os.environ.get(INSIDE):
        raise_loopback()
        os.execv(tests[0], tests)
    unshare = [shutil.which("unshare") or "unshare", "-n" if os.geteuid() == 0 else "-rn"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0:
        os.environ[INSIDE] = "1"
        os.execv(unshare[0], [*unshare, sys.executable, *sys.argv])
    if os.environ.get("CI"):
        sys.exit("unplugged: this machine makes no network namespace, so nothing shows that the tests need no network")
    print("unplugged: this machine makes no network namespace; the tests run plugged in", file=sys.stderr)
    os.execv(tests[0], tests)


if __name__ == "__main__":
    main()
