"""The salts of answers that nobody keeps can be had for some days; then nothing on the disk leads to them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastness.ledger.commitment import salts_of
from fastness.ledger.receipts import salt_secrets
from fastness.ledger.receipts.salt_secrets import (
    DAY_MS,
    DaySalting,
    SaltSecrets,
    load_or_begin,
    new_salting,
    read_day_key,
)

BEGAN, DAYS = 20_000, 30
BEFORE = b"b" * 32


def answer(day: int | None = None) -> dict[str, object]:
    return {"request_id": "req_1", "tenant": "health"} | ({} if day is None else {"salt_day": day})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    load_or_begin(tmp_path / "salts", BEGAN)
    (tmp_path / "before").write_bytes(BEFORE)
    return tmp_path / "salts"


def secrets(path: Path) -> SaltSecrets:
    return SaltSecrets(path, path.parent / "before", DAYS, lambda *_: None)


def test_every_gateway_makes_the_same_salts_of_a_day_and_others_the_next(path):
    first, second = DaySalting(load_or_begin(path, 0)), DaySalting(load_or_begin(path, 0))
    noon = (BEGAN + 5) * DAY_MS + DAY_MS // 2
    assert first.of("req_1", noon) == second.of("req_1", noon)
    assert first.of("req_1", noon) != first.of("req_2", noon)
    salts, day = first.of("req_1", noon)
    assert day == BEGAN + 5
    assert first.of("req_1", noon + DAY_MS)[0] != salts
    secret = secrets(path).of(answer(day))
    assert secret is not None and salts_of(secret, "req_1") == salts


def test_a_clock_that_steps_back_makes_no_older_key_again(path):
    salting = DaySalting(load_or_begin(path, 0))
    later = salting.of("req_1", (BEGAN + 9) * DAY_MS)
    assert salting.of("req_1", (BEGAN + 2) * DAY_MS) == later
    assert DaySalting(load_or_begin(path, 0)).of("req_1", 0)[1] == BEGAN


def test_a_key_that_is_kept_nowhere_is_of_today():
    salting = new_salting((BEGAN + 1) * DAY_MS / 1_000 - 0.001, bytes)
    assert salting.of("req_1", 0) == (salts_of(bytes(32), "req_1"), BEGAN)
    assert salting.of("req_1", (BEGAN + 1) * DAY_MS)[1] == BEGAN + 1


def test_keys_of_days_that_are_over_are_gone_and_those_after_them_are_the_same(path):
    store, last = secrets(path), BEGAN + 40
    known = {day: store.of(answer(day)) for day in range(BEGAN, last)}
    store.forget(BEGAN + DAYS)
    assert {day: store.of(answer(day)) for day in known} == known  # the days of none of them are over
    store.forget(BEGAN + DAYS + 3)
    after = {day: store.of(answer(day)) for day in known}
    assert [day for day in after if after[day] is None] == [BEGAN, BEGAN + 1, BEGAN + 2]
    assert all(after[day] == known[day] for day in range(BEGAN + 3, last))
    store.forget(BEGAN)  # a clock that steps back
    assert store.of(answer(BEGAN + 3)) == known[BEGAN + 3]


def test_what_was_in_the_file_is_overwritten_and_what_releases_before_had_goes_when_its_days_are_over(path):
    old, before = path.parent / "old", path.parent / "before-old"
    os.link(path, old)  # the same blocks of the disk, under a name that lasts
    os.link(path.parent / "before", before)
    store = secrets(path)
    store.forget(BEGAN + DAYS)
    assert store.of(answer()) == BEFORE
    store.forget(BEGAN + DAYS + 1)
    assert set(old.read_bytes()) == set(before.read_bytes()) == {0}
    assert store.of(answer()) is None
    assert sorted(one.name for one in path.parent.iterdir()) == ["before-old", "old", "salts"]


@pytest.mark.parametrize("step", ["write_new", "sync_directory", "_blank"])
def test_being_killed_on_the_way_loses_no_key_that_is_wanted(path, monkeypatch, step):
    store, wanted = secrets(path), BEGAN + 3
    known = store.of(answer(wanted))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(salt_secrets, step, killed)
        with pytest.raises(KeyboardInterrupt):
            store.forget(BEGAN + DAYS + 3)
    assert store.of(answer(wanted)) == known
    store.forget(BEGAN + DAYS + 3)
    assert (store.of(answer(wanted)), store.of(answer(BEGAN))) == (known, None)
    assert sorted(one.name for one in path.parent.iterdir()) == ["salts"]


def test_whoever_comes_first_makes_the_key(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: load_or_begin(tmp_path / "salts", BEGAN).key, range(8)))
    assert len(set(made)) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["salts"]
    assert (tmp_path / "salts").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", bytes(90), b"{}", b"[]", b'{"day": 1, "began": 1, "key": "00"}'])
def test_a_file_that_holds_no_key_is_refused_with_what_to_do(path, content):
    path.write_bytes(content)
    with pytest.raises(salt_secrets.SaltsUnusable, match="Restore it from a backup"):
        read_day_key(path)


def test_a_file_that_others_may_read_is_refused(path):
    path.chmod(0o640)
    with pytest.raises(salt_secrets.SaltsUnusable, match="chmod 600"):
        read_day_key(path)
