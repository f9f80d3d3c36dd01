"""What is left of a generation of which something came, when the engine that made it is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastness.core.error import Refusal
from fastness.core.replica import Replica
from fastness.core.request import Delta, FinishReason, Generation, Usage
from fastness.engines.port import Dialect, EngineCall
from fastness.gateway.relay import StreamRun, Taker, broken, post, run_stream
from fastness.traffic.continuation import Diverged, Replay, Written, continuation, usage_at_end, usage_of

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip


class _New:
    """Passes on what is new in an answer that is made again; raises Refusal when it does not begin as it had begun."""

    __slots__ = ("_replay", "_taker")

    def __init__(self, replay: Replay, taker: Taker) -> None:
        self._replay, self._taker = replay, taker

    def texts(self, texts: Sequence[str]) -> None:
        """See Taker."""
        for text in texts:
            self.delta(Delta(text))

    def delta(self, delta: Delta) -> None:
        """See Taker."""
        try:
            fresh = self._replay.take(delta)
        except Diverged:
            message = (
                "The engine was lost before the answer was whole, and the answer made anew begins otherwise than "
                "what was sent. Try again; with `temperature` 0, or without a stream, this does not happen."
            )
            raise Refusal("engine_failed", message, retry_after_s=1) from None
        if fresh is not None:
            self._taker.delta(fresh)


class Rest:
    """What is left of a generation of which something came, for one replica to do."""

    __slots__ = ("_began", "_dialect", "_gateway", "_replica", "_trip", "_work", "_written")

    def __init__(
        self, gateway: Gateway, trip: Trip, replica: Replica, work: Generation, written: Written, began: float
    ) -> None:
        self._gateway, self._trip, self._replica = gateway, trip, replica
        self._work, self._written, self._began = work, written, began
        self._dialect: Dialect = gateway.routing.dialect(replica)

    async def run(self, taker: Taker) -> Usage:
        """Make it and give it to `taker`; return what the whole answer took. Raises Refusal."""
        if self._work.constraint is not None and self._written.finish is None:
            replay = _New(Replay(self._written.text), taker)
            return await self._run(self._work, replay, self._written.count)
        return await self._go_on(taker)

    async def _go_on(self, taker: Taker) -> Usage:
        written = self._written
        if written.prompt is None:
            written.prompt = await self._prompt()
        said = await self._tokens(written.texts, begins=False)
        if written.finish is not None:
            return usage_at_end(written.prompt, said, written.finish)
        rest = continuation(self._work, written.prompt, said, self._replica.context_tokens)
        if rest is None:
            taker.delta(Delta(finish=FinishReason.LENGTH))
            return usage_at_end(written.prompt, said, FinishReason.LENGTH)
        self._cleared()
        return usage_of(written.prompt, said, await self._run(rest, taker))

    async def _run(self, work: Generation, taker: Taker, known: int = 0) -> Usage:
        run = StreamRun(self._gateway.loop, self._dialect, self._replica, taker, self._began, known)
        with self._gateway.watched(self._trip, run):
            return await run_stream(self._gateway.engines, self._dialect, self._replica, work, run)

    async def _prompt(self) -> tuple[int, ...]:
        """The tokens of the input."""
        prompt = self._work.prompt
        if isinstance(prompt, tuple):
            return prompt
        if prompt is None:
            body = await self._ask(self._dialect.template(self._work))
            try:
                prompt = self._dialect.templated(body)
            except ValueError:
                raise broken(self._replica, "wrote a prompt that cannot be read") from None
            self._cleared()
        return await self._tokens([prompt], begins=True)

    async def _tokens(self, texts: list[str], *, begins: bool) -> tuple[int, ...]:
        body = await self._ask(self._dialect.tokens(texts, begins=begins))
        try:
            return self._dialect.tokenised(body)
        except ValueError:
            raise broken(self._replica, "gave tokens that cannot be read") from None

    async def _ask(self, call: EngineCall) -> bytes:
        self._cleared()
        return await post(self._gateway.engines, self._dialect, self._replica, call.path, call.body)

    def _cleared(self) -> None:
        """Ask policy anew, before each word to the engine; raises Refusal."""
        may = self._gateway.usable(self._trip)
        if may is not None and self._replica.id not in may:
            assert self._trip.served
            raise self._trip.served.not_ready(may)
