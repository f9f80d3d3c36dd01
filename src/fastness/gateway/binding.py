"""What ties an answer to its entry in the ledger: the receipt's id on the answer, the commitments in the entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastness.core.event import Scalar
from fastness.gateway.canonical import parameters_bytes, prompt_bytes
from fastness.ledger.commitment import ANSWER, PARAMETERS, PROMPT, REQUEST, commit
from fastness.ledger.receipts.salt_secrets import DaySalting

if TYPE_CHECKING:
    from fastness.gateway.trip import Trip

RECEIPT_HEADER: Final = "Fastness-Receipt"
ID_PREFIX: Final = "req_"


class Binding:
    """Binds the answers of one gateway, whose log has the name `log`.

    `salting` makes the salts of answers that nobody keeps; `configuration` is the digest of the settings in force.
    """

    def __init__(self, log: str, salting: DaySalting, configuration: str) -> None:
        self._salting, self._configuration = salting, configuration
        self._line = f"{RECEIPT_HEADER.lower()}: {log}.%b\r\n".encode()
        self._comment = f": {RECEIPT_HEADER.lower()} {log}.%b entry %d\n\n".encode()

    def head_line(self, request_id: str) -> bytes:
        """Return the line of the response's head with the receipt's id: the log's name and the request's id."""
        return self._line % request_id[len(ID_PREFIX) :].encode()

    def comment(self, request_id: str, index: int) -> bytes:
        """Return the comment at the end of a stream: the receipt's id, and where its entry stands in the log."""
        return self._comment % (request_id[len(ID_PREFIX) :].encode(), index)

    def fields(self, trip: Trip, time_ms: int) -> dict[str, Scalar]:
        """Return what the entry of a whole answer says besides: what was asked and answered, how, where."""
        request, answer, replica, model = trip.request, trip.answer, trip.replica, trip.model
        assert request
        salts, day = trip.salts, None
        if salts is None:
            salts, day = self._salting.of(trip.exchange.request_id, time_ms)
        said: dict[str, Scalar] = {
            "request_commitment": commit(REQUEST, salts.request, trip.exchange.body),
            "prompt_commitment": commit(PROMPT, salts.request, prompt_bytes(request)),
            "parameters_commitment": commit(PARAMETERS, salts.request, parameters_bytes(request)),
            "answer_commitment": commit(ANSWER, salts.answer, answer.said() if answer else trip.body),
            "configuration": self._configuration,
        }
        if day is not None:
            said["salt_day"] = day
        if replica:
            said["engine"], said["build"], said["node"] = replica.engine, replica.build, replica.node
            for node in model.nodes if model else ():
                if node.name == replica.node:
                    said["jurisdiction"], said["operator"] = node.jurisdiction, node.operator
        return said
