"""The other nodes, as the head's supervisor has them: it opens their letters, answers each, and says what is routed.

Whoever carries the letters is not trusted: name and place are those of the certificate, and orders go only along ways
by which a node has written. It is the head's word here that renews the lease of a node; see fleet/lease.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Final

from fastness.control.ganging import doors_for, gangs_of
from fastness.control.handing_on import ModelHost, ModelsKnown, NoModels, missing_models, records_of
from fastness.control.letters import REPORT_PERIOD_S, Word, read_report, write
from fastness.control.post import ForAnotherRun, Post
from fastness.control.run_files import ORDERS_OF_OTHERS, REPORTS_OF_OTHERS
from fastness.core.ids import is_name
from fastness.core.marking import Node
from fastness.core.observation import NodeOrders, NodeReport
from fastness.core.replica import Replica, ReplicaState
from fastness.fleet.door.orders import ORDERS as DOOR_ORDERS
from fastness.fleet.door.orders import DoorOrders, HostDoor, remote_socket
from fastness.fleet.letter_files import LETTERS_IN, LETTERS_OUT, fetch, host_of, put
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.claims import HostClaims
from fastness.identity.cluster.counters import HeardBefore
from fastness.store.snapshot_file import SnapshotReader, write_snapshot

WAYS_MAX: Final = 65_536
"""Ways by which letters come. More are not looked at."""
PACE_EACH_S: Final = 0.001
"""Each node beyond five hundred makes all of them report so much less often: a core of the head is not for letters."""
SUSPECT_PART: Final = 0.5
"""After this part of a lease without a word, gateways send nothing new to a node."""

_WHAT_MATTERS: Final = attrgetter(*(one.name for one in fields(Replica) if one.name not in ("memory_bytes", "pid")))


@dataclass(slots=True)
class _Neighbour:
    """One node: the way it wrote by last, what it said then, when that was, and what control wants of it.

    `ray_way` is Ray's to it while it writes by its door: it is answered by both, and so hears when Ray is back.
    At `look_s` gateways have to hear something else of it, if it stays silent.
    """

    way: str
    report: NodeReport
    heard_s: float
    place: Node
    door: str
    orders_file: SnapshotReader[NodeOrders]
    orders: NodeOrders | None = None
    routed: tuple[Replica, ...] = ()
    look_s: float = float("inf")
    ray_way: str = ""
    shown: dict[str, tuple[object, Replica]] = field(default_factory=dict)
    """What gateways were told of each replica, and from what that was made: most reports say the same as the last."""

    def wrote(self, way: str, report: NodeReport, now_s: float) -> None:
        """Take note of what it said last, and by which way."""
        self.ray_way = (self.ray_way if host_of(self.way) else self.way) if host_of(way) else ""
        self.way, self.report, self.heard_s = way, report, now_s


class Neighbours:
    """`place` says what a certificate's claims mean under the policy in force; raises ValueError where nothing.

    `door_port` is that of every host's door. `revoked` returns the list of revoked certificates. `now` goes forward
    only, in seconds. `tell` is told of each letter that is refused: by which way it came, and why. `models` are
    those of this host.
    """

    def __init__(
        self,
        run_directory: Path,
        post: Post,
        place: Callable[[HostClaims], Node],
        door_port: int,
        revoked: Callable[[], str],
        now: Callable[[], float],
        lease_s: float,
        tell: Callable[[str, str], None],
        models: ModelsKnown | None = None,
    ) -> None:
        self._in, self._out = str(run_directory / LETTERS_IN), str(run_directory / LETTERS_OUT)
        self._run, self._post, self._place, self._revoked = run_directory, post, place, revoked
        self._now, self._lease_s, self._tell = now, lease_s, tell
        self._models = models or NoModels()
        self._door_port, self._door = door_port, DoorOrders(0)
        self._withheld: frozenset[str] = frozenset()
        self._own, self._here = NodeOrders("", 0), self._models.here()
        self._ways: dict[str, tuple[int, int, int]] = {}
        self._hosts: tuple[ModelHost, ...] | None = None
        self._ordered_ns = 0
        self._brought: frozenset[str] = frozenset()
        """The nodes that a run of before heard: Ray has brought each of them once, as it has to."""
        self._known_doors: dict[str, HostDoor] | None = None
        """All doors, until one of them changes: they are looked up for each word that is written."""
        self._nodes: dict[str, _Neighbour] = {}

    def begin(self) -> None:
        """Make the directories, and forget what a run before left in them but whom it heard. Raises OSError."""
        self._brought = frozenset(one.stem for one in (self._run / REPORTS_OF_OTHERS).glob("*.json"))
        (self._run / DOOR_ORDERS).unlink(missing_ok=True)
        for name in (LETTERS_IN, LETTERS_OUT, ORDERS_OF_OTHERS, REPORTS_OF_OTHERS):
            folder = self._run / name
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in folder.iterdir():
                left.unlink(missing_ok=True)

    def look(self, own: NodeOrders | None = None) -> bool:
        """Open what has come, pass on what control wants, answer; tell whether gateways have to hear of anything.

        `own` are the orders of this node.
        """
        if own is not None:
            self._own, self._known_doors = own, None
        heard = {name for name in map(self._hear, self._letters()) if name is not None}
        changed, now = False, self._now()
        self._hosts, ordered = None, self._something_ordered()
        for name, one in self._nodes.items():
            told = one.orders_file.poll() if ordered or name in heard else None
            if told is not None and told.node == name:
                one.orders = told
            fresh = told is not None or name in heard
            if fresh:
                self._answer(name, one)
            if fresh or now >= one.look_s:
                changed = self._route(one, now - one.heard_s) or changed
        self._connect()
        return changed

    def _something_ordered(self) -> bool:
        """Tell whether any orders were replaced; those of a node are read with each of its reports, too."""
        stamp_ns = os.stat(self._run / ORDERS_OF_OTHERS).st_mtime_ns  # noqa: PTH116 - twenty times a second
        before, self._ordered_ns = self._ordered_ns, stamp_ns
        return stamp_ns != before

    def _route(self, one: _Neighbour, silent_s: float) -> bool:
        """Say anew what gateways are told of a node; tell whether that is something else than before."""
        before, suspect_s = (one.place, one.routed), self._lease_s * SUSPECT_PART
        one.place, one.routed = one.report.node.place, () if silent_s >= self._lease_s else _routed(one)
        if silent_s >= suspect_s:
            one.routed = tuple(replace(each, state=ReplicaState.DRAINING) for each in one.routed)
        due_s = (suspect_s if silent_s < suspect_s else self._lease_s) if one.routed else float("inf")
        one.look_s = one.heard_s + due_s
        return before != (one.place, one.routed)

    def withhold(self, names: frozenset[str]) -> None:
        """Order nobody to run these models, or any with these adapters, whatever control says: they were revoked."""
        self._withheld = names

    def places(self) -> tuple[Node, ...]:
        """Return where the nodes stand, by their certificates."""
        return tuple(one.place for one in self._nodes.values())

    def replicas(self) -> tuple[Replica, ...]:
        """Return the replicas that control wants where they are, of nodes that were heard of within a lease."""
        return tuple(replica for one in self._nodes.values() for replica in one.routed)

    def _connect(self) -> None:
        """Tell the door of this host to which others our gateways may be connected, and of the gangs here."""
        places = tuple(one.door for one in self._nodes.values())
        gangs = gangs_of(self._permitted(self._own), self._doors().values())
        if (places, gangs) != (self._door.places, self._door.gangs):
            self._door = DoorOrders(self._door.version + 1, places=places, gangs=gangs)
            write_snapshot(self._run / DOOR_ORDERS, self._door, durable=False)

    def _doors(self) -> dict[str, HostDoor]:
        """The doors of all nodes, this one's too, by node."""
        if self._known_doors is None:
            here, own = self._here, self._own.node
            found = {name: HostDoor(name, one.place.name, one.door) for name, one in self._nodes.items()}
            self._known_doors = found | ({own: HostDoor(own, here.name, here.place)} if own and here.place else {})
        return self._known_doors

    def _letters(self) -> list[tuple[str, bytes]]:
        """The letters that were brought since the last time, each with its way."""
        there = dict[str, tuple[int, int, int]]()
        with os.scandir(self._in) as entries:
            for entry in entries:
                if len(there) < WAYS_MAX and not entry.name.startswith("."):
                    with suppress(OSError):  # gone since
                        state = entry.stat()
                        there[entry.name] = (state.st_mtime_ns, state.st_ino, state.st_size)
        for gone in self._ways.keys() - there.keys():
            (self._run / LETTERS_OUT / gone).unlink(missing_ok=True)
        new = [way for way in sorted(there) if there[way] != self._ways.get(way)]
        self._ways = there
        return [(way, letter) for way in new if (letter := fetch(f"{self._in}/{way}"))]

    def _hear(self, came: tuple[str, bytes]) -> str | None:
        """Take in one letter; return whose it was."""
        way, letter = came
        by_door = host_of(way)
        if by_door is not None and by_door not in self._nodes and by_door not in self._brought:
            self._tell(way, f"{by_door} writes by its door, and nothing of it ever came by Ray: that has to be first.")
            return None  # and not opened, so that the same letter by Ray is the first of it
        try:
            opened = self._post.open(letter)
            report = self._vouched(read_report(opened.body), opened.claims, "ray" if by_door is None else "door")
        except HeardBefore as error:
            self._came_again(way, error)
            return None
        except ForAnotherRun as error:
            self._send(error.writer, (way,), Word(0))
            return None
        except (NotTrusted, ValueError) as error:
            self._tell(way, str(error))
            return None
        name = report.node.name
        one = self._nodes.get(name)
        if one is None:
            path = self._run / ORDERS_OF_OTHERS / f"{name}.json"
            one = self._nodes[name] = _Neighbour(
                way, report, 0.0, report.node.place, "", SnapshotReader(path, NodeOrders)
            )
        one.wrote(way, report, self._now())
        door = place_of(opened.claims.addresses[0], self._door_port)
        if one.door != door:
            one.door, self._known_doors = door, None
        write_snapshot(self._run / REPORTS_OF_OTHERS / f"{name}.json", one.report, durable=False)
        return name

    def _came_again(self, way: str, letter: HeardBefore) -> None:
        """One that is no news: it came by the other way, too, as while Ray is slow, or somebody kept it."""
        one = self._nodes.get(letter.sender)
        if one is not None and letter.is_copy:
            if host_of(one.way) and not host_of(way):
                one.ray_way = way
        elif one is None or not (host_of(way) or way == one.ray_way):
            self._tell(way, str(letter))

    def _vouched(self, report: NodeReport, claims: HostClaims, way: str) -> NodeReport:
        """The report with everything that the authority says of its node in the place of what the node says.

        It is made anew for each report of each node, so nothing is copied that is as it has to be.
        """
        place = self._place(claims)
        if not is_name(place.name):
            raise ValueError(f"{place.name[:80]!r} is no name of a node")
        domain = claims.domain or report.node.domain
        node = replace(report.node, place=place, pool=claims.pool, domain=domain, labels=claims.labels)
        replicas = report.replicas
        if any(one.node != place.name for one in replicas):
            replicas = tuple(replace(one, node=place.name) for one in replicas)
        return replace(report, node=node, replicas=replicas, way=way)

    def _answer(self, name: str, one: _Neighbour) -> None:
        ways = (one.way, one.ray_way) if one.ray_way in self._ways else (one.way,)
        self._send(name, ways, self._word(one))

    def _send(self, name: str, ways: tuple[str, ...], word: Word) -> None:
        try:
            letter = self._post.seal(name, write(word))
            for way in ways:
                put(self._out, way, letter)
        except (ValueError, OSError) as error:
            self._tell(ways[0], str(error))

    def _word(self, one: _Neighbour) -> Word:
        orders = self._permitted(one.orders) if one.orders else None
        if self._hosts is None:
            self._hosts = tuple(
                ModelHost(each.place.name, each.door, each.report.node.domain, each.report.node.digests)
                for each in self._nodes.values()
                if self._is_heard(each)
            )
        missing = missing_models(one.report.node, orders, self._hosts, self._models)
        pace_s = max(REPORT_PERIOD_S, len(self._nodes) * PACE_EACH_S)
        records, doors = records_of(orders, self._models), doors_for(orders, self._doors())
        return Word(one.report.at_ms, orders, self._revoked(), missing, records, pace_s, doors)

    def _is_heard(self, one: _Neighbour) -> bool:
        return self._now() - one.heard_s < self._lease_s

    def _permitted(self, orders: NodeOrders) -> NodeOrders:
        if not self._withheld:
            return orders
        kept = tuple(one for one in orders.assignments if one.spec.model not in self._withheld)
        return replace(orders, assignments=kept).without_adapters(self._withheld)


def _routed(one: _Neighbour) -> tuple[Replica, ...]:
    """The replicas of a report that are ordered, under the terms that they were ordered under; those that drain do.

    What changes all the time, and matters to no gateway, is left out.
    """
    ordered = {each.replica: each for each in one.orders.assignments} if one.orders else {}
    before, one.shown = one.shown, {}
    for replica in one.report.replicas:
        order = ordered.get(replica.id)
        if order is not None and order.term == replica.term and not order.follows:
            state = replica.state if order.routed else ReplicaState.DRAINING
            source = (_WHAT_MATTERS(replica), state, one.door, one.place.name)
            known = before.get(replica.id)
            if known is None or known[0] != source:
                socket = remote_socket(one.door, replica.id, one.place.name)
                known = source, replace(replica, state=state, socket=socket, memory_bytes=None, pid=None)
            one.shown[replica.id] = known
    return tuple(made for _, made in one.shown.values())


def place_of(address: str, port: int) -> str:
    """Return where a door is, as `address:port`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
