"""Run by test_isolation.py inside an empty network namespace: one whole journey, with nowhere to go."""

from __future__ import annotations

import errno
import json
import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from installation import CHAT, EMBEDDING, start, stop
from unplugged import raise_loopback


def way_out() -> str:
    """What the kernel says to a packet for somebody else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 53))
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return "open"


def main(home: Path) -> None:
    raise_loopback()
    running = start(home)
    with running.client() as client:
        asked = [{"role": "user", "content": "Name three colours."}]
        answer = client.chat.completions.create(model=CHAT, messages=asked, max_tokens=8)
        vectors = client.embeddings.create(model=EMBEDDING, input="a stronghold")
    verified = running.run("ledger", "verify", "--json")
    said = {
        "way_out": way_out(),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "text": answer.choices[0].message.content,
        "dimensions": len(vectors.data[0].embedding),
        "sound": json.loads(verified.stdout)["sound"],
        "exit_code": stop(running),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
