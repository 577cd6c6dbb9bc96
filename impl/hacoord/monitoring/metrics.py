"""Numbers for Prometheus: counters, gauges and histograms, and the text they are scraped as.

The text is Prometheus' exposition format, version 0.0.4. Labels are given in the order in which they were declared.
Not for several threads: the node's loop counts, and the node's loop renders.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
"""The values of a metric's labels."""

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of a histogram's buckets: from what a sync on a fast disk takes to what nobody should have to wait."""


@dataclass(frozen=True, slots=True)
class Described:
    """What all metrics have: a name, what it counts and in which unit, and the names of its labels."""

    name: str
    help: str
    kind: str
    labels: tuple[str, ...]


@dataclass(slots=True)
class Counter:
    """A number that only grows, from 0."""

    described: Described
    value: float = 0

    def add(self, by: float = 1) -> None:
        """Count `by` more."""
        self.value += by

    def lines(self) -> Iterator[str]:
        """Its one sample."""
        yield _sample(self.described.name, (), self.value)


@dataclass(slots=True)
class Reading:
    """A number that is looked up when somebody asks."""

    described: Described
    read: Callable[[], Mapping[Labels, float]]

    def lines(self) -> Iterator[str]:
        """Its samples."""
        for labels, value in self.read().items():
            yield _sample(self.described.name, zip(self.described.labels, labels, strict=True), value)


@dataclass(slots=True)
class Histogram:
    """How often something took how long, in seconds."""

    described: Described
    counts: dict[Labels, list[int]] = field(default_factory=dict)
    sums: dict[Labels, float] = field(default_factory=dict)

    def observe(self, value: float, *labels: str, times: int = 1) -> None:
        """It took `value`, and `times` times so."""
        counts = self.counts.setdefault(labels, [0] * (len(SECONDS) + 1))
        counts[bisect_left(SECONDS, value)] += times
        self.sums[labels] = self.sums.get(labels, 0.0) + value * times

    def lines(self) -> Iterator[str]:
        """Its samples: the buckets, each with all that is below it, the sum and the count."""
        name = self.described.name
        for labels, counts in self.counts.items():
            pairs = list(zip(self.described.labels, labels, strict=True))
            below = 0
            for bound, count in zip((*SECONDS, float("inf")), counts, strict=True):
                below += count
                yield _sample(f"{name}_bucket", [*pairs, ("le", _number(bound))], below)
            yield _sample(f"{name}_sum", pairs, self.sums[labels])
            yield _sample(f"{name}_count", pairs, below)


class Registry:
    """All metrics of a process."""

    def __init__(self) -> None:
        self.metrics: dict[str, Counter | Reading | Histogram] = {}

    def counter(self, name: str, text: str) -> Counter:
        """A counter."""
        counter = Counter(Described(name, text, "counter", ()))
        self.metrics[name] = counter
        return counter

    def histogram(self, name: str, text: str, *labels: str) -> Histogram:
        """A histogram of seconds. Without labels it is there from the beginning."""
        histogram = Histogram(Described(name, text, "histogram", labels))
        if not labels:
            histogram.counts[()], histogram.sums[()] = [0] * (len(SECONDS) + 1), 0.0
        self.metrics[name] = histogram
        return histogram

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A number that goes up and down, looked up by `read`."""
        self.metrics[name] = Reading(Described(name, text, "gauge", ()), lambda: {(): read()})

    def totals(self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Mapping[Labels, float]]) -> None:
        """A counter that somebody else keeps, looked up by `read`."""
        self.metrics[name] = Reading(Described(name, text, "counter", labels), read)

    def gauges(self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Mapping[Labels, float]]) -> None:
        """A gauge with labels: `read` says which there are now."""
        self.metrics[name] = Reading(Described(name, text, "gauge", labels), read)

    def render(self) -> str:
        """All of them, as Prometheus reads them."""
        lines: list[str] = []
        for name, metric in self.metrics.items():
            text = metric.described.help.replace("\\", r"\\").replace("\n", r"\n")
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {metric.described.kind}", *metric.lines()]
        return "\n".join(lines) + "\n"


def _sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))  # True is 1
    special = {float("inf"): "+Inf", float("-inf"): "-Inf"}
    return special.get(value, "NaN" if value != value else repr(value))
