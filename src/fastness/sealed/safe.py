"""What is there of sealed content: found by what stands outside, opened by who may, destroyed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.core.retention import Selection
from fastness.sealed.box import Damaged
from fastness.sealed.keyring import Day, DayKey, Keyring, is_over
from fastness.sealed.place import SUFFIX, parse_place
from fastness.sealed.segment import Content, Frame, Head, SegmentReader
from fastness.sealed.writer import pseudonym

FOUND_MAX: Final = 10_000
"""Requests that are found, opened or shredded at once; more: narrow the selection, or shred everything."""


@dataclass(frozen=True, slots=True)
class Found:
    """A request whose content is here."""

    head: Head
    day: Day
    segment: SegmentReader
    frame: Frame


@dataclass(frozen=True, slots=True)
class Held:
    """What a tenant has here: days with a key, requests that open, destroyed ones, bytes on disk."""

    days: int
    requests: int
    destroyed: int
    size_bytes: int
    oldest_day: int | None


class Safe:
    """Every method blocks, and raises OSError, Damaged, SealedUnavailable."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring

    def find(self, tenant: str, selection: Selection, most: int = FOUND_MAX) -> list[Found]:
        """Find what fits a selection, oldest day first, at most `most`; what was destroyed is not found."""
        found: list[Found] = []
        wanted = pseudonym(self.keyring.index(tenant), selection.end_user) if selection.end_user else None
        for day, segment, frame in self._frames(tenant):
            if not frame.destroyed and fits(frame.head, selection, wanted):
                found.append(Found(frame.head, day, segment, frame))
                if len(found) >= most:
                    break
        return sorted(found, key=lambda one: (one.head.time_ms, one.head.request_id))

    def open(self, found: Found) -> Content:
        """Open the content of one request."""
        return found.segment.content(found.frame, self.keyring.private(found.day))

    def record_key(self, tenant: str, place: str, request_id: str) -> bytes | None:
        """Return the key of one request, without opening its content; None where it, or what it is under, is gone."""
        read = parse_place(place)
        day = read and self.keyring.day(tenant, read.key)
        if not read or not day:
            return None
        try:
            segment = SegmentReader(day.folder / f"{read.segment}{SUFFIX}")
            frame = segment.frame(read.at)
            if frame is not None and frame.head.request_id == request_id:
                return segment.record_key(frame, self.keyring.private(day))
        except (Damaged, FileNotFoundError):
            pass
        return None

    def destroy(self, found: list[Found]) -> None:
        """Destroy the keys of these requests, durably."""
        for path in sorted({one.segment.path for one in found}):
            frames = [one.frame for one in found if one.segment.path == path]
            next(one.segment for one in found if one.segment.path == path).destroy(frames)

    def opens(self, found: list[Found]) -> int:
        """Try to open, as an attacker with the disk and the keys would: tell how many of these still do."""
        ids = tuple(one.head.request_id for one in found)
        opened = 0
        for day, segment, frame in self._frames(found[0].day.tenant) if found else ():
            if frame.head.request_id in ids:
                try:
                    segment.content(frame, self.keyring.private(day))
                    opened += 1
                except Damaged:
                    pass
        return opened

    def requests(self, tenant: str) -> tuple[str, ...]:
        """Name all requests of a tenant that are here, each once."""
        return tuple(sorted({frame.head.request_id for _, _, frame in self._frames(tenant) if not frame.destroyed}))

    def expire(self, tenant: str, days_now: int, today: int) -> list[tuple[DayKey, int]]:
        """Destroy the keys of the days that are over; returns them, each with how many requests it had."""
        over = [day for day in self.keyring.days(tenant) if is_over(day.key, days_now, today)]
        gone = []
        for day in over:
            gone.append((day.key, sum(1 for _, _, frame in self._frames_of(day) if not frame.destroyed)))
            self.keyring.destroy_day(day)
        return gone

    def held(self, tenant: str) -> Held:
        """Count what a tenant has here."""
        frames = [frame for _, _, frame in self._frames(tenant)]
        days = list(self.keyring.days(tenant))
        used = [day.key.day for day in days if any(day.folder.glob("*.seg"))]
        gone = sum(frame.destroyed for frame in frames)
        size_bytes = size_of(self.keyring.directory / tenant)
        return Held(len(used), len(frames) - gone, gone, size_bytes, min(used, default=None))

    def _frames(self, tenant: str) -> Iterator[tuple[Day, SegmentReader, Frame]]:
        for day in self.keyring.days(tenant):
            yield from self._frames_of(day)

    def _frames_of(self, day: Day) -> Iterator[tuple[Day, SegmentReader, Frame]]:
        for path in sorted(day.folder.glob("*.seg")):
            try:
                segment = SegmentReader(path)
            except Damaged:
                continue  # cut before its first frame: nothing was acknowledged in it
            for frame in segment.frames():
                yield day, segment, frame


def fits(head: Head, selection: Selection, wanted: str | None) -> bool:
    """Tell whether a request is one of those meant; `wanted` is the pseudonym of the end user, if one is named."""
    return (
        (not selection.requests or head.request_id in selection.requests)
        and selection.key in (None, head.key)
        and wanted in (None, head.end_user)
        and (selection.from_ms is None or head.time_ms >= selection.from_ms)
        and (selection.to_ms is None or head.time_ms < selection.to_ms)
    )


def size_of(directory: Path) -> int:
    """Count the bytes of all files below a directory; one that vanishes meanwhile does not count."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(folder) / name).stat().st_size
    return total
