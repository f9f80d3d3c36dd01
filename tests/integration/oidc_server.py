"""The certified OpenID Connect server in `oidc/`, started for a test; and what a client of it does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

HERE = Path(__file__).with_name("oidc")
SECRET = "not-a-secret-but-long-enough-for-a-client"


def require_server() -> None:
    """Skip where node or the package is missing; with CI=true that is a failure."""
    if shutil.which("node") and (HERE / "node_modules/oidc-provider").is_dir():
        return
    why = "needs node, and `npm ci --ignore-scripts --prefix tests/integration/oidc` (make test does it)"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def signing_keys(generation: str) -> list[dict[str, object]]:
    made = [RSAKey.generate_key(2048), ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")]
    return [{**key.as_dict(private=True), "kid": f"{generation}-{key.key_type}", "use": "sig"} for key in made]


@contextmanager
def provider(port: int, keys: list[dict[str, object]]) -> Iterator[str]:
    """The server, ready, for the length of a block; yields its issuer URL."""
    node = shutil.which("node")
    assert node
    settings = json.dumps({"port": port, "keys": keys, "secret": SECRET})
    with subprocess.Popen(
        [node, "server.js", settings], cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            yield json.loads(process.stdout.readline())["issuer"]
        finally:
            process.terminate()


def token(issuer: str, algorithm: str = "ES256") -> str:
    """A client-credentials grant with a resource indicator, as a service would ask for it."""
    answer = httpx.post(
        f"{issuer}/token",
        auth=("letters-service", SECRET),
        data={"grant_type": "client_credentials", "resource": audience(algorithm)},
    )
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["access_token"]
    return found


def audience(algorithm: str) -> str:
    return f"https://inference.state.example/{algorithm}"
