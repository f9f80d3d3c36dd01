"""Rows of embeddings as engines with OpenAI's API write them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Row(msgspec.Struct):
    """One row, and which input it is of."""

    embedding: list[float]
    index: int


def in_order(rows: Iterable[Row]) -> tuple[tuple[float, ...], ...]:
    """Return the rows by their numbers; raises ValueError unless these are 0, 1, 2, ..."""
    ordered = sorted(rows, key=lambda row: row.index)
    if [row.index for row in ordered] != list(range(len(ordered))):
        raise ValueError("the rows are not numbered from 0")
    return tuple(tuple(row.embedding) for row in ordered)
