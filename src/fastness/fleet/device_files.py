"""The device files of accelerators: those that an engine has to open for the ones it holds, and of no others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fastness.fleet.devices import accelerators
from fastness.fleet.host import ROOT

CONTROL: Final = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
"""By these the driver is asked, and memory is shared with the processor: nobody uses a device without them."""
_MINOR: Final = re.compile(r"^Device Minor:\s*(\d{1,4})\s*$", re.MULTILINE)
_UUID: Final = re.compile(r"^GPU UUID:\s*(\S+)\s*$", re.MULTILINE)


def device_files(devices: Iterable[str], root: Path = ROOT) -> tuple[Path, ...]:
    """Return the files of these devices, by their ids; none where none is an accelerator.

    An id is a UUID as NVML tells it, or `gpu-N` for the N-th in the order of the bus, as CUDA counts them too. `root`
    is where /proc and /dev are. Raises ValueError for a device that the driver does not know.
    """
    held = accelerators(devices)
    if not held:
        return ()
    minors = _minors(root)
    found = [root / "dev" / name for name in CONTROL]
    for one in held:
        minor = minors.get(one)
        if minor is None:
            known = ", ".join(sorted(minors)) or "none"
            raise ValueError(
                f"the driver has no device {one}; it has {known}. See what nvidia-smi says, and node.devices"
            )
        found.append(root / "dev" / f"nvidia{minor}")
    return tuple(path for path in found if path.exists())


def _minors(root: Path) -> dict[str, int]:
    """Return the number of each device's file, by its UUID and by its place on the bus."""
    found: dict[str, int] = {}
    # The names of the folders are addresses on the bus, in hexadecimal and of one length.
    for place, folder in enumerate(sorted((root / "proc/driver/nvidia/gpus").glob("*"))):
        text = (folder / "information").read_text()
        minor, uuid = _MINOR.search(text), _UUID.search(text)
        if minor is not None:
            found[f"gpu-{place}"] = int(minor[1])
            if uuid is not None:
                found[uuid[1]] = int(minor[1])
    return found
