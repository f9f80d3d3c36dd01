"""The proof of law 2 by crash, for as long as it takes to believe it."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "acceptance"))

from killing import forget, kill_often, kill_while_starting, start_and_ask
from test_crashes import seed_of_the_day

pytestmark = [pytest.mark.soak, pytest.mark.timeout(5_000)]
KILLS = int(os.environ.get("FASTNESS_TEST_KILLS", "200"))
STARTS_CUT = max(1, KILLS // 5)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    forget(tmp_path)


def test_two_hundred_kills_under_load_lose_no_entry_of_an_answer_delivered_in_full(home):
    losses = kill_often(home, KILLS, seed_of_the_day())
    print(losses)
    assert losses.kills == KILLS
    assert losses.whole > 2 * KILLS
    assert losses.cut > KILLS / 2


def test_a_start_may_be_cut_at_any_moment(home):
    random_ = random.Random(seed_of_the_day())
    for _ in range(STARTS_CUT):
        kill_while_starting(home, random_.uniform(0, 4))
    start_and_ask(home)
