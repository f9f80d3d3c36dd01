"""The management API as the verbs use it: over the control socket, or in this process when nothing runs."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastness.cli.composition import AsgiApp, Composition
from fastness.cli.outcome import ExitCode, Failure, exit_code_of
from fastness.cli.running import answers, find_joined, find_running, nothing_runs, run_path
from fastness.config import Settings

if TYPE_CHECKING:
    import httpx
    import typer

ANSWER_TIMEOUT_S: Final = 30.0
KEY_VARIABLE: Final = "FASTNESS_KEY"
"""The API key whose principal a verb acts as; without it, the local operator. FASTNESS_API_KEY is for asking models."""
RESTART_WAIT_S: Final = 5.0
"""How long a verb waits for a control process that its supervisor is just restarting."""

Send = Callable[[str, str, dict[str, Any], Any, float], "httpx.Response"]


class Api:
    """The management API. `running` tells whether an installation answers, or this process on its behalf."""

    def __init__(self, send: Send, *, running: bool) -> None:
        self._send = send
        self.running = running

    def get(self, path: str, *, timeout_s: float | None = None, **query: Any) -> Any:
        """Read `/api/v1{path}`; a query value of None is left out. Raises Failure for an error answer or none."""
        given = {name: value for name, value in query.items() if value is not None}
        return _read(self._call("GET", path, given, None, timeout_s or ANSWER_TIMEOUT_S))

    def post(self, path: str, body: dict[str, Any] | None = None, *, timeout_s: float | None = None) -> Any:
        """Change something at `/api/v1{path}`; raises Failure for an error answer or none."""
        return _read(self._call("POST", path, {}, body or {}, timeout_s or ANSWER_TIMEOUT_S))

    def _call(self, method: str, path: str, query: dict[str, Any], body: Any, timeout_s: float) -> httpx.Response:
        import httpx

        try:
            return self._send(method, f"/api/v1{path}", query, body, timeout_s)
        except httpx.TimeoutException:
            raise Failure(
                ExitCode.UNREACHABLE,
                f"The management API took {method} {path} but did not answer within {timeout_s:g} s.",
                "fastness logs control",
            ) from None
        except httpx.TransportError as error:
            raise Failure(
                ExitCode.UNREACHABLE, f"The management API broke off: {error}.", "fastness logs control"
            ) from None


@contextmanager
def management(
    composition: Composition, settings: Settings, *, must_run: bool = False, of_host: bool = False
) -> Iterator[Api]:
    """Open the management API. With `must_run`, raises Failure (unreachable) when nothing is running.

    The in-process API is used only when no supervisor lives: the store and the ledger have one writer. On a host that
    follows the orders of another it would write what nobody reads, so that raises, too, unless it is `of_host`: about
    what this host alone has, as its logs are.
    """
    path = run_path(settings) / "control.sock"
    if _reachable(path, settings):
        with _over_socket(path, _credential(composition)) as api:
            yield api
    elif must_run or (not of_host and find_joined(settings) is not None):
        raise nothing_runs(settings)
    else:
        with _in_process(composition, settings) as api:
            yield api


def management_of(ctx: typer.Context, *, of_host: bool = False) -> AbstractContextManager[Api]:
    """Open the management API for a verb, as its settings say; `of_host` as of `management`."""
    composition: Composition = ctx.obj
    settings, _ = composition.load_settings({})
    return management(composition, settings, of_host=of_host)


def _credential(composition: Composition) -> dict[str, str]:
    """Return the header that says who asks: the key in FASTNESS_KEY, or none for the local operator."""
    key = composition.environ.get(KEY_VARIABLE)
    if key is None:
        return {}
    if not key.strip() or not key.isascii() or not key.strip().isprintable():
        raise Failure(
            ExitCode.REFUSED,
            f"{KEY_VARIABLE} is set, but holds no key.",
            f"unset {KEY_VARIABLE} to act as the local operator",
        )
    return {"authorization": f"Bearer {key.strip()}"}


def _reachable(path: Path, settings: Settings) -> bool:
    deadline = time.monotonic() + RESTART_WAIT_S
    while not answers(path):
        running = find_running(settings)
        if running is None:
            return False
        if time.monotonic() > deadline:
            raise Failure(
                ExitCode.UNREACHABLE,
                f"fastness runs (pid {running.pid}), but control has not answered for {RESTART_WAIT_S:g} s.",
                "fastness logs control; answers are served all the same",
            )
        time.sleep(0.1)
    return True


@contextmanager
def _over_socket(path: Path, headers: dict[str, str]) -> Iterator[Api]:
    import httpx

    # No TLS on a Unix socket: loading the authorities would cost more than the request.
    transport = httpx.HTTPTransport(uds=str(path), verify=False)
    with httpx.Client(transport=transport, base_url="http://control", trust_env=False, headers=headers) as client:

        def send(method: str, route: str, query: dict[str, Any], body: Any, timeout_s: float) -> httpx.Response:
            return client.request(method, route, params=query, json=body, timeout=timeout_s)

        yield Api(send, running=True)


@contextmanager
def _in_process(composition: Composition, settings: Settings) -> Iterator[Api]:
    import asyncio

    import httpx

    headers = _credential(composition)

    async def build() -> AsgiApp:
        return composition.local_api(settings)

    with asyncio.Runner() as runner:
        app = runner.run(build())
        alive = _lifespan(app)
        runner.run(alive.__aenter__())
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://control", trust_env=False, headers=headers
        )

        def send(method: str, route: str, query: dict[str, Any], body: Any, timeout_s: float) -> httpx.Response:
            return runner.run(client.request(method, route, params=query, json=body, timeout=timeout_s))

        try:
            yield Api(send, running=False)
        finally:
            runner.run(client.aclose())
            runner.run(alive.__aexit__(None, None, None))


@asynccontextmanager
async def _lifespan(app: AsgiApp) -> AsyncIterator[None]:
    """Run an application's start-up and shut-down around its requests, as a server would."""
    import asyncio

    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.ensure_future(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, inbox.get, outbox.put)
    )

    async def step(name: str) -> None:
        await inbox.put({"type": f"lifespan.{name}"})
        said = asyncio.ensure_future(outbox.get())
        await asyncio.wait({task, said}, return_when=asyncio.FIRST_COMPLETED)
        if said.done() and said.result()["type"] == f"lifespan.{name}.complete":
            return
        said.cancel()
        await task  # raises what went wrong
        raise Failure(ExitCode.FAILED, f"The management API ended at its {name}.")

    await step("startup")
    try:
        yield
    finally:
        await step("shutdown")
        await task


def _read(response: httpx.Response) -> Any:
    try:
        body = response.json() if response.content else None
    except json.JSONDecodeError:
        body = None
    if response.is_success:
        return body
    problem = body if isinstance(body, dict) else {}
    code = str(problem.get("code", ""))
    raise Failure(
        exit_code_of(response.status_code, code),
        str(problem.get("detail") or problem.get("title") or f"The management API answered {response.status_code}."),
        str(problem.get("hint") or ""),
    )
