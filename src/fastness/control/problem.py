"""Errors of the management API: RFC 9457 problem details, made from the one table of error codes.

`type` names a route of this API that explains the code, so it can be followed on a machine without any network.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import msgspec
from starlette.responses import Response

from fastness.core.error import ErrorCode, Refusal

TYPE_ROOT: Final = "/api/v1/errors/"
_LOGS: Final = "fastness logs control"

HINTS: Final = MappingProxyType(
    {
        "store_unavailable": "Look at the free space and the rights of FASTNESS_HOME, or at store.url; then try again.",
        "ledger_unavailable": "Look at the free space and the rights of FASTNESS_HOME/ledger, then try again.",
        "retention_unavailable": "fastness retention show; fastness logs control; the token, if keys are in one.",
        "internal_error": f"This is a defect of Fastness: {_LOGS} has the details under the request id in `instance`.",
        **dict.fromkeys(
            ("missing_api_key", "invalid_api_key", "expired_api_key", "revoked_api_key"),
            "Send a key that lives, or no `Authorization` (FASTNESS_KEY) at all to act as the local operator.",
        ),
        "route_not_found": "docs/reference/management-api.md lists the routes.",
        "method_not_allowed": "docs/reference/management-api.md lists the methods of each route.",
    }
)
"""What to try, for codes whose refusals do not say it themselves."""
_HINT: Final = "docs/reference/management-api.md says what each route takes."


class Problem(Refusal):
    """A refusal of the management API: `hint` says what to try, as one sentence or one command."""

    def __init__(self, code: str, message: str, hint: str, *, param: str | None = None) -> None:
        super().__init__(code, message, param=param)
        self.hint = hint


class ProblemDetails(msgspec.Struct, frozen=True):
    """The body of every error. `instance` is the request id; `param` names the offending field, or is null."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    hint: str
    param: str | None


def problem_response(refusal: Refusal, request_id: str, headers: dict[str, str] | None = None) -> Response:
    """Answer a request with the problem that this refusal is."""
    details = ProblemDetails(
        type=TYPE_ROOT + refusal.code,
        title=refusal.row.meaning.rstrip("."),
        status=refusal.status,
        detail=refusal.message,
        instance=request_id,
        code=refusal.code,
        hint=getattr(refusal, "hint", "") or HINTS.get(refusal.code, _HINT),
        param=refusal.param,
    )
    return Response(msgspec.json.encode(details), refusal.status, headers, "application/problem+json")


def explain(row: ErrorCode) -> dict[str, Any]:
    """Return what is served under a problem's `type`."""
    return {"code": row.code, "status": row.status, "title": row.meaning.rstrip("."), "openai_type": row.type}
