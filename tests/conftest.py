"""What holds for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_run_directory_is_left_behind() -> Iterator[None]:
    """Homes with long paths have their run directory in /tmp; those of this session's homes go with them."""
    pattern = f"fastness-{os.getuid()}-*"
    before = set(Path("/tmp").glob(pattern))
    yield
    for left in set(Path("/tmp").glob(pattern)) - before:
        shutil.rmtree(left, ignore_errors=True)
