"""Under which licence a distribution says that it is."""

from __future__ import annotations

from importlib import metadata
from typing import Final

CHARS_MAX: Final = 120
"""Longer is the text of a licence, not its name."""

NAMED: Final = {
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "The MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""What people write for licences that have an SPDX identifier."""


def field_of(one: metadata.Distribution, name: str) -> str:
    """Return a field of a distribution's metadata, empty where it has none."""
    found = one.metadata.get_all(name)
    return str(found[0]).strip() if found else ""


def licence_of(one: metadata.Distribution) -> str:
    """Return the expression, the name, the classifier, or the first line of the licence's file; empty for none."""
    said = field_of(one, "License-Expression")
    if not said:
        name = field_of(one, "License")
        said = name if 0 < len(name) <= CHARS_MAX and "\n" not in name else ""
    if not said:
        classifiers = one.metadata.get_all("Classifier") or []
        kinds = [text.rpartition("::")[2].strip() for text in classifiers if text.startswith("License ::")]
        said = " OR ".join(NAMED.get(kind, kind) for kind in kinds)
    return NAMED.get(said, said) or _first_line(one)


def _first_line(one: metadata.Distribution) -> str:
    for file in one.files or []:
        if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")) and ".dist-info" in str(file):
            text = one.read_text(str(file).partition(".dist-info/")[2]) or ""
            line = next((line.strip() for line in text.splitlines() if line.strip()), "")[:CHARS_MAX]
            return NAMED.get(line, line)
    return ""
