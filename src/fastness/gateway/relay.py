"""One generation on one replica: bytes of the engine in, deltas out, and an end in every case."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from fastness.config import TrafficSettings
from fastness.core.error import Refusal
from fastness.core.replica import Replica
from fastness.core.request import Delta, FinishReason, Generation, Usage
from fastness.engines.port import Dialect, EngineError
from fastness.gateway.http import EngineConnections, EngineLost, EngineStream, EngineUnreachable, SseSplitter

ERROR_BYTES_MAX: Final = 65_536
ANSWER_BYTES_MAX: Final = 67_108_864


class EngineFailed(Refusal):
    """The engine failed, not the request: another replica may do what it did not."""


class EngineAway(EngineFailed):
    """No connection to the engine could be made: nothing was asked of it."""


class EngineErred(EngineFailed):
    """The engine said that it failed. It may be the request's fault all the same."""


class Taker(Protocol):
    """Who takes what an engine adds, in the order in which it came."""

    def texts(self, texts: Sequence[str]) -> None:
        """Take what events added of which each is a text and nothing else; none is empty."""

    def delta(self, delta: Delta) -> None:
        """Take what an event added."""


class _Nobody:
    """Takes nothing any more."""

    def texts(self, _texts: Sequence[str]) -> None:
        pass

    def delta(self, _delta: Delta) -> None:
        pass


NOBODY: Final = _Nobody()


class StreamRun:
    """Reads one streamed generation. `done` resolves to its usage, or to the Refusal that ended it.

    `began_at` is when the answer was begun, maybe by another run, of which `known` pieces come again in this one.
    """

    __slots__ = (
        "_began_at",
        "_dialect",
        "_finish",
        "_known",
        "_now",
        "_progress_at",
        "_replica",
        "_splitter",
        "_status",
        "_taker",
        "_tokens",
        "_trouble",
        "_usage",
        "done",
        "paused",
        "stream",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dialect: Dialect,
        replica: Replica,
        taker: Taker,
        began_at: float,
        known: int = 0,
    ) -> None:
        self._dialect = dialect
        self._replica = replica
        self._known = known
        self._taker = taker
        self._splitter = SseSplitter()
        self._status = 0
        self._trouble = b""
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self.stream: EngineStream | None = None
        self.done: asyncio.Future[Usage] = loop.create_future()
        self._now = loop.time
        self._progress_at = loop.time()
        self._began_at = began_at
        self.paused = False
        self._tokens = 0

    def on_head(self, status: int) -> None:
        """See Sink."""
        self._status = status

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        if self._status != 200:
            self._trouble = (self._trouble + data)[:ERROR_BYTES_MAX]
            return
        text_of = self._dialect.text
        texts: list[str] = []
        try:
            for event in self._splitter.feed(data):
                text = text_of(event)
                if text is None:
                    if texts:
                        self._pass_on(texts)
                        texts = []
                    self._take(event)
                elif text:
                    texts.append(text)
            if texts:
                self._progress_at = self._now()
                self._tokens += len(texts)
                self._taker.texts(texts)
        except EngineError as error:
            self._fail(engine_refusal(error))
        except Refusal as refusal:
            self._fail(refusal)
        except ValueError:
            self._fail(broken(self._replica, "sent an event that cannot be read"))

    def on_end(self) -> None:
        """See Sink."""
        if self._status != 200:
            self._fail(engine_refusal(self._dialect.error(self._status, self._trouble)))
        elif not self.done.done():
            self._fail(broken(self._replica, "ended its stream early"))

    def on_error(self, error: EngineLost) -> None:
        """See Sink."""
        self._fail(lost(self._replica, error))

    def let_go(self) -> None:
        """Take nothing more, whatever the connection still brings, and hold nobody."""
        self.stream = None
        self._taker = NOBODY

    @property
    def tokens(self) -> int:
        """How many pieces of output came, each of them a token or a few; none that had come in an earlier run."""
        return max(0, self._tokens - self._known)

    def pause(self) -> None:
        """The client is slow: stop reading from the engine. Its own write timeout ends a client that stays so."""
        self.paused = True
        if self.stream:
            self.stream.pause()

    def resume(self) -> None:
        """The client has caught up."""
        self.paused = False
        self._progress_at = self._now()
        if self.stream:
            self.stream.resume()

    def check(self, now: float, traffic: TrafficSettings) -> None:
        """End it when nothing came for too long, or when it takes too long in all."""
        limit_s = traffic.progress_timeout_s if self._tokens else traffic.first_token_timeout_s
        if not self.paused and now - self._progress_at > limit_s:
            message = f"Replica {self._replica.id} made no progress for {limit_s:g} s. Try again."
            self._stop(EngineFailed("engine_timeout", message))
        elif now - self._began_at > traffic.answer_timeout_s:
            message = f"The answer took longer than {traffic.answer_timeout_s:g} s. Ask for fewer output tokens."
            self._stop(Refusal("engine_timeout", message))

    def _stop(self, refusal: Refusal) -> None:
        if self.stream:
            self.stream.cancel()
        self._fail(refusal)

    def _pass_on(self, texts: Sequence[str]) -> None:
        self._progress_at = self._now()
        self._tokens += len(texts)
        self._taker.texts(texts)

    def _take(self, event: bytes) -> None:
        if event == b"[DONE]":
            if self._finish is None or self._usage is None:
                self._fail(broken(self._replica, "ended without saying how"))
            elif not self.done.done():
                self.done.set_result(self._usage)
            return
        delta = self._dialect.delta(event)
        if delta is None:
            return
        self._finish = delta.finish or self._finish
        self._usage = delta.usage or self._usage
        if delta.text or delta.finish:
            self._progress_at = self._now()
            self._tokens += 1
            self._taker.delta(delta)

    def _fail(self, refusal: Refusal) -> None:
        if self.done.done():
            return
        if isinstance(refusal, EngineFailed) and self._finish is not None and self._usage is not None:
            self.done.set_result(self._usage)  # all of it came, but for the mark that nothing more does
        else:
            self.done.set_exception(refusal)


async def run_stream(
    connections: EngineConnections,
    dialect: Dialect,
    replica: Replica,
    work: Generation,
    run: StreamRun,
) -> Usage:
    """Relay one streamed generation to its end; raises Refusal. Cancelling it stops the engine's work at once."""
    call = dialect.generation(work)
    run.stream = connections.stream(replica.socket, call.path, call.body, run)
    if run.paused:
        run.stream.pause()
    try:
        return await run.done
    except BaseException:
        run.stream.cancel()
        raise


def read_whole(dialect: Dialect, replica: Replica, body: bytes) -> Delta:
    """Read a whole answer; raises Refusal."""
    try:
        delta = dialect.answer(body)
    except ValueError:
        raise broken(replica, "gave an answer that cannot be read") from None
    if delta.finish is None or delta.usage is None:
        raise broken(replica, "ended without saying how")
    return delta


async def post(connections: EngineConnections, dialect: Dialect, replica: Replica, path: str, body: bytes) -> bytes:
    """POST to a replica's engine and return the body of its 200 answer; raises Refusal for anything else."""
    whole = connections.ask(replica.socket, path, body, answer_bytes_max=ANSWER_BYTES_MAX)
    try:
        answer = await whole.future
    except EngineLost as error:
        raise lost(replica, error) from None
    finally:
        whole.cancel()
    if answer.status != 200:
        raise engine_refusal(dialect.error(answer.status, answer.body))
    return answer.body


def lost(replica: Replica, error: EngineLost) -> EngineFailed:
    """Make the refusal for an engine that was lost, before or after it was asked."""
    if isinstance(error, EngineUnreachable):
        message = f"The engine of replica {replica.id} cannot be reached. It is being restarted; try again."
        return EngineAway("engine_failed", message, retry_after_s=1)
    return broken(replica, "was lost")


def broken(replica: Replica, how: str) -> EngineFailed:
    """Make the refusal for an engine that failed."""
    message = f"The engine of replica {replica.id} {how} before the answer was whole. It is being restarted; try again."
    return EngineFailed("engine_failed", message, retry_after_s=1)


def engine_refusal(error: EngineError) -> Refusal:
    """Make the refusal for what an engine itself refused. Its message goes to the caller only."""
    if error.context_needed is not None:
        return Refusal(
            "context_length_exceeded",
            f"The input has {error.context_needed:,} tokens: {error.message}",
            param="messages",
        )
    if 400 <= error.status < 500:
        return Refusal("invalid_value", f"The engine refused the request: {error.message[:500]}")
    return EngineErred("engine_failed", "The engine failed on this request. Try again.", retry_after_s=1)
