"""Judges what clients say happened to their writes: PromiseKept."""

from __future__ import annotations

from bisect import bisect_right

from trace_check.nodes import Cluster
from trace_check.read import Source
from trace_check.schema import Event
from trace_check.verdict import Refused


class Indexes:
    """A set of integers kept as intervals, since those who fill it leave few holes."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []

    def add(self, index: int) -> bool:
        """Whether it was new."""
        first, last = self._first, self._last
        at = bisect_right(first, index) - 1
        if at >= 0 and index <= last[at]:
            return False
        joins_left = at >= 0 and last[at] == index - 1
        joins_right = at + 1 < len(first) and first[at + 1] == index + 1
        if joins_left and joins_right:
            last[at] = last.pop(at + 1)
            del first[at + 1]
        elif joins_left:
            last[at] = index
        elif joins_right:
            first[at + 1] = index
        else:
            first.insert(at + 1, index)
            last.insert(at + 1, index)
        return True


class Clients:
    """Holds every client's operations against what the nodes promised."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._open: dict[int, set[str]] = {}
        self._places = Indexes()
        self.acknowledged = 0
        self.lost = 0
        self.unknown = 0
        self.failed = 0

    def invoke(self, source: Source, event: Event) -> None:
        """A write begins."""
        pending = self._open.setdefault(source.number, set())
        if event["op"] in pending:
            raise Refused("PromiseKept", "an operation name of its own for each write", f"{event['op']!r} once more")
        pending.add(event["op"])

    def ok(self, source: Source, event: Event) -> None:
        """A write was acknowledged: it must be where it was said to be, for good."""
        cluster = self._cluster
        tree = cluster.tree
        self._answered(source, event)
        index, term = event["index"], event["entry_term"]
        ack = cluster.cited("PromiseKept", source, event["ack"], "Ack", term)
        if not ack["first"] <= index <= ack["last"]:
            covers = f"an Ack that covers index {index}"
            raise Refused("PromiseKept", covers, f"one from {ack['first']} to {ack['last']}")
        if not tree.exists(index, term) or not tree.is_prefix(index, term, tree.committed, tree.committed_term):
            self.lost += 1
            raise Refused(
                "PromiseKept",
                f"entry {index} of term {term} in the committed log, which ends at {tree.committed}",
                "another entry there, or none: an acknowledged write was lost",
            )
        if not self._places.add(index):
            self.lost += 1
            both = "two that were acknowledged there: one of them was lost"
            raise Refused("PromiseKept", f"one write at index {index}", both)
        self.acknowledged += 1

    def fail(self, source: Source, event: Event) -> None:
        """A write was refused."""
        self._answered(source, event)
        self.failed += 1

    def unclear(self, source: Source, event: Event) -> None:
        """Nobody knows what became of a write."""
        self._answered(source, event)
        self.unknown += 1

    def finished(self, source: Source) -> None:
        """A client's file has no more lines; what it did not hear of is unknown."""
        self.unknown += len(self._open.pop(source.number, ()))

    def _answered(self, source: Source, event: Event) -> None:
        pending = self._open.get(source.number)
        if pending is None or event["op"] not in pending:
            raise Refused("PromiseKept", "an answer to an operation that is under way", f"one to {event['op']!r}")
        pending.remove(event["op"])
