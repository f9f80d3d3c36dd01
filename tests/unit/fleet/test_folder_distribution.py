"""Models that are folders, from host to host: all of their files, each as it was, or none of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from door_world import HOST, Hosts, opened
from fastness.core.file_list import ListedFile, folder_digest, write_list
from fastness.fleet.door import fetching as fetching_file
from fastness.fleet.door.fetching import Fetching
from fastness.fleet.door.on_disk import KEPT_S, remove_left_overs
from fastness.fleet.door.orders import HostPlace, WantedModel
from fastness.fleet.door.serving import ModelsHere
from fastness.main.door import reaching
from fastness.registry.folder import digest_of_folder
from test_model_distribution import run, until

FILES = {
    "config.json": b"{}",
    "model-1.safetensors": bytes(range(256)) * 4_000,
    "model-2.safetensors": bytes(reversed(range(256))) * 4_000,
    "tokenizer/empty.txt": b"",
    "tokenizer/merges.txt": b"a b\n",
    "vocab.json": b"",
}
SIZE_BYTES = sum(map(len, FILES.values()))
DIGEST = folder_digest((path, hashlib.sha256(content).hexdigest()) for path, content in FILES.items())


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture
def given(tmp_path: Path) -> Path:
    laid_down(tmp_path / "given")
    return tmp_path / "given"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching_file, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(fetching_file, "RETRY_MAX_S", 0.05)


def laid_down(models: Path, **changed: bytes) -> None:
    for path, content in (FILES | changed).items():
        file = models / DIGEST / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


Reach = Callable[[HostPlace], Any]


class Between:
    """The way to a door, which may break off after so many bytes, once."""

    def __init__(self, reach: Reach, after: int | None = None) -> None:
        self.reach, self.after, self.asked = reach, after, 0

    async def __call__(self, source: HostPlace) -> Any:
        self.asked += 1
        reader, transport = await self.reach(source)
        if self.after is None:
            return reader, transport
        ours, left, self.after = asyncio.StreamReader(), self.after, None
        self.passing = asyncio.create_task(self._pass(reader, ours, left))
        return ours, transport

    async def _pass(self, reader: asyncio.StreamReader, ours: asyncio.StreamReader, left: int) -> None:
        ours.feed_data(await reader.readexactly(left))
        ours.feed_eof()


async def fetch(folder: Path, reach: Reach, *sources: HostPlace, done: bool = True) -> list[tuple[str, str, str]]:
    told: list[tuple[str, str, str]] = []
    fetching = Fetching(folder, reach, lambda *what: told.append(what))
    fetching.want((WantedModel(DIGEST, SIZE_BYTES, sources),))
    try:
        await until(lambda: fetching.states()[0].done if done else bool(told))
    finally:
        await fetching.close()
    return told


def is_whole(folder: Path) -> bool:
    here = folder / DIGEST
    assert {str(one.relative_to(here)) for one in here.rglob("*") if one.is_file()} == FILES.keys()
    assert all(one.stat().st_mode & 0o777 == 0o444 for one in here.rglob("*") if one.is_file())
    assert [one.name for one in folder.iterdir()] == [DIGEST], "nothing else is left"
    return digest_of_folder(here) == DIGEST


# So many bytes of an answer: its first line, the list, and some of the files.
BEGINNING = len(f"FILES {SIZE_BYTES} {len(write_list(ListedFile(path, len(one)) for path, one in FILES.items()))}\n")
MOMENTS = [None, 3, BEGINNING, BEGINNING + 40, BEGINNING + 1_000, BEGINNING + 1_100_000, BEGINNING + 1_500_000]


@pytest.mark.parametrize("after", MOMENTS)
def test_a_folder_comes_whole_wherever_it_broke_off(hosts, folder, given, after):
    async def main():
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            between = Between(reaching(hosts.head), after)
            told = await fetch(folder, between, HostPlace(HOST, found.place))
            assert told[-1] == ("model.fetched", DIGEST, HOST)
            assert between.asked == (1 if after is None else 2)
            await until(lambda: found.door.connections == 0)

    run(main)
    assert is_whole(folder)


def test_what_came_before_a_restart_is_gone_on_with_from_where_it_was(hosts, folder, given, monkeypatch):
    monkeypatch.setattr(fetching_file, "RETRY_FIRST_S", 30.0)

    async def main():
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            source = HostPlace(HOST, found.place)
            await fetch(folder, Between(reaching(hosts.head), BEGINNING + 1_500_000), source, done=False)
            sizes = [one.stat().st_size for one in folder.rglob("*.safetensors")]
            assert 1_024_000 in sizes, "the first file came"
            assert (folder / f"{DIGEST}.fetched").is_dir() and not (folder / DIGEST).exists()
            assert (await fetch(folder, reaching(hosts.head), source))[-1][2] == f"an earlier start {HOST}"

    run(main)
    assert is_whole(folder)


def test_a_file_that_is_another_is_found_and_its_host_is_asked_no_more(hosts, folder, given):
    laid_down(given, **{"model-2.safetensors": b"x" * 1_024_000})

    async def main():
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            told = await fetch(folder, reaching(hosts.head), HostPlace(HOST, found.place), done=False)
            assert told[0][0] == "model.not_fetched" and "it was thrown away" in told[0][2]
            await until(lambda: not list(folder.iterdir()))

    run(main)


def test_files_of_another_size_are_not_begun_with(hosts, folder, given):
    laid_down(given, **{"config.json": b"{ }"})

    async def main():
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            told = await fetch(folder, reaching(hosts.head), HostPlace(HOST, found.place), done=False)
            assert "2048007 bytes under that digest; 2048006 were admitted" in told[0][2]

    run(main)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("others", [b"2048006 ../model\n", b"2048006 model\n"])
def test_what_was_begun_by_another_list_is_thrown_away_and_begun_anew(hosts, folder, given, others):
    """Of two hosts that list other files one lies, and nobody knows which."""
    partial = folder / f"{DIGEST}.fetched"
    (partial / "files").mkdir(parents=True)
    (partial / "list").write_bytes(others)
    (partial / "files/model").write_bytes(b"x" * 1_000)

    async def main():
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            await fetch(folder, reaching(hosts.head), HostPlace(HOST, found.place))

    run(main)
    assert is_whole(folder)


def test_a_link_among_the_files_is_not_followed(hosts, folder, given, tmp_path):
    (tmp_path / "secret").write_bytes(b"pe")
    (given / DIGEST / "config.json").unlink()
    (given / DIGEST / "config.json").symlink_to(tmp_path / "secret")

    async def main():
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            told = await fetch(folder, reaching(hosts.head), HostPlace(HOST, found.place), done=False)
            assert "it is not here" in told[0][2]

    run(main)


def test_a_folder_that_nobody_goes_on_with_is_kept_for_a_week(folder):
    files = folder / f"{DIGEST}.fetched/files"
    files.mkdir(parents=True)
    begun_s = files.stat().st_mtime
    remove_left_overs(folder, begun_s + KEPT_S - 1)
    assert files.exists()
    remove_left_overs(folder, begun_s + KEPT_S + 1)
    assert list(folder.iterdir()) == []
