"""What the routes of retention take and give."""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec

from fastness.control.disclosing import Opened
from fastness.control.disclosures import REASON_CHARS_MAX, Wish
from fastness.control.problem import Problem
from fastness.control.retention import Kept
from fastness.core.retention import Disclosure, Keep, Purpose, Selection
from fastness.sealed.segment import Head

REQUESTS_MAX = 1_000
"""Ids of requests that one selection names."""
_Id = Annotated[str, msgspec.Meta(max_length=256)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class NewRetention(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/retention."""

    tenant: str
    retention: Keep
    days: int | None = None
    release: str | None = None


class Selected(msgspec.Struct, forbid_unknown_fields=True):
    """Which content of a tenant: what fits everything that is set."""

    requests: Annotated[tuple[_Id, ...], msgspec.Meta(max_length=REQUESTS_MAX)] = ()
    key: _Id | None = None
    end_user: Annotated[str, msgspec.Meta(max_length=1_024)] | None = None
    from_ms: _Ms | None = None
    to_ms: _Ms | None = None

    def selection(self) -> Selection:
        """Return the core value."""
        return Selection(self.requests, self.key, self.end_user, self.from_ms, self.to_ms)


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/retention/find."""

    tenant: str
    selection: Selected = msgspec.field(default_factory=Selected)


class NewDisclosure(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/retention/requests."""

    purpose: Purpose
    tenant: str
    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARS_MAX)] = ""
    selection: Selected = msgspec.field(default_factory=Selected)
    everything: bool = False

    def wish(self) -> Wish:
        """Return the command's own value; raises Problem."""
        selection = self.selection.selection()
        if self.purpose is Purpose.RELEASE:
            return Wish(self.purpose, self.tenant, self.reason, Selection(), everything=True)
        if self.everything and (self.purpose is not Purpose.SHRED or selection != Selection()):
            raise Problem(
                "invalid_value",
                "`everything` is for shredding alone, and without a selection.",
                "Leave it out; a selection without anything in it means all that is kept.",
                param="everything",
            )
        return Wish(self.purpose, self.tenant, self.reason, selection, self.everything)


class ExportTo(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/retention/requests/{id}/export."""

    reader: Annotated[str, msgspec.Meta(max_length=16_384)] | None = None


class RetentionView(msgspec.Struct, frozen=True):
    """A tenant's retention, and what there is of it here."""

    tenant: str
    retention: str
    days_kept: int
    requests: int
    destroyed: int
    size_bytes: int
    oldest_day_s: int | None


class FoundView(msgspec.Struct, frozen=True):
    """A request that is kept: nothing of its content."""

    request_id: str
    time_ms: int
    key: str
    marking: str
    operation: str
    model: str | None
    content_bytes: int


class DisclosureView(msgspec.Struct, frozen=True):
    """What was asked, without its reason: `state` is `asked`, `approved`, `done` or `lapsed`."""

    id: str
    purpose: Purpose
    tenant: str
    state: str
    requests_total: int
    everything: bool
    break_glass: bool
    asked_by: str
    asked_s: int
    approved_by: str | None
    approved_s: int | None
    done_s: int | None
    expires_s: int


class DisclosureDetail(msgspec.Struct, frozen=True):
    """The same with its reason, for who may approve it."""

    request: DisclosureView
    reason: str
    selection: Selection
    requests: tuple[str, ...]
    labels: tuple[str, ...]


class OpenedView(msgspec.Struct, frozen=True):
    """One request, opened. Text that is not UTF-8 is shown with replacement characters; an export has the bytes."""

    request_id: str
    time_ms: int
    key: str
    marking: str
    model: str | None
    whole: bool
    request: str
    answer: str
    said: str


def retention_view(kept: Kept) -> RetentionView:
    """Show a tenant's retention."""
    held = kept.held
    oldest_s = None if held.oldest_day is None else held.oldest_day * 86_400
    retention = str(kept.tenant.retention)
    return RetentionView(kept.tenant.id, retention, held.days, held.requests, held.destroyed, held.size_bytes, oldest_s)


def found_view(head: Head) -> FoundView:
    """Show a request that is kept."""
    return FoundView(
        head.request_id, head.time_ms, head.key, head.marking, head.operation, head.model, head.content_bytes
    )


def disclosure_view(one: Disclosure, now_s: float) -> DisclosureView:
    """Show what was asked, as of now."""
    if one.done_s is not None:
        state = "done"
    elif now_s >= one.expires_s:
        state = "lapsed"
    else:
        state = "asked" if one.approved_by is None else "approved"
    return DisclosureView(
        id=one.id,
        purpose=one.purpose,
        tenant=one.tenant,
        state=state,
        requests_total=len(one.requests),
        everything=one.everything,
        break_glass=one.break_glass,
        asked_by=one.asked_by,
        asked_s=one.asked_s,
        approved_by=one.approved_by,
        approved_s=one.approved_s,
        done_s=one.done_s,
        expires_s=one.expires_s,
    )


def disclosure_detail(one: Disclosure, now_s: float) -> DisclosureDetail:
    """Show it with its reason."""
    return DisclosureDetail(disclosure_view(one, now_s), one.reason, one.selection, one.requests, one.labels)


def opened_view(one: Opened) -> OpenedView:
    """Show the content of one request."""
    head, content = one.head, one.content
    return OpenedView(
        head.request_id,
        head.time_ms,
        head.key,
        head.marking,
        head.model,
        content.whole,
        content.request.decode("utf-8", "replace"),
        content.answer.decode("utf-8", "replace"),
        content.said.decode("utf-8", "replace"),
    )


def text_of(content: bytes) -> str:
    """Write a file as JSON can carry it: base 64."""
    return base64.b64encode(content).decode()
