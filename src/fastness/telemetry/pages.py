"""Pages of metrics of several gateways as one: each sample says whose it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping

LABEL = "gateway"


def joined(pages: Mapping[str, bytes]) -> bytes:
    """Return one page of all, in the text format of Prometheus; `pages` are by the gateway's name.

    A family's samples must stand together under one heading, so it goes family by family.
    """
    families: dict[str, list[str]] = {}
    for gateway, page in pages.items():
        heading: list[str] = []
        for line in page.decode().splitlines():
            if line.startswith("#"):
                kind, name = line.split(" ", 3)[1:3]
                if kind == "HELP":
                    heading = families.setdefault(name, [])
                if line not in heading:
                    heading.append(line)
            elif line:
                heading.append(_labelled(line, gateway))
    return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()


def _labelled(sample: str, gateway: str) -> str:
    label = f'{LABEL}="{gateway}"'
    brace, space = sample.find("{"), sample.find(" ")
    if 0 <= brace < space:
        return f"{sample[: brace + 1]}{label},{sample[brace + 1 :]}"
    return f"{sample[:space]}{{{label}}}{sample[space:]}"
