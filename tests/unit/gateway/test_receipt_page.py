"""Why there is no receipt is told as whoever makes them says it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fastness.control.problem import Problem, problem_response
from fastness.core.error import Refusal
from fastness.gateway.http.client import Answer
from fastness.gateway.receipts import receipt_page
from policed import ANN


class Control:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def call(self, *_: Any, **__: Any) -> Answer:
        return self.answer


def refused(answer: Answer) -> Refusal:
    with pytest.raises(Refusal) as told:
        asyncio.run(receipt_page(cast(Any, Control(answer)), "control.sock", ANN, "gateway-0.00", ""))
    return told.value


def test_what_control_says_is_passed_on() -> None:
    said = problem_response(Problem("receipts_unavailable", "Not signed yet.", "Wait."), "req_1")
    told = refused(Answer(said.status_code, bytes(said.body)))
    assert (told.code, told.message) == ("receipts_unavailable", "Not signed yet.")
    assert refused(Answer(404, b"")).code == "not_found"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"code": "unheard_of", "detail": "x"}'])
def test_what_cannot_be_understood_is_a_receipt_that_cannot_be_made(body) -> None:
    told = refused(Answer(500, body))
    assert (told.code, told.retry_after_s) == ("receipts_unavailable", 1)
