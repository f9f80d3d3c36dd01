"""What it costs to know who asks: `python -m benchmarks.identity_cost [--rounds 15]`.

CPU of this process for each call of the gateway's `Authenticator`, with 1,000 API keys, an issuer with a key of each
kind, and a service known. A token that is new is verified; one that was seen before is remembered. Rounds are
interleaved, and the medians of the rounds are printed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Final

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from benchmarks.figures import median, percentile, table
from fastness.config import IdentitySettings
from fastness.core.error import Refusal
from fastness.core.identity import IdentitySnapshot, Issuer, Service
from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.identity import keys
from fastness.identity.authenticator import Authenticator

PEPPER: Final = b"p" * 32
URL: Final = "https://login.state.example/realms/crown"
AUDIENCE: Final = "https://inference.state.example"
SERVICE: Final = "spiffe://state.example/health/letters"
REMEMBERED: Final = 16
"""Tokens that are remembered here, and fewer than are shown in turn: so each of those is new every time."""
SHOWN: Final = 48
NOW_S: Final = 1_800_000_000.0
KINDS: Final[dict[str, Callable[[], Key]]] = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "ES384": lambda: ECKey.generate_key("P-384"),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
}
"""Algorithms, and the keys they need."""


def token(algorithm: str, key: Key, number: int) -> str:
    """Sign a token of usual size, different for each `number`."""
    claims = {
        "iss": URL,
        "aud": AUDIENCE,
        "sub": "8f3f0c9e-letters-service",
        "client_id": "8f3f0c9e-letters-service",
        "iat": int(NOW_S) - 10,
        "exp": int(NOW_S) + 3_600,
        "jti": f"{number:032d}",
        "scope": "infer",
        "roles": ["Inference.Use", "Printer.Use"],
    }
    head = {"alg": algorithm, "kid": algorithm, "typ": "at+jwt"}
    return jws.serialize_compact(head, json.dumps(claims), key, algorithms=[algorithm])


def authenticator(made: dict[str, Key]) -> Authenticator:
    """Build what a gateway has."""
    texts = [keys.mint(number.to_bytes(32, "big"), Role.DEVELOPER) for number in range(1_000)]
    known = tuple(
        ApiKey(f"key_{number}", "health", "bench", Role.DEVELOPER, keys.hint(text), keys.mac(PEPPER, text), 1)
        for number, text in enumerate(texts)
    )
    jwks = {"keys": [{**key.as_dict(private=False), "kid": name, "use": "sig"} for name, key in made.items()]}
    issuer = Issuer(
        URL,
        AUDIENCE,
        tuple(made),
        "health",
        "roles",
        (("Inference.Use", "developer"),),
        keys=json.dumps(jwks),
        fetched_s=int(NOW_S),
    )
    built = Authenticator(PEPPER, IdentitySettings(tokens_max=REMEMBERED))
    built.replace(AccessSnapshot(1, (Tenant("health", "Health", 1),), known))
    built.replace_identities(IdentitySnapshot(1, (issuer,), (Service(SERVICE, "health", ("developer",)),)), NOW_S)
    return built


def cases() -> Iterator[tuple[str, Callable[[], object], int]]:
    """Yield what is measured: its name, one call, and calls in a round."""
    made = {name: make() for name, make in KINDS.items()}
    known = authenticator(made)
    header = f"Bearer {keys.mint((7).to_bytes(32, 'big'), Role.DEVELOPER)}"
    yield "API key", lambda: known.authenticate(header, NOW_S), 4_000
    yield "client certificate", lambda: known.authenticate(None, NOW_S, (SERVICE,)), 4_000
    seen = f"Bearer {token('RS256', made['RS256'], 0)}"
    apart = authenticator(made)
    yield f"token seen before ({len(seen) - 7} characters)", lambda: apart.authenticate(seen, NOW_S), 4_000
    for name, key in made.items():
        turn = itertools.cycle([f"Bearer {token(name, key, number)}" for number in range(SHOWN)])
        yield f"new token, {name}", lambda turn=turn: known.authenticate(next(turn), NOW_S), 240  # type: ignore[misc]
    forged = seen[:-8] + "AAAAAAAA"
    yield "forged token, RS256", lambda: _refused(known, forged), 240


def _refused(known: Authenticator, header: str) -> None:
    try:
        known.authenticate(header, NOW_S)
    except Refusal:
        return
    raise AssertionError("a forged token was believed")


def measure(rounds: int) -> dict[str, list[float]]:
    """Return microseconds of CPU for each call, one number a round."""
    found: dict[str, list[float]] = {}
    measured = list(cases())
    for _, call, count in measured:
        for _ in range(min(count, 200)):
            call()
    for _ in range(rounds):
        for name, call, count in measured:
            began = time.process_time_ns()
            for _ in range(count):
                call()
            found.setdefault(name, []).append((time.process_time_ns() - began) / count / 1_000)
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    found = measure(options.parse_args().rounds)
    rows = [[name, f"{median(one):.1f}", f"{percentile(one, 90):.1f}"] for name, one in found.items()]
    print(table(["CPU a request, in microseconds", "median", "p90"], rows))


if __name__ == "__main__":
    main()
