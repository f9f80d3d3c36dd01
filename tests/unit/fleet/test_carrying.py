"""Carrying letters: each host for itself, and nobody waits for one that does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastness.fleet.letter_files import LETTER_BYTES_MAX
from fastness.fleet.ray.carrying import LOOK_S, PERIOD_S, Carrying


class Hosts:
    """Hosts that answer at once, but for those that are `silent`."""

    def __init__(self) -> None:
        self.there, self.silent = ["a", "b"], set[str]()
        self.under_way: dict[str, bytes] = {}
        self.got: list[tuple[str, bytes]] = []
        self.says = {"a": b"from a", "b": b"from b"}

    def ways(self) -> list[str]:
        return list(self.there)

    def begin(self, way: str, letter: bytes) -> None:
        if way not in self.under_way:
            self.under_way[way] = letter
            self.got.append((way, letter))

    def ended(self, limit_s: float) -> list[tuple[str, bytes]]:
        done = [way for way in self.under_way if way not in self.silent]
        for way in done:
            del self.under_way[way]
        return [(way, self.says[way]) for way in done]


class World:
    def __init__(self, run: Path) -> None:
        self.run, self.hosts, self.now_s = run, Hosts(), 0.0
        for name in ("in", "out"):
            (run / "letters" / name).mkdir(parents=True)
        self.carrying = Carrying(self.hosts, run, lambda: self.now_s)

    def turn(self, seconds: float = 1.01 * PERIOD_S) -> None:
        self.now_s += seconds
        self.carrying.turn()

    def came(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in (self.run / "letters/in").iterdir()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_letters_go_out_by_their_way_and_come_in_by_theirs(world: World) -> None:
    (world.run / "letters/out/a").write_bytes(b"to a")
    world.turn()
    assert world.hosts.got == [("a", b"to a"), ("b", b"")]
    assert world.came() == {"a": b"from a", "b": b"from b"}


def test_a_host_that_does_not_answer_holds_up_nobody_and_gets_no_second_letter(world: World) -> None:
    world.hosts.silent.add("a")
    for _ in range(10):
        world.turn()
    assert [way for way, _ in world.hosts.got].count("a") == 1
    assert [way for way, _ in world.hosts.got].count("b") == 10
    assert set(world.came()) == {"b"}


def test_a_host_is_not_asked_more_often_than_need_be(world: World) -> None:
    for _ in range(20):
        world.turn(PERIOD_S / 4)
    assert 4 <= [way for way, _ in world.hosts.got].count("a") <= 6


def test_the_same_letter_is_put_down_once(world: World) -> None:
    world.turn()
    before = (world.run / "letters/in/a").stat().st_ino
    world.turn()
    assert (world.run / "letters/in/a").stat().st_ino == before


def test_what_a_host_said_goes_with_it(world: World) -> None:
    world.turn()
    world.hosts.there = ["b"]
    world.turn(LOOK_S)
    assert set(world.came()) == {"b"}


def test_nothing_empty_and_nothing_too_large_is_put_down(world: World) -> None:
    world.hosts.says = {"a": b"", "b": bytes(LETTER_BYTES_MAX + 1)}
    world.turn()
    assert world.came() == {}
