"""The page that an accreditor reads speaks of what there is."""

from __future__ import annotations

import re
from pathlib import Path

from fastness.perimeter.kinds import KINDS, SEALED
from fastness.perimeter.probe import PROBES
from fastness.perimeter.probe_reach import table_of
from fastness.perimeter.seal import LAYERS
from fastness.perimeter.syscalls import allowed_numbers, conditional_numbers
from fastness.perimeter.witness import witness

PAGE = (Path(__file__).parents[3] / "docs" / "explanation" / "perimeter.md").read_text()


def test_the_page_lists_every_probe_and_no_other() -> None:
    table = PAGE.partition("| what is tried | probes |")[2].partition("\n\n")[0]
    listed = re.findall(r"`([a-z0-9-]+)`", table)
    seen = [result.id for result in witness(0)]
    assert sorted(listed) == sorted([*(probe.id for probe in PROBES), *seen])


def test_the_page_explains_every_layer_in_order() -> None:
    table = PAGE.partition("| layer |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    assert rows == [layer.name for layer in LAYERS]


def test_the_page_counts_the_calls_right() -> None:
    counts = (len(allowed_numbers("x86_64")), len(allowed_numbers("aarch64")), len(conditional_numbers("aarch64")))
    assert f"{counts[0]} calls on x86-64, {counts[1]} on AArch64, and {counts[2]} more" in PAGE
    assert len(conditional_numbers("x86_64")) == counts[2]


def test_every_probe_names_a_layer_and_says_what_it_tries() -> None:
    names = {layer.name for layer in LAYERS}
    for probe in PROBES:
        assert probe.layer in names, probe.id
        assert len(probe.attempt) > 5, probe.id


def test_the_page_lists_every_probe_of_our_own_processes_and_no_other() -> None:
    table = PAGE.partition("| what is tried, from inside each | probes |")[2].partition("\n\n")[0]
    listed = re.findall(r"`([a-z0-9-]+)`", table)
    own = [kind for kind in KINDS if kind not in SEALED]
    tried = {probe.id for kind in own for probe in table_of(kind, judged=True, names=False)}
    assert sorted(listed) == sorted(tried)
