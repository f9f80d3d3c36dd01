"""The databases that the stores of the contracts are kept in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastness.store.database import sqlite_url


@pytest.fixture
def url_in(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of a database of the kind that is named."""

    def made(kind: str) -> str:
        if kind == "sqlite":
            return sqlite_url(tmp_path / "fastness.db")
        return str(request.getfixturevalue("postgresql").ready())

    return made


@pytest.fixture(scope="session")
def ray_carries() -> Iterator[None]:
    """Ray between two hosts; skips where none can be made, which with CI=true is a failure."""
    from ray_site import ray_between_hosts

    with ray_between_hosts():
        yield
