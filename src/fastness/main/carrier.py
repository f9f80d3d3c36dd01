"""The carrier on the head: the process that is connected to Ray, and sees sealed letters only."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from fastness.main.process import die_with_supervisor, write_no_core

HANGS_S = 5.0
"""A turn takes milliseconds. Ray waits for minutes where its head is gone; then it is better to begin anew."""


def run() -> None:
    """Carry letters until the supervisor is gone. Arguments: ports, the head's Ray, this host, its run directory."""
    from fastness.perimeter.reach import keep_to
    from fastness.perimeter.seal import NotSealed

    ports, gcs, address, directory = sys.argv[1:]
    write_no_core()
    die_with_supervisor()
    try:
        keep_to(tuple(map(int, ports.split(","))))
    except NotSealed as error:
        sys.exit(f"fastness: {error}")
    from fastness.fleet.ray.carrying import Carrying
    from fastness.fleet.ray.cluster import RayCluster, RayUnusable
    from fastness.main.outside import CARRIER_ALIVE

    run_directory, turned = Path(directory), [time.monotonic() + 30.0]
    threading.Thread(target=_watch, args=(turned,), daemon=True).start()
    try:
        carrying = Carrying(RayCluster(gcs, address), run_directory, time.monotonic)
        while True:
            turned[0] = time.monotonic()
            carrying.turn()
            (run_directory / CARRIER_ALIVE).touch(mode=0o600)
            time.sleep(0.01)
    except RayUnusable as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)  # at once: Ray would wait for its head before it lets go


def _watch(turned: list[float]) -> None:
    while time.monotonic() - turned[0] < HANGS_S:
        time.sleep(0.5)
    sys.stderr.write("it hangs, and begins anew\n")
    sys.stderr.flush()
    os._exit(1)
