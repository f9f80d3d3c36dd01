"""The pace of the engine of this machine, measured and fitted: `python -m benchmarks.engine_pace [--out FILE]`.

On the bare engine of one `fastness up`, past the gateway: how long prompts of several lengths take to read; how far
apart the tokens of answers are, beside none and beside others; and that again while a long prompt is read. Printed:
each measurement beside what the fitted pace says, and the pace as a table that `fastness plan capacity --pace FILE`
takes. It wants the machine for itself.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bodies import CHAT_PATH, MODEL, engine_body, exact_body
from benchmarks.figures import median, table
from benchmarks.installation import Running, installation
from fastness.simulator.pace import Fitted, NamedPace, ReadSeen, StepSeen, fit, written

SLOTS = 8
WORDS = (20, 60, 150, 400, 900)
BESIDE = (1, 2, 4, 8)
OUTPUT_TOKENS = 40
LONG_WORDS, WHILE_READING = 1_200, (1, 4)
SETTINGS = {"FASTNESS__ENGINE__SLOTS": str(SLOTS)}
VOCABULARY = ("letter", "permit", "road", "school", "water", "grant", "review", "office", "notice", "record", "claim")
_TEXT = re.compile(rb'"content":"[^"]')
_PROMPT = re.compile(rb'"prompt_tokens":\s*([0-9]+)')


@dataclass(slots=True)
class Answer:
    """When a request was sent, and each piece of its answer came."""

    sent_s: float
    pieces_s: list[float] = field(default_factory=list)
    input_tokens: int = 0

    @property
    def first_s(self) -> float:
        """From sending to the first token."""
        return self.pieces_s[0] - self.sent_s

    @property
    def apart_s(self) -> float:
        """Between two tokens, on average."""
        return (self.pieces_s[-1] - self.pieces_s[0]) / (len(self.pieces_s) - 1)


async def ask(socket: str, words: int, output_tokens: int, dice: random.Random) -> Answer:
    """Ask the engine for an answer of that length to a prompt that nobody has asked before."""
    prompt = " ".join([str(dice.randrange(10**6)), *(dice.choice(VOCABULARY) for _ in range(words))])
    body = engine_body(exact_body(prompt, output_tokens)).encode()
    reader, writer = await asyncio.open_unix_connection(socket)
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    seen = Answer(time.perf_counter())
    async for line in reader:
        seen.pieces_s += [time.perf_counter()] * len(_TEXT.findall(line))
        if found := _PROMPT.search(line):
            seen.input_tokens = int(found[1])
    writer.close()
    if len(seen.pieces_s) < 1 or not seen.input_tokens:
        raise RuntimeError("the engine did not answer")
    return seen


async def measure(site: Running, rounds: int) -> tuple[list[ReadSeen], list[StepSeen]]:
    """Take all measurements, each the median of some rounds."""
    dice, socket = random.Random(3), site.replica.socket
    await ask(socket, WORDS[0], OUTPUT_TOKENS, dice)
    reads, steps = [], []
    for words in WORDS:
        seen = [await ask(socket, words, 2, dice) for _ in range(rounds)]
        reads.append(ReadSeen(round(median([one.input_tokens for one in seen])), median([one.first_s for one in seen])))
    for beside in BESIDE:
        rows = [await together(socket, beside, dice) for _ in range(rounds)]
        held = beside * (rows[0][0].input_tokens + OUTPUT_TOKENS / 2)
        steps.append(StepSeen(beside, held, median([one.apart_s for row in rows for one in row])))
    for beside in WHILE_READING:
        found = [one for _ in range(rounds) if (one := await while_reading(socket, beside, dice)) is not None]
        if found:
            steps.append(StepSeen(beside, found[0].kv_tokens, median([one.seconds for one in found]), reading=True))
    return reads, steps


async def together(socket: str, count: int, dice: random.Random) -> list[Answer]:
    """Ask for so many answers at the same time."""
    return await asyncio.gather(*(ask(socket, WORDS[0], OUTPUT_TOKENS, dice) for _ in range(count)))


async def while_reading(socket: str, count: int, dice: random.Random) -> StepSeen | None:
    """Have a long prompt read while answers are written; None when the answers were over before it had been read."""
    tokens = 4 * OUTPUT_TOKENS
    tasks = [asyncio.create_task(ask(socket, WORDS[0], tokens, dice)) for _ in range(count)]
    await asyncio.sleep(0.3)
    long = await ask(socket, LONG_WORDS, 2, dice)
    answers = await asyncio.gather(*tasks)
    began, ended = long.sent_s, long.pieces_s[0]
    within = sum(began <= piece < ended for one in answers for piece in one.pieces_s)
    if any(one.pieces_s[-1] < ended or one.pieces_s[0] > began for one in answers):
        return None
    held = count * (answers[0].input_tokens + tokens / 2)
    return StepSeen(count, held, (ended - began) / max(0.5, within / count), reading=True)


def report(fitted: Fitted, reads: Sequence[ReadSeen], steps: Sequence[StepSeen]) -> str:
    """Lay out what was measured beside what the pace says."""
    pace = fitted.pace
    rows = []
    for read in reads:
        said = read.tokens / pace.read_tokens_per_s
        rows.append((f"read {read.tokens} tokens", f"{read.seconds * 1e3:.1f}", f"{said * 1e3:.1f}"))
    for one in steps:
        name = f"a token beside {one.answers - 1}" + (", reading" if one.reading else "")
        said = pace.step(one.answers, one.kv_tokens, one.reading)
        rows.append((name, f"{one.seconds * 1e3:.1f}", f"{said * 1e3:.1f}"))
    errors = (
        f"off by {fitted.read_error:.1%} (reading, with the call itself) and {fitted.step_error:.1%} (writing), RMS"
    )
    return f"{table(('', 'measured ms', 'fitted ms'), rows)}\n{errors}"


def main() -> None:
    """Measure, fit, print."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument("--out", type=Path, help="write the pace to this .toml")
    chosen = reader.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="fst-bench-") as folder,
        installation(Path(folder), settings=SETTINGS) as site,
    ):
        reads, steps = asyncio.run(measure(site, chosen.rounds))
        slots, context = site.replica.slots, site.replica.context_tokens
        fitted = fit(reads, steps, slots, slots * context, site.ready_s)
    text = written(NamedPace(f"cpu/{MODEL}", fitted.pace, "cpu", 1, "measured by benchmarks/engine_pace.py", False))
    print(f"{report(fitted, reads, steps)}\n\n{text}")
    if chosen.out is not None:
        chosen.out.write_text(text)


if __name__ == "__main__":
    main()
