"""One installation for all acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from installation import Installation, start, stop


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    running = start(tmp_path_factory.mktemp("home"))
    yield running
    assert stop(running) == 0


@pytest.fixture
def client(installation: Installation) -> Iterator[OpenAI]:
    with installation.client() as one:
        yield one
