"""A model of a few kilobytes that passes inspection, in as many different versions as are wanted."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_bert
from fastness.core.admission import ArtefactKind
from fastness.registry.convert_bert import FILES, convert_bert
from fastness.registry.inspection.port import Wish


def tiny_gguf(number=0) -> bytes:
    """Return a whole GGUF file; each number gives other weights."""
    parts = []
    files = tiny_bert.folder()
    convert_bert("tiny", {name: memoryview(files[name]) for name in FILES}, lambda part: parts.append(bytes(part)))
    whole = bytearray(b"".join(parts))
    whole[-2] = number
    return bytes(whole)


def place(path: Path, number=0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tiny_gguf(number))
    return path


def wish(name="tiny") -> Wish:
    return Wish(name, ArtefactKind.MODEL, "MIT", "made for a test")


def place_bert(folder: Path) -> Path:
    """Lay a BERT out as its safetensors and companions."""
    for name, content in tiny_bert.folder().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
