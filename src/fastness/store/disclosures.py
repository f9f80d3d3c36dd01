"""Disclosures in SQL: who asked to open, export or shred what, who approved it, and what became of it."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec
from sqlalchemy import delete, func, insert, select, update

from fastness.core.retention import Disclosure
from fastness.store.database import Database
from fastness.store.port import Conflict, Missing, Unavailable
from fastness.store.schema import ACCESS_VERSION, DISCLOSURES

_DISCLOSURE: Final = msgspec.json.Decoder(Disclosure)


class DisclosureStore(Protocol):
    """Disclosures; all methods block, and raise Unavailable."""

    def add_disclosure(self, disclosure: Disclosure) -> None:
        """Remember a new one; raises Conflict for an id that is there."""
        ...

    def change_disclosure(self, before: Disclosure, after: Disclosure) -> None:
        """Replace one; raises Conflict when it is not as `before` any more."""
        ...

    def disclosure(self, disclosure_id: str) -> Disclosure:
        """Return one; raises Missing."""
        ...

    def disclosures(self) -> tuple[Disclosure, ...]:
        """Return all, oldest first."""
        ...

    def forget_disclosures(self, asked_before_s: int) -> int:
        """Remove those asked before then, and return how many they were. The ledger keeps its entries of them."""
        ...


class SqlDisclosureStore:
    """The disclosures on a SQL database, shared with the other stores."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_disclosure(self, disclosure: Disclosure) -> None:
        """Remember a new one; raises Conflict."""
        with self._database.transaction() as connection:
            connection.execute(update(ACCESS_VERSION).values(version=ACCESS_VERSION.c.version))  # one after another
            if connection.execute(select(DISCLOSURES.c.id).where(DISCLOSURES.c.id == disclosure.id)).first():
                raise Conflict(f"disclosure {disclosure.id} exists already")
            added = connection.execute(select(func.coalesce(func.max(DISCLOSURES.c.added), 0))).scalar_one() + 1
            row = {"id": disclosure.id, "tenant": disclosure.tenant, "document": _text(disclosure), "added": added}
            connection.execute(insert(DISCLOSURES), row)

    def change_disclosure(self, before: Disclosure, after: Disclosure) -> None:
        """Replace one; raises Conflict."""
        table = DISCLOSURES.c
        with self._database.transaction() as connection:
            same = update(DISCLOSURES).where(table.id == before.id, table.document == _text(before))
            if not connection.execute(same.values(document=_text(after))).rowcount:
                raise Conflict(f"disclosure {before.id} was changed at this moment; look, and try again")

    def disclosure(self, disclosure_id: str) -> Disclosure:
        """Return one; raises Missing."""
        with self._database.transaction() as connection:
            wanted = select(DISCLOSURES.c.document).where(DISCLOSURES.c.id == disclosure_id)
            found = connection.execute(wanted).scalar()
        if found is None:
            raise Missing(f"there is no disclosure {disclosure_id[:80]}")
        return _read(found)

    def disclosures(self) -> tuple[Disclosure, ...]:
        """Return all, oldest first."""
        with self._database.transaction() as connection:
            found = connection.execute(select(DISCLOSURES.c.document).order_by(DISCLOSURES.c.added)).scalars().all()
        return tuple(map(_read, found))

    def forget_disclosures(self, asked_before_s: int) -> int:
        """Remove those asked before then, and return how many they were."""
        old = [one.id for one in self.disclosures() if one.asked_s < asked_before_s]
        with self._database.transaction() as connection:
            return sum(connection.execute(delete(DISCLOSURES).where(DISCLOSURES.c.id == one)).rowcount for one in old)


def _text(disclosure: Disclosure) -> str:
    return msgspec.json.encode(disclosure).decode()


def _read(document: str) -> Disclosure:
    try:
        return _DISCLOSURE.decode(document)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"a disclosure in the store is damaged: {type(error).__name__}") from error
