"""Logs for auditors over HTTP, as the static files of C2SP tlog-tiles: checkpoints, tiles of hashes, and entries.

Control reads them; a gateway asks who is there, and passes on. Entries name tenants, so only principals of the
installation's own tenant get them, whom policy lets read. Hashes tell how many entries there are, and nothing of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fastness.core.error import Refusal
from fastness.core.ids import is_name
from fastness.core.marking import Label
from fastness.core.policy import Action, Query
from fastness.core.tenant import DEFAULT_TENANT, Principal
from fastness.gateway.http import EngineLost
from fastness.gateway.in_force import unavailable
from fastness.ledger.tiles import CHECKPOINT_PATH, parse_tile

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.http import Exchange

ROUTE: Final = "/ledger/"
PAGES_MAX: Final = 4
"""So many are fetched at the same time by one gateway: control has other things to do, too."""
ANSWER_TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 256 * (2 + 65_535)
"""A bundle of 256 entries, each of the most that one may have."""


class LedgerPages:
    """The pages of one gateway. `control` is the socket where logs are read."""

    def __init__(self, gateway: Gateway, control: str) -> None:
        self._gateway, self._control = gateway, control
        self._under_way = 0

    def asker(self, exchange: Exchange) -> Principal | None:
        """Return who may have this page: None for anybody. Raises Refusal."""
        entries = exchange.path.rpartition("/tile/")[2].startswith("entries/")
        if self._gateway.settings.ledger.hashes_for == "everybody" and not entries:
            return None
        principal, policy = self._gateway.authenticate(exchange), self._gateway.policy
        if policy is None:
            raise unavailable()
        policy.permit(Query(principal, Action.READ, Label(policy.lattice.profile.default)))
        if entries and principal.tenant != DEFAULT_TENANT:
            raise Refusal(
                "permission_denied",
                f"Entries name all departments, so it takes a key of {DEFAULT_TENANT}, the installation's own tenant; "
                f"{principal.id} is of {principal.tenant}. Receipts prove your own answers: GET /v1/receipts/ID.",
            )
        return principal

    def lines(self, exchange: Exchange, principal: Principal | None) -> bytes:
        """Return the lines of the head of a whole answer. What a checkpoint covers never changes."""
        tile = not exchange.path.endswith("/checkpoint")
        return b"content-type: %b\r\ncache-control: %b, %b\r\nx-content-type-options: nosniff\r\n" % (
            b"application/octet-stream" if tile else b"text/plain; charset=utf-8",
            b"private" if principal else b"public",
            b"max-age=31536000, immutable" if tile else b"max-age=1",
        )

    async def page(self, exchange: Exchange) -> bytes:
        """Return a page; raises Refusal: route_not_found, invalid_value, not_found, receipts_unavailable."""
        if not _is_page(exchange.path):
            message = "Below /ledger/LOG/ are checkpoint, tile/LEVEL/N and tile/entries/N, as c2sp.org/tlog-tiles says."
            raise Refusal("route_not_found", message)
        if exchange.query:
            raise Refusal("invalid_value", "This route takes no parameters.", param=exchange.query[:80])
        if self._under_way >= PAGES_MAX:
            raise _unavailable(f"{PAGES_MAX} pages of it are being read at this gateway already, which is the most")
        self._under_way += 1
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                path = "/api/v1/ledger/logs/" + exchange.path.removeprefix(ROUTE)
                said = await self._gateway.engines.get(self._control, path, answer_bytes_max=ANSWER_BYTES_MAX)
        except (TimeoutError, EngineLost):
            raise _unavailable("the control plane does not answer") from None
        finally:
            self._under_way -= 1
        if said.status == 404:
            raise Refusal("not_found", "There is no such log, or no such tile of it. Its checkpoint tells its size.")
        if said.status != 200:
            raise _unavailable("the control plane cannot read it; its own log says why")
        return said.body


def _is_page(path: str) -> bool:
    log, _, page = path.removeprefix(ROUTE).partition("/")
    try:
        return is_name(log) and (page == CHECKPOINT_PATH or str(parse_tile(page)) == page)
    except ValueError:
        return False


def _unavailable(why: str) -> Refusal:
    message = f"The ledger cannot be read now: {why}. Everything else is served."
    return Refusal("receipts_unavailable", message, retry_after_s=2)
