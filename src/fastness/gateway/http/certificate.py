"""What a verified client certificate says of its owner."""

from __future__ import annotations

from typing import Any, Final

URIS_MAX: Final = 16
"""URIs of one certificate; one with more stands for nobody."""
URI_CHARS_MAX: Final = 2_048
"""As SPIFFE bounds its ids; a longer one stands for nobody."""


def uris_of(certificate: dict[str, Any] | None) -> tuple[str, ...]:
    """Return the URIs of the subject alternative names of what `SSLObject.getpeercert` gave; none without one."""
    if not certificate:
        return ()
    uris = tuple(value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")
    if len(uris) > URIS_MAX or any(len(uri) > URI_CHARS_MAX for uri in uris):
        return ()
    return uris
