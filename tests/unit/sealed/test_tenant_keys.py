"""Who holds the tenants' keys holds them alike: in files, and in a token that never shows them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.config import ConfigError, Settings
from fastness.config.settings import RetentionSettings
from fastness.core.retention import Selection
from fastness.main.retention import tenant_keys
from fastness.sealed.box import Damaged
from fastness.sealed.key_files import KeyFiles
from fastness.sealed.key_token import TokenKeys, token_keys
from fastness.sealed.keyring import Keyring
from fastness.sealed.port import SealedUnavailable, TenantKeys
from fastness.sealed.safe import Safe
from sealing import ANSWER, TENANT, Store, kept
from test_sealed_store import seal

PIN = "never-shown-4711"


def module() -> str:
    """SoftHSM's module; skips where there is none, which with CI=true is a failure."""
    found = list(Path("/usr/lib").glob("**/softhsm/libsofthsm2.so"))
    if found and shutil.which("softhsm2-util"):
        return str(found[0])
    why = "needs SoftHSM (make softhsm, or make test, installs Debian's)"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """A token of its own, as the settings name it: module, label, file with the PIN."""
    pytest.importorskip("pkcs11")
    library, home = module(), tmp_path_factory.mktemp("token")
    (home / "tokens").mkdir()
    (home / "softhsm2.conf").write_text(f"directories.tokendir = {home}/tokens\nobjectstore.backend = file\n")
    (home / "pin").write_text(f"{PIN}\n")
    (home / "pin").chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(home / "softhsm2.conf"))
        words = ["softhsm2-util", "--init-token", "--free", "--label", "fastness", "--pin", PIN, "--so-pin", "so-4711"]
        subprocess.run(words, check=True, capture_output=True, timeout=30)
        yield library, "fastness", str(home / "pin")


@pytest.fixture(params=["files", "token"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TenantKeys]:
    if request.param == "files":
        yield KeyFiles(tmp_path / "tenants")
        return
    made = token_keys(*request.getfixturevalue("token"))
    yield made
    for tenant in (TENANT, "tax"):
        made.destroy(tenant)


def test_what_was_sealed_opens_under_its_tenant_and_name_alone(keys):
    sealed = keys.seal(TENANT, "one", b"secret")
    assert b"secret" not in sealed
    assert keys.open(TENANT, "one", sealed) == b"secret"
    keys.seal("tax", "one", b"other")
    for tenant, name, content in (("tax", "one", sealed), (TENANT, "two", sealed), (TENANT, "one", sealed[:-1])):
        with pytest.raises(Damaged):
            keys.open(tenant, name, content)


def test_a_key_that_was_destroyed_opens_nothing_also_when_another_is_made(keys):
    sealed = keys.seal(TENANT, "one", b"secret")
    assert keys.destroy(TENANT) is True
    assert keys.destroy(TENANT) is False
    with pytest.raises(Damaged, match="no key any more"):
        keys.open(TENANT, "one", sealed)
    keys.seal(TENANT, "two", b"next")
    with pytest.raises(Damaged):
        keys.open(TENANT, "one", sealed)


def test_content_is_sealed_opened_and_shredded_under_them(keys, tmp_path):
    store = Store(tmp_path)
    store.keyring = Keyring(tmp_path / "sealed", keys)
    store.safe = Safe(store.keyring)
    seal(store, kept(1))
    (found,) = store.safe.find(TENANT, Selection())
    assert store.safe.open(found).answer == ANSWER
    store.keyring.destroy_tenant(TENANT)
    assert store.safe.opens([found]) == 0


def test_keys_in_a_token_cannot_be_taken_out(token):
    import pkcs11

    keys = TokenKeys(Path(token[0]), token[1], Path(token[2]))
    keys.seal(TENANT, "one", b"secret")
    with pkcs11.lib(token[0]).get_token(token_label=token[1]).open(user_pin=PIN) as session:
        (key,) = session.get_objects({pkcs11.Attribute.LABEL: f"fastness/{TENANT}"})
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]
    keys.destroy(TENANT)


def test_a_token_that_cannot_be_used_says_why_and_never_its_pin(token, tmp_path):
    wrong = tmp_path / "pin"
    wrong.write_text("wrong-pin")
    wrong.chmod(0o600)
    for keys in (
        TokenKeys(Path(token[0]), token[1], wrong),
        TokenKeys(Path(token[0]), "nowhere", Path(token[2])),
        TokenKeys(tmp_path / "none.so", token[1], Path(token[2])),
    ):
        with pytest.raises(SealedUnavailable) as refused:
            keys.seal(TENANT, "one", b"secret")
        assert not any(word in str(refused.value) for word in (PIN, "wrong-pin", "secret"))
    wrong.chmod(0o644)
    with pytest.raises(SealedUnavailable, match="chmod 600"):
        TokenKeys(Path(token[0]), token[1], wrong).seal(TENANT, "one", b"secret")


def test_settings_choose_where_keys_are(token, tmp_path):
    module_, label, pin = token
    chosen = RetentionSettings(keys="pkcs11", pkcs11_module=module_, pkcs11_token=label, pkcs11_pin_file=pin)
    assert isinstance(tenant_keys(Settings(tmp_path, retention=chosen)), TokenKeys)
    assert isinstance(tenant_keys(Settings(tmp_path)), KeyFiles)
    with pytest.raises(ConfigError, match="pkcs11_module"):
        tenant_keys(Settings(tmp_path, retention=RetentionSettings(keys="pkcs11")))
