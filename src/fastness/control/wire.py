"""What the management API takes and gives, as typed JSON. Unknown fields and parameters are refused by name.

Wire types end here: commands get core values, and answers are made from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from starlette.requests import Request

from fastness.config import Explanation
from fastness.control.access import IssuedKey
from fastness.control.policies import Policies
from fastness.control.problem import Problem
from fastness.control.validation import KeyWish, TenantWish
from fastness.core.marking import Label
from fastness.core.tenant import ApiKey, Role, Tenant

BODY_BYTES_MAX: Final = 65_536
MISFIT_CHARS_MAX: Final = 200
"""How much of what msgspec says is passed on: it repeats the names of fields, whatever their length."""
_FIELD: Final = re.compile(r"(unknown|required) field `([^`]*)`")
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_RANGE: Final = re.compile(r"Invalid enum value|Expected `int` [<>]")
_FIELDS_HINT: Final = "docs/reference/management-api.md lists the fields of each route."

T = TypeVar("T")
Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A time or a span: what JSON numbers hold exactly."""


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a command that needs none: empty, or `{}`."""


class NewTenant(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/tenants."""

    id: str
    name: str | None = None
    models: tuple[str, ...] | None = None
    clearance: str | None = None
    marking: str | None = None
    share: float = 1.0

    def wish(self, policies: Policies) -> TenantWish:
        """Return the command's own value; raises Problem (unknown_marking, policy_unavailable)."""
        clearance, marking = (
            policies.read_label(self.clearance, "clearance"),
            policies.read_label(self.marking, "marking"),
        )
        return TenantWish(self.id, self.name, self.models, clearance, marking, policies.lattice, self.share)


class TenantChange(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/tenants/{id}/set."""

    share: float | None = None


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/keys."""

    tenant: str
    name: str
    role: Role = Role.DEVELOPER
    expires_s: Seconds | None = None
    ttl_s: Seconds | None = None
    models: tuple[str, ...] | None = None
    clearance: str | None = None

    def wish(self, policies: Policies) -> KeyWish:
        """Return the command's own value; raises Problem (unknown_marking, policy_unavailable)."""
        clearance = policies.read_label(self.clearance, "clearance")
        return KeyWish(
            self.tenant,
            self.name,
            self.role,
            self.expires_s,
            self.ttl_s,
            self.models,
            clearance,
            policies.lattice,
        )


class TenantView(msgspec.Struct, frozen=True):
    """A tenant as shown: `state` is `active` or `revoked`. `clearance` and `marking` null: the profile's default."""

    id: str
    name: str
    state: str
    created_s: int
    revoked_s: int | None
    models: tuple[str, ...] | None
    clearance: str | None
    marking: str | None
    share: float


class KeyView(msgspec.Struct, frozen=True):
    """A key as shown, without its MAC: `state` is `active`, `expired` or `revoked` (also when its tenant is)."""

    id: str
    tenant: str
    name: str
    role: Role
    hint: str
    state: str
    created_s: int
    expires_s: int | None
    revoked_s: int | None
    models: tuple[str, ...] | None
    clearance: str | None


class IssuedKeyView(msgspec.Struct, frozen=True):
    """A key just issued: `key` is its text, shown this once; the rest is a KeyView."""

    key: str
    id: str
    tenant: str
    name: str
    role: Role
    hint: str
    state: str
    created_s: int
    expires_s: int | None
    revoked_s: int | None
    models: tuple[str, ...] | None
    clearance: str | None


class SettingView(msgspec.Struct, frozen=True):
    """A setting, and where its value came from."""

    name: str
    value: Any
    source: str
    default: Any
    doc: str


def label_text(label: Label | None) -> str | None:
    """Write a label as people do: `MARKING; CAVEAT, CAVEAT`."""
    return None if label is None else str(label)


def tenant_view(tenant: Tenant) -> TenantView:
    """Show a tenant."""
    state = "active" if tenant.revoked_s is None else "revoked"
    return TenantView(
        id=tenant.id,
        name=tenant.name,
        state=state,
        created_s=tenant.created_s,
        revoked_s=tenant.revoked_s,
        models=tenant.models,
        clearance=label_text(tenant.clearance),
        marking=label_text(tenant.marking),
        share=tenant.share,
    )


def key_view(key: ApiKey, revoked_tenants: frozenset[str], now_s: float) -> KeyView:
    """Show a key as of now."""
    if key.revoked_s is not None or key.tenant in revoked_tenants:
        state = "revoked"
    else:
        state = "active" if key.expires_s is None or now_s < key.expires_s else "expired"
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        role=key.role,
        hint=key.hint,
        state=state,
        created_s=key.created_s,
        expires_s=key.expires_s,
        revoked_s=key.revoked_s,
        models=key.models,
        clearance=label_text(key.clearance),
    )


def issued_key_view(issued: IssuedKey) -> IssuedKeyView:
    """Show a new key, this once with its text."""
    shown = key_view(issued.key, frozenset(), issued.key.created_s)
    return IssuedKeyView(issued.text, *(getattr(shown, name) for name in shown.__struct_fields__))


def setting_view(setting: Explanation) -> SettingView:
    """Show a setting."""
    return SettingView(setting.name, setting.value, setting.source, setting.default, setting.doc)


async def read_body(request: Request, kind: type[T], bytes_max: int = BODY_BYTES_MAX) -> T:
    """Read at most `bytes_max` of JSON; no body at all is `{}`. Raises Problem."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > bytes_max:
            raise Problem(
                "body_too_large",
                f"A body may have {bytes_max} bytes, and more came.",
                "Send less: fewer names of models, shorter texts.",
            )
    try:
        return msgspec.json.decode(content or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise misfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("invalid_json", f"The body is not valid JSON: {error}.", "Send one JSON object.") from None


def read_query(request: Request, *known: str) -> Mapping[str, str]:
    """Return the query parameters, each given once; raises Problem for any that is not known."""
    given = request.query_params
    for name in given:
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise Problem(
                "unknown_field",
                f"There is no query parameter {name[:80]!r} on this route: {takes}.",
                "Leave it out.",
                param=name[:80],
            )
        if len(given.getlist(name)) > 1:
            raise Problem("invalid_value", f"{name} came more than once.", "Send it once.", param=name)
    return given


def read_integer(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Read a bounded whole number from the query; raises Problem."""
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise Problem(
            "invalid_value",
            f"{name} needs a whole number from {low} to {high}; {text[:80]!r} came.",
            f"Leave it out for {default}.",
            param=name,
        )
    return int(text)


def misfit(message: str) -> Problem:
    """Return the problem that msgspec speaks of: a body that is JSON, but not the JSON that was needed."""
    path = _PATH.search(message)
    where = path.group(1) if path else ""
    text = _PATH.sub("", message)
    said = _clipped(text)
    if field := _FIELD.search(text):
        code = "unknown_field" if field.group(1) == "unknown" else "missing_field"
        name = ".".join(filter(None, (where, field.group(2))))
        return Problem(code, f"{said}.", _FIELDS_HINT, param=_clipped(name))
    code = "invalid_value" if _RANGE.match(text) else "invalid_type"
    return Problem(code, f"`{where or 'body'}`: {said}.", _FIELDS_HINT, param=where or None)


def _clipped(text: str) -> str:
    return text if len(text) <= MISFIT_CHARS_MAX else text[:MISFIT_CHARS_MAX] + "…"
