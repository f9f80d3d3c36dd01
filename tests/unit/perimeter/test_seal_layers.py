"""All layers or none, in order, with a line that a person can act on."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fastness.perimeter import namespaces
from fastness.perimeter.bounds import Bounds, read_bounds, write_bounds
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.landlock import executables, files_remedy, handled_rights
from fastness.perimeter.port import Confinement
from fastness.perimeter.seal import LAYERS, UNSEALED_LAYERS, Layer, NotSealed, layers_of, seal
from fastness.perimeter.seccomp import system_calls_remedy


def bounds(*, unsealed: bool = False) -> Bounds:
    confinement = Confinement((Path("/lib"),), (Path("/tmp"),), 1 << 30, 64, unsealed=unsealed)
    return read_bounds(write_bounds(confinement, parent_pid=7), "/bin/true")


def recording(name: str, seen: list[str], error: OSError | None = None) -> Layer:
    def enter(_bounds: Bounds, _kernel: Kernel) -> None:
        seen.append(name)
        if error:
            raise error

    return Layer(name, enter, f"remedy of {name}")


def test_layers_are_set_in_order() -> None:
    seen: list[str] = []
    seal(tuple(recording(name, seen) for name in "abc"), bounds(), Kernel())
    assert seen == ["a", "b", "c"]


def test_the_first_layer_that_fails_is_the_last_that_is_tried() -> None:
    seen: list[str] = []
    refused = PermissionError(errno.EPERM, "Operation not permitted", "/proc/x")
    layers = (recording("a", seen), recording("b", seen, refused), recording("c", seen))
    with pytest.raises(NotSealed) as caught:
        seal(layers, bounds(), Kernel())
    assert seen == ["a", "b"]
    assert str(caught.value) == "layer `b`: EPERM: Operation not permitted (/proc/x); remedy of b"


def test_a_process_is_sealed_in_nine_layers_and_the_filter_comes_last() -> None:
    assert [layer.name for layer in layers_of(bounds())] == [
        "session",
        "descriptors",
        "namespaces",
        "limits",
        "capabilities",
        "privileges",
        "files",
        "lifeline",
        "system calls",
    ]
    assert layers_of(bounds()) is LAYERS


def test_an_unsealed_process_keeps_its_limits_and_its_lifeline() -> None:
    assert layers_of(bounds(unsealed=True)) is UNSEALED_LAYERS
    assert [layer.name for layer in UNSEALED_LAYERS] == ["limits", "lifeline"]


def test_every_layer_says_what_to_do_for_any_errno() -> None:
    for layer in LAYERS:
        for number in (0, errno.EPERM, errno.ENOSYS, errno.ENOENT, errno.EINVAL, errno.ENOSPC, errno.EOPNOTSUPP):
            assert len(layer.advice(number)) > 20, (layer.name, number)


@pytest.mark.parametrize(
    ("switch", "value", "said"),
    [
        ("unprivileged_userns_clone", "0\n", "sysctl kernel.unprivileged_userns_clone=1"),
        ("max_user_namespaces", "0\n", "sysctl user.max_user_namespaces"),
        ("apparmor_restrict_unprivileged_userns", "1\n", "AppArmor"),
    ],
)
def test_the_switch_that_is_off_on_this_machine_is_named(
    switch: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switches = []
    for path, off, remedy in namespaces._SWITCHES:
        file = tmp_path / Path(path).name
        file.write_text(value if file.name == switch else "17\n")
        switches.append((str(file), off, remedy))
    monkeypatch.setattr(namespaces, "_SWITCHES", tuple(switches))
    assert said in namespaces.namespaces_remedy(errno.EPERM)


def test_without_any_switch_the_advice_is_general(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "_SWITCHES", (("/does/not/exist", "0", "never said"),))
    assert "CONFIG_USER_NS" in namespaces.namespaces_remedy(errno.EPERM)
    assert "limit is reached" in namespaces.namespaces_remedy(errno.ENOSPC)


def test_an_old_or_unusual_kernel_gets_its_own_advice() -> None:
    assert "5.13" in files_remedy(errno.ENOSYS)
    assert "lsm=" in files_remedy(errno.EOPNOTSUPP)
    assert "AArch64" in system_calls_remedy(errno.ENOSYS)


# --- namespaces, with a kernel that only writes down -----------------------------------------------------------------


class RecordingKernel(Kernel):
    """Does nothing, and remembers it; `refuse` are the flags it does not permit."""

    def __init__(self, refuse: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.refuse = refuse
        self.calls: list[object] = []

    def unshare(self, flags: int) -> None:
        self.calls.append(flags)
        if flags in self.refuse:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    def write(self, path: str, text: str) -> None:
        self.calls.append((path, text))


PLAIN = namespaces.CLONE_NEWNET | namespaces.CLONE_NEWIPC | namespaces.CLONE_NEWUTS
IN_A_USER_NAMESPACE = PLAIN | namespaces.CLONE_NEWUSER


def test_root_enters_the_namespaces_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    kernel = RecordingKernel()
    namespaces.enter_namespaces(bounds(), kernel)
    assert kernel.calls == [PLAIN]


def test_root_of_a_poor_container_tries_a_user_namespace_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.getegid", lambda: 0)
    kernel = RecordingKernel(refuse=(PLAIN,))
    namespaces.enter_namespaces(bounds(), kernel)
    assert kernel.calls == [
        PLAIN,
        IN_A_USER_NAMESPACE,
        ("/proc/self/setgroups", "deny"),
        ("/proc/self/gid_map", "0 0 1"),
        ("/proc/self/uid_map", "0 0 1"),
    ]


def test_a_user_keeps_their_own_ids_in_the_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1_000)
    monkeypatch.setattr("os.getegid", lambda: 100)
    kernel = RecordingKernel()
    namespaces.enter_namespaces(bounds(), kernel)
    assert kernel.calls[0] == IN_A_USER_NAMESPACE
    assert kernel.calls[-2:] == [("/proc/self/gid_map", "100 100 1"), ("/proc/self/uid_map", "1000 1000 1")]


def test_without_namespaces_there_is_no_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1_000)
    with pytest.raises(PermissionError):
        namespaces.enter_namespaces(bounds(), RecordingKernel(refuse=(IN_A_USER_NAMESPACE,)))


# --- files -----------------------------------------------------------------------------------------------------------


def test_each_version_of_landlock_is_asked_for_all_that_it_can_judge() -> None:
    assert handled_rights(1) == (0x1FFF, 0, 0)
    assert handled_rights(2) == (0x3FFF, 0, 0)
    assert handled_rights(3) == (0x7FFF, 0, 0)
    assert handled_rights(4) == (0x7FFF, 3, 0)
    assert handled_rights(5) == (0xFFFF, 3, 0)
    assert handled_rights(6) == handled_rights(99) == (0xFFFF, 3, 3)


def test_a_program_may_be_executed_with_the_loader_that_it_names() -> None:
    program, *loader = executables("/bin/sh")
    assert program == "/bin/sh"
    assert all(Path(path).exists() and "ld" in Path(path).name for path in loader)


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(80)])
def test_only_a_64_bit_program_may_be_executed(content: bytes, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(content)
    with pytest.raises(OSError, match="64-bit ELF"):
        executables(str(program))
