"""What aics-tlog says of a log: `audit DIRECTORY KEY ORIGIN`, and `write DIRECTORY COUNT` for one that it made.

Run by a later Python than ours may be: nothing of Fastness is imported. Prints JSON; hashes are in hex.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import aics_tlog


def audit(directory: str, key: str, origin: str) -> dict[str, Any]:
    reader = aics_tlog.FileSystemTileReader(Path(directory))
    note = aics_tlog.parse_note((Path(directory) / "checkpoint").read_bytes())
    checked = aics_tlog.verify_checkpoint(note, aics_tlog.parse_vkey(key), expected_origin=origin)
    assert checked.ok, checked.error
    report = aics_tlog.audit_tiles(reader, checked.size, checked.root)
    return {
        "counts": [report.size, report.tiles, report.bundles],
        "root": checked.root.hex(),
        "root_300": aics_tlog.tree_root_from_tiles(reader, 300, tile_size=checked.size).hex(),
        "included": [one.hex() for one in aics_tlog.inclusion_proof_from_tiles(reader, 345, checked.size)],
        "grown": [one.hex() for one in aics_tlog.consistency_proof_from_tiles(reader, 300, checked.size)],
    }


def write(directory: str, count: str) -> dict[str, Any]:
    entries = [b"entry %d" % number for number in range(int(count))]
    store = aics_tlog.DirectoryTileStore(Path(directory), fsync=False)
    aics_tlog.IncrementalTileWriter(store).append(entries)
    return {"root": aics_tlog.tree_root_from_tiles(store, len(entries)).hex()}


if __name__ == "__main__":
    print(json.dumps({"audit": audit, "write": write}[sys.argv[1]](*sys.argv[2:])))
