"""Each layer, alone, refuses what it is said to refuse: none of them leans on another."""

from __future__ import annotations

import os
import textwrap

import pytest

from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement, ProbeResult
from fastness.perimeter.probe import PROBES
from fastness.perimeter.proof import prepared_ground, run_probes
from fastness.perimeter.seal import LAYERS

# What a layer needs of others to be set at all by somebody who is not root.
FIRST = {"files": ("privileges",), "system calls": ("privileges",), "capabilities": ("namespaces", "limits")}

LAUNCH_WITH = """
import os, sys
sys.path.append({root!r})
from fastness.perimeter.bounds import read_bounds
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.seal import LAYERS, seal
class OldKernel(Kernel):
    def landlock_abi(self):
        return {abi} or super().landlock_abi()
chosen = tuple(layer for layer in LAYERS if layer.name in {names!r})
seal(chosen, read_bounds(sys.argv[1], sys.argv[3]), OldKernel())
os.execv(sys.argv[3], sys.argv[3:])
"""


def probed(names: tuple[str, ...], abi: int = 0) -> dict[str, ProbeResult]:
    """Run every probe under the layers `names` only, on a kernel whose Landlock claims to be of version `abi`."""

    def start(confinement: Confinement) -> tuple[str, ...]:
        argv = list(LocalPerimeter().probe_argv(confinement))
        root = argv[4].split("'")[1]
        argv[4] = textwrap.dedent(LAUNCH_WITH).format(root=root, names=names, abi=abi)
        return tuple(argv)

    with prepared_ground() as (ground, confinement):
        return {result.id: result for result in run_probes(start(confinement), ground)}


@pytest.mark.parametrize("layer", [layer.name for layer in LAYERS if layer.name != "lifeline"])
def test_a_layer_alone_refuses_every_probe_that_is_its_own(layer: str) -> None:
    results = probed((*FIRST.get(layer, ()), layer))
    own = [result for result in results.values() if result.layer == layer]
    assert own
    assert [result for result in own if not result.refused] == []


def test_the_lifeline_alone_refuses_no_probe_that_is_another_layer_s() -> None:
    results = probed(("lifeline",))
    assert not results["secret"].refused
    assert not results["neighbour-socket"].refused
    assert not results["start-process"].refused


@pytest.mark.skipif(os.geteuid() != 0, reason="without root, capabilities can only be dropped in a user namespace")
def test_without_the_network_namespace_no_probe_reaches_outside_and_all_are_refused_by_the_filter() -> None:
    everything_else = tuple(layer.name for layer in LAYERS if layer.name != "namespaces")
    results = probed(everything_else)
    passed = {name for name, result in results.items() if not result.refused}
    # Where these tests run in an empty network themselves, there is no interface to be seen.
    assert passed - {"seen-interfaces"} == {"seen-net", "seen-ipc", "seen-uts"}


@pytest.mark.parametrize("abi", [1, 2, 3, 4, 5])
def test_the_seal_holds_with_the_landlock_of_older_kernels(abi: int) -> None:
    results = probed(tuple(layer.name for layer in LAYERS), abi)
    assert [result for result in results.values() if not result.refused] == []


def test_every_layer_but_the_lifeline_has_a_probe_or_is_seen_from_outside() -> None:
    seen = {"session", "privileges"}
    assert {probe.layer for probe in PROBES} | seen | {"lifeline"} == {layer.name for layer in LAYERS}


def test_every_probe_has_a_name_of_its_own() -> None:
    assert len({probe.id for probe in PROBES}) == len(PROBES) >= 24
