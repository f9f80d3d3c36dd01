"""What holds for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_run_directory_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Homes with long paths have their run directory in /tmp; those of this session's homes go with them."""
    yield
    ours = str(tmp_path_factory.getbasetemp())
    for mark in Path("/tmp").glob(f"fastness-{os.getuid()}-*/home"):
        if mark.read_text().startswith(ours):
            shutil.rmtree(mark.parent, ignore_errors=True)
