"""`$FASTNESS_HOME/cluster`: which files a host of a cluster keeps, and how they are read and written."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastness.identity.cluster.certificate import NotTrusted

FOLDER: Final = "cluster"
AUTHORITY: Final = "ca.pem"
AUTHORITY_KEY: Final = "ca.key"
"""On the head only. It is needed to invite and to revoke hosts; it may be kept elsewhere meanwhile."""
CERTIFICATE: Final = "node.pem"
KEY: Final = "node.key"
TOKEN: Final = "token"  # noqa: S105 - the name of a file
"""What Ray's processes show each other: 64 hexadecimal digits."""
REVOKED: Final = "revoked.pem"
HEAD: Final = "head.json"
"""Where the head is; on invited hosts only."""
REGISTER: Final = "issued.json"
"""Which certificates were issued; on the head only."""
FILE_BYTES_MAX: Final = 2_097_152
"""One of these files."""
_SECRET: Final = frozenset({AUTHORITY_KEY, KEY, TOKEN})


def cluster_folder(home: Path) -> Path:
    """Return where the files are; there is none on an installation of one machine."""
    return home / FOLDER


def read_file(folder: Path, name: str) -> bytes:
    """Read one of the files; raises NotTrusted when it is missing, too large, or a secret that others may read."""
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotTrusted(
            f"{path} is missing. On the head `fastness init cluster` makes it, on others `fastness node join FILE`."
        ) from None
    except OSError as error:
        raise NotTrusted(f"{path} cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotTrusted(f"{path} is not a plain file. Move it away, and put the real one back.")
        if name in _SECRET and (found.st_mode & 0o077 or found.st_uid != os.geteuid()):
            raise NotTrusted(f"{path} may be read by others, and is a secret of this user: chmod 600 {path}")
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise NotTrusted(f"{path} has more than {FILE_BYTES_MAX} bytes, which none of ours has.")
    return content


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Replace one file (0600), durably: a reader sees the old one or the new one, whole. Raises OSError."""
    draft = folder / f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        _write(draft, content)
        draft.replace(folder / name)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync(folder)


def make_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make the folder (0700) with these files, all of them or none. Raises NotTrusted when it is there, OSError."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.{os.urandom(4).hex()}")
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft.mkdir(mode=0o700)
    try:
        for name, content in files.items():
            _write(draft / name, content)
        _sync(draft)
        if folder.exists():
            raise NotTrusted(
                f"{folder} is there: this host belongs to a cluster. Nothing was changed. To begin anew, move it away; "
                "then no certificate of the old cluster counts here."
            )
        draft.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
