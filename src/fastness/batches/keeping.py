"""What a tenant can do with its files and batches. Law 2 holds: what is told to a caller, the ledger has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from fastness.batches.multipart import Form
from fastness.batches.progress import Turn
from fastness.batches.records import (
    INPUT_PURPOSE,
    WINDOW_S,
    Asker,
    BatchRecord,
    FileRecord,
    OutputPlan,
)
from fastness.batches.runner import Runner
from fastness.batches.sealed import FRAME_BYTES
from fastness.batches.shelf import Shelf
from fastness.batches.vault import Vault
from fastness.config import BatchSettings
from fastness.core.batch import LIFETIME_S_MIN, BatchOut, FileDeleted, FileOut, NewBatch
from fastness.core.error import Refusal
from fastness.core.event import Event, EventType, Scalar
from fastness.core.tenant import Credential
from fastness.ledger.port import Ledger, LedgerUnavailable

FILENAME_CHARS_MAX: Final = 255
_FIELDS: Final = ("purpose", "expires_after[anchor]", "expires_after[seconds]")

R = TypeVar("R", FileRecord, BatchRecord)


class Keeping:
    """Files and batches as one tenant sees them, under one marking. Every method raises Refusal or OSError."""

    def __init__(
        self,
        shelf: Shelf,
        vault: Vault,
        runner: Runner,
        settings: BatchSettings,
        ledger: Ledger,
        clock: Callable[[], float],
    ) -> None:
        self._shelf = shelf
        self._vault = vault
        self._runner = runner
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._making = asyncio.Lock()

    async def upload(self, asker: Asker, form: Form) -> FileOut:
        """Keep a file that was sent, sealed."""
        lifetime_s = self._read(form)
        async with self._making:
            self._check_room(asker, len(form.content or b""))
            now = int(self._clock())
            record = FileRecord(
                id=self._vault.new_name("file-"),
                tenant=asker.tenant,
                marking=asker.marking,
                filename=form.filename,
                purpose=INPUT_PURPOSE,
                size_bytes=len(form.content or b""),
                created_s=now,
                expires_s=now + lifetime_s,
                key=self._vault.new_key(),
            )
            await asyncio.to_thread(self._shelf.write, record.tenant, record.id, record.key, _pieces(form.content))
            try:
                size, ends = record.size_bytes, record.expires_s
                await self._note(asker, EventType.FILE_CREATED, file=record.id, size_bytes=size, expires_s=ends)
                await asyncio.to_thread(self._shelf.keep, record)
                self._shelf.show(record)
            except BaseException:
                self._shelf.destroy(record)
                raise
        return record.out()

    def files(self, asker: Asker) -> list[FileRecord]:
        """Return those there are for this asker, the newest last."""
        return _of(asker, self._shelf.files.values())

    def batches(self, asker: Asker) -> list[BatchRecord]:
        """Return those there are for this asker, the newest last."""
        return _of(asker, self._shelf.batches.values())

    def file(self, asker: Asker, name: str) -> FileRecord:
        """Return one file."""
        return _one(asker, self._shelf.files, name, "file")

    def batch(self, asker: Asker, name: str) -> BatchRecord:
        """Return one batch."""
        return _one(asker, self._shelf.batches, name, "batch")

    def content(self, record: FileRecord) -> Iterator[bytes]:
        """Return the content of a file, piece by piece; raises Damaged on the way."""
        return self._shelf.read(record)

    async def delete(self, asker: Asker, name: str) -> FileDeleted:
        """Destroy a file, unless a batch still reads it."""
        record = self.file(asker, name)
        user = self._runner.files_in_use().get(name)
        if user is not None:
            message = (
                f"{name} is the input of {user.id}, which is {user.progress.status.value}. "
                f"Wait until that has ended, or cancel it."
            )
            raise Refusal("conflict", message, param="file_id")
        await self._record(
            Event(
                EventType.FILE_DELETED,
                self._now_ms(),
                {"file": name, "tenant": asker.tenant, "reason": "asked", "by": asker.id},
            )
        )
        await asyncio.to_thread(self._shelf.destroy, record)
        return FileDeleted(name)

    async def create(self, asker: Asker, new: NewBatch) -> BatchOut:
        """Make a batch; the runner begins with it at once."""
        if asker.credential != Credential.API_KEY.value:
            message = (
                "A batch needs an API key: its lines are asked later, on behalf of whoever made it, and a token or a "
                f"certificate can only speak for itself. This request came with {asker.credential}. "
                "Make a key with `fastness keys create`, and create the batch with that."
            )
            raise Refusal("permission_denied", message)
        source = self.file(asker, new.input_file_id)
        if source.purpose != INPUT_PURPOSE:
            message = f"{source.id} has the purpose {source.purpose}; a batch reads files uploaded for `batch`."
            raise Refusal("invalid_value", message, param="input_file_id")
        lifetime_s = self._settings.file_lifetime_s if new.output_lifetime_s is None else new.output_lifetime_s
        self._check_lifetime(lifetime_s, "output_expires_after.seconds")
        async with self._making:
            self._check_batches(asker)
            now = int(self._clock())
            record = BatchRecord(
                id=self._vault.new_name("batch_"),
                tenant=asker.tenant,
                marking=asker.marking,
                by=asker.id,
                endpoint=new.endpoint,
                input_file=source.id,
                created_s=now,
                expires_s=now + WINDOW_S,
                output_lifetime_s=lifetime_s,
                output=OutputPlan(self._vault.new_name("file-"), self._vault.new_key()),
                errors=OutputPlan(self._vault.new_name("file-"), self._vault.new_key()),
                metadata=new.metadata,
            )
            await self._note(asker, EventType.BATCH_CREATED, batch=record.id, file=source.id, endpoint=record.endpoint)
            await asyncio.to_thread(self._shelf.keep, record)
            self._shelf.show(record)
        self._runner.stir()
        return record.out()

    async def cancel(self, asker: Asker, name: str) -> BatchOut:
        """Cancel a batch; what was answered stays answered."""
        self.batch(asker, name)
        record = await self._runner.change(name, Turn.CANCEL)
        self._runner.stir()
        return record.out()

    def _read(self, form: Form) -> int:
        """Check the fields of an upload and return how long it is to be kept, in seconds."""
        unknown = next((name for name in form.fields if name not in _FIELDS), None)
        if unknown is not None:
            message = f"`{unknown}` is not a field of an upload; those are file, {', '.join(_FIELDS)}."
            raise Refusal("unknown_field", message, param=unknown)
        if form.content is None:
            raise Refusal("missing_field", "`file` is required and was not sent.", param="file")
        if not 1 <= len(form.filename) <= FILENAME_CHARS_MAX or not form.filename.isprintable():
            message = f"The file's name needs 1 to {FILENAME_CHARS_MAX} printable characters."
            raise Refusal("invalid_value", message, param="file")
        purpose = form.fields.get("purpose")
        if purpose is None:
            raise Refusal("missing_field", "`purpose` is required and was not sent. Send `batch`.", param="purpose")
        if purpose != INPUT_PURPOSE:
            message = f"`purpose` is {purpose[:80]!r}; files are kept for `batch` only. Send purpose='batch'."
            raise Refusal("invalid_value", message, param="purpose")
        if len(form.content) > self._settings.file_bytes_max:
            message = f"The file has {len(form.content):,} bytes; the limit is {self._settings.file_bytes_max:,}."
            raise Refusal("limit_exceeded", message, param="file")
        return self._lifetime(form)

    def _lifetime(self, form: Form) -> int:
        anchor, seconds = (form.fields.get(name) for name in _FIELDS[1:])
        if anchor is None and seconds is None:
            return self._settings.file_lifetime_s
        if anchor != "created_at":
            raise Refusal("invalid_value", "`expires_after[anchor]` needs to be `created_at`.", param=_FIELDS[1])
        if seconds is None or not seconds.isdecimal() or len(seconds) > 12:
            raise Refusal("invalid_type", "`expires_after[seconds]` needs a whole number.", param=_FIELDS[2])
        self._check_lifetime(int(seconds), _FIELDS[2])
        return int(seconds)

    def _check_lifetime(self, seconds: int, param: str) -> None:
        most = self._settings.file_lifetime_s
        if not LIFETIME_S_MIN <= seconds <= most:
            message = f"`{param}` is {seconds}; files are kept for {LIFETIME_S_MIN} to {most} seconds here."
            raise Refusal("invalid_value", message, param=param)

    def _check_room(self, asker: Asker, size_bytes: int) -> None:
        own = [one for one in self._shelf.files.values() if one.tenant == asker.tenant]
        most, most_bytes = self._settings.files_max, self._settings.tenant_bytes_max
        if len(own) >= most:
            message = f"The tenant {asker.tenant} has {len(own):,} files; the limit is {most:,}. Delete some."
            raise Refusal("limit_exceeded", message, param="file")
        held = sum(one.size_bytes for one in own)
        if held + size_bytes > most_bytes:
            message = (
                f"The files of the tenant {asker.tenant} would have {held + size_bytes:,} bytes; the limit is "
                f"{most_bytes:,}. Delete some."
            )
            raise Refusal("limit_exceeded", message, param="file")

    def _check_batches(self, asker: Asker) -> None:
        own = sum(one.tenant == asker.tenant and not one.progress.ended for one in self._shelf.batches.values())
        if own >= self._settings.batches_max:
            message = (
                f"The tenant {asker.tenant} has {own:,} batches that have not ended; the limit is "
                f"{self._settings.batches_max:,}. Wait for one, or cancel it."
            )
            raise Refusal("limit_exceeded", message)

    async def _note(self, asker: Asker, kind: EventType, **fields: Scalar) -> None:
        who = {"request_id": asker.request_id, "tenant": asker.tenant, "key": asker.id, "marking": asker.marking}
        await self._record(Event(kind, self._now_ms(), {**who, **fields}))

    async def _record(self, event: Event) -> None:
        try:
            await self._ledger.commit(event)
        except LedgerUnavailable as error:
            message = f"The ledger cannot record this, so it is not done: {error}"
            raise Refusal("ledger_unavailable", message, retry_after_s=5) from None

    def _now_ms(self) -> int:
        return int(self._clock() * 1_000)


def _pieces(content: memoryview | None) -> Iterator[bytes]:
    view = content or memoryview(b"")
    for start in range(0, len(view), FRAME_BYTES):
        yield bytes(view[start : start + FRAME_BYTES])


def _of(asker: Asker, records: Iterable[R]) -> list[R]:
    own = [one for one in records if one.tenant == asker.tenant and one.marking == asker.marking]
    return sorted(own, key=lambda one: (one.created_s, one.id))


def _one(asker: Asker, records: dict[str, R], name: str, what: str) -> R:
    record = records.get(name)
    if record is None or record.tenant != asker.tenant or record.marking != asker.marking:
        message = (
            f"There is no {what} {name[:80]!r} of this tenant that is marked {asker.marking}. What was made under "
            "another marking is found with that in the header Fastness-Marking."
        )
        raise Refusal("not_found", message, param=f"{what}_id")
    return record
