"""What every ledger promises, on both event loops."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger.entry import genesis, seal
from fastness.ledger.file import FileLedger
from fastness.ledger.loop import LoopLedger
from fastness.ledger.memory import MemoryLedger
from fastness.ledger.port import CallbackLedger, Ledger, LedgerUnavailable, Position


def event(number: int) -> Event:
    return Event(EventType.INFERENCE_COMPLETED, 1_763_800_000_000, {"request_id": f"req_{number}", "tenant": None})


@pytest.fixture(params=["file", "loop", "memory"])
def ledger(request, tmp_path) -> Callable[[], CallbackLedger]:
    """Open the ledger `gateway-0`, in a running loop or before."""

    def opened() -> CallbackLedger:
        if request.param == "memory":
            return MemoryLedger("gateway-0")
        kind = LoopLedger if request.param == "loop" else FileLedger
        return kind.open(tmp_path / "gateway-0", "gateway-0", LedgerSettings(64, 4_096, 65_536), lambda: 0)

    return opened


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def within(request, ledger) -> Callable[[Callable[[CallbackLedger], Awaitable[None]]], None]:
    """Run a test's coroutine with an open ledger, and close it."""

    async def with_ledger(test: Callable[[CallbackLedger], Awaitable[None]]) -> None:
        opened = ledger()
        try:
            await test(opened)
        finally:
            await opened.close()

    def run(test: Callable[[CallbackLedger], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(with_ledger(test))

    return run


async def outcome_of(ledger: CallbackLedger, happened: Event) -> Position | LedgerUnavailable:
    told: asyncio.Future[Position | LedgerUnavailable] = asyncio.get_running_loop().create_future()
    ledger.commit_then(happened, told.set_result)
    assert not told.done()  # never before it returns
    return await told


def test_an_entry_has_the_next_index_and_the_chain_of_the_format(within):
    async def test(ledger: Ledger) -> None:
        chain = genesis("gateway-0")
        for index in range(3):
            happened = event(index)
            position = await ledger.commit(happened)
            text = f'{{"fields":{{"request_id":"req_{index}","tenant":null}},"index":'
            _, chain = seal((text, f'","time_ms":{happened.time_ms},"type":"{happened.type}","v":1}}\n'), index, chain)
            assert position == Position("gateway-0", index, chain.hex())

    within(test)


def test_entries_are_in_the_order_in_which_they_were_committed(within):
    async def test(ledger: CallbackLedger) -> None:
        committed = [asyncio.ensure_future(ledger.commit(event(number))) for number in range(300)]
        assert [(await waiting).index for waiting in committed] == list(range(300))

    within(test)


def test_appended_entries_take_their_place_in_the_order(within):
    async def test(ledger: CallbackLedger) -> None:
        first = await ledger.commit(event(0))
        for number in range(1, 10):
            ledger.append(event(number))
        assert first.index == 0
        assert (await ledger.commit(event(10))).index == 10

    within(test)


def test_the_callback_hears_the_same_as_who_waits(within):
    async def test(ledger: CallbackLedger) -> None:
        first = await outcome_of(ledger, event(0))
        second = await ledger.commit(event(1))
        third = await outcome_of(ledger, event(2))
        assert isinstance(first, Position)
        assert isinstance(third, Position)
        assert [first.index, second.index, third.index] == [0, 1, 2]
        assert len({first.chain, second.chain, third.chain}) == 3

    within(test)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": "what a citizen asked"}, "has no field prompt"),
        ({"tenant": 1.5}, "a value is a float"),
        ({"tenant": "x" * 2_000}, "tenant has 2000 characters of at most 1024"),
        ({"tenant": "\ud800"}, "surrogates"),
    ],
)
def test_what_cannot_be_an_entry_is_refused_at_once_and_leaves_no_gap(within, fields, reason):
    async def test(ledger: CallbackLedger) -> None:
        wrong = Event(EventType.INFERENCE_COMPLETED, 0, fields)
        with pytest.raises(ValueError, match=reason):
            await ledger.commit(wrong)
        with pytest.raises(ValueError, match=reason):
            ledger.append(wrong)
        with pytest.raises(ValueError, match=reason):
            ledger.commit_then(wrong, lambda outcome: pytest.fail(f"was called with {outcome}"))
        assert (await ledger.commit(event(0))).index == 0

    within(test)


def test_a_cancelled_wait_does_not_disturb_the_others(within):
    async def test(ledger: CallbackLedger) -> None:
        tasks = [asyncio.ensure_future(ledger.commit(event(number))) for number in range(20)]
        await asyncio.sleep(0)  # all have begun
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [position.index for position in done[1::2] if isinstance(position, Position)] == list(range(1, 20, 2))
        assert (await ledger.commit(event(20))).index == 20

    within(test)


def test_a_closed_ledger_records_no_more_and_can_be_closed_again(within):
    async def test(ledger: CallbackLedger) -> None:
        await ledger.commit(event(0))
        await ledger.close()
        await ledger.close()
        with pytest.raises(LedgerUnavailable, match="closed"):
            await ledger.commit(event(1))
        with pytest.raises(LedgerUnavailable, match="closed"):
            ledger.append(event(1))
        assert isinstance(await outcome_of(ledger, event(1)), LedgerUnavailable)

    within(test)


def test_closing_makes_durable_what_waits(within):
    async def test(ledger: CallbackLedger) -> None:
        ledger.append(event(0))
        waiting = [asyncio.ensure_future(ledger.commit(event(number))) for number in range(1, 200)]
        await asyncio.sleep(0)
        await ledger.close()
        assert [(await position).index for position in waiting] == list(range(1, 200))

    within(test)
