"""What this machine offers to the fleet: what was declared, else what is found, else slots of its processor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from fastness.config import ConfigError, NodeSettings
from fastness.core.node import Device, DeviceKind
from fastness.fleet import nvml
from fastness.fleet.host import ROOT, memory_bytes, usable_cores

CPU: Final = "cpu"
NONE: Final = "none"
SLOTS_A_CORE: Final = 4
SET_ASIDE_BYTES: Final = 768 << 20
SET_ASIDE_PART: Final = 0.05
"""What engines do not get: for Fastness's own processes, and a part for the system and its caches."""
DEVICES_MAX: Final = 4_096
LABELS_MAX: Final = 64
_DECLARED: Final = re.compile(r"(\d{1,4})x([a-z0-9][a-z0-9.-]{0,62}):(\d{1,6})(mb|mib|gb|gib|tb|tib)", re.IGNORECASE)
_UNITS: Final = MappingProxyType(
    {"mb": 10**6, "mib": 1 << 20, "gb": 10**9, "gib": 1 << 30, "tb": 10**12, "tib": 1 << 40}
)
_LABEL: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._/-]{0,62})(?:=([A-Za-z0-9][A-Za-z0-9._/-]{0,62})?)?")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,62}")


@dataclass(frozen=True, slots=True)
class Offered:
    """All of a FleetNode but whose law it stands under and what lies on its disk."""

    devices: tuple[Device, ...]
    memory_bytes: int
    pool: str
    domain: str
    labels: tuple[tuple[str, str], ...]


def offered(settings: NodeSettings, load_nvml: Callable[[], Any | None] = nvml.library, root: Path = ROOT) -> Offered:
    """Say what this machine offers; `root` is where /proc and /sys are.

    Raises ConfigError for a setting that cannot be read, DevicesUnreadable where there is a driver that does not say
    what it drives: a node that is taken for another would be given what does not fit.
    """
    pool, domain = _name("node.pool", settings.pool), _name("node.domain", settings.domain, empty=True)
    labels = read_labels(settings.labels)
    if settings.devices.strip():
        found = declared(settings.devices)
    else:
        library = load_nvml()
        found = nvml.accelerators(library) if library is not None else ()
    slots = settings.cpu_slots or (0 if found else max(1, int(SLOTS_A_CORE * usable_cores(root))))
    cpus = tuple(Device(f"{CPU}-{number}", DeviceKind.CPU, CPU, 0) for number in range(slots))
    memory = settings.memory_bytes or derived_memory_bytes(memory_bytes(root))
    return Offered((*found, *cpus), memory, pool, domain, labels)


def derived_memory_bytes(total_bytes: int) -> int:
    """Return how much of a machine's memory engines may take."""
    return max(0, int(total_bytes * (1 - SET_ASIDE_PART)) - SET_ASIDE_BYTES)


def declared(text: str) -> tuple[Device, ...]:
    """Read `8xh100-80gb:80GB, 2xl40s:45GiB`; `none` is none at all. Raises ConfigError.

    GB are 10^9 bytes, a little less than what makers mean by it: rather too little is counted on than too much.
    """
    if text.strip() == NONE:
        return ()
    found: list[Device] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        read = _DECLARED.fullmatch(part)
        if read is None or read[2] == CPU:
            raise ConfigError(
                f"node.devices has {part!r}; it needs COUNTxTYPE:MEMORY, such as 8xh100-80gb:80GB, or `none`. "
                "Slots of the processor are node.cpu_slots"
            )
        size_bytes = int(read[3]) * _UNITS[read[4].lower()]
        first, count = len(found), int(read[1])
        if not 1 <= count <= DEVICES_MAX - first or not size_bytes:
            raise ConfigError(f"node.devices has {part!r}; it may be 1 to {DEVICES_MAX} devices, with some memory each")
        kind = read[2].lower()
        found += [Device(f"gpu-{first + number}", DeviceKind.GPU, kind, size_bytes) for number in range(count)]
    return tuple(found)


def read_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Read `key=value, key`, sorted; raises ConfigError."""
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        read = _LABEL.fullmatch(part)
        if read is None or read[1] in found or len(found) == LABELS_MAX:
            raise ConfigError(
                f"node.labels has {part!r}; it needs key=value or key, each key once, {LABELS_MAX} at most, of "
                "letters, digits and . _ / -"
            )
        found[read[1]] = read[2] or ""
    return tuple(sorted(found.items()))


def accelerators(devices: Iterable[str]) -> tuple[str, ...]:
    """Return which of these devices, by their ids, are no slots of the processor."""
    return tuple(one for one in devices if not one.startswith(f"{CPU}-"))


def device_environ(devices: Iterable[str]) -> dict[str, str]:
    """Return the environment in which an engine sees these devices, by their ids, and no other accelerator."""
    seen = ",".join(one.removeprefix("gpu-") for one in accelerators(devices))
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": seen}


def _name(setting: str, text: str, *, empty: bool = False) -> str:
    if (empty and not text) or _NAME.fullmatch(text):
        return text
    raise ConfigError(f"{setting} is {text!r}; it needs lower-case letters, digits and . _ / -")
