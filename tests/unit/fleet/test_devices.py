"""What a machine offers: declared, found by NVML (we make a library like it), or slots of its processor."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastness.config import ConfigError, NodeSettings
from fastness.core.node import Device, DeviceKind
from fastness.fleet.devices import declared, derived_memory_bytes, device_environ, offered, read_labels
from fastness.fleet.nvml import DevicesUnreadable, accelerator_type

GIB = 1 << 30
# The calls that we make, with the signatures of nvml.h.
DRIVER = """
#include <string.h>
struct memory { unsigned long long total, free, used; };
static const char *names[] = {"NVIDIA H100 80GB HBM3", "NVIDIA L40S"};
static const char *uuids[] = {"GPU-aaaa", "GPU-bbbb"};
static const unsigned long long totals[] = {85520809984ULL, 48305799168ULL};
static int open_sessions = 0;
int nvmlInit_v2(void) { open_sessions++; return INIT; }
int nvmlShutdown(void) { open_sessions--; return 0; }
int sessions(void) { return open_sessions; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned at, void **handle) { *handle = (void *)&totals[at]; return 0; }
static int index_of(void *handle) { return (const unsigned long long *)handle - totals; }
int nvmlDeviceGetMemoryInfo(void *one, struct memory *found) { found->total = totals[index_of(one)]; return MEMORY; }
int nvmlDeviceGetName(void *one, char *text, unsigned size) { strncpy(text, names[index_of(one)], size); return 0; }
int nvmlDeviceGetUUID(void *one, char *text, unsigned size) { strncpy(text, uuids[index_of(one)], size); return 0; }
const char *nvmlErrorString(int status) { return status == 15 ? "GPU is lost" : "Unknown Error"; }
"""


def driver(folder: Path, init: int = 0, memory: int = 0) -> Any:
    if not (compiler := shutil.which("cc")):
        pytest.skip("no C compiler to make a driver's library with")
    source, library = folder / "nvml.c", folder / "nvml.so"
    source.write_text(DRIVER)
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-DINIT={init}", f"-DMEMORY={memory}", str(source), "-o", str(library)],
        check=True,
    )
    return ctypes.CDLL(str(library))


def machine(folder: Path, memory_mib: int = 8_192, cgroup: str = "0::/\n") -> Path:
    (folder / "proc/self").mkdir(parents=True)
    (folder / "sys/fs/cgroup").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal: {memory_mib * 1_024} kB\nMemFree: 1 kB\n")
    (folder / "proc/self/cgroup").write_text(cgroup)
    return folder


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_machine_without_accelerators_offers_slots_of_its_processor_in_its_memory(tmp_path: Path) -> None:
    found = offered(NodeSettings(cpu_slots=3), lambda: None, machine(tmp_path))
    assert found.devices == tuple(Device(f"cpu-{number}", DeviceKind.CPU, "cpu", 0) for number in range(3))
    assert found.memory_bytes == derived_memory_bytes(8 * GIB)
    assert (found.pool, found.domain, found.labels) == ("default", "", ())


def test_there_are_four_slots_a_core_that_the_cgroup_lets_us_use(tmp_path: Path) -> None:
    root = machine(tmp_path)
    put(root / "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert len(offered(NodeSettings(), lambda: None, root).devices) == 2


def test_memory_is_that_of_the_smallest_cgroup_above_us_in_either_version(tmp_path: Path) -> None:
    root = machine(tmp_path, cgroup="4:cpuset:/\n3:memory:/a/b\n0::/c\n")
    put(root / "sys/fs/cgroup/memory/a/memory.limit_in_bytes", str(4 * GIB))
    assert offered(NodeSettings(), lambda: None, root).memory_bytes == derived_memory_bytes(4 * GIB)
    put(root / "sys/fs/cgroup/c/memory.max", str(2 * GIB))
    put(root / "sys/fs/cgroup/memory.max", "max")
    assert offered(NodeSettings(), lambda: None, root).memory_bytes == derived_memory_bytes(2 * GIB)


def test_a_machine_smaller_than_what_is_set_aside_offers_no_memory(tmp_path: Path) -> None:
    assert offered(NodeSettings(), lambda: None, machine(tmp_path, 512)).memory_bytes == 0


def test_accelerators_are_found_under_their_uuids_and_the_session_is_closed(tmp_path: Path) -> None:
    library = driver(tmp_path)
    assert offered(NodeSettings(), lambda: library, machine(tmp_path)).devices == (
        Device("GPU-aaaa", DeviceKind.GPU, "h100-80gb", 85_520_809_984),
        Device("GPU-bbbb", DeviceKind.GPU, "l40s", 48_305_799_168),
    )
    assert library.sessions() == 0


def test_slots_of_the_processor_are_offered_beside_accelerators_when_asked_for(tmp_path: Path) -> None:
    settings = NodeSettings(devices="1xl40s:45GiB", cpu_slots=1)
    found = offered(settings, lambda: None, machine(tmp_path))
    assert [one.id for one in found.devices] == ["gpu-0", "cpu-0"]


def test_a_library_without_a_driver_is_no_accelerator(tmp_path: Path) -> None:
    found = offered(NodeSettings(cpu_slots=1), lambda: driver(tmp_path, init=9), machine(tmp_path))
    assert [one.kind for one in found.devices] == [DeviceKind.CPU]


def test_a_driver_that_does_not_answer_is_refused_and_not_taken_for_a_machine_without_accelerators(
    tmp_path: Path,
) -> None:
    library = driver(tmp_path, memory=15)
    with pytest.raises(DevicesUnreadable, match=r"nvmlDeviceGetMemoryInfo failed: GPU is lost \(15\).*node\.devices"):
        offered(NodeSettings(), lambda: library, machine(tmp_path))
    assert library.sessions() == 0


def test_what_is_declared_is_offered_and_the_driver_is_not_asked(tmp_path: Path) -> None:
    settings = NodeSettings(devices="2xh100-80gb:80GB, 1xl40s:45GiB", domain="rack-7", pool="bristol", labels="b=2,a")

    def asked() -> Any:
        raise AssertionError("the driver was asked")

    found = offered(settings, asked, machine(tmp_path))
    assert found.devices == (
        Device("gpu-0", DeviceKind.GPU, "h100-80gb", 80 * 10**9),
        Device("gpu-1", DeviceKind.GPU, "h100-80gb", 80 * 10**9),
        Device("gpu-2", DeviceKind.GPU, "l40s", 45 * GIB),
    )
    assert (found.domain, found.pool, found.labels) == ("rack-7", "bristol", (("a", ""), ("b", "2")))


def test_none_hides_the_accelerators(tmp_path: Path) -> None:
    settings = NodeSettings(devices="none", cpu_slots=1)
    found = offered(settings, lambda: driver(tmp_path), machine(tmp_path))
    assert [one.id for one in found.devices] == ["cpu-0"]


def test_memory_that_is_said_is_taken_as_it_is(tmp_path: Path) -> None:
    assert offered(NodeSettings(memory_bytes=7), lambda: None, machine(tmp_path)).memory_bytes == 7


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ("h100", "COUNTxTYPE:MEMORY"),
        ("4xcpu:1GB", "node.cpu_slots"),
        ("8xh100:80", "COUNTxTYPE:MEMORY"),
        ("0xh100:80GB", "1 to 4096 devices"),
        ("1xh100:0GB", "some memory"),
        ("4096xh100:80GB,1xl40s:48GB", "1 to 4096 devices"),
    ],
)
def test_a_declaration_that_cannot_be_read_is_refused_with_its_part_and_what_is_needed(devices: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        declared(devices)
    assert devices.split(",")[-1] in str(refused.value)


@pytest.mark.parametrize("labels", ["=x", "a=b=c", "a=1,a=2", "a b=1", ",".join(f"k{n}" for n in range(65))])
def test_labels_that_cannot_be_read_are_refused(labels: str) -> None:
    with pytest.raises(ConfigError, match=r"node\.labels has"):
        read_labels(labels)


@pytest.mark.parametrize("wrong", [{"pool": ""}, {"pool": "A pool"}, {"domain": "rack 7"}])
def test_pools_and_domains_have_names(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=rf"node\.{next(iter(wrong))} is"):
        offered(replace(NodeSettings(cpu_slots=1, memory_bytes=1), **wrong), lambda: None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA H200 NVL", "h200"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("Tesla V100-PCIE-32GB", "v100-32gb"),
    ],
)
def test_an_accelerator_is_named_without_its_maker_and_packaging(name: str, kind: str) -> None:
    assert accelerator_type(name) == kind


def test_an_engine_sees_the_accelerators_that_it_holds_and_no_other() -> None:
    assert device_environ(["GPU-aaaa", "GPU-bbbb"])["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa,GPU-bbbb"
    assert device_environ(["gpu-3", "cpu-1"])["CUDA_VISIBLE_DEVICES"] == "3"
    assert device_environ(["cpu-1"])["CUDA_VISIBLE_DEVICES"] == ""


def test_this_machine_offers_something() -> None:
    found = offered(NodeSettings(devices="none"))
    assert found.devices
    assert found.memory_bytes > 0
