"""What holds for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from postgresql_server import Server, running_server

# No deadline: a busy machine is no failure. `make check` tries fewer examples than `make test` does.
settings.register_profile("whole", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=25)
settings.load_profile(os.environ.get("FASTNESS_TEST_PROFILE", "whole"))


@pytest.fixture(scope="session", autouse=True)
def _no_run_directory_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Homes with long paths have their run directory in /tmp; those of this session's homes go with them."""
    yield
    ours = str(tmp_path_factory.getbasetemp())
    for mark in Path("/tmp").glob(f"fastness-{os.getuid()}-*/home"):
        if mark.read_text().startswith(ours):
            shutil.rmtree(mark.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A real PostgreSQL; skips where none is installed, which with CI=true is a failure."""
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of every kind that the store can be kept in."""
    from fastness.store.database import sqlite_url

    if request.param == "sqlite":
        return sqlite_url(tmp_path / "fastness.db")
    return str(request.getfixturevalue("postgresql").new())
