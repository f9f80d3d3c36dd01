"""Releases installed beside each other, as on a machine that is upgraded; nothing is fetched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from contextlib import suppress
from importlib import metadata
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDER = "32715382a5b7bf8d786641a7c29a369d970007c8"
"""A commit of before many servers, tiled ledgers and receipts: what the drill upgrades from."""
OLDER_CLUSTER = "d1f5d482532239c57f779afd8206f5e1edd804e8"
"""A commit with many servers, of before gangs and adapters: what the drill of several hosts upgrades from."""
LOCKS = ("runtime.txt", "starter-models.txt")


def installed(prefix: Path, source: Path, *extras: str) -> Path:
    """Make a virtual environment with the locked distributions of this one, and with the release in `source`.

    `extras` are the locks of what else it shall have, such as `ray.txt`.
    """
    venv.create(prefix, with_pip=False)
    (site,) = prefix.glob("lib/python*/site-packages")
    locks = "".join((ROOT / "requirements" / name).read_text() for name in (*LOCKS, *extras))
    for name in set(re.findall(r"^([\w.-]+)==", locks, re.MULTILINE)):
        with suppress(metadata.PackageNotFoundError):  # of another platform
            for file in metadata.distribution(name).files or []:
                if not str(file).startswith("..") and "__pycache__" not in str(file):
                    _link(Path(str(file.locate())), site / str(file))
    command = [sys.executable, "-m", "pip", "--python", str(prefix / "bin/python"), "install", "--quiet"]
    command += ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", str(source)]
    subprocess.run(command, check=True, timeout=300)
    return prefix


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def older(folder: Path, commit: str = OLDER) -> tuple[Path, bool]:
    """Lay down the source of an earlier release; False where this clone has none: then it is this one, renumbered."""
    folder.mkdir()
    done = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=False, timeout=60)
    if done.returncode == 0:
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
    else:
        present(folder)
    number(folder, "0.0.9")
    return folder, done.returncode == 0


def present(folder: Path) -> Path:
    """Lay down the source that is tested."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements", "src"):
        there = ROOT / name
        if there.is_dir():
            shutil.copytree(
                there, folder / name, symlinks=True, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
            )
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(there, folder / name)
    return folder


def number(folder: Path, version: str) -> None:
    """Give a release its number."""
    for name, pattern in (
        ("pyproject.toml", r'^version = "[^"]+"'),
        ("src/fastness/__init__.py", r'^__version__ = "[^"]+"'),
    ):
        text = (folder / name).read_text()
        key = pattern.split(" ")[0].lstrip("^")
        (folder / name).write_text(re.sub(pattern, f'{key} = "{version}"', text, count=1, flags=re.MULTILINE))
