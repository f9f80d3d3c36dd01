"""What the launcher is told on its command line: a confinement in JSON, with plain strings and numbers.

Standard library only, and little of it: every engine's start waits for this to be imported.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastness.perimeter.port import Confinement


class Bounds:
    """A confinement as the launcher reads it: paths are text, and the numbers become rlimits.

    `program` is what will be executed; `parent_pid` is the process whose death must be this one's. `gang` is the path
    of the door's socket, a replica, and an interface with its address and size, or nothing; the layer that joins a
    gang leaves the descriptor of its connection as `attachment`.
    """

    __slots__ = (
        "attachment",
        "descriptors",
        "devices",
        "family",
        "gang",
        "links",
        "memory_bytes_max",
        "open_files_max",
        "parent_pid",
        "processes_max",
        "program",
        "readable",
        "unsealed",
        "writable",
    )

    def __init__(
        self,
        *,
        program: str,
        readable: tuple[str, ...],
        writable: tuple[str, ...],
        memory_bytes_max: int,
        open_files_max: int,
        processes_max: int,
        unsealed: bool,
        parent_pid: int,
        descriptors: tuple[int, ...] = (),
        devices: tuple[str, ...] = (),
        links: tuple[tuple[str, str], ...] = (),
        family: bool = False,
        gang: tuple[str, ...] = (),
    ) -> None:
        self.program = program
        self.readable = readable
        self.writable = writable
        self.memory_bytes_max = memory_bytes_max
        self.open_files_max = open_files_max
        self.processes_max = processes_max
        self.unsealed = unsealed
        self.parent_pid = parent_pid
        self.descriptors = descriptors
        self.devices = devices
        self.links = links
        self.family = family
        self.gang = gang
        self.attachment: int | None = None


_WRITTEN = frozenset(Bounds.__slots__) - {"program", "attachment"}
_PATHS = ("readable", "writable", "devices")
_NUMBERS = ("memory_bytes_max", "open_files_max", "processes_max", "parent_pid")


def write_bounds(confinement: Confinement, parent_pid: int) -> str:
    """Write `confinement` as the JSON that `read_bounds` reads."""
    return json.dumps(
        {
            "readable": [str(path) for path in confinement.readable],
            "writable": [str(path) for path in confinement.writable],
            "memory_bytes_max": confinement.memory_bytes_max,
            "open_files_max": confinement.open_files_max,
            "processes_max": confinement.processes_max,
            "unsealed": confinement.unsealed,
            "descriptors": list(confinement.descriptors),
            "devices": [str(path) for path in confinement.devices],
            "links": [[str(path), str(target)] for path, target in confinement.links],
            "family": confinement.profile == "family",
            "gang": _written_gang(confinement),
            "parent_pid": parent_pid,
        },
        separators=(",", ":"),
    )


def _written_gang(confinement: Confinement) -> list[str]:
    gang = confinement.gang
    return [str(gang.door), gang.replica, gang.interface, gang.address, str(gang.mtu_bytes)] if gang else []


def read_bounds(text: str, program: str) -> Bounds:
    """Read the confinement of `program`; raises ValueError naming what is absent, unknown or of the wrong shape."""
    tree = json.loads(text)
    if not isinstance(tree, dict) or set(tree) != _WRITTEN:
        came = ", ".join(sorted(tree)) if isinstance(tree, dict) else type(tree).__name__
        raise ValueError(f"a confinement has exactly {', '.join(sorted(_WRITTEN))}; came {came}")
    for name in _PATHS:
        came = tree[name]
        if not isinstance(came, list) or not all(isinstance(path, str) and path.startswith("/") for path in came):
            raise ValueError(f"{name} is a list of absolute paths; came {came!r}")
    for name in _NUMBERS:
        if type(tree[name]) is not int or tree[name] <= 0:
            raise ValueError(f"{name} is a positive whole number; came {tree[name]!r}")
    for name in ("unsealed", "family"):
        if type(tree[name]) is not bool:
            raise ValueError(f"{name} is true or false; came {tree[name]!r}")
    kept = tree["descriptors"]
    if not isinstance(kept, list) or not all(type(number) is int and number > 2 for number in kept):
        raise ValueError(f"descriptors is a list of numbers above 2; came {kept!r}")
    links = tree["links"]
    if not isinstance(links, list) or not all(_is_link(one) for one in links):
        raise ValueError(f"links is a list of pairs of absolute paths; came {links!r}")
    _check_gang(tree)
    lists = {name: tuple(tree[name]) for name in (*_PATHS, "descriptors", "gang")}
    pairs = tuple((path, target) for path, target in links)
    return Bounds(**{**tree, **lists, "links": pairs, "program": program})


def _check_gang(tree: dict[str, object]) -> None:
    gang = tree["gang"]
    if not isinstance(gang, list) or len(gang) not in (0, 5) or not all(isinstance(one, str) for one in gang):
        raise ValueError(f"gang is nothing, or five texts; came {gang!r}")
    if gang and (tree["unsealed"] or not tree["family"]):
        raise ValueError("a gang's members are sealed families, since their network is one of the seal's layers")


def _is_link(one: object) -> bool:
    return isinstance(one, list) and len(one) == 2 and all(isinstance(end, str) and end.startswith("/") for end in one)
