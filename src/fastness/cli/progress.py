"""`fastness up` as it is seen: stages on stderr while it starts, then what a person or a script needs, on stdout."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import typer

from fastness.cli import render
from fastness.cli.composition import UpReady
from fastness.cli.talk import Talk, reading_width, terminal_width, wants_colour
from fastness.core.model import ModelKind

if TYPE_CHECKING:
    from rich.live import Live

PLAIN_EVERY_S: Final = 5.0
"""Off a terminal, a stage that lasts is told again this often."""
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(slots=True)
class _Stage:
    name: str
    detail: str
    began_s: float
    told_s: float
    done_bytes: int = 0
    total_bytes: int = 0

    def state(self, now_s: float) -> str:
        if self.total_bytes:
            share = 100 * self.done_bytes // self.total_bytes
            return f"{share} % of {render.size(self.total_bytes)}"
        return render.age(now_s - self.began_s)


@dataclass(slots=True)
class Progress:
    """The progress of `up`, for people or (`talk.as_json`) for scripts; `close` it whatever happens.

    On a terminal the running stages are one live line each; off one, each finished stage is a plain line.
    """

    talk: Talk
    clock: Callable[[], float] = time.monotonic
    _open: list[_Stage] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _live: Live | None = None
    _ticker: threading.Thread | None = None
    _closed: threading.Event = field(default_factory=threading.Event)

    def stage(self, name: str, detail: str) -> None:
        """Begin `name`."""
        if self.talk.quiet:
            return
        with self._lock:
            now_s = self.clock()
            self._open.append(_Stage(name, detail, now_s, now_s))
            self._show()

    def progress(self, name: str, done_bytes: int, total_bytes: int) -> None:
        """Tell how far the stage opened last under `name` is."""
        with self._lock:
            stage = next((stage for stage in reversed(self._open) if stage.name == name), None)
            if stage:
                stage.done_bytes, stage.total_bytes = done_bytes, total_bytes

    def done(self, name: str, detail: str, elapsed_s: float, result: str = "ready") -> None:
        """End `name` and leave its line standing."""
        if self.talk.quiet:
            return
        with self._lock:
            alike = [stage for stage in self._open if stage.name == name]
            if alike:
                self._open.remove(next((stage for stage in alike if stage.detail == detail), alike[-1]))
            self._line(render.stage(name, detail, result, render.duration(elapsed_s), terminal_width(sys.stderr)))
            self._hide_if_idle()

    def warn(self, text: str) -> None:
        """Tell something a person should know."""
        width = reading_width(sys.stderr)
        with self._lock:
            self._line(render.paint(render.hanging(f"{'warning':<11}", text, width), "yellow", self._colour))

    def ready(self, ready: UpReady) -> None:
        """Write the one thing that goes to stdout: a line of JSON, or address, key and examples."""
        with self._lock:
            self._open.clear()
            self._hide_if_idle()
        if self.talk.as_json:
            self.talk.document(ready_document(ready))
        else:
            self.talk.text(ready_text(ready, wants_colour(sys.stdout)))
            self.talk.say(f"Ready in {render.duration(ready.elapsed_s)}. Ctrl-C or `fastness stop` ends it.")
        sys.stdout.flush()

    def tick(self) -> None:
        """Off a terminal, tell again of stages that last; called every second."""
        with self._lock:
            now_s = self.clock()
            for stage in self._open:
                if now_s - stage.told_s >= PLAIN_EVERY_S:
                    stage.told_s = now_s
                    self._line(render.stage(stage.name, stage.detail, f"… {stage.state(now_s)}", "", render.UNBOUNDED))

    def close(self) -> None:
        """Give the terminal back."""
        self._closed.set()
        with self._lock:
            self._open.clear()
            self._hide_if_idle()
        if self._ticker:
            self._ticker.join()

    @property
    def _colour(self) -> bool:
        return wants_colour(sys.stderr)

    def _line(self, text: str) -> None:
        if self._live:
            from rich.text import Text

            self._live.refresh()  # what is drawn below the line is drawn as it is now
            self._live.console.print(Text.from_ansi(text), soft_wrap=True)
        else:
            typer.echo(text, err=True, color=self._colour)

    def _show(self) -> None:
        if not self._colour and not sys.stderr.isatty():
            if not self._ticker:
                self._ticker = threading.Thread(target=self._keep_telling, name="up-progress", daemon=True)
                self._ticker.start()
        elif not self._live:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True, no_color=not self._colour, highlight=False),
                get_renderable=self._draw,
                transient=True,
                refresh_per_second=8,
            )
            self._live.start()

    def _hide_if_idle(self) -> None:
        if self._live and not self._open:
            self._live.stop()
            self._live = None

    def _draw(self) -> Any:
        from rich.text import Text

        now_s = self.clock()
        mark = _SPINNER[int(now_s * 8) % len(_SPINNER)]
        width = terminal_width(sys.stderr)
        lines = [
            render.stage(stage.name, stage.detail, f"{mark} {stage.state(now_s)}", "", width)
            for stage in list(self._open)
        ]
        return Text("\n".join(lines), style="dim", no_wrap=True)

    def _keep_telling(self) -> None:
        while not self._closed.wait(1.0):
            self.tick()


def ready_document(ready: UpReady) -> dict[str, Any]:
    """Return what `up --json` prints once."""
    return {
        "base_url": ready.base_url,
        "admin_key": ready.admin_key,
        "console_url": ready.console_url,
        "pid": ready.pid,
        "elapsed_s": round(ready.elapsed_s, 3),
        "models": [card.name for card in ready.models],
        "sealed": ready.sealed,
    }


def ready_text(ready: UpReady, colour: bool) -> str:
    """Return what `up` prints for people: address, key, examples to paste, and how to check the promise."""
    key = "made on an earlier start; fastness keys create --role admin makes another"
    if ready.admin_key:
        key = render.paint(ready.admin_key, "bold", colour)
        key += f"\n{'':<{render.STAGE_COLUMN}}shown once; fastness keys create makes more"
    lines = ["", f"{'address':<11}{render.paint(ready.base_url, 'bold', colour)}", f"{'admin key':<11}{key}"]
    if ready.console_url:
        lines.append(f"{'console':<11}{ready.console_url}")
    return "\n".join([*lines, "", *_examples(ready), ready.prove_line])


def _examples(ready: UpReady) -> list[str]:
    card = next((card for card in ready.models if card.kind is ModelKind.CHAT), next(iter(ready.models), None))
    if card is None:
        return []
    if card.kind is ModelKind.CHAT:
        messages = '[{"role": "user", "content": "What is a fastness?"}]'
        route, body = "chat/completions", f'{{"model": "{card.name}", "messages": {messages}}}'
        call = [f'answer = client.chat.completions.create(model="{card.name}", messages={messages})']
        call.append("print(answer.choices[0].message.content)")
    else:
        route, body = "embeddings", f'{{"model": "{card.name}", "input": "What is a fastness?"}}'
        call = [f'answer = client.embeddings.create(model="{card.name}", input="What is a fastness?")']
        call.append("print(answer.data[0].embedding)")
    bearer, api_key = ready.admin_key or "$FASTNESS_API_KEY", f'"{ready.admin_key}"'
    imports = ["from openai import OpenAI"]
    if not ready.admin_key:
        imports, api_key = ["import os", *imports], 'os.environ["FASTNESS_API_KEY"]'
    return [
        "Try it (the second needs `pip install openai`):",
        "",
        f"curl {ready.base_url}/{route} -H 'content-type: application/json' \\",
        f'  -H "authorization: Bearer {bearer}" \\',
        f"  -d '{body}'",
        "",
        "python3 - <<'END'",
        *imports,
        f'client = OpenAI(base_url="{ready.base_url}", api_key={api_key})',
        *call,
        "END",
        "",
    ]
