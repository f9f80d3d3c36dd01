"""What a file is by its content, whatever its name says: pickles, archives and programs are recognised and refused."""

from __future__ import annotations

import pickletools
import re
import struct
from typing import Final

from fastness.registry.inspection.port import ArtefactRefused

HEAD_BYTES: Final = 4_096
TAIL_BYTES: Final = 65_557
"""A zip file ends with a record of 22 bytes and a comment of up to 65,535."""

_ARCHIVES: Final = (
    (b"PK\x03\x04", "a zip file"),
    (b"PK\x05\x06", "a zip file"),
    (b"PK\x07\x08", "a zip file"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"\x5d\x00\x00", "compressed with lzma"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
    (b"Rar!\x1a\x07", "a rar file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy file"),
)
_PROGRAMS: Final = (
    (b"\x7fELF", "a native program"),
    (b"MZ", "a native program"),
    (b"\x00asm", "a WebAssembly program"),
    (b"\xca\xfe\xba\xbe", "a native or Java program"),
    (b"\xfe\xed\xfa\xce", "a native program"),
    (b"\xfe\xed\xfa\xcf", "a native program"),
    (b"\xce\xfa\xed\xfe", "a native program"),
    (b"\xcf\xfa\xed\xfe", "a native program"),
    (b"!<arch>\n", "a library of native code"),
    (b"#!", "a script"),
)
_COMPILED_PYTHON: Final = re.compile(rb"[\x00-\xff]{2}\r\n[\x00-\x03]\x00\x00\x00", re.DOTALL)
_PICKLE_OPERATIONS_MAX: Final = 4_096
_TELLING: Final = frozenset(
    {"PROTO", "GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "FRAME", "EXT1"}
)


def check_content(head: bytes, tail: bytes, file: str) -> None:
    """Refuse a file whose first or last bytes are those of a pickle, an archive or a program.

    `head` has up to HEAD_BYTES, `tail` up to TAIL_BYTES.
    """
    for magics, rule in ((_ARCHIVES, "file.archive"), (_PROGRAMS, "file.code")):
        for magic, word in magics:
            if head.startswith(magic):
                raise ArtefactRefused(rule, f"is {word}, whatever its name says", file)
    if head[257:262] == b"ustar" or _ends_as_zip(tail):
        raise ArtefactRefused("file.archive", "is an archive, whatever its name says", file)
    if _COMPILED_PYTHON.match(head):
        raise ArtefactRefused("file.code", "is compiled Python, whatever its name says", file)
    if is_pickle(head):
        raise ArtefactRefused("file.pickle", "is a pickle, whatever its name says", file)


def is_pickle(head: bytes) -> bool:
    """Say whether the bytes begin as a pickle: operations in a row, one of them telling, until they stop or are cut.

    Nothing is executed. A safetensors header of 512 to 1,535 bytes begins with a small number too: `{` tells it apart.
    """
    if head[8:9] == b"{" and head[4:8] == bytes(4):
        return False
    telling, count = 0, 0
    try:
        for operation, _, _ in pickletools.genops(head):
            telling += operation.name in _TELLING
            count += 1
            if count > _PICKLE_OPERATIONS_MAX:
                break
    except Exception:  # noqa: BLE001 - whatever a decoder makes of bytes that are no pickle, or of one that is cut
        return telling > 0 and (head[:1] == b"\x80" or count > 3)
    return telling > 0


def _ends_as_zip(tail: bytes) -> bool:
    """Say whether a zip's directory ends where the file does: such a file is a zip to every reader of zips."""
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if len(tail) >= at + 22 and struct.unpack_from("<H", tail, at + 20)[0] == len(tail) - at - 22:
            return True
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return False
