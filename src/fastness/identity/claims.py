"""What a verified token says: is it for us, is it now, who is it, and which roles has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastness.core.error import Refusal
from fastness.core.identity import Issuer
from fastness.identity.compact import refused

SUBJECT_CHARS_MAX: Final = 255
AUDIENCES_MAX: Final = 32
ROLES_MAX: Final = 256
_TIME_MAX_S: Final = 1 << 53
_ID_TOKEN: Final = ("nonce", "at_hash", "c_hash", "s_hash", "events")
"""Claims of ID tokens and logout tokens: proofs made for a client, which must open nothing when sent to a service."""
_KIND_CLAIMS: Final = ("typ", "token_use")
"""Where identity providers that type every token `JWT` say what it is."""
_ACCESS_KINDS: Final = frozenset({"bearer", "access", "at+jwt"})


def check_kind(claims: Mapping[str, Any]) -> None:
    """Raise Refusal for a token that is no access token, or one that only its owner's key or certificate may use."""
    if any(name in claims for name in _ID_TOKEN):
        raise refused("it is an ID token or a logout token. Ask for an access token for this API")
    for name in _KIND_CLAIMS:
        kind = claims.get(name, "access")
        if not isinstance(kind, str) or kind.lower() not in _ACCESS_KINDS:
            raise refused("it says of itself that it is no access token")
    if "cnf" in claims:
        raise refused("it is bound to a key of its owner (`cnf`), which is not checked here. Ask for a bearer token")


def check_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Raise Refusal unless the pinned audience is `aud`, or one of its list."""
    found = claims.get("aud")
    audiences = [found] if isinstance(found, str) else found
    if (
        not isinstance(audiences, list)
        or len(audiences) > AUDIENCES_MAX
        or not all(isinstance(one, str) for one in audiences)
    ):
        raise refused(f"its `aud` is not a text or a list of at most {AUDIENCES_MAX} texts")
    if issuer.audience not in audiences:
        raise refused(f"it was made for another audience. Needed: `{issuer.audience}` in `aud`")


def check_times(claims: Mapping[str, Any], now_s: float, skew_s: int) -> float:
    """Return when it ends, skew included, in seconds since 1970. Raises Refusal (invalid_token, expired_token)."""
    ends = _time(claims, "exp")
    if ends is None:
        raise refused("it has no `exp`, so it would never end")
    if now_s >= ends + skew_s:
        raise Refusal("expired_token", "The access token's time is over (`exp`). Fetch a new one.")
    for name in ("nbf", "iat"):
        begins = _time(claims, name)
        if begins is not None and begins > now_s + skew_s:
            raise Refusal(
                "expired_token",
                f"The access token's time has not come (`{name}`): {skew_s} s of difference between the clocks are "
                "allowed. Look at the clocks of both machines.",
            )
    return ends + skew_s


def subject(claims: Mapping[str, Any]) -> str:
    """Return `sub`: 1 to 255 printable ASCII characters, as OpenID Connect has it. Raises Refusal."""
    found = claims.get("sub")
    if not isinstance(found, str) or not 0 < len(found) <= SUBJECT_CHARS_MAX:
        raise refused(f"its `sub` is not a text of 1 to {SUBJECT_CHARS_MAX} characters")
    if not found.isascii() or not found.isprintable():
        raise refused("its `sub` has characters that are not printable ASCII")
    return found


def roles(claims: Mapping[str, Any], issuer: Issuer) -> frozenset[str]:
    """Return the roles that the issuer's table makes of its roles claim; what it does not name is dropped.

    The claim may be a list of texts or one text with spaces; its name may be a path, such as `realm_access.roles`.
    Raises Refusal when it is something else, or has too many.
    """
    found = _reach(claims, issuer.roles_claim)
    listed = found.split(" ") if isinstance(found, str) else [] if found is None else found
    if not isinstance(listed, list) or len(listed) > ROLES_MAX or not all(isinstance(one, str) for one in listed):
        raise refused(f"its `{issuer.roles_claim}` is not a text or a list of at most {ROLES_MAX} texts")
    return frozenset(ours for theirs, ours in issuer.roles if theirs in listed)


def _reach(claims: Mapping[str, Any], path: str) -> object:
    """Follow a dotted path; a claim whose whole name has dots (a URL, say) comes first."""
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    found = claims.get(name)
    if found is None and name not in claims:
        return None
    # bool is an int to Python, and 1e999 an infinite float: both would be tokens for ever.
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < _TIME_MAX_S:
        raise refused(f"its `{name}` is no number of seconds since 1970")
    return float(found)
