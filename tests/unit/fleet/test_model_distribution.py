"""Models from host to host: whole and verified or not at all, whatever the hosts that give them do."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from door_world import HOST, Hosts, handshake, opened
from fastness.fleet.door import fetching as fetching_file
from fastness.fleet.door import serving as serving_file
from fastness.fleet.door.fetching import Fetching
from fastness.fleet.door.on_disk import KEPT_S, remove_left_overs
from fastness.fleet.door.orders import MODEL_PROTOCOL, HostPlace, WantedModel, models_name
from fastness.fleet.door.serving import ModelsHere
from fastness.main.door import reaching

CONTENT = bytes(range(256)) * 12_000  # 3 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "models"
    found.mkdir()
    return found


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching_file, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(fetching_file, "RETRY_MAX_S", 0.05)


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())


class Sources:
    """Hosts that give a model, each in its way; remembers who was asked for what."""

    def __init__(self, **ways: Any) -> None:
        self.ways = ways
        self.asked: list[tuple[str, int]] = []

    async def reach(self, source: HostPlace) -> Any:
        way = self.ways[source.host]
        if way is None:
            raise OSError("nobody is there")
        ours, theirs = asyncio.StreamReader(), asyncio.StreamReader()
        transport = _Piped(theirs)
        transport.task = asyncio.ensure_future(self._serve(source.host, way, theirs, ours))
        return ours, transport

    async def _serve(self, host: str, way: Any, asked: asyncio.StreamReader, said: asyncio.StreamReader) -> None:
        _, digest, offset = (await asked.readuntil(b"\n")).split()
        assert digest.decode() == DIGEST
        self.asked.append((host, int(offset)))
        answer = way(int(offset))
        if answer is not None:
            said.feed_data(answer)
            said.feed_eof()


class _Piped(asyncio.Transport):
    def __init__(self, theirs: asyncio.StreamReader) -> None:
        super().__init__()
        self.theirs, self.task = theirs, None

    def write(self, data: Any) -> None:
        self.theirs.feed_data(data)

    def abort(self) -> None:
        self.task.cancel()

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.abort()


def whole(offset: int) -> bytes:
    return b"SIZE %d\n" % len(CONTENT) + CONTENT[offset:]


def breaking(after: int) -> Callable[[int], bytes]:
    return lambda offset: b"SIZE %d\n" % len(CONTENT) + CONTENT[offset : offset + after]


def corrupt(offset: int) -> bytes:
    return b"SIZE %d\n" % len(CONTENT) + (b"x" + CONTENT[1:])[offset:]


@asynccontextmanager
async def wanting(folder: Path, reach: Any, *names: str, size_bytes: int = len(CONTENT)) -> Any:
    told: list[tuple[str, str, str]] = []
    fetching = Fetching(folder, reach, lambda *what: told.append(what))
    fetching.want((WantedModel(DIGEST, size_bytes, tuple(HostPlace(name, "10.0.0.1:1") for name in names)),))
    try:
        yield fetching, told
    finally:
        await fetching.close()


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


def fetched(folder: Path, sources: Sources, *names: str) -> list[tuple[str, str, str]]:
    async def main():
        async with wanting(folder, sources.reach, *names) as (fetching, told):
            await until(lambda: fetching.states()[0].done)
            return told

    told = run(main)
    path = folder / f"{DIGEST}.gguf"
    assert path.read_bytes() == CONTENT and path.stat().st_mode & 0o777 == 0o444
    assert [one.name for one in folder.iterdir()] == [path.name]
    return told


def test_the_nearest_host_is_asked_and_no_other(folder):
    sources = Sources(near=whole, far=whole)
    assert fetched(folder, sources, "near", "far") == [("model.fetched", DIGEST, "near")]
    assert sources.asked == [("near", 0)]


def test_when_a_host_dies_midway_another_gives_the_rest(folder):
    sources = Sources(near=breaking(1_000_000), dead=None, far=whole)
    told = fetched(folder, sources, "near", "dead", "far")
    assert sources.asked == [("near", 0), ("far", 1_000_000)]
    assert told[-1] == ("model.fetched", DIGEST, "far near")
    assert [what for event, _, what in told if event == "model.not_fetched"] == [
        "near: it broke off",
        "dead: nobody is there",
    ]


def test_a_host_that_always_breaks_off_still_gives_all_of_it_in_the_end(folder):
    sources = Sources(only=breaking(700_000))
    fetched(folder, sources, "only")
    assert [offset for _, offset in sources.asked] == [0, 700_000, 1_400_000, 2_100_000, 2_800_000]


def test_what_lay_here_before_a_restart_is_gone_on_with(folder):
    (folder / f"{DIGEST}.fetched").write_bytes(CONTENT[:2_000_000])
    sources = Sources(near=whole)
    fetched(folder, sources, "near")
    assert sources.asked == [("near", 2_000_000)]


def test_wrong_bytes_are_thrown_away_and_their_host_is_asked_no_more(folder):
    sources = Sources(near=corrupt, far=whole)
    told = fetched(folder, sources, "near", "far")
    assert ("model.corrupt", DIGEST, "near") in told
    assert sources.asked == [("near", 0), ("far", 0)]


def test_where_nobody_knows_who_lied_each_has_to_give_all_of_it(folder):
    sources = Sources(near=lambda offset: corrupt(offset)[:1_000_000], far=whole)
    told = fetched(folder, sources, "near", "far")
    assert [what for event, _, what in told if event == "model.corrupt"] == ["far and near"]
    assert sources.asked[:2] == [("near", 0), ("far", 999_987)] and sources.asked[-1] == ("far", 0)


def test_what_was_wrong_before_a_restart_is_blamed_on_nobody(folder):
    (folder / f"{DIGEST}.fetched").write_bytes(b"x" * 2_000_000)
    sources = Sources(near=whole)
    told = fetched(folder, sources, "near")
    assert sources.asked == [("near", 2_000_000), ("near", 0)]
    assert ("model.corrupt", DIGEST, "an earlier start and near") in told


@pytest.mark.parametrize(
    ("way", "why"),
    [
        (lambda _: b"NONE it is not here\n", "it is not here"),
        (lambda _: b"SIZE 12\nhello", "3072000 were admitted"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n", "does not speak as doors do"),
        (lambda _: b"no end of a line", "expected"),
        (lambda _: None, "fell silent"),
    ],
)
def test_a_host_that_gives_nothing_is_passed_over(folder, monkeypatch, way, why):
    monkeypatch.setattr(fetching_file, "STALL_TIMEOUT_S", 0.1)
    told = fetched(folder, Sources(odd=way, far=whole), "odd", "far")
    assert any(event == "model.not_fetched" and "odd: " in what and why in what for event, _, what in told), told


def test_more_bytes_than_were_admitted_are_not_kept(folder):
    fetched(folder, Sources(near=lambda offset: whole(offset) + b"more"), "near")


def test_nothing_wrong_ever_has_the_name_of_a_model(folder):
    async def main():
        async with wanting(folder, Sources(near=corrupt).reach, "near") as (fetching, told):
            await until(lambda: "no host that is trusted has it" in str(told))
            assert not (folder / f"{DIGEST}.gguf").exists()
            state = fetching.states()[0]
            assert (state.done, state.done_bytes) == (False, 0) and "trusted" in state.trouble

    run(main)


def test_a_disk_that_is_full_is_told_before_anything_comes(folder, monkeypatch):
    async def main():
        async with wanting(folder, Sources(near=whole).reach, "near", size_bytes=1 << 60) as (_, told):
            await until(lambda: bool(told))
            assert "are missing" in told[0][2] and "are free" in told[0][2]

    run(main)


def test_what_is_not_wanted_any_more_is_stopped_and_what_was_begun_is_kept_for_a_week(folder):
    async def main():
        async with wanting(folder, Sources(near=breaking(10)).reach, "near") as (fetching, _):
            await until(lambda: (folder / f"{DIGEST}.fetched").exists())
            fetching.want(())
            assert fetching.states() == ()
        begun_s = (folder / f"{DIGEST}.fetched").stat().st_mtime
        remove_left_overs(folder, begun_s + KEPT_S)
        assert (folder / f"{DIGEST}.fetched").exists()
        remove_left_overs(folder, begun_s + KEPT_S + 1)
        assert list(folder.iterdir()) == []

    run(main)


def test_progress_is_told_as_it_comes(folder):
    async def main():
        gate = asyncio.Event()

        async def reach(source: HostPlace) -> Any:
            await gate.wait()
            return await Sources(near=whole).reach(source)

        async with wanting(folder, reach, "near") as (fetching, _):
            await until(lambda: fetching.states()[0].source == "near")
            state = fetching.states()[0]
            assert (state.done_bytes, state.size_bytes) == (0, len(CONTENT))
            gate.set()
            await until(lambda: fetching.states()[0].done)
            assert fetching.states()[0].done_bytes == len(CONTENT)

    run(main)


# ---- through real doors


def source_of(place: str, host: str = HOST) -> tuple[WantedModel, ...]:
    return (WantedModel(DIGEST, len(CONTENT), (HostPlace(host, place),)),)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    found = tmp_path / "given"
    found.mkdir()
    (found / f"{DIGEST}.gguf").write_bytes(CONTENT)
    return found


@pytest.mark.parametrize("who", ["head", "node"])
def test_any_host_of_the_cluster_may_fetch_a_model(hosts, folder, given, who):
    async def main():
        models = ModelsHere(given)
        async with opened(hosts.node, give_models=models.give) as found:
            reach = reaching(hosts.head if who == "head" else hosts.node)
            fetching = Fetching(folder, reach, lambda *_: None)
            fetching.want(source_of(found.place))
            try:
                await until(lambda: fetching.states()[0].done)
            finally:
                await fetching.close()
            assert (folder / f"{DIGEST}.gguf").read_bytes() == CONTENT
            await until(lambda: found.door.connections == 0)
            assert models.served == 0 and found.refused == []

    run(main)


def test_no_model_is_taken_from_a_door_that_is_not_that_of_its_host(hosts, folder, given):
    async def main():
        told = []
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            fetching = Fetching(folder, reaching(hosts.head), lambda *what: told.append(what))
            fetching.want(source_of(found.place, "leeds-01"))
            try:
                await until(lambda: bool(told))
            finally:
                await fetching.close()
        assert "leeds-01: " in told[0][2] and "certificate" in told[0][2].lower()

    run(main)


async def asked(hosts: Hosts, place: str, request: bytes) -> bytes:
    context = hosts.head.client_context()
    context.set_alpn_protocols([MODEL_PROTOCOL])
    reader, writer = await handshake(place, context, models_name(HOST))
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(-1), 60)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        (f"GET {DIGEST} 3071990\n", b"SIZE 3072000\n" + CONTENT[-10:]),
        (f"GET {DIGEST} 3072000\n", b"SIZE 3072000\n"),
        (f"GET {DIGEST} 3072001\n", b"NONE it has 3072000 bytes\n"),
        (f"GET {'0' * 64} 0\n", b"NONE it is not here\n"),
        (f"GET {DIGEST} -1\n", b"NONE a request is GET, a SHA-256 in hex, and an offset\n"),
        ("GET ../../secrets/pepper 0\n", b"NONE a request is GET, a SHA-256 in hex, and an offset\n"),
        ("GET " + "x" * 200 + "\n", b""),
    ],
)
def test_a_door_gives_what_is_asked_for_and_nothing_else(hosts, given, request_line, answer):
    async def main():
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            assert await asked(hosts, found.place, request_line.encode()) == answer
            await until(lambda: found.door.connections == 0)

    run(main)


def test_a_door_that_gives_many_away_says_so_and_one_who_asks_nothing_is_put_out(hosts, given, monkeypatch):
    async def main():
        monkeypatch.setattr(serving_file, "SERVED_MAX", 0)
        monkeypatch.setattr(serving_file, "REQUEST_TIMEOUT_S", 0.1)
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            assert await asked(hosts, found.place, f"GET {DIGEST} 0\n".encode()) == (
                b"NONE 0 models are given away at the moment\n"
            )
            assert await asked(hosts, found.place, b"GET ") == b""

    run(main)


def test_a_link_in_the_place_of_a_model_is_not_followed(hosts, given, tmp_path):
    async def main():
        (tmp_path / "secret").write_bytes(b"pepper")
        (given / f"{'1' * 64}.gguf").symlink_to(tmp_path / "secret")
        async with opened(hosts.node, give_models=ModelsHere(given).give) as found:
            assert await asked(hosts, found.place, f"GET {'1' * 64} 0\n".encode()) == b"NONE it is not here\n"

    run(main)
