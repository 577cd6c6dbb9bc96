"""Runs through all files at once in an order that respects happens-before, holding only a chunk of each.

An event is ready when everything its `after` names has been judged, its predecessor in its own file too, and the node's
previous incarnation to its end. A Start is ready when the judge says so (starts.py). Which of the ready events comes
first must not matter to the verdict; `pick` is there for tests to try.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trace_check.nodes import Cluster, rank
from trace_check.read import Source
from trace_check.schema import Event, Reference
from trace_check.starts import Starts, Wait
from trace_check.verdict import Counts, Coverage, Failover

# Events of one file in a row. Files that run side by side find what they cite in chunks still at hand.
TURN = 256
TELL_EVERY = 5_000


class Engine(Protocol):
    """What takes the events: the judge (judge.py) or TLC (audit.py). `end` comes after the last that was ready."""

    cluster: Cluster
    starts: Starts
    node_handlers: dict[str, Callable[[Source, Event], None]]
    client_handlers: dict[str, Callable[[Source, Event], None]]

    def finished(self, source: Source) -> None: ...
    def end(self) -> None: ...
    def missing(self) -> list[str]: ...
    def notes(self) -> list[str]: ...
    def coverage(self) -> tuple[Coverage, ...]: ...
    def counts(self, events: int) -> Counts: ...
    def failovers(self) -> tuple[Failover, ...]: ...


@dataclass(frozen=True, slots=True)
class Blocked:
    """A file that cannot go on: its next event, and the reference or the fact that event waits for."""

    source: Source
    seq: int
    reference: Reference | None
    wait: Wait | None


class Merge:
    """Feeds a judge until the files end, an event is refused, or nothing is ready any more."""

    def __init__(self, sources: Sequence[Source], judge: Engine, pick: Callable[[int], int] | None = None) -> None:
        """`sources` by node and incarnation; `pick(n)` chooses one of n ready files, for one event at a time."""
        self._judge = judge
        self._pick = pick
        self._by_name = judge.cluster.incarnations
        self._sources = sources
        self._ready: deque[Source] = deque()
        self._parked: dict[Source, Wait] = {}
        self.current: Source | None = None
        self.events = 0
        previous: Source | None = None
        for source in sources:
            if previous is not None and previous.node == source.node:
                rank(source, previous)
                previous.next_inc = source
            else:
                rank(source, None)
                self._ready.append(source)
            previous = source

    def run(self, progress: Callable[[int], None]) -> None:
        """Judge everything that is ready; `progress` is told the number of events now and then. Raises Refused."""
        ready, pick = self._ready, self._pick
        tell_at = TELL_EVERY
        while ready or self._unpark():
            if pick is not None:
                ready.rotate(-pick(len(ready)))
            self.current = source = ready.popleft()
            before = source.consumed
            try:
                self._turn(source, TURN if pick is None else 1)
            finally:
                self.events += source.consumed - before
            if self._parked:
                self._unpark()
            if self.events >= tell_at:
                tell_at = self.events + TELL_EVERY
                progress(self.events)

    def stuck(self) -> list[Blocked]:
        """Why the files that have not ended cannot go on; empty when all have."""
        waiting = [s for s in self._sources if s.waiting_for is not None and s not in self._parked and not s.finished]
        found = [Blocked(s, s.consumed + 1, s.waiting_for, None) for s in waiting]
        return found + [Blocked(s, s.consumed + 1, None, wait) for s, wait in self._parked.items()]

    def _turn(self, source: Source, limit: int) -> None:
        """Judge up to `limit` events of one file, until one has to wait."""
        if not source.consumed and not self._may_start(source):
            return
        handlers = self._judge.client_handlers if source.client else self._judge.node_handlers
        by_name, heard, awaited = self._by_name, source.heard, source.awaited
        batch, seq = source.batch, source.consumed
        at = seq + 1 - source.first
        for _ in range(limit):
            if at >= len(batch):
                if not source.load():
                    self._finish(source)
                    return
                batch, at = source.batch, 0
            event = batch[at]
            if "after" in event:
                for reference in event["after"]:
                    node, inc, newest = reference
                    other = by_name[node].get(inc) if node in by_name else None
                    if other is None:
                        source.waiting_for = reference
                        return
                    # Early for an event that has to wait; but nothing asks before it is judged.
                    code = other.base + newest
                    if code > heard.get(node, 0):
                        heard[node] = code
                    if other.consumed < newest:
                        source.waiting_for = reference
                        other.awaited.setdefault(newest, []).append(source)
                        return
            at += 1
            seq += 1
            source.consumed = seq
            handlers[event["event"]](source, event)
            if seq in awaited:
                self._ready.extend(awaited.pop(seq))
        self._ready.append(source)

    def _may_start(self, source: Source) -> bool:
        if not source.batch and not source.load():
            self._finish(source)
            return False
        wait = None if source.client else self._judge.starts.waits_for(source, source.batch[0])
        if wait is not None:
            self._parked[source] = wait
        return wait is None

    def _unpark(self) -> bool:
        """Take up the Starts that can now be judged."""
        again = [s for s in self._parked if self._judge.starts.waits_for(s, s.batch[0]) is None]
        for source in again:
            del self._parked[source]
        self._ready.extend(again)
        return bool(again)

    def _finish(self, source: Source) -> None:
        source.finished = True
        source.heard = {}
        self._judge.finished(source)
        if source.next_inc is not None and source.gap is None:
            self._ready.append(source.next_inc)
