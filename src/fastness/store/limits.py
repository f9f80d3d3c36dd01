"""Limits in SQL, and the book of what gateways hold and have used of them; nothing here is one database's own.

A lease and a settlement each first write the row of their gateway, or the version, and so happen one after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from fastness.core.limit import Limit, Metric, Scope
from fastness.store.database import Database
from fastness.store.port import Conflict, Missing, Use
from fastness.store.schema import ACCESS_VERSION, LIMITS, QUOTA_GATEWAYS, QUOTA_LINES
from fastness.traffic.quota import Gateway, Grant, Line, Wish, answer


class SqlLimitStore:
    """The limit store on a SQL database, shared with the access store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_limit(self, limit: Limit) -> None:
        """Remember the limits of a scope."""
        with self._database.transaction() as connection:
            version = raise_version(connection)
            row = {metric.value: getattr(limit, metric.value) for metric in Metric}
            if not connection.execute(update(LIMITS).where(LIMITS.c.id == limit.scope.id).values(row)).rowcount:
                scope = asdict(limit.scope)
                connection.execute(insert(LIMITS), row | scope | {"id": limit.scope.id, "added": version})

    def remove_limit(self, scope: str) -> Limit:
        """Forget the limits of a scope; raises Missing."""
        with self._database.transaction() as connection:
            raise_version(connection)
            found = connection.execute(select(LIMITS).where(LIMITS.c.id == scope)).first()
            if found is None:
                connection.rollback()
                raise Missing(f"there is no limit {scope}")
            connection.execute(delete(LIMITS).where(LIMITS.c.id == scope))
            return _limit(found)

    def gateway(self, name: str) -> Gateway | None:
        """Return what is known of a gateway."""
        with self._database.transaction() as connection:
            return _gateways(connection).get(name)

    def gateways(self) -> tuple[Gateway, ...]:
        """Return every gateway, by name."""
        with self._database.transaction() as connection:
            return tuple(_gateways(connection).values())

    def lease(self, gateway: Gateway, wishes: Sequence[Wish]) -> tuple[Grant, ...]:
        """Take down what a gateway may hold, and return it; raises Conflict."""
        with self._database.transaction() as connection:
            _hold(connection)
            known = _gateways(connection)
            before = known.get(gateway.name)
            if before and before.boot == gateway.boot and gateway.sequence <= before.sequence:
                raise Conflict(f"request {gateway.sequence} of {gateway.name} is not newer than {before.sequence}")
            changed = {"boot": gateway.boot, "sequence": gateway.sequence, "seen_s": gateway.seen_s}
            if before:
                one = QUOTA_GATEWAYS.c.name == gateway.name
                connection.execute(update(QUOTA_GATEWAYS).where(one).values(changed))
            else:
                row = {"name": gateway.name, "position": gateway.position, **changed}
                connection.execute(insert(QUOTA_GATEWAYS), row)
            asked = select(LIMITS).where(LIMITS.c.id.in_({wish.limit for wish in wishes}))
            limits = {one.scope.id: one for one in map(_limit, connection.execute(asked).all())}
            known[gateway.name] = gateway
            grants = []
            for wish in wishes:
                use = (wish.limit, wish.metric, wish.window_s)
                line, grant = answer(limits.get(wish.limit), _lines(connection, use), known, gateway, wish)
                grants.append(grant)
                if line is not None:
                    _write(connection, use, line)
            return tuple(grants)

    def settle(self, gateway: str, position: int, to: int, uses: Mapping[Use, int]) -> bool:
        """Add what a gateway's ledger shows, in one step with the position."""
        with self._database.transaction() as connection:
            _hold(connection)
            here = (QUOTA_GATEWAYS.c.name == gateway) & (QUOTA_GATEWAYS.c.position == position)
            if not connection.execute(update(QUOTA_GATEWAYS).where(here).values(position=to)).rowcount:
                return False
            for use, amount in uses.items():
                more = {"used": QUOTA_LINES.c.used + amount}
                if not connection.execute(update(QUOTA_LINES).where(_is(use, gateway)).values(more)).rowcount:
                    _write(connection, use, Line(gateway, "", used=amount))
            return True

    def lines(self, use: Use) -> tuple[Line, ...]:
        """Return the lines of one limit, metric and window."""
        with self._database.transaction() as connection:
            return _lines(connection, use)

    def forget_uses(self, metrics: Sequence[Metric], before_s: int) -> int:
        """Remove what was counted in windows that began before then."""
        old = QUOTA_LINES.c.metric.in_([metric.value for metric in metrics]) & (QUOTA_LINES.c.window_s < before_s)
        with self._database.transaction() as connection:
            _hold(connection)
            return connection.execute(delete(QUOTA_LINES).where(old)).rowcount


def raise_version(connection: Connection) -> int:
    """Count a change of access, and so hold that one row until the transaction ends; return the new version."""
    connection.execute(update(ACCESS_VERSION).values(version=ACCESS_VERSION.c.version + 1))
    return int(connection.execute(select(ACCESS_VERSION.c.version)).scalar_one())


def read_limits(connection: Connection) -> tuple[Limit, ...]:
    """Return all limits, oldest first."""
    return tuple(map(_limit, connection.execute(select(LIMITS).order_by(LIMITS.c.added)).all()))


def _hold(connection: Connection) -> None:
    """Write what is there: it holds that one row until we commit, so that leases happen one after another."""
    connection.execute(update(ACCESS_VERSION).values(version=ACCESS_VERSION.c.version))


def _limit(row: Row[Any]) -> Limit:
    bounds = {metric.value: getattr(row, metric.value) for metric in Metric}
    return Limit(Scope(row.tenant, row.key, row.model), **bounds)


def _gateways(connection: Connection) -> dict[str, Gateway]:
    rows = connection.execute(select(QUOTA_GATEWAYS).order_by(QUOTA_GATEWAYS.c.name)).all()
    return {row.name: Gateway(row.name, row.boot, row.sequence, row.position, row.seen_s) for row in rows}


def _is(use: Use, gateway: str | None = None) -> Any:
    limit, metric, window_s = use
    columns = QUOTA_LINES.c
    same = (columns.limit_id == limit) & (columns.metric == metric.value) & (columns.window_s == window_s)
    return same if gateway is None else same & (columns.gateway == gateway)


def _lines(connection: Connection, use: Use) -> tuple[Line, ...]:
    rows = connection.execute(select(QUOTA_LINES).where(_is(use)).order_by(QUOTA_LINES.c.gateway)).all()
    return tuple(Line(row.gateway, row.boot, row.base, row.held, row.used) for row in rows)


def _write(connection: Connection, use: Use, line: Line) -> None:
    changed = {"boot": line.boot, "base": line.base, "held": line.held, "used": line.used}
    if not connection.execute(update(QUOTA_LINES).where(_is(use, line.gateway)).values(changed)).rowcount:
        limit, metric, window_s = use
        named = {"limit_id": limit, "metric": metric.value, "window_s": window_s, "gateway": line.gateway}
        connection.execute(insert(QUOTA_LINES), named | changed)
