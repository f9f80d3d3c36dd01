"""The header `Fastness-Marking`: read strictly, defaulted by tenant and profile, repeated by whatever is answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.error import Refusal
from fastness.core.marking import Label, Lattice, UnknownMarking
from fastness.core.tenant import Principal
from fastness.gateway.in_force import MARKING_CHARS_MAX, MARKS_MAX, PolicyInForce
from policed import ANN, CHAT, CLOSED, OPEN, PROFILE, Rules, opened, run

OURS = Label("CLOSED", ("OURS ONLY",))


def mark(header: str | None, principal: Principal = ANN) -> Label:
    return PolicyInForce(Rules(), 16).mark(header, principal).label


def refused(header: str | None, principal: Principal = ANN) -> Refusal:
    with pytest.raises(Refusal) as raised:
        mark(header, principal)
    assert (raised.value.code, raised.value.status) == ("unknown_marking", 400)
    return raised.value


@pytest.mark.parametrize(
    ("header", "label"),
    [
        ("OPEN", OPEN),
        ("closed", CLOSED),
        ("  Closed ;  ours   only ", OURS),
        ("CLOSED; OURS ONLY, OURS ONLY", OURS),
        ("CLOSED;", CLOSED),
    ],
)
def test_a_marking_is_read_in_any_case_and_spacing(header: str, label: Label) -> None:
    assert mark(header) == label


def test_a_request_that_says_nothing_has_the_marking_of_its_tenant_or_the_profile() -> None:
    assert mark(None) == OPEN
    assert mark(None, replace(ANN, marking=OURS)) == OURS
    assert mark("OPEN", replace(ANN, marking=OURS)) == OPEN, "the header says more than the default"


@pytest.mark.parametrize("header", ["", "  ", "TOP", "OPENCLOSED", "OPEN, CLOSED", "CLOSED; NOBODY", "\xe9", "\x00"])
def test_an_unknown_marking_is_refused_and_those_there_are_are_named(header: str) -> None:
    message = refused(header).message
    assert "OPEN, CLOSED, SECRET" in message or "OURS ONLY" in message


def test_a_caveat_below_its_lowest_marking_is_refused() -> None:
    assert "goes with CLOSED or above" in refused("OPEN; OURS ONLY").message


def test_an_overlong_marking_is_refused_unread_and_not_repeated() -> None:
    assert mark("OPEN" + " " * (MARKING_CHARS_MAX - 4)) == OPEN
    message = refused("x" * (MARKING_CHARS_MAX + 1)).message
    assert f"{MARKING_CHARS_MAX} are read at most" in message
    assert len(message) < 200


def test_a_default_that_the_profile_in_force_does_not_define_is_refused_as_that() -> None:
    assert "default marking of this tenant" in refused(None, replace(ANN, marking=Label("OLD"))).message


def test_what_was_read_is_remembered_and_that_is_bounded() -> None:
    policy = PolicyInForce(Rules(), 16)
    assert policy.mark("closed", ANN) is policy.mark("closed", ANN)
    for number in range(MARKS_MAX + 10):
        policy.mark("OPEN" + " " * (number % 1_000) + "; " + " " * (number // 1_000), ANN)
    assert len(policy._marks) <= MARKS_MAX


def test_what_is_refused_is_not_remembered() -> None:
    policy = PolicyInForce(Rules(), 16)
    with pytest.raises(Refusal):
        policy.mark("nonsense", ANN)
    assert not policy._marks


def test_a_profile_that_misses_its_own_default_is_no_lattice() -> None:
    with pytest.raises(UnknownMarking):
        Lattice(replace(PROFILE, default="NONE"))


def test_every_answer_refusal_and_stream_repeats_what_it_was_handled_under(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN, replace(ANN, id="key_eve", marking=OURS)) as door:
            assert (await door.chat()).mark == "open"
            assert (await door.chat(key="eve")).mark == "closed; ours only"
            assert (await door.chat("closed")).mark == "closed"
            assert (await door.chat("closed", stream=True)).mark == "closed"
            assert (await door.chat("closed; ours only", stream=True, n=3)).mark == "closed; ours only"
            for refused in (
                await door.chat("closed", frobnicate=1),
                await door.chat("closed", model="other"),
                await door.chat("closed", logprobs="x"),
            ):
                assert refused.status >= 400
                assert refused.mark == "closed"
            assert (await door.chat("secret")).mark == "secret", "refused under the marking that was asked"

    run(test)


def test_what_is_refused_before_a_marking_is_known_has_no_such_header(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            for answer, code in (
                (await door.chat("OPEN", key="nobody"), "invalid_api_key"),
                (await door.chat("NONSENSE"), "unknown_marking"),
                (await door.send(CHAT, method="GET"), "method_not_allowed"),
            ):
                assert (answer.code, answer.mark) == (code, None)
            door.enforce(None)
            assert (await door.chat("OPEN")).mark is None

    run(test)


@pytest.mark.parametrize("other", ["OPEN", "CLOSED", ""])
def test_a_marking_that_comes_twice_is_refused_whatever_it_says(tmp_path: Path, other: str) -> None:
    async def test() -> None:
        async with opened(tmp_path) as door:
            body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
            answer = await door.send(CHAT, body, "Fastness-Marking: CLOSED", f"fastness-marking: {other}")
            assert (answer.status, answer.code) == (400, "malformed_http")
            assert "fastness-marking came more than once" in answer.error["message"]
            assert door.asked("low") == door.asked("high") == 0

    run(test)


def test_a_marking_cannot_break_out_of_its_header_line() -> None:
    for header in ("OPEN\r\nx: y", "OPEN; \nOURS ONLY"):
        policy = PolicyInForce(Rules(), 16)
        try:
            line = policy.mark(header, ANN).line
        except Refusal:
            continue
        assert line.count(b"\r\n") == 1
