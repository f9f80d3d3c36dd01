"""One request on its way: what is known of it so far. Only the journey's steps write to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastness.core.deployment import Adapter, named
from fastness.core.error import Refusal
from fastness.core.policy import Decision, Parameters
from fastness.core.priority import Band
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
from fastness.gateway.choosing import Asked, prompt_of
from fastness.gateway.http import Exchange
from fastness.gateway.in_force import Mark, PolicyInForce
from fastness.gateway.relay import StreamRun
from fastness.gateway.served import Served
from fastness.gateway.served_model import ServedModel
from fastness.ledger.commitment import Salts
from fastness.ledger.port import Position
from fastness.traffic.fair_queue import Ask, Usable
from fastness.traffic.limits import Reservation

Request = ChatRequest | CompletionRequest | EmbeddingRequest
_NOTHING_SET = Parameters()
_NO_TOKENS = Usage()


@dataclass(slots=True)
class Trip:
    """See the module. Times are of the event loop's clock, in seconds.

    `usable` is what policy said when routing counted `cleared_at` changes and `cleared_by` was in force.
    `adapter` is the name of the adapter that it asked for; "": none. `model` is what it was prepared for, of those that
    serve the deployment, with `loaded` of its adapters, and `context_tokens` what it needs there.
    `retains` is the retention that its content is kept under (None: it is not), and `sealed` whether it was sealed:
    `content_at` is where, and `salts` are those that follow from its key.
    `wait_s` is how long after its arrival the caller wants to wait for a slot; None: as long as one may wait here.
    """

    exchange: Exchange
    operation: Operation
    principal: Principal | None = None
    access_version: int = 0
    mark: Mark | None = None
    request: Request | None = None
    parameters: Parameters = _NOTHING_SET
    band: Band = Band.STANDARD
    wait_s: float | None = None
    ask: Ask | None = None
    policy: str | None = None
    decision: Decision | None = None
    usable: Usable = None
    cleared_at: int = -1
    cleared_by: PolicyInForce | None = None
    served: Served | None = None
    adapter: str = ""
    model: ServedModel | None = None
    loaded: Adapter | None = None
    context_tokens: int = 0
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
    reservation: Reservation | None = None
    limit_lines: bytes = b""
    receipt_line: bytes = b""
    position: Position | None = None
    retried: int = 0
    resumed: int = 0
    paused: bool = False
    superseded: int = 0
    hedged: int = 0
    retains: str | None = None
    sealed: bool = False
    content_at: str | None = None
    salts: Salts | None = None

    @property
    def mark_line(self) -> bytes:
        """The line of the response's head that says what it was handled under; empty before that is known."""
        return self.mark.line if self.mark else b""

    @property
    def head_lines(self) -> bytes:
        """What every answer's head says: what it was handled under, the limits it met, and the id of its receipt."""
        return self.mark_line + self.limit_lines + self.receipt_line

    @property
    def name(self) -> str:
        """What its caller named."""
        return named(self.served.name, self.adapter) if self.served else ""

    @property
    def digest(self) -> str | None:
        """The digest of the adapter that it runs with; None: on the model alone."""
        return self.loaded.digest if self.loaded else None

    @property
    def streams(self) -> bool:
        """Whether the client asked for a stream."""
        return isinstance(self.request, GENERATING) and self.request.stream

    def asking(self, work: Generation) -> Asked:
        """Say what one of its generations asks, for the choice of a replica."""
        assert self.model and self.principal and self.mark
        owner = (self.principal.tenant, self.mark.label)
        return Asked(self.exchange.request_id, prompt_of(owner, self.model.card.digest, work))

    def unprepare(self) -> None:
        """Forget for which model it was prepared, and where it ran."""
        self.model = self.replica = self.loaded = None
        self.cleared_at, self.context_tokens = -1, 0

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
        self.paused = True
        for run in self.runs:
            run.pause()

    def resume(self) -> None:
        """The client has caught up."""
        self.paused = False
        for run in self.runs:
            run.resume()
