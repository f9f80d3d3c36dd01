"""A receipt, checked by a program of Go that has nothing of ours: from the entry to the signatures, and to the text."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from go_program import Refused, ask, require_program
from receipt_world import ANSWER_TEXT, BODY, PROMPT_TEXT, World, made_world

GIVEN = {
    "request": b64encode(BODY).decode(),
    "messages": [{"role": "user", "content": PROMPT_TEXT}],
    "answers": [{"content": ANSWER_TEXT}],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    require_program()
    return made_world(tmp_path_factory.mktemp("elsewhere"))


def checked(world: World, receipt: dict[str, Any], **given: Any) -> Any:
    witnesses = [str(key.verifier) for key in world.witnesses.values()]
    return ask("receipt", receipt=receipt, keys=[str(world.key_of("gateway-0")), *witnesses], **{**GIVEN, **given})


def test_it_finds_the_entry_the_witnesses_and_what_was_asked_and_answered(world: World) -> None:
    for number in (0, 7, 29):
        found = checked(world, json.loads(world.receipt(number)))
        assert found["Bound"] == ["request", "prompt", "answer"]
        assert found["Head"]["Signed"] == [
            "fastness.example/gateway-0",
            "audit-office.example/w",
            "health-department.example/w",
        ]


@pytest.mark.parametrize(
    ("changed", "rest"),
    [
        ({"request": b64encode(BODY + b" ").decode()}, ["prompt", "answer"]),
        ({"messages": [{"role": "system", "content": PROMPT_TEXT}]}, ["request", "answer"]),
        ({"answers": [{"content": f"{ANSWER_TEXT} "}]}, ["request", "prompt"]),
        ({"answers": [{"content": ANSWER_TEXT}] * 2}, ["request", "prompt"]),
    ],
    ids=["request", "prompt", "answer", "an answer more"],
)
def test_it_does_not_take_another_text_for_what_was_said(
    world: World, changed: dict[str, Any], rest: list[str]
) -> None:
    assert checked(world, json.loads(world.receipt(3)), **changed)["Bound"] == rest


def test_it_refuses_what_was_changed(world: World) -> None:
    receipt, other = (json.loads(world.receipt(number)) for number in (3, 4))
    for part, why in (("entry", "proof"), ("proof", "proof"), ("id", "entry of another answer")):
        with pytest.raises(Refused, match=why):
            checked(world, {**receipt, part: other[part]})
    with pytest.raises(Refused, match="proof"):
        checked(world, {**receipt, "entry": receipt["entry"].replace("health", "wealth")})
    assert checked(world, {**receipt, "salts": other["salts"]})["Bound"] is None
