"""What the supervisor asks the control process, in threads of its own."""

from __future__ import annotations

from pathlib import Path


def first_admin_key(control: Path) -> str | None:
    """Ask the control process for the first admin key; None when it was given earlier, or policy does not permit it."""
    import httpx

    with httpx.Client(transport=httpx.HTTPTransport(uds=str(control)), timeout=30) as client:
        answer = client.post("http://control/api/v1/keys/first-admin")
    if answer.status_code == httpx.codes.FORBIDDEN:
        return None
    answer.raise_for_status()
    key: str | None = answer.json().get("key")
    return key


def why(control: Path, name: str) -> str:
    """Ask the control process why a deployment has no more replicas; empty when it says nothing of that."""
    import httpx

    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(control)), timeout=5) as client:
            answer = client.get(f"http://control/api/v1/deployments/{name}/why")
            said = answer.json().get("nodes", ()) if answer.is_success else ()
    except (httpx.HTTPError, ValueError):
        return ""
    return "; ".join(f"{one['node']} {one['text']}".strip() for one in said)
