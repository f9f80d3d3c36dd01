"""The page of a receipt: made by the control process, for the tenant that got the answer and for nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from fastness.core.error import ERROR_CODES, Refusal
from fastness.gateway.http import EngineLost

if TYPE_CHECKING:
    from fastness.core.tenant import Principal
    from fastness.gateway.http import EngineConnections

ROUTE: Final = "/v1/receipts/"
PATH: Final = "/api/v1/receipts/find"
ANSWER_TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 65_536
ID_CHARS_MAX: Final = 128


class ReceiptCall(msgspec.Struct, frozen=True):
    """The question; control's `ReceiptBody` is the same."""

    id: str
    tenant: str
    chain: bool


class _Told(msgspec.Struct):
    """What we read of the problem details (RFC 9457) that control answers with."""

    code: str
    detail: str


class ReceiptOut(msgspec.Struct, frozen=True):
    """A receipt. `entry` is a line of the log, `proof` a C2SP tlog-proof, `salts` are hex, `keys` sign the log.

    `chain`, where asked for, has entries that tell how the answer came about, each with its `proof`.
    """

    v: int
    id: str
    entry: str
    proof: str
    salts: dict[str, str]
    keys: list[str]
    chain: list[dict[str, str]] | msgspec.UnsetType = msgspec.UNSET


async def receipt_page(
    engines: EngineConnections, control: str, principal: Principal, receipt_id: str, query: str
) -> bytes:
    """Return a receipt as JSON; raises Refusal: not_found, receipts_unavailable."""
    if query not in ("", "chain=true", "chain=false"):
        raise Refusal("invalid_value", "This route takes `chain`, true or false, and nothing else.", param="chain")
    call = ReceiptCall(receipt_id[:ID_CHARS_MAX], principal.tenant, query == "chain=true")
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            body = msgspec.json.encode(call)
            said = await engines.call(control, PATH, body, answer_bytes_max=ANSWER_BYTES_MAX)
    except (TimeoutError, EngineLost):
        message = "Receipts cannot be made now: the control plane does not answer. Everything else is served."
        raise Refusal("receipts_unavailable", message, retry_after_s=2) from None
    if said.status == 404:
        message = (
            f"There is no receipt {call.id!r} of this tenant. The id is in the Fastness-Receipt header of an answer, "
            "and it takes a key of the tenant that got the answer."
        )
        raise Refusal("not_found", message)
    if said.status != 200:
        raise _refusal(said.body)
    return said.body


def _refusal(body: bytes) -> Refusal:
    try:
        told = msgspec.json.decode(body, type=_Told)
        if told.code in ERROR_CODES:
            return Refusal(told.code, told.detail, retry_after_s=1)
    except msgspec.DecodeError:
        pass
    return Refusal("receipts_unavailable", "The receipt cannot be made now. Try again in a moment.", retry_after_s=1)
