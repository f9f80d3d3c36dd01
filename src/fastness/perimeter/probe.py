"""The probe: a program that, started sealed, tries what the seal must refuse, and prints what happened.

`python -m fastness.perimeter.probe` prints `{"pid": …}`, reads its ground (one line of JSON) from standard input, and
prints one JSON object a probe. A probe without an answer counts as allowed: whoever reads must miss it.
"""

from __future__ import annotations

import json
import os
import sys

from fastness.perimeter.probe_files import FILE_PROBES, LAST_PROBES
from fastness.perimeter.probe_kernel import KERNEL_PROBES
from fastness.perimeter.probe_network import NETWORK_PROBES
from fastness.perimeter.probing import Ground, Probe

PROBES = (*NETWORK_PROBES, *FILE_PROBES, *KERNEL_PROBES, *LAST_PROBES)
"""The closed table, in the order in which it is tried."""


def main(table: tuple[Probe, ...] = PROBES) -> int:
    """Try every probe of `table` on the ground that standard input names."""
    _print({"pid": os.getpid()})
    ground = Ground(**json.loads(sys.stdin.readline()))
    allowed = ""
    for probe in table:
        if probe.leaves and allowed:
            refused, answer = False, f"not tried, because {allowed} was allowed"
        else:
            refused, answer = probe.outcome(ground)
        if not refused:
            allowed = allowed or probe.id
        _print({"id": probe.id, "refused": refused, "answer": answer})
    return 0


def _print(row: dict[str, object]) -> None:
    os.write(1, json.dumps(row).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
