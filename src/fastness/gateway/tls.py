"""TLS by two settings."""

from __future__ import annotations

import ssl
from pathlib import Path

from fastness.config import ConfigError, GatewaySettings


def tls_context(settings: GatewaySettings) -> ssl.SSLContext | None:
    """Return the context of the listener, None without TLS; raises ConfigError naming the setting and the file."""
    files = {"gateway.tls_certificate": settings.tls_certificate, "gateway.tls_key": settings.tls_key}
    if not any(files.values()):
        return None
    for name, file in files.items():
        if not file:
            raise ConfigError(f"{name} is not set, but the other is: TLS needs {' and '.join(files)}")
    for name, file in files.items():
        try:
            Path(file).open("rb").close()
        except OSError as error:
            raise ConfigError(f"{name} is {file}, which cannot be read: {error.strerror}") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (ssl.SSLError, OSError) as error:
        why = f"{' and '.join(files.values())} are not a PEM certificate and its private key: {error}"
        raise ConfigError(why) from None
    return context
