"""The seal: an ordered list of layers, set all or none by a process upon itself."""

from __future__ import annotations

import errno
from collections.abc import Callable

from fastness.perimeter.bounds import Bounds
from fastness.perimeter.gang import gang_remedy, join_gang
from fastness.perimeter.household import begin_household, hold_on
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.landlock import files_remedy, restrict_files
from fastness.perimeter.limits import set_limits, set_open_limits
from fastness.perimeter.namespaces import enter_namespaces, namespaces_remedy
from fastness.perimeter.process import (
    close_descriptors,
    drop_capabilities,
    hold_lifeline,
    own_session,
    refuse_privileges,
)
from fastness.perimeter.seccomp import restrict_system_calls, system_calls_remedy
from fastness.perimeter.view import enter_view, view_remedy

EXIT_STATUS = 113
"""What a process exits with that could not seal itself."""


class Layer:
    """One layer: how it is set, and what to do where the kernel refuses it with an errno."""

    __slots__ = ("enter", "name", "remedy")

    def __init__(self, name: str, enter: Callable[[Bounds, Kernel], None], remedy: Callable[[int], str] | str) -> None:
        self.name = name
        self.enter = enter
        self.remedy = remedy

    def advice(self, error: int) -> str:
        """Say what to install or enable."""
        return self.remedy if isinstance(self.remedy, str) else self.remedy(error)


class NotSealed(Exception):  # noqa: N818 - a state of the machine
    """A layer could not be set, so nothing may be executed. The message is one line for a person."""


LIFELINE = Layer(
    "lifeline", hold_lifeline, "start it from the process that asked for its command line, which must stay alive"
)
LAYERS = (
    Layer("session", own_session, "a container runtime or security module must permit setsid"),
    Layer("descriptors", close_descriptors, "mount /proc; pass no network socket, and no file to write"),
    Layer("namespaces", enter_namespaces, namespaces_remedy),
    Layer("limits", set_limits, "raise the limits of this process, or lower those asked for"),
    Layer("capabilities", drop_capabilities, "a container that runs as root needs CAP_SETPCAP, to drop all of them"),
    Layer("privileges", refuse_privileges, "Linux 3.5 or later is needed"),
    Layer("files", restrict_files, files_remedy),
    LIFELINE,
    Layer("system calls", restrict_system_calls, system_calls_remedy),
)
"""Those of one process. Each relies on those before it: limits count in our namespace, files are opened without
capabilities, and the last layer takes away the calls that set the others."""

FAMILY_LAYERS = (
    *LAYERS[:3],
    Layer("household", begin_household, "start it from the process that asked for its command line, which must live"),
    Layer("view", enter_view, view_remedy),
    *LAYERS[3:7],
    Layer("lifeline", hold_on, "Linux 3.5 or later is needed"),
    LAYERS[8],
)
"""Those of a program that has processes: they end together, and have a root of their own."""

GANG_LAYERS = (*LAYERS[:3], Layer("gang", join_gang, gang_remedy), *FAMILY_LAYERS[3:])
"""Those of a member of a gang: in its empty network it gets one interface, before the family begins."""

UNSEALED_LAYERS = (
    Layer("limits", set_open_limits, "raise the limits of this process, or lower those asked for"),
    LIFELINE,
)
"""What is left when an operator allowed a start without a seal."""


def layers_of(bounds: Bounds) -> tuple[Layer, ...]:
    """Return the layers that `bounds` ask for."""
    if bounds.unsealed:
        return UNSEALED_LAYERS
    if bounds.gang:
        return GANG_LAYERS
    return FAMILY_LAYERS if bounds.family else LAYERS


def seal(layers: tuple[Layer, ...], bounds: Bounds, kernel: Kernel) -> None:
    """Seal the calling process for good; raises NotSealed when any layer cannot be set: then execute nothing."""
    for layer in layers:
        try:
            layer.enter(bounds, kernel)
        except OSError as error:
            number = error.errno or 0
            raise NotSealed(f"layer `{layer.name}`: {_reason(error, number)}; {layer.advice(number)}") from error


def _reason(error: OSError, number: int) -> str:
    place = f" ({error.filename})" if error.filename else ""
    return f"{errno.errorcode.get(number, number)}: {error.strerror}{place}"
