"""Law 3 at the gateway: nothing is kept of whom chose nothing; who chose it is not answered before it is sealed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from fastness.core.retention import SealingSnapshot, Selection
from fastness.gateway import keeping
from fastness.ledger.commitment import ANSWER, REQUEST, Salting, Salts, commit, salts_of
from fastness.sealed.key_files import KeyFiles
from fastness.sealed.keyring import Keyring
from fastness.sealed.port import SealedUnavailable
from fastness.sealed.safe import Found, Safe
from fastness.sealed.segment import Content
from fastness.sealed.writer import Sealer
from policed import ANN, Door, opened, run, until

EVE = replace(ANN, id="key_eve", tenant="tax")
KEEPS = replace(ANN, retains="sealed for 30 days")


class Sealed:
    """A sealed store behind a gateway, with a key for the tenant of ANN."""

    def __init__(self, door: Door) -> None:
        home = door.home
        self.safe = Safe(Keyring(home / "sealed", KeyFiles(home / "secrets/tenants")))
        keys, _ = self.safe.keyring.ensure("health", 0, 30)
        self.sealer = door.gateway.sealer = Sealer(home / "sealed", "gateway-0", 1_000_000, 1_000_000, lambda: 1.0)
        self.sealer.replace(SealingSnapshot(tuple(keys)))

    def found(self) -> list[Found]:
        return self.safe.find("health", Selection())

    def content(self) -> list[Content]:
        return [self.safe.open(one) for one in self.found()]


def kinds(door: Door) -> list[str]:
    return [one.type for one in door.ledger.entries()]


def test_a_whole_answer_is_sealed_to_the_byte_before_it_is_given(tmp_path):
    async def test() -> None:
        async with opened(tmp_path, KEEPS) as door:
            sealed = Sealed(door)
            answer = await door.chat(user="citizen-7")
            (content,) = sealed.content()
            assert answer.status == 200
            assert content.answer == answer.body
            assert json.loads(content.request)["messages"] == [{"role": "user", "content": "hi"}]
            assert content.whole
            (found,) = sealed.safe.find("health", Selection(end_user="citizen-7"))
            assert (found.head.key, found.head.model, found.head.request_id) == ("key_ann", "small", "req_1")
            (entry,) = door.entries()
            assert entry["retention"] == "sealed for 30 days"
            salts = {name: bytes.fromhex(one) for name, one in content.salts.items()}
            assert entry["request_commitment"] == commit(REQUEST, salts["request"], content.request)
            assert entry["answer_commitment"] == commit(ANSWER, salts["answer"], content.said)
            record_key = sealed.safe.record_key("health", entry["content_at"], "req_1")
            assert record_key and salts_of(record_key, "req_1")._asdict() == salts
            await sealed.sealer.close()

    run(test)


def test_a_stream_is_sealed_as_it_was_sent(tmp_path):
    async def test() -> None:
        async with opened(tmp_path, KEEPS) as door:
            sealed = Sealed(door)
            answer = await door.chat(stream=True, logprobs=True, stream_options={"include_usage": True})
            (content,) = sealed.content()
            assert content.answer.endswith(b"data: [DONE]\n\n")
            without_comment = re.sub(rb"^: [^\n]*\n\n", b"", _unchunked(answer.body), flags=re.MULTILINE)
            assert content.answer == without_comment
            (entry,) = door.entries()
            assert entry["answer_commitment"] == commit(ANSWER, bytes.fromhex(content.salts["answer"]), content.said)
            await sealed.sealer.close()

    run(test)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "small", "prompt": "hi"}),
        ("/v1/embeddings", {"model": "mini", "input": ["hi"]}),
    ],
)
def test_every_route_keeps(tmp_path, path, body):
    async def test() -> None:
        async with opened(tmp_path, KEEPS) as door:
            sealed = Sealed(door)
            answer = await door.send(path, body)
            assert answer.status == 200, answer.body
            (content,) = sealed.content()
            assert (content.answer, json.loads(content.request)) == (answer.body, body)
            await sealed.sealer.close()

    run(test)


def test_of_a_tenant_that_chose_nothing_nothing_is_kept_and_nothing_is_done(tmp_path, monkeypatch):
    """Not one function of keeping is called on its way: what that costs is two comparisons with None."""

    def never(*_: Any) -> None:
        raise AssertionError("nothing was to be kept")

    for name in ("choose", "seal", "seal_broken", "KeptAnswer", "_record"):
        monkeypatch.setattr(keeping, name, never)

    async def test() -> None:
        async with opened(tmp_path, ANN, EVE) as door:
            sealed = Sealed(door)
            for stream in (False, True):
                assert (await door.chat(stream=stream)).status == 200
                assert (await door.chat(stream=stream, key="eve")).status == 200
            assert (await door.chat(model="nothing")).status == 404
            assert all("retention" not in entry for entry in door.entries())
            assert sealed.sealer._thread is None
        assert list(tmp_path.rglob("*.seg")) == []

    run(test)


def test_without_a_key_for_today_no_engine_hears_of_it(tmp_path):
    async def test() -> None:
        async with opened(tmp_path, replace(EVE, retains="hold")) as door:
            sealed = Sealed(door)
            answer = await door.chat(key="eve")
            assert (answer.status, answer.code) == (503, "retention_unavailable")
            assert "tax has no key for today" in answer.error["message"]
            door.gateway.sealer = None
            assert (await door.chat(key="eve")).code == "retention_unavailable"
            assert (door.asked("low"), door.asked("high")) == (0, 0)
            assert kinds(door) == ["inference.refused"] * 2
            await sealed.sealer.close()

    run(test)


def test_what_cannot_be_sealed_is_not_answered(tmp_path, monkeypatch):
    async def test() -> None:
        async with opened(tmp_path, KEEPS) as door:
            sealed = Sealed(door)

            async def refuses(_kept: object) -> None:
                raise SealedUnavailable("the disk refuses sealed content: No space left on device")

            monkeypatch.setattr(sealed.sealer, "keep", refuses)
            answer = await door.chat()
            assert (answer.status, answer.code) == (503, "retention_unavailable")
            assert "No space left" in answer.error["message"]
            assert kinds(door) == ["inference.failed"]
            streamed = await door.chat(stream=True)
            assert b"retention_unavailable" in streamed.body
            assert b"[DONE]" not in streamed.body
            await sealed.sealer.close()

    run(test)


def test_what_broke_off_is_sealed_as_far_as_it_came(tmp_path):
    async def test() -> None:
        async with opened(tmp_path, KEEPS) as door:
            sealed = Sealed(door)
            door.ledger.refusal = "is full"
            assert (await door.chat()).code == "ledger_unavailable"
            assert [one.whole for one in sealed.content()] == [True]  # sealed before the ledger was asked, and once
            door.ledger.refusal = None
            for engine in door.engines.values():
                engine.busy = True
            waiting = door.gateway.loop.create_task(door.chat(stream=True))
            await until(lambda: bool(door.asked("low") + door.asked("high") > 1))
            await door.app.cut()
            assert b"draining" in (await waiting).body
            await sealed.sealer.close()
            assert [one.whole for one in sealed.content()] == [True, False]
            assert kinds(door) == ["inference.failed"]
            assert door.entries()[0]["retention"] == "sealed for 30 days"

    run(test)


def test_the_salts_of_what_is_kept_are_made_once_and_owe_nothing_to_the_installations_secret(tmp_path, monkeypatch):
    async def test() -> None:
        async with opened(tmp_path, KEEPS) as door:
            sealed = Sealed(door)
            monkeypatch.delattr(Salting, "of")
            monkeypatch.setattr(keeping, "salts_of", lambda *_: made.append(1) or Salts(b"r" * 32, b"a" * 32))
            made: list[int] = []
            assert (await door.chat()).status == 200
            assert len(made) == 1
            (entry,) = door.entries()
            (content,) = sealed.content()
            assert entry["answer_commitment"] == commit(ANSWER, b"a" * 32, content.said)
            assert content.salts == {"request": b"r".hex() * 32, "answer": b"a".hex() * 32}
            await sealed.sealer.close()

    run(test)


def test_a_refused_request_is_not_kept(tmp_path):
    async def test() -> None:
        async with opened(tmp_path, KEEPS) as door:
            sealed = Sealed(door)
            assert (await door.chat("SECRET")).status == 403
            assert (await door.chat(messages=[])).status == 400
            assert sealed.found() == []
            assert all("retention" not in entry for entry in door.entries())
            await sealed.sealer.close()

    run(test)


def test_a_choice_that_changes_on_the_way_is_for_the_next_request(tmp_path):
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            sealed = Sealed(door)
            for engine in door.engines.values():
                engine.busy = True
            waiting = door.gateway.loop.create_task(door.chat())
            await until(lambda: door.asked("low") + door.asked("high") > 0)
            door.keys.known["ann"] = KEEPS
            door.gateway.access_changed()
            for engine in door.engines.values():
                engine.free()
            assert (await waiting).status == 200
            assert sealed.found() == []
            assert (await door.chat()).status == 200
            assert len(sealed.found()) == 1
            await sealed.sealer.close()

    run(test)


def test_a_refusal_never_quotes_what_was_to_be_kept(tmp_path):
    async def test() -> None:
        async with opened(tmp_path, KEEPS) as door:
            sealed = Sealed(door)
            sealed.sealer.replace(SealingSnapshot(full=True))
            answer = await door.chat(messages=[{"role": "user", "content": "plainly-the-question"}])
            assert answer.code == "retention_unavailable"
            assert b"plainly" not in answer.body
            await sealed.sealer.close()

    run(test)


def _unchunked(body: bytes) -> bytes:
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(pieces)
