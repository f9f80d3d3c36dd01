"""The only file that imports Ray. Token and certificates are in the environment of its process: see command.py."""

from __future__ import annotations

import logging
from typing import Any, Final, NoReturn

import ray

from fastness.fleet.ray.courier import Courier

NAMESPACE: Final = "fastness"
WAIT_MIN_S: Final = 0.01


class RayUnusable(Exception):  # noqa: N818 - a state of the world
    """Ray cannot be used now, or is not as this version of Fastness knows it. The message says why."""


class RayCluster:
    """Each Ray node but this one, with a courier pinned to it. See Cluster."""

    def __init__(self, gcs: str, address: str) -> None:
        """Connect; raises RayUnusable. Couriers of this process end with it."""
        try:
            ray.init(
                address=gcs,
                namespace=NAMESPACE,
                log_to_driver=False,
                configure_logging=False,
                _node_ip_address=address,
            )
        except Exception as error:
            raise RayUnusable(f"Ray at {gcs} takes nobody: {error}") from error
        _unpickle_nothing()
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # it would log the whole stack of each courier that dies
        self._here = ray.get_runtime_context().get_node_id()
        self._courier = ray.remote(Courier)
        self._couriers: dict[str, Any] = {}
        self._under_way: dict[Any, str] = {}

    def ways(self) -> list[str]:
        """See Cluster. Raises RayUnusable."""
        try:
            nodes = ray.nodes()
        except Exception as error:
            raise RayUnusable(f"Ray does not say which nodes there are: {error}") from error
        found = [one["NodeID"] for one in nodes if one["Alive"] and one["NodeID"] != self._here]
        for gone in self._couriers.keys() - set(found):
            del self._couriers[gone]
        self._under_way = {ref: way for ref, way in self._under_way.items() if way in found}
        return found

    def begin(self, way: str, letter: bytes) -> None:
        """See Cluster."""
        if way in self._under_way.values():
            return
        courier = self._couriers.get(way)
        if courier is None:
            pinned = self._courier.options(num_cpus=0, max_restarts=0, label_selector={"ray.io/node-id": way})
            courier = self._couriers[way] = pinned.remote()
        self._under_way[courier.exchange.remote(letter)] = way

    def ended(self, limit_s: float) -> list[tuple[str, bytes]]:
        """See Cluster. A courier that failed is made anew with the next exchange."""
        if not self._under_way:
            return []
        refs = list(self._under_way)
        done, _ = ray.wait(refs, num_returns=1, timeout=max(limit_s, WAIT_MIN_S))
        if done:
            done, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        came = []
        for ref in done:
            way = self._under_way.pop(ref)
            try:
                letter = ray.get(ref, timeout=1.0)
            except Exception:  # noqa: BLE001 - whatever it died of, there is another
                self._couriers.pop(way, None)
            else:
                came.append((way, letter if isinstance(letter, bytes) else b""))
        return came


def _unpickle_nothing() -> None:
    """Take bytes from others, and nothing that has to be unpickled: that would run what they like in this process."""
    context = ray._private.worker.global_worker.get_serialization_context()
    if not hasattr(context, "_deserialize_msgpack_data"):
        raise RayUnusable(f"Ray {ray.__version__} unpickles in a way that this version of Fastness does not know.")
    context._deserialize_msgpack_data = _refuse


def _refuse(*_: object) -> NoReturn:
    raise RayUnusable("a courier returns bytes, and something else came")


def version() -> str:
    """Return the version of Ray."""
    return str(ray.__version__)
