"""Admissions in SQL: what was imported, who agreed to it, and the newest version of each bundle.

A change names what it changes from, so that two that were decided at the same time never overwrite each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from fastness.core.admission import Admission, AdmissionState
from fastness.store.database import Database
from fastness.store.port import Conflict, Missing, Unavailable
from fastness.store.schema import ACCESS_VERSION, ADMISSIONS, BUNDLES

_ADMISSION: Final = msgspec.json.Decoder(Admission)


class Direction(StrEnum):
    """Whether a bundle came or went."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class BundleMark:
    """How far a bundle has come: `digest` is the SHA-256 of that version's manifest."""

    id: str
    direction: Direction
    version: int
    digest: str
    at_s: int


class AdmissionStore(Protocol):
    """Admissions and bundles; all methods block, and raise Unavailable."""

    def add_admissions(self, admissions: Sequence[Admission], bundle: BundleMark | None = None) -> None:
        """Remember what was imported, and with which bundle, all or nothing.

        Raises Conflict for a digest that was ever imported, a name in use, a bundle that is not newer.
        """
        ...

    def change_admission(self, before: Admission, after: Admission) -> None:
        """Replace an admission; raises Conflict when it is not as `before` any more."""
        ...

    def admission(self, name: str) -> Admission:
        """Return the admission of that name: the one in use, or the last that was revoked; raises Missing."""
        ...

    def admission_of(self, digest: str) -> Admission | None:
        """Return the admission of the artefact of that digest."""
        ...

    def admissions(self) -> tuple[Admission, ...]:
        """Return all, oldest first."""
        ...

    def mark_bundle(self, mark: BundleMark) -> None:
        """Remember a bundle; raises Conflict when it is not newer than the one before."""
        ...

    def bundle_version(self, bundle_id: str, direction: Direction) -> int:
        """Return the newest version; 0 when there was none."""
        ...


class SqlAdmissionStore:
    """The admission store on a SQL database, shared with the other stores."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_admissions(self, admissions: Sequence[Admission], bundle: BundleMark | None = None) -> None:
        """Remember what was imported, all or nothing; raises Conflict."""
        with self._database.transaction() as connection:
            _hold(connection)
            for admission in admissions:
                _check_free(connection, admission)
                added = connection.execute(select(func.count()).select_from(ADMISSIONS)).scalar_one() + 1
                connection.execute(insert(ADMISSIONS), _row(admission) | {"added": added})
            if bundle is not None:
                _mark(connection, bundle)

    def change_admission(self, before: Admission, after: Admission) -> None:
        """Replace an admission; raises Conflict."""
        row, old = _row(after), _row(before)
        table = ADMISSIONS.c
        with self._database.transaction() as connection:
            _hold(connection)
            change = update(ADMISSIONS).where(table.digest == row["digest"], table.document == old["document"])
            if not connection.execute(change.values(**row)).rowcount:
                raise Conflict(
                    f"{before.artefact.name} was changed by somebody else at this moment; look, and try again"
                )

    def admission(self, name: str) -> Admission:
        """Return the admission of that name; raises Missing."""
        found = [one for one in self.admissions() if one.artefact.name == name]
        if not found:
            raise Missing(f"there is no imported model or adapter {name!r}")
        return max(enumerate(found), key=lambda one: (one[1].state is not AdmissionState.REVOKED, one[0]))[1]

    def admission_of(self, digest: str) -> Admission | None:
        """Return the admission of the artefact of that digest."""
        with self._database.transaction() as connection:
            found = connection.execute(select(ADMISSIONS.c.document).where(ADMISSIONS.c.digest == digest)).scalar()
        return None if found is None else _read(found)

    def admissions(self) -> tuple[Admission, ...]:
        """Return all, oldest first."""
        with self._database.transaction() as connection:
            found = connection.execute(select(ADMISSIONS.c.document).order_by(ADMISSIONS.c.added)).scalars().all()
        return tuple(map(_read, found))

    def mark_bundle(self, mark: BundleMark) -> None:
        """Remember a bundle; raises Conflict."""
        with self._database.transaction() as connection:
            _hold(connection)
            _mark(connection, mark)

    def bundle_version(self, bundle_id: str, direction: Direction) -> int:
        """Return the newest version; 0 when there was none."""
        with self._database.transaction() as connection:
            return _bundle_version(connection, bundle_id, direction)


def _hold(connection: Connection) -> None:
    """Hold the one row that every change holds until it commits, so that changes happen one after another."""
    connection.execute(update(ACCESS_VERSION).values(version=ACCESS_VERSION.c.version))


def _check_free(connection: Connection, admission: Admission) -> None:
    artefact, table = admission.artefact, ADMISSIONS.c
    same = select(table.name, table.state).where(table.digest == artefact.digest)
    if (known := connection.execute(same).first()) is not None:
        raise Conflict(f"these bytes were imported before, as {known.name}, and are {known.state}")
    named = select(table.digest).where(table.name == artefact.name, table.state != AdmissionState.REVOKED.value)
    if connection.execute(named).first() is not None:
        raise Conflict(f"there is a model or adapter {artefact.name} already, with other bytes")


def _mark(connection: Connection, mark: BundleMark) -> None:
    newest = _bundle_version(connection, mark.id, mark.direction)
    if mark.version <= newest:
        raise Conflict(f"version {newest} of bundle {mark.id} is known already; {mark.version} is not newer")
    table = BUNDLES.c
    connection.execute(delete(BUNDLES).where(table.id == mark.id, table.direction == mark.direction.value))
    row = {"id": mark.id, "direction": mark.direction.value, "version": mark.version}
    connection.execute(insert(BUNDLES), row | {"digest": mark.digest, "at_s": mark.at_s})


def _bundle_version(connection: Connection, bundle_id: str, direction: Direction) -> int:
    table = BUNDLES.c
    found = connection.execute(select(table.version).where(table.id == bundle_id, table.direction == direction.value))
    return int(found.scalar() or 0)


def _row(admission: Admission) -> dict[str, str]:
    return {
        "digest": admission.artefact.digest,
        "name": admission.artefact.name,
        "state": admission.state.value,
        "document": msgspec.json.encode(admission).decode(),
    }


def _read(document: str) -> Admission:
    try:
        return _ADMISSION.decode(document)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"an admission in the store is damaged: {error}") from error
