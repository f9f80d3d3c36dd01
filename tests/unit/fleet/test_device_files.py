"""Which device files an engine may open: the driver's, and those of the devices that it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastness.fleet.device_files import device_files

# On the bus in another order than their files are numbered, as machines have it.
GPUS = {"0000:17:00.0": (3, "GPU-aa"), "0000:65:00.0": (0, "GPU-bb"), "0000:ca:00.0": (1, "GPU-cc")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    for name in ("nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia3"):
        (tmp_path / "dev" / name).touch()
    for place, (minor, uuid) in GPUS.items():
        folder = tmp_path / "proc/driver/nvidia/gpus" / place
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t H100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n")
    return tmp_path


def names(files: tuple[Path, ...]) -> list[str]:
    return [file.name for file in files]


def test_only_devices_that_are_held_are_opened(root: Path) -> None:
    assert names(device_files(["GPU-bb"], root)) == ["nvidiactl", "nvidia-uvm", "nvidia0"]
    assert names(device_files(["gpu-0", "gpu-2"], root)) == ["nvidiactl", "nvidia-uvm", "nvidia3", "nvidia1"]


def test_who_holds_no_accelerator_opens_nothing(root: Path) -> None:
    assert device_files(["cpu-0", "cpu-3"], root) == ()
    assert device_files([], root) == ()


def test_a_device_that_the_driver_does_not_know_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="no device GPU-dd; it has GPU-aa, GPU-bb, GPU-cc, gpu-0, gpu-1, gpu-2"):
        device_files(["GPU-dd"], root)
