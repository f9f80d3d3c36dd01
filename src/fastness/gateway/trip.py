"""One request on its way: what is known of it so far. Only the journey's steps write to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastness.core.error import Refusal
from fastness.core.policy import Decision, Parameters
from fastness.core.replica import Replica
from fastness.core.request import (
    GENERATING,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Generation,
    Operation,
    Usage,
)
from fastness.core.tenant import Principal
from fastness.gateway.answer.port import Answer
from fastness.gateway.http import Exchange
from fastness.gateway.in_force import Mark
from fastness.gateway.relay import StreamRun
from fastness.gateway.routing import Served, Usable

Request = ChatRequest | CompletionRequest | EmbeddingRequest
_NOTHING_SET = Parameters()
_NO_TOKENS = Usage()


@dataclass(slots=True)
class Trip:
    """See the module. Times are of the event loop's clock, in seconds."""

    exchange: Exchange
    operation: Operation
    principal: Principal | None = None
    access_version: int = 0
    mark: Mark | None = None
    request: Request | None = None
    parameters: Parameters = _NOTHING_SET
    policy: str | None = None
    decision: Decision | None = None
    usable: Usable = None
    served: Served | None = None
    generations: tuple[Generation, ...] = ()
    answer: Answer | None = None
    body: bytes = b""
    replica: Replica | None = None
    usage: Usage = _NO_TOKENS
    queue_s: float = 0.0
    first_token_at: float | None = None
    commit_s: float | None = None
    refusal: Refusal | None = None
    runs: list[StreamRun] = field(default_factory=list)

    @property
    def mark_line(self) -> bytes:
        """The line of the response's head that says what it was handled under; empty before that is known."""
        return self.mark.line if self.mark else b""

    @property
    def streams(self) -> bool:
        """Whether the client asked for a stream."""
        return isinstance(self.request, GENERATING) and self.request.stream

    def forget(self) -> None:
        """Let go of what leads back here: an ended request is gone at once, not when a collector comes by."""
        self.exchange.on_pause = self.exchange.on_resume = self.exchange.on_disconnect = None
        for run in self.runs:
            run.let_go()
        self.runs.clear()
        if self.refusal:
            # A traceback holds the frames it went through, and they hold the trip.
            self.refusal.__traceback__ = self.refusal.__context__ = None

    def pause(self) -> None:
        """The client is slow: its engines wait."""
        for run in self.runs:
            run.pause()

    def resume(self) -> None:
        """The client has caught up."""
        for run in self.runs:
            run.resume()
