"""An invitation: the one file that is carried from the head to a host, with all that it needs to belong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fastness.identity.cluster import folder as files
from fastness.identity.cluster.authority import read_authority
from fastness.identity.cluster.certificate import UNREADABLE, HostCertificate, NotTrusted, read_certificate
from fastness.identity.strict_json import read_object

INVITATION_BYTES_MAX: Final = 2_097_152
_KIND: Final = "fastness invitation 1"
_FILES: Final = (files.AUTHORITY, files.CERTIFICATE, files.KEY, files.TOKEN, files.REVOKED)


@dataclass(frozen=True, slots=True)
class HeadPlace:
    """Where the head is: its name, its addresses, and the port of its door."""

    name: str
    addresses: tuple[str, ...]
    port: int

    def to_json(self) -> bytes:
        """Return what `read_head` reads."""
        return json.dumps({"name": self.name, "addresses": self.addresses, "port": self.port}).encode()


def write_invitation(contents: dict[str, bytes], head: HeadPlace) -> str:
    """Return the file to carry: whoever has it can be that host, so only its owner may read it.

    `contents` are the host's files, by the names of the folder.
    """
    whole: dict[str, Any] = {"kind": _KIND, files.HEAD: json.loads(head.to_json())}
    return json.dumps(whole | {name: contents[name].decode() for name in _FILES}, indent=1) + "\n"


def install_invitation(content: bytes, folder: Path, now_s: float) -> HostCertificate:
    """Install an invitation as this host's `cluster` folder; return its certificate.

    A host that belongs already, to the same authority and by the same name, gets the new certificate in the place of
    the old: so it is renewed. Raises NotTrusted, with nothing changed; OSError.
    """
    contents = _read(content)
    authority = read_authority(contents[files.AUTHORITY])
    certificate = _certificate(contents[files.CERTIFICATE], authority)
    certificate.check_time(now_s)
    if not folder.exists():
        files.make_folder(folder, contents)
        return certificate
    old_authority = read_authority(files.read_file(folder, files.AUTHORITY))
    old = _certificate(files.read_file(folder, files.CERTIFICATE), old_authority)
    if old_authority != authority or old.claims.name != certificate.claims.name:
        raise NotTrusted(
            f"This host is {old.claims.name} of another cluster, or has another name in this one than the invitation "
            f"says ({certificate.claims.name}). Nothing was changed. To begin anew, move {folder} away."
        )
    for name in (files.KEY, files.CERTIFICATE, files.TOKEN, files.HEAD):
        files.replace_file(folder, name, contents[name])
    return certificate


def read_head(folder: Path) -> HeadPlace:
    """Return where the head is, of the folder of an invited host; raises NotTrusted."""
    return _head(read_object(files.read_file(folder, files.HEAD)))


def _certificate(pem: bytes, authority: x509.Certificate) -> HostCertificate:
    try:
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except UNREADABLE as error:
        raise NotTrusted(f"A certificate cannot be read: {error}") from None
    return read_certificate(der, authority)


def _read(content: bytes) -> dict[str, bytes]:
    if len(content) > INVITATION_BYTES_MAX:
        raise NotTrusted(f"An invitation has {INVITATION_BYTES_MAX} bytes at most; {len(content)} came.")
    try:
        found = read_object(content)
        if found.pop("kind", None) != _KIND or found.keys() != {files.HEAD, *_FILES}:
            raise NotTrusted(
                "This is no invitation of this version of Fastness. On the head: fastness node invite NAME"
            )
        head = _head(found[files.HEAD])
        return {name: found[name].encode("ascii") for name in _FILES} | {files.HEAD: head.to_json()}
    except (ValueError, AttributeError) as error:
        raise NotTrusted(f"The invitation is damaged: {error}. On the head: fastness node invite NAME") from None


def _head(found: Any) -> HeadPlace:
    try:
        name, addresses, port = found["name"], tuple(map(str, found["addresses"])), int(found["port"])
    except (KeyError, TypeError, ValueError):
        raise NotTrusted("It does not say where the head is: name, addresses and port.") from None
    return HeadPlace(str(name), addresses, port)
