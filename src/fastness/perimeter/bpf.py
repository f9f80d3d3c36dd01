"""Filters of system calls, assembled: the four instructions that ours are made of.

A filter sees the call's number, the machine's architecture and the arguments as numbers, never what a pointer points
to; so everything is decided on numbers.
"""

from __future__ import annotations

import struct

# <linux/bpf_common.h>, <linux/seccomp.h>
LOAD_WORD, AND, JUMP_IF_EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF_0000, 0x0005_0000
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16
_ALL = 0xFFFF_FFFF


class Test:
    """One condition: the word at `at`, masked, is one of `values`."""

    __slots__ = ("at", "mask", "values")

    def __init__(self, at: int, values: tuple[int, ...], mask: int = _ALL) -> None:
        self.at = at
        self.values = values
        self.mask = mask


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Assemble one instruction; the jumps count instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def body(error: int, tests: tuple[Test, ...]) -> list[bytes]:
    """Assemble `tests`, all of which must hold for the call to be allowed; otherwise it is answered with `error`."""
    lines = [instruction(RETURN, ALLOW), instruction(RETURN, ERRNO | error)]
    for test in reversed(tests):
        skip = len(lines) - 1  # to the refusal, which stays last
        jumps = [
            instruction(JUMP_IF_EQUAL, value, left, 0 if left else skip)
            for left, value in zip(range(len(test.values) - 1, -1, -1), test.values, strict=True)
        ]
        lines = [instruction(LOAD_WORD, test.at), instruction(AND, test.mask), *jumps, *lines]
    return lines


def low(argument: int) -> int:
    """Say where the lower half of an argument is."""
    return ARGUMENTS_AT + 8 * argument


def high(argument: int) -> int:
    """Say where the upper half of an argument is."""
    return ARGUMENTS_AT + 8 * argument + 4
