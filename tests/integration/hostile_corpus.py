"""The hostile corpus: hundreds of artefacts that must be refused, made here, the same each time, nothing fetched."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from hostile_adapters import adapter_cases
from hostile_folders import disguise_cases, json_cases, name_cases, special_cases, weights_cases
from hostile_parts import Case
from hostile_templates import template_cases
from hostile_weights import gguf_cases, index_cases, safetensors_cases


def corpus() -> tuple[Case, ...]:
    """All cases, in a fixed order; ids are distinct."""
    return (
        *gguf_cases(),
        *safetensors_cases(),
        *index_cases(),
        *disguise_cases(),
        *name_cases(),
        *weights_cases(),
        *special_cases(),
        *json_cases(),
        *template_cases(),
        *adapter_cases(),
    )


def fingerprint(path: Path) -> str:
    """Digest an artefact as it lies there: names, kinds, sizes, and the content of what is small."""
    digest = hashlib.sha256()
    for each in [path, *(sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else [])]:
        status = each.lstat()
        digest.update(f"{each.name!a} {stat.S_IFMT(status.st_mode)} {status.st_size}\n".encode())
        if stat.S_ISREG(status.st_mode) and status.st_size < 1 << 30:
            digest.update(each.read_bytes())
        elif stat.S_ISLNK(status.st_mode):
            digest.update(str(each.readlink()).encode())
    return digest.hexdigest()
