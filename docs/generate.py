"""Writes the reference pages that are made from the code: `make docs`.

A table that exists twice is wrong once. What people must write (why an error happens, what a metric is for) stands in
the page's data; what the code knows is taken from the code. tests/unit/test_docs.py holds pages and code together.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

import typer
from prometheus_client import Gauge

from fastness.cli.app import build_app
from fastness.cli.reference import cli_reference
from fastness.config import SECTIONS, Settings
from fastness.core.error import ERROR_CODES, ErrorCode
from fastness.gateway.openapi import openapi_document
from fastness.ledger.events import EVENTS, EventRow
from fastness.telemetry.metrics import GatewayMetrics
from fastness.telemetry.names import LOG_FIELDS
from fastness.telemetry.tally import Counter, Histogram

DOCS = Path(__file__).parent
TABLE_BEGINS = "<!-- Written by `make docs` from tests/contract/engine_features.py: edit that, not this table. -->\n"
TABLE_ENDS = "<!-- Here it ends. -->"
WRITTEN = "<!-- Written by `make docs` from {source}: edit that, not this page. -->"


def pages() -> dict[str, str]:
    """Return every generated page, by its path below docs/."""
    return {
        "reference/cli.md": cli_reference(_command_line()),
        "reference/configuration.md": configuration(),
        "reference/engines.md": engines(),
        "reference/errors.md": errors(),
        "reference/ledger-events.md": ledger_events(),
        "reference/openapi.json": json.dumps(json.loads(openapi_document()), indent=2, sort_keys=True) + "\n",
        "reference/telemetry.md": telemetry(),
    }


def engines() -> str:
    """Write the page of engines: people's words around the table, which is the contract suite's."""
    text = (DOCS / "reference/engines.md").read_text()
    before, begin, rest = text.partition(TABLE_BEGINS)
    _, end, after = rest.partition(TABLE_ENDS)
    spec = importlib.util.spec_from_file_location("engine_features", DOCS.parent / "tests/contract/engine_features.py")
    assert spec and spec.loader and begin and end
    features = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = features
    spec.loader.exec_module(features)
    return f"{before}{begin}\n{features.table()}{end}{after}"


def ledger_events() -> str:
    """Write the page of ledger events."""
    sections = "\n".join(_event(row) for row in EVENTS.values())
    return f"""\
# Ledger events

{WRITTEN.format(source="src/fastness/ledger/events.py")}

Every kind of event that a ledger holds, in which log it stands, and its fields. An event with a field that is not here
is refused before it is written, so that no content can slip in. There are only identifiers, counts, times and digests.
Any field may be absent or null.

A line of a log is canonical JSON:

```json
{{"fields":{{"process":"control"}},"index":0,"prev":"<64 hex digits>","time_ms":1763800000000,"type":"boot","v":1}}
```

| key | meaning |
|---|---|
| fields | what the event says: the tables below |
| index | place in this log, from 0, without gaps |
| prev | the hash of the chain up to the entry before |
| time_ms | milliseconds since 1970 by the clock of the machine that wrote it; it may step back when that clock is set |
| type | one of the types below |
| v | version of the format: 1 |

Bounds: an entry has at most 65,536 bytes, a string 1,024 characters, an integer 53 bits. Floats and nested values
do not occur. How the chain is made and what it proves: [the ledger explained](../explanation/ledger.md).

{sections}"""


def _event(row: EventRow) -> str:
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in row.fields.items())
    return f"## `{row.type}`\n\n{row.meaning}\n\nLog: {row.logs}.\n\n| field | meaning |\n|---|---|\n{rows}"


def configuration() -> str:
    """Write the page of settings."""
    return f"""\
# Settings

{WRITTEN.format(source="src/fastness/config/settings.py")}

Every setting has a default that works, so all of this is optional. A value is taken from the first of these that has
it:

1. a **flag**, where the verb offers one (`fastness up --port 9000`);
2. the **environment**: `FASTNESS__SECTION__NAME`, such as `FASTNESS__GATEWAY__PORT=9000`;
3. the **file** `config.toml` in `FASTNESS_HOME`, or the one that `--config` or `FASTNESS_CONFIG` names;
4. the **default**.

```toml
[gateway]
port = 9000

[engine]
slots = 4
```

`fastness config explain` says of each setting what it is and where that came from. A name that is not on this page, a
value of the wrong kind, and a number outside its range are errors at the start, which name the setting and where it
came from. Nothing is reloaded: settings are read when a process starts.

Two things are not settings but places, and come from the environment alone: `FASTNESS_HOME`, below which all state
lives (default: `~/.local/share/fastness`), and `FASTNESS_CONFIG`.

Names end in their unit: `_s` seconds, `_bytes`, `_tokens`; `_max` is a bound beyond which something is refused.
{"".join(_section(name) for name in SECTIONS)}"""


def _section(name: str) -> str:
    kind = get_type_hints(Settings)[name]
    rows = "".join(_setting(name, item) for item in fields(kind))
    return f"""
## {name}

{kind.__doc__}

| setting | default | may be | what it is |
|---|---|---|---|
{rows}"""


def _setting(section: str, item: Field[Any]) -> str:
    low, high, one_of = item.metadata["low"], item.metadata["high"], item.metadata["one_of"]
    if one_of:
        may_be = ", ".join(f"`{one}`" for one in one_of)
    elif low is None:
        may_be = "text"
    else:
        may_be = f"from {low:,}" + (f" to {high:,}" if high is not None else "")
    default = item.metadata["default"]
    shown = f"`{default}`" if default != "" else "empty"
    grouped = f" ({default:,})" if isinstance(default, int) and default >= 10_000 else ""
    return f"| `{section}.{item.name}` | {shown}{grouped} | {may_be} | {item.metadata['doc']} |\n"


def errors() -> str:
    """Write the page of error codes."""
    advice = tomllib.loads((DOCS / "errors.toml").read_text())
    if advice.keys() != ERROR_CODES.keys():
        raise SystemExit(f"docs/errors.toml and the error table differ: {sorted(advice.keys() ^ ERROR_CODES.keys())}")
    rows = "".join(
        f"| [`{r.code}`](#{r.code}) | {r.status} | `{r.type}` | {r.meaning} |\n" for r in ERROR_CODES.values()
    )
    return f"""\
# Errors

{WRITTEN.format(source="src/fastness/core/error.py and docs/errors.toml")}

Every error of the OpenAI API has one shape, whatever went wrong, and a code out of one table:

```json
{{"error": {{"message": "…", "type": "invalid_request_error", "param": "temperature", "code": "invalid_value"}}}}
```

- `message` is for people: what was needed, what came, what to try. Its words may change; do not compare them.
- `type` is OpenAI's, from which the official SDKs choose their exception. `code` is for programs.
- `param` names the field at fault, with its place in lists (`messages[2].content`), or is null.
- The header `x-request-id` of every answer finds the request in the logs and in the ledger.
- `Retry-After`, where it is sent, is in seconds. The official SDKs obey it.

A stream that has begun with status 200 and then fails ends with one more event, `data: {{"error": …}}` in the same
shape, and without `data: [DONE]`. It never just stops. The official SDKs raise `APIError` for it.

The management API uses the same codes in the shape of RFC 9457: [its page](management-api.md#errors).

| code | HTTP | type | meaning |
|---|---|---|---|
{rows}
Trying again without a change can help with 408, 429 and 5xx, and with no other status.
{"".join(_error(row, advice[row.code]) for row in ERROR_CODES.values())}"""


def _error(row: ErrorCode, advice: dict[str, str]) -> str:
    head = f"\n## {row.code}\n\n*{row.status}, {row.type}.* {row.meaning}\n\n"
    return f"{head}{_folded(advice['why'])}\n\n{_folded('**What to do.** ' + advice['do'])}\n"


def _folded(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


LOG_FIELD_MEANINGS = {
    "time": "seconds since 1970, with milliseconds",
    "level": "`debug`, `info`, `warning` or `error`",
    "process": "who wrote it: `supervisor`, `control`, `gateway-0`",
    "event": "what happened: one of a few words, such as `request`",
    "request_id": "as in the header `x-request-id` of the answer",
    "tenant": "id of the tenant that is charged",
    "key": "id of the API key, never its text",
    "operation": "`chat`, `text_completion` or `embeddings`",
    "model": "name of the model",
    "replica": "which replica answered",
    "marking": "what the request was marked with; null when it did not come to that",
    "rule": "id of the policy rule that decided; null when none was asked",
    "band": "how urgent the request was: `interactive`, `standard` or `batch`",
    "status": "HTTP status of the outcome, also where a stream had begun with 200",
    "code": "the [error code](errors.md), or null",
    "stream": "whether a stream was asked for",
    "choices": "`n`",
    "input_tokens": "tokens read, as the engine counted",
    "output_tokens": "tokens written, as the engine counted",
    "retried": "how often an engine failed before anything came of a generation, and it was tried again",
    "resumed": "how often an engine failed in the middle of a generation, and another run went on",
    "cached_tokens": "tokens of the input that the engine had in its cache",
    "queue_ms": "wait for a slot",
    "first_token_ms": "from the first byte of the request to the first token out",
    "total_ms": "from the first byte of the request to the end",
    "commit_ms": "wait for the ledger",
    "reason": "why, out of a closed set: the type of a defect, never its text",
    "where": "the place in the code, or the name of a file",
    "pid": "process id",
    "port": "TCP port",
    "epoch": "how often the replica's engine was started",
    "state": "a replica's state",
    "engine": "kind of engine",
    "restarts": "how often it was started again",
    "diagnosis": "the code of [a diagnosis](engine-diagnoses.md)",
    "elapsed_ms": "how long it took",
    "count": "how many",
    "signal": "the signal that ended a process",
    "exit_code": "with what a process ended",
    "socket": "path of a socket",
    "version": "version of a snapshot, or of Fastness",
    "line": "a line that Fastness itself wrote, never an engine's",
}


def telemetry() -> str:
    """Write the page of metrics and log fields."""
    if LOG_FIELD_MEANINGS.keys() != LOG_FIELDS:
        raise SystemExit(f"docs/generate.py must say what these are: {sorted(LOG_FIELD_MEANINGS.keys() ^ LOG_FIELDS)}")
    log_rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in LOG_FIELD_MEANINGS.items())
    return f"""\
# Metrics and logs

{WRITTEN.format(source="src/fastness/telemetry and docs/generate.py")}

Neither holds content: no prompt, no answer, no key, nothing that a caller can write freely. Nothing is sent anywhere;
both are there to be fetched.

## Is it well?

| route of the gateway | answers |
|---|---|
| `GET /livez` | 200 while the process serves at all |
| `GET /readyz` | 200 when a policy is in force, every model has a ready replica and nothing drains; otherwise 503 |
| `GET /metrics` | the page for Prometheus |

These need no API key. Where the gateway can be reached by people who should not see them, let a proxy keep them away.

## Metrics

The names that begin with `gen_ai_` are those of OpenTelemetry's conventions for generative AI, in Prometheus's
spelling, with the buckets given there. A counter's name has `_total` after it on the page, a histogram's `_bucket`,
`_sum` and `_count`.

With [several gateways](../explanation/several-gateways.md) the page on the port has the metrics of all of them, each
with the label `gateway`.

| metric | kind | labels | what it is |
|---|---|---|---|
{"".join(_metrics())}
`circuit` is `closed`, `open` or `half_open`; `outcome` is `retried`, `resumed`, `hedged`, or `refused` for lack of
[budget](../explanation/never-lost.md). `status` is an HTTP status and `code` one of [the error codes](errors.md);
`gen_ai_request_model` only ever names models
that are served, so no caller can make a new time series.

## Logs

One file of JSON lines for each process below `FASTNESS_HOME/logs`, rotated by size
([settings](configuration.md#telemetry)); `fastness logs` reads them. A record has only fields of this list; anything
else is an error in our own tests.

| field | what it is |
|---|---|
{log_rows}
When more is recorded than can be written, records are dropped rather than requests delayed, and a record
`log.overflowed` says how many.
"""


def _metrics() -> Iterator[str]:
    for one in vars(GatewayMetrics()).values():
        if isinstance(one, Counter | Gauge | Histogram):
            labels = ", ".join(f"`{label}`" for label in one._labelnames) or "none"
            yield f"| `{one._name}` | {type(one).__name__.lower()} | {labels} | {one._documentation} |\n"


def _command_line() -> typer.Typer:
    return build_app(None)  # type: ignore[arg-type]  # no verb is run


def write() -> None:
    """Write every page."""
    for path, text in pages().items():
        (DOCS / path).write_text(text)
        print(f"docs/{path}")


if __name__ == "__main__":
    write()
