"""The choke point of the management API: who asks, and whether policy permits what the route does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.requests import Request

from fastness.control.access import Access
from fastness.control.policies import Policies
from fastness.control.problem import Problem
from fastness.control.routes import LOCAL
from fastness.core.policy import Action
from fastness.core.tenant import AccessSnapshot, Principal


class Authenticator(Protocol):
    """Turns a header into a principal: identity's `Authenticator` is one."""

    def replace(self, snapshot: AccessSnapshot) -> None:
        """Take over tenants and keys."""
        ...

    def authenticate(self, authorization: str | None, now_s: float) -> Principal:
        """Return who sent this header; raises Refusal."""
        ...


class Door:
    """Lets a request through to its route, or raises why not.

    Tenants and keys are read from the store each time: a key that was just revoked opens nothing here.
    """

    def __init__(
        self, access: Access, policies: Policies, authenticator: Authenticator, clock: Callable[[], float]
    ) -> None:
        self._access = access
        self._policies = policies
        self._authenticator = authenticator
        self._clock = clock

    async def admit(self, request: Request, action: Action | None) -> Principal:
        """Return who asks, once policy has permitted `action` to them (None: it need not be asked).

        Raises Refusal: 401 for a credential that is not one, 403 with rule, needed and had, 503 without a policy.
        """
        principal = await self._who(request)
        if action is not None:
            self._policies.permit(principal, action)
        return principal

    async def _who(self, request: Request) -> Principal:
        headers = request.headers.getlist("authorization")
        if not headers:
            return LOCAL
        if len(headers) > 1:
            raise Problem(
                "invalid_api_key",
                f"{len(headers)} `Authorization` headers came.",
                "Send one, or none to act as the local operator.",
            )
        self._authenticator.replace(await self._access.snapshot())
        return self._authenticator.authenticate(headers[0], self._clock())
