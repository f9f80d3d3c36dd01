"""fdatasync without a thread: the kernel does it meanwhile and says so on a descriptor (Linux AIO, `IOCB_CMD_FDSYNC`).

Why: a thread that waits for the disk must then wait for the interpreter, and is woken in vain each time the event loop
lets go of it for a moment. At 16 connections that was a fifth of all that a request cost. The standard library has no
call for this, so it is made by number; where the kernel or a filter refuses, `open_kernel_sync` returns None and the
writer thread does the work.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

# Numbers of io_setup, io_destroy, io_submit, io_getevents, by machine; see <asm/unistd.h>.
_CALLS: Final = {"x86_64": (206, 207, 209, 208), "aarch64": (0, 1, 2, 4)}
_FDSYNC: Final = 3
_TELL_DESCRIPTOR: Final = 1
_REQUEST: Final = struct.Struct("<QIIHhIQQqQII")
"""struct iocb of <linux/aio_abi.h>: data, key, rw_flags, opcode, priority, descriptor, buf, nbytes, offset, -, flags,
descriptor to tell."""
_EVENT: Final = struct.Struct("<QQqq")
"""struct io_event: data, request, result, -."""


class KernelSync:
    """One sync at a time: `begin` it, wait until `descriptor` can be read, then ask for its `outcome`."""

    def __init__(self) -> None:
        """Raises OSError where the kernel has no such calls for us."""
        numbers = _CALLS[os.uname().machine]
        setup, self._destroy, self._submit, self._events = map(ctypes.c_long, numbers)
        self._none, self._one = ctypes.c_long(0), ctypes.c_long(1)
        # PyDLL keeps the interpreter's lock: none of these calls waits, and giving the lock away is what costs.
        self._call = ctypes.PyDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        self._context = ctypes.c_ulong(0)
        self._seen = ctypes.create_string_buffer(_EVENT.size)
        self._request = ctypes.create_string_buffer(_REQUEST.size)
        self._requests = (ctypes.c_void_p * 1)(ctypes.addressof(self._request))
        self._do(setup, self._one, ctypes.byref(self._context))
        self.descriptor: Final = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def begin(self, file: int) -> None:
        """Have what was written to `file` made durable; raises OSError when it cannot even be begun."""
        fields = (0, 0, 0, _FDSYNC, 0, file, 0, 0, 0, 0, _TELL_DESCRIPTOR, self.descriptor)
        _REQUEST.pack_into(self._request, 0, *fields)
        self._do(self._submit, self._context, self._one, self._requests)

    def outcome(self, *, wait: bool = False) -> int | None:
        """Return 0, or the errno of the failure; None when it is not over yet (never, if it may `wait`)."""
        if not wait:
            try:
                os.eventfd_read(self.descriptor)
            except BlockingIOError:
                return None
        least = self._one if wait else self._none
        if not self._do(self._events, self._context, least, self._one, self._seen, None):
            return None
        return -int(_EVENT.unpack(self._seen)[2])

    def close(self) -> None:
        """Give it back; waits for a sync that is under way."""
        self._call(self._destroy, self._context)
        os.close(self.descriptor)

    def _do(self, *call: object) -> int:
        """Make a call, again when a signal came in between; raises OSError."""
        while (result := int(self._call(*call))) < 0:
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))
        return result


def open_kernel_sync(directory: int) -> KernelSync | None:
    """Return one that has been seen to work on `directory` (an open descriptor), or None."""
    try:
        found = KernelSync()
    except (OSError, KeyError, AttributeError):
        return None
    try:
        found.begin(directory)
        works = found.outcome(wait=True) == 0
        os.eventfd_read(found.descriptor)
    except OSError:
        works = False
    if not works:
        found.close()
        return None
    return found
