"""Counters and histograms that cost next to nothing to count with, shown to Prometheus when it scrapes.

prometheus_client's own are made for any number of threads: each count takes a lock. A gateway counts on one thread, ten
times a request.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """One number that only grows."""

    __slots__ = ("created_s", "value")

    def __init__(self) -> None:
        self.value = 0
        self.created_s = time.time()

    def inc(self, amount: int = 1) -> None:
        """Count one, or `amount`."""
        self.value += amount


class Counter(Collector):
    """A counter: with labels a `Count` for each set of their values, without any it is one itself."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, labels
        self._children: dict[tuple[str, ...], Count] = {}
        if not labels:
            self.inc = self.labels().inc
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """Return what counts for these values; keep it, and counting is an addition."""
        if (found := self._children.get(values)) is None:
            found = self._children[values] = Count()
        return found

    def collect(self) -> Iterable[Metric]:
        """Show it to Prometheus."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, child in self._children.items():
            family.add_metric(values, child.value, created=child.created_s)
        yield family


class Tally:
    """How many observations were up to each bound, beyond all of them, and their sum."""

    __slots__ = ("bounds", "counts", "created_s", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.created_s = time.time()

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulated(self) -> list[tuple[str, float]]:
        """Return the upper bounds, as Prometheus writes them, with how many observations were up to each."""
        buckets, count = [], 0
        for bound, here in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count += here
            buckets.append((floatToGoString(bound), float(count)))  # type: ignore[no-untyped-call]
        return buckets


class Histogram(Collector):
    """A histogram: with labels a `Tally` for each set of their values, without any it is one itself."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, labels
        self._bounds = tuple(map(float, buckets))
        self._children: dict[tuple[str, ...], Tally] = {}
        if not labels:
            self.observe = self.labels().observe
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        """Return what counts for these values; keep it, and observing is a search and two additions."""
        if (found := self._children.get(values)) is None:
            found = self._children[values] = Tally(self._bounds)
        return found

    def collect(self) -> Iterable[Metric]:
        """Show it to Prometheus."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, child in self._children.items():
            family.add_metric(values, child.cumulated(), child.total)
            labels = dict(zip(self._labelnames, values, strict=True))
            family.add_sample(f"{self._name}_created", labels, child.created_s)
        yield family
