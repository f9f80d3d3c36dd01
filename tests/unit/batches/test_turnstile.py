"""Who goes next: no more than there is room for, and tenants in turn, however many lines one of them has."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from fastness.batches.turnstile import Turnstile


def test_tenants_take_turns_however_many_lines_one_of_them_has():
    async def work() -> list[str]:
        turnstile, order = Turnstile(1), []

        async def pass_through(tenant: str) -> None:
            await turnstile.go(tenant)
            order.append(tenant)
            await asyncio.sleep(0)
            turnstile.back()

        await asyncio.gather(*(pass_through(tenant) for tenant in "aaaaaabb"))
        return order

    assert "".join(asyncio.run(work())) == "aababaaa"


@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12))
def test_whoever_gives_up_leaves_its_place_to_another(most, comers):
    async def work() -> None:
        turnstile, inside = Turnstile(most), 0

        async def pass_through(tenant: str) -> None:
            nonlocal inside
            await turnstile.go(tenant)
            inside += 1
            assert inside <= most
            try:
                await asyncio.sleep(0)
            finally:
                inside -= 1
                turnstile.back()

        tasks = [(asyncio.create_task(pass_through(tenant)), leaves) for tenant, leaves in comers]
        await asyncio.sleep(0)
        for task, leaves in tasks:
            if leaves:
                task.cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(*(task for task, leaves in tasks if not leaves))
            await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
            for _ in range(most):  # all the room there was is there again
                await turnstile.go("d")

    asyncio.run(work())
