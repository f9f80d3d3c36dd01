"""Fetching the keys of an issuer: from the pinned place, and from nowhere that it talks us into."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from fastness.core.identity import Issuer
from fastness.identity.configuration import check_url
from fastness.identity.jwks import JWKS_BYTES_MAX, JwksProblem, read_jwks, write_jwks
from fastness.identity.strict_json import read_object

Fetch = Callable[[str], Awaitable[bytes]]
"""GET this URL: the body of a 200, over verified TLS, following no redirect. Raises OSError for anything else."""
FETCH_TIMEOUT_S: Final = 10.0
"""One document, from connecting to its last byte."""
DISCOVERY: Final = "/.well-known/openid-configuration"


class KeysUnavailable(Exception):  # noqa: N818 - a state of the issuer
    """The keys could not be had; the message says what was needed and what came."""


async def fetch_keys(issuer: Issuer, fetch: Fetch | None, permitted: frozenset[str]) -> str:
    """Return the JWK set that the issuer publishes now, in canonical form. Raises KeysUnavailable.

    `permitted` are the addresses, as host:port, that may be asked.
    """
    if fetch is None:
        raise KeysUnavailable("nothing may be fetched: perimeter.addresses is empty, so nothing here connects anywhere")
    url = issuer.jwks_url or await _discover(issuer, fetch, permitted)
    content = await _get(url, fetch, permitted)
    try:
        return write_jwks(read_jwks(content))
    except JwksProblem as problem:
        raise KeysUnavailable(f"its JWK set is not believed: {problem}") from problem


async def _discover(issuer: Issuer, fetch: Fetch, permitted: frozenset[str]) -> str:
    content = await _get(issuer.url.removesuffix("/") + DISCOVERY, fetch, permitted)
    try:
        document = read_object(content)
    except ValueError as error:
        raise KeysUnavailable(f"its discovery document is not believed: {error}") from error
    # Another issuer's document here is the mix-up attack: its keys would sign for the issuer that was pinned.
    if document.get("issuer") != issuer.url:
        raise KeysUnavailable("its discovery document is of another issuer than the `url` pinned, to the letter")
    url = document.get("jwks_uri")
    if not isinstance(url, str):
        raise KeysUnavailable("its discovery document names no `jwks_uri`")
    return url


async def _get(url: str, fetch: Fetch, permitted: frozenset[str]) -> bytes:
    try:
        address = check_url(url)
    except ValueError as error:
        raise KeysUnavailable(f"where its keys should be is no place to ask: {error}") from error
    if address not in permitted:
        raise KeysUnavailable(f"{address[:300]} is not in perimeter.addresses. Add it there, if it is to be asked")
    try:
        content = await asyncio.wait_for(fetch(url), FETCH_TIMEOUT_S)
    except TimeoutError:
        raise KeysUnavailable(f"{address} did not answer within {FETCH_TIMEOUT_S:g} s") from None
    except Exception as error:  # whatever a stranger's answer breaks must not end the watch over the others
        raise KeysUnavailable(f"{address} did not answer: {str(error)[:200] or type(error).__name__}") from error
    if len(content) > JWKS_BYTES_MAX:
        raise KeysUnavailable(f"{address} answered with more than {JWKS_BYTES_MAX} bytes")
    return content
