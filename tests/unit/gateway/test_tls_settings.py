"""TLS settings that cannot be used are refused by name, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastness.config import ConfigError, GatewaySettings
from fastness.gateway.tls import tls_context


def test_without_settings_there_is_no_tls() -> None:
    assert tls_context(GatewaySettings()) is None


def test_one_setting_without_the_other_names_the_missing_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.tls_key is not set"):
        tls_context(GatewaySettings(tls_certificate=str(tmp_path / "c.pem")))


def test_a_file_that_cannot_be_read_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.tls_certificate is .*c\.pem, which cannot be read"):
        tls_context(GatewaySettings(tls_certificate=str(tmp_path / "c.pem"), tls_key=str(tmp_path / "k.pem")))


def test_files_that_are_not_pem_are_named(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(ConfigError, match=r"c\.pem and .*k\.pem are not a PEM certificate"):
        tls_context(GatewaySettings(tls_certificate=str(tmp_path / "c.pem"), tls_key=str(tmp_path / "k.pem")))
