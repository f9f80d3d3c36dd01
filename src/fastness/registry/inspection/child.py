"""The program that inspects: it reads a request on its standard input, and one artefact, and answers on its output.

It is started sealed. Nothing that it reads can make it do more than answer wrongly, and whoever asked holds the answer
to what was asked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from fastness.registry.inspection.direct import DirectInspector
from fastness.registry.inspection.port import ArtefactRefused
from fastness.registry.inspection.wire import EXIT_DEFECT, EXIT_MEMORY, REQUEST_BYTES_MAX, Answer, Refused, Request


def main() -> int:
    """Inspect one artefact; return the exit status."""
    request = msgspec.json.decode(sys.stdin.buffer.readline(REQUEST_BYTES_MAX), type=Request)
    try:
        answer = _answer(request)
    except MemoryError:
        return EXIT_MEMORY
    except Exception as error:  # noqa: BLE001 - a defect of ours refuses the artefact, without a word of its content
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
        sys.stderr.write(f"{type(error).__name__} at {where}\n")
        return EXIT_DEFECT
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    return 0


def _answer(request: Request) -> bytes:
    try:
        found = DirectInspector(request.settings, alone=True).inspect(Path(request.path), request.wish)
        answer = Answer(inspected=found)
    except ArtefactRefused as refused:
        answer = Answer(refused=Refused(refused.rule, refused.message, refused.file))
    except MemoryError:
        message = f"needs more than {request.settings.inspection_memory_bytes_max:,} bytes of memory"
        answer = Answer(refused=Refused("limit.memory", message, Path(request.path).name))
    return msgspec.json.encode(answer)


if __name__ == "__main__":
    sys.exit(main())
