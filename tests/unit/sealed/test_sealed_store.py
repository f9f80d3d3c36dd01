"""What a department chose to keep: sealed by who cannot open it, found without being opened, and destroyed for good."""

from __future__ import annotations

import asyncio
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.core.retention import SealingSnapshot, Selection
from fastness.sealed import segment as segments
from fastness.sealed.box import Damaged
from fastness.sealed.key_files import KeyFiles
from fastness.sealed.keyring import Keyring
from fastness.sealed.port import Kept, SealedUnavailable
from fastness.sealed.safe import Safe
from fastness.sealed.writer import RETRY_S
from sealing import ANSWER, BODY, TENANT, TODAY, Store, kept

ALL = Selection()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def seal(store: Store, *records: Kept, tenants: tuple[str, ...] = (TENANT,), days: int = 30) -> None:
    async def work() -> None:
        sealer = store.sealer(*tenants, days=days)
        try:
            for one in records:
                await sealer.keep(one)
        finally:
            await sealer.close()

    asyncio.run(work())


def test_what_was_sealed_opens_to_the_byte(store):
    seal(store, kept(1), kept(2))
    found = store.safe.find(TENANT, ALL)
    assert [one.head.request_id for one in found] == ["req_0001", "req_0002"]
    content = store.safe.open(found[0])
    assert (content.request, content.answer, content.whole, content.salts) == (
        BODY,
        ANSWER,
        True,
        {"request": "aa" * 32},
    )


def test_nothing_of_the_content_or_of_the_end_user_is_on_the_disk(store):
    seal(store, *[kept(number) for number in range(20)])
    files = store.files()
    assert any(path.suffix == ".seg" for path in files)
    assert [path for path in files if re.search(rb"plainly|citizen", path.read_bytes())] == []
    assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_a_record_has_no_repr_that_could_end_up_in_a_message(store):
    assert "plainly" not in repr(kept(1))


def test_what_a_gateway_holds_opens_nothing(store):
    """The snapshot has public halves and the index key; neither they nor the segments open content."""
    seal(store, kept(1))
    keys, _ = store.keyring.ensure(TENANT, TODAY, 30)
    day = next(store.keyring.days(TENANT))
    private = store.keyring.private(day).private_bytes_raw().hex()
    assert all(private not in repr(key) for key in keys)
    (found,) = store.safe.find(TENANT, ALL)
    for stolen in (bytes.fromhex(keys[0].public), bytes.fromhex(keys[0].index)):
        with pytest.raises(Damaged):
            found.segment.content(found.frame, segments.X25519PrivateKey.from_private_bytes(stolen))


def test_another_tenants_key_opens_nothing(store):
    seal(store, kept(1), kept(2, tenant="tax"), tenants=(TENANT, "tax"))
    (mine,), (other,) = store.safe.find(TENANT, ALL), store.safe.find("tax", ALL)
    with pytest.raises(Damaged):
        mine.segment.content(mine.frame, store.keyring.private(other.day))


@settings(deadline=None)
@given(
    numbers=st.sets(st.integers(0, 9), max_size=4),
    key=st.sampled_from([None, "key_0", "key_1"]),
    user=st.sampled_from([None, "user-0", "user-1", "nobody"]),
    bounds=st.tuples(st.none() | st.integers(0, 12), st.none() | st.integers(0, 12)),
)
def test_a_selection_finds_exactly_what_fits_all_of_it(selected_store, numbers, key, user, bounds):
    store, rows = selected_store
    ids = tuple(f"req_{number:04d}" for number in sorted(numbers))
    found = store.safe.find(TENANT, Selection(ids, key, user, *bounds))
    low, high = bounds
    wanted = [
        request_id
        for request_id, at_ms, its_key, its_user in rows
        if (not ids or request_id in ids)
        and key in (None, its_key)
        and user in (None, its_user)
        and (low is None or at_ms >= low)
        and (high is None or at_ms < high)
    ]
    assert [one.head.request_id for one in found] == wanted


@pytest.fixture(scope="module")
def selected_store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("selected"))
    rows = [(f"req_{n:04d}", n, f"key_{n % 2}", f"user-{n % 3}") for n in range(10)]
    bodies = [
        b'{"user":"user-%d"}' % (n % 3) if n % 2 else b'{"safety_identifier":"user-%d"}' % (n % 3) for n in range(10)
    ]
    seal(store, *[kept(n, body=bodies[n], time_ms=n, key=f"key_{n % 2}") for n in range(10)])
    return store, rows


def test_selected_requests_are_destroyed_and_the_others_are_not(store):
    seal(store, *[kept(number) for number in range(6)])
    doomed = store.safe.find(TENANT, Selection(("req_0001", "req_0004")))
    store.safe.destroy(doomed)
    left = store.safe.find(TENANT, ALL)
    assert [one.head.request_id for one in left] == ["req_0000", "req_0002", "req_0003", "req_0005"]
    assert [store.safe.open(one).request for one in left] == [BODY] * 4
    assert store.safe.opens(doomed) == 0
    for one in doomed:
        (frame,) = [frame for frame in one.segment.frames() if frame.head == one.head]
        with pytest.raises(Damaged, match="destroyed"):
            one.segment.content(frame, store.keyring.private(one.day))
    store.safe.destroy(doomed)  # again is harmless


def test_without_its_tenants_key_nothing_opens_even_from_a_copy_of_all_else(store, tmp_path):
    seal(store, kept(1))
    copy = {
        path.relative_to(tmp_path / "sealed"): path.read_bytes()
        for path in (tmp_path / "sealed").rglob("*")
        if path.is_file()
    }
    store.keyring.destroy_tenant(TENANT)
    assert store.safe.find(TENANT, Selection()) == [] and not (tmp_path / "sealed" / TENANT).exists()
    for path, content in copy.items():
        (tmp_path / "sealed" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sealed" / path).write_bytes(content)
    (found,) = store.safe.find(TENANT, Selection())
    with pytest.raises(Damaged):
        store.safe.open(found)
    assert store.safe.opens([found]) == 0


def test_content_is_destroyed_when_its_days_are_over_and_not_before(store):
    seal(store, kept(1), days=2)
    for today, gone in ((TODAY + 1, 0), (TODAY + 2, 0), (TODAY + 3, 1)):
        assert sum(count for _, count in store.safe.expire(TENANT, 2, today)) == gone
    assert store.safe.find(TENANT, ALL) == []
    assert not [path for path in store.files() if path.suffix == ".seg"]


@pytest.mark.parametrize("now", [0, 1, 2, 30, 36_500])
def test_what_is_chosen_later_makes_nobody_lose_content_sooner_nor_keep_it_longer(store, now):
    seal(store, kept(1), days=5)
    assert [count for _, count in store.safe.expire(TENANT, now, TODAY + 5) if count] == []
    assert [count for _, count in store.safe.expire(TENANT, now, TODAY + 6) if count] == [1]


def test_with_no_retention_now_the_days_it_was_sealed_for_count(store):
    seal(store, kept(1), days=2)
    assert [count for _, count in store.safe.expire(TENANT, 0, TODAY + 2) if count] == []
    assert [count for _, count in store.safe.expire(TENANT, 0, TODAY + 3) if count] == [1]


def test_what_a_hold_sealed_stays_until_there_are_days_or_somebody_shreds_it(store):
    seal(store, kept(1), days=0)
    assert store.safe.expire(TENANT, 0, TODAY + 10_000) == []
    assert [count for _, count in store.safe.expire(TENANT, 5, TODAY + 6) if count] == [1]


@pytest.mark.slow
def test_a_torn_end_loses_nothing_in_front_of_it_wherever_it_was_cut(store):
    seal(store, kept(1), kept(2))
    (path,) = [path for path in store.files() if path.suffix == ".seg"]
    whole = path.read_bytes()
    second = store.safe.find(TENANT, ALL)[1].frame.at
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        found = [one.head.request_id for one in store.safe.find(TENANT, ALL)]
        assert found == (["req_0001"] if size >= second else [])
        for one in store.safe.find(TENANT, ALL):
            assert store.safe.open(one).answer == ANSWER


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_a_frame_is_found_or_hides_it_never_changes_it(store):
    seal(store, kept(1))
    (path,) = [path for path in store.files() if path.suffix == ".seg"]
    whole, at = path.read_bytes(), store.safe.find(TENANT, ALL)[0].frame.at
    for place in range(at, len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        for one in store.safe.find(TENANT, ALL):
            with pytest.raises(Damaged):
                store.safe.open(one)


def test_segments_are_bounded_and_each_process_begins_its_own(store):
    store.segment_bytes_max = 2_000
    seal(store, *[kept(number) for number in range(30)])
    seal(store, kept(30))
    paths = [path for path in store.files() if path.suffix == ".seg"]
    assert len(paths) > 3
    assert max(path.stat().st_size for path in paths) < 2_000 + 1_000
    assert len({path.name.split("-")[2] for path in paths}) == 2
    assert len(store.safe.find(TENANT, ALL)) == 31


def test_a_tenant_without_a_key_is_refused_and_so_is_everybody_without_room(store):
    async def work() -> None:
        sealer = store.sealer()
        sealer.check(TENANT)
        with pytest.raises(SealedUnavailable, match="tax has no key"):
            sealer.check("tax")
        with pytest.raises(SealedUnavailable, match="tax has no key"):
            await sealer.keep(kept(1, tenant="tax"))
        sealer.replace(SealingSnapshot(full=True))
        with pytest.raises(SealedUnavailable, match="no room"):
            sealer.check(TENANT)
        await sealer.close()

    asyncio.run(work())


def test_a_disk_that_refuses_is_told_and_the_next_one_begins_a_new_segment(store, monkeypatch):
    async def work() -> None:
        sealer = store.sealer()
        await sealer.keep(kept(1))
        real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(SealedUnavailable, match="No space left") as refused:
            await sealer.keep(kept(2))
        assert "plainly" not in str(refused.value)
        with pytest.raises(SealedUnavailable):
            sealer.check(TENANT)
        monkeypatch.setattr(os, "fdatasync", real)
        store.later_s = RETRY_S
        sealer.check(TENANT)  # somebody has to try it
        await sealer.keep(kept(3))
        store.later_s = 0.0
        sealer.check(TENANT)
        await sealer.close()

    asyncio.run(work())
    assert len([path for path in store.files() if path.suffix == ".seg"]) == 2
    assert {"req_0001", "req_0003"} <= {one.head.request_id for one in store.safe.find(TENANT, ALL)}


def test_a_gateway_goes_on_sealing_for_days_without_control_and_then_with_its_last_key(store):
    async def work() -> None:
        sealer = store.sealer()
        for _ in range(6):
            await sealer.keep(kept(store.today - TODAY))
            store.today += 1
        await sealer.close()

    asyncio.run(work())
    days = [one.day.key.day - TODAY for one in store.safe.find(TENANT, ALL)]
    assert days == [0, 1, 2, 3, 3, 3]


def test_a_key_is_made_once_for_each_day(store):
    first, made = store.keyring.ensure(TENANT, TODAY, 30)
    again, none = store.keyring.ensure(TENANT, TODAY, 30)
    assert first == again and len(made) == 4 and none == []
    assert [key.day for key in store.keyring.ensure(TENANT, TODAY + 1, 30)[1]] == [TODAY + 4]
    other = Safe(Keyring(store.home / "sealed", KeyFiles(store.home / "elsewhere")))
    with pytest.raises(Damaged):
        other.keyring.index(TENANT)


def test_what_is_held_is_counted(store):
    seal(store, kept(1), kept(2), kept(3))
    store.safe.destroy(store.safe.find(TENANT, Selection(("req_0002",))))
    held = store.safe.held(TENANT)
    assert (held.days, held.requests, held.destroyed, held.oldest_day) == (1, 2, 1, TODAY)
    assert held.size_bytes > 1_000
