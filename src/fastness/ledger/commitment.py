"""Commitments: what an entry holds in the place of content. Without the salt they tell nothing, with it they bind.

    commitment = SHA-256("fastness <what> v1\\n" || salt || content)

The salts of an answer follow from its request id and a secret, so none need be kept: whoever has the secret and an
entry can make them again, and without the secret the commitment is noise. Of an answer that nobody keeps it is a secret
of this installation; of one that is kept it is the key of its sealed record, and goes when that goes. What belongs
to the asking (request, prompt, parameters) has one salt, the answer another: either can be shown without the other.
`verify_alone.py` says the same in the words of a reader; a test holds the two together.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final, NamedTuple

SALT_BYTES: Final = 32
_LABEL: Final = b"fastness salts v1\n"


class Salts(NamedTuple):
    """The salts of one answer, each of SALT_BYTES."""

    request: bytes
    answer: bytes


class Salting:
    """Makes salts out of one secret, which is hashed once and not for each answer."""

    def __init__(self, secret: bytes) -> None:
        self._begun = hmac.new(secret, _LABEL, "sha512")

    def of(self, request_id: str) -> Salts:
        """Return the salts of the answer to `request_id`."""
        mac = self._begun.copy()
        mac.update(request_id.encode())
        both = mac.digest()
        return Salts(both[:SALT_BYTES], both[SALT_BYTES:])


def salts_of(secret: bytes, request_id: str) -> Salts:
    """Return the salts of the answer to `request_id`, for whoever makes but a few."""
    return Salting(secret).of(request_id)


def commit(label: bytes, salt: bytes, content: bytes) -> str:
    """Return the commitment to `content`, in hex; `label` is one of those below."""
    return sha256(label + salt + content).hexdigest()


REQUEST: Final = b"fastness request v1\n"
PROMPT: Final = b"fastness prompt v1\n"
PARAMETERS: Final = b"fastness parameters v1\n"
ANSWER: Final = b"fastness answer v1\n"
