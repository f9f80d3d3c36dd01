"""NVIDIA's accelerators of this machine, asked of the driver's own library. Nothing of ours has to be installed."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from fastness.core.node import Device, DeviceKind

LIBRARY: Final = "libnvidia-ml.so.1"
TEXT_BYTES: Final = 96
NO_DRIVER: Final = frozenset({9, 12})
"""NVML_ERROR_DRIVER_NOT_LOADED and NVML_ERROR_LIBRARY_NOT_FOUND: the library lies there, the machine has no GPU."""
_PACKAGING: Final = re.compile(r"nvidia|geforce|tesla|graphics|pcie|nvl|sxm\d*|hbm\d*e?|\d+gb")


class DevicesUnreadable(Exception):  # noqa: N818 - a state of the machine
    """There is a driver, but it does not say what there is; the message says what it said, and what to try."""


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def library() -> Any | None:
    """Load the driver's library; None where there is none."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        return None


def accelerators(nvml: Any) -> tuple[Device, ...]:
    """Return the accelerators in the order of the driver, each under its UUID, which stays when others fail.

    Raises DevicesUnreadable. Parts of an accelerator (MIG) are not looked at: it is offered whole.
    """
    with _session(nvml) as ready:
        if not ready:
            return ()
        count = ctypes.c_uint()
        _ask(nvml, "nvmlDeviceGetCount_v2", ctypes.byref(count))
        return tuple(_device(nvml, number) for number in range(count.value))


def accelerator_type(name: str) -> str:
    """Make `h100-80gb` of `NVIDIA H100 80GB HBM3`: model and memory, without maker and packaging."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    model = [word for word in words if not _PACKAGING.fullmatch(word)]
    return "-".join(model + [word for word in words if re.fullmatch(r"\d+gb", word)][:1])


@contextmanager
def _session(nvml: Any) -> Iterator[bool]:
    status = int(nvml.nvmlInit_v2())
    if status in NO_DRIVER:
        yield False
        return
    _expect(nvml, "nvmlInit_v2", status)
    try:
        yield True
    finally:
        nvml.nvmlShutdown()


def _device(nvml: Any, number: int) -> Device:
    handle, memory = ctypes.c_void_p(), _Memory()
    _ask(nvml, "nvmlDeviceGetHandleByIndex_v2", number, ctypes.byref(handle))
    _ask(nvml, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
    name, uuid = (_text(nvml, call, handle) for call in ("nvmlDeviceGetName", "nvmlDeviceGetUUID"))
    return Device(uuid, DeviceKind.GPU, accelerator_type(name), int(memory.total))


def _text(nvml: Any, call: str, handle: ctypes.c_void_p) -> str:
    found = ctypes.create_string_buffer(TEXT_BYTES)
    _ask(nvml, call, handle, found, TEXT_BYTES)
    return found.value.decode("ascii", "replace")


def _ask(nvml: Any, call: str, *arguments: object) -> None:
    function: Callable[..., int] = getattr(nvml, call)
    _expect(nvml, call, int(function(*arguments)))


def _expect(nvml: Any, call: str, status: int) -> None:
    if status:
        nvml.nvmlErrorString.restype = ctypes.c_char_p
        said = (nvml.nvmlErrorString(status) or b"").decode("ascii", "replace")
        raise DevicesUnreadable(
            f"{LIBRARY} is there, but {call} failed: {said or 'no reason given'} ({status}). See what nvidia-smi says, "
            "or say yourself what this node has: node.devices, or node.cpu_slots with node.devices = none"
        )
