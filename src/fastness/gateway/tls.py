"""TLS by two settings, and client certificates by a third."""

from __future__ import annotations

import ssl
from pathlib import Path

from fastness.config import ConfigError, GatewaySettings


def tls_context(settings: GatewaySettings) -> ssl.SSLContext | None:
    """Return the context of the listener, None without TLS; raises ConfigError naming the setting and the file."""
    files = {"gateway.tls_certificate": settings.tls_certificate, "gateway.tls_key": settings.tls_key}
    if not any(files.values()):
        if settings.tls_client_ca:
            raise ConfigError(f"gateway.tls_client_ca is set, but TLS is not: it needs {' and '.join(files)}")
        return None
    for name, file in files.items():
        if not file:
            raise ConfigError(f"{name} is not set, but the other is: TLS needs {' and '.join(files)}")
    for name, file in files.items():
        _check_readable(name, file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (ssl.SSLError, OSError) as error:
        why = f"{' and '.join(files.values())} are not a PEM certificate and its private key: {error}"
        raise ConfigError(why) from None
    if settings.tls_client_ca:
        _ask_for_certificates(context, settings.tls_client_ca)
    return context


def _ask_for_certificates(context: ssl.SSLContext, authorities: str) -> None:
    """Verify the certificate of a client that shows one. Nothing is resumed: each connection is verified anew."""
    _check_readable("gateway.tls_client_ca", authorities)
    try:
        context.load_verify_locations(authorities)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"gateway.tls_client_ca is {authorities}, which has no PEM certificates: {error}") from None
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _check_readable(name: str, file: str) -> None:
    try:
        Path(file).open("rb").close()
    except OSError as error:
        raise ConfigError(f"{name} is {file}, which cannot be read: {error.strerror}") from None
