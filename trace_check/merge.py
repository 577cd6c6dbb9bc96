"""Runs through all files at once in an order that respects happens-before, holding only a chunk of each.

An event is ready when everything its `after` names has been judged, its predecessor in its own file too, and the node's
previous incarnation to its end; while files are still being written, that is when the next one is there. A Start is
ready when the judge says so (starts.py). Which of the ready events comes first must not matter to the verdict; `pick`
is there for tests to try.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

from trace_check.nodes import Cluster
from trace_check.read import RANK, Source
from trace_check.starts import Starts, Wait
from trace_check.stuck import Blocked
from trace_check.verdict import BadInput, Counts, Coverage, Failover, NotThere

# Events of one file in a row, at most: files that run side by side find what they cite in chunks still at hand. Where a
# chunk ends has no say, so that files cut into parts have the order of whole ones.
TURN = 256
# Turns between two words about progress; thousands of events.
TELL_EVERY = 1_024


class Engine(Protocol):
    """What takes the events: the judge (judge.py) or TLC (audit.py). `end` comes after the last that was ready."""

    cluster: Cluster
    starts: Starts

    def add(self, source: Source) -> None: ...
    def may_pause(self, source: Source) -> None: ...
    def finished(self, source: Source) -> None: ...
    def end(self) -> None: ...
    def missing(self) -> list[str]: ...
    def notes(self) -> list[str]: ...
    def coverage(self) -> tuple[Coverage, ...]: ...
    def counts(self, events: int) -> Counts: ...
    def failovers(self) -> tuple[Failover, ...]: ...


class Merge:
    """Feeds a judge until the files end, an event is refused, or nothing is ready any more."""

    def __init__(self, judge: Engine, pick: Callable[[int], int] | None = None) -> None:
        """`pick(n)` chooses one of n ready incarnations, for one event at a time."""
        self._judge = judge
        self._pick = pick
        self._by_name = judge.cluster.incarnations
        # The same by incarnation alone, which is all but unique; only a guess, but most are right.
        self._by_inc: dict[str, Source] = {}
        self._sources = judge.cluster.sources
        self._ready: deque[Source] = deque()
        self._parked: dict[Source, Wait] = {}
        # Those that may grow and have no more events yet.
        self._idle: list[Source] = []
        self._last: dict[str, Source] = {}
        self.current: Source | None = None

    def add(self, source: Source) -> None:
        """One more incarnation, after all earlier ones of its node. Raises BadInput."""
        previous = self._last.get(source.node)
        if previous is None:
            self._ready.append(source)
        elif source.counter < previous.counter:
            raise BadInput(f"{source.path}: {source} came after {previous}; judge the directory anew")
        elif source.client and source.counter == previous.counter:
            raise BadInput(
                f"{source.path}: {source} and {previous} have the same counter, so that nobody knows which came first: "
                "the counter of a client grows by one at each start"
            )
        else:
            # That one cannot grow any more.
            source.base = previous.base + RANK
            previous.next_inc = source
            previous.growing = False
        self._last[source.node] = source
        self._by_inc[source.inc] = source
        self._judge.add(source)
        source.turns = self._turns(source)
        # Before the first event nobody waits.
        for other in self._waiting() if self.current is not None else ():
            if other.waiting_for is not None and other.waiting_for[:2] == [source.node, source.inc]:
                other.waiting_for = None
                self._ready.append(other)

    @property
    def events(self) -> int:
        """How many have been judged."""
        return sum(source.consumed for source in self._sources)

    def run(self, progress: Callable[[], None], stop: Callable[[], bool] = lambda: False) -> None:
        """Judge everything that is ready; `progress` is called and `stop` asked now and then. Raises Refused."""
        ready, pick = self._ready, self._pick
        turns = 0
        while ready or self._unpark():
            if pick is not None:
                ready.rotate(-pick(len(ready)))
            self.current = source = ready.popleft()
            next(source.turns, None)
            if self._parked:
                self._unpark()
            turns += 1
            if not turns % TELL_EVERY:
                progress()
                if stop():
                    return

    def resume(self) -> None:
        """See whether those that had no more events have some now."""
        self._ready.extend(self._idle)
        self._idle.clear()

    def end(self) -> bool:
        """Nothing grows any more; whether everything that was written has been read. Raises Refused."""
        for source in self._sources:
            source.growing = False
        for source in self._idle:
            self.current = source
            source.end()
            self._finish(source)
        self._idle.clear()
        return not self._ready

    def stuck(self) -> list[Blocked]:
        """Why the incarnations that have not ended cannot go on; empty when all have, or may grow."""
        found = [Blocked(s, s.consumed + 1, s.waiting_for, None) for s in self._waiting()]
        return found + [Blocked(s, s.consumed + 1, None, wait) for s, wait in self._parked.items()]

    def _waiting(self) -> list[Source]:
        ready = set(self._ready)
        return [s for s in self._sources if s.waiting_for is not None and not s.finished and s not in ready]

    def _turns(self, source: Source) -> Iterator[None]:
        """Judge the events of one file, in turns that end where one has to wait, or after a while."""
        by_inc, heard, awaited, ready = self._by_inc, source.heard, source.awaited, self._ready
        handlers, turn = source.handlers, TURN if self._pick is None else 1
        seq = 0
        while True:
            while not source.load():
                if not source.growing:
                    self._finish(source)
                    return
                self._judge.may_pause(source)
                self._idle.append(source)
                yield
            if not seq and not source.client:
                wait = self._judge.starts.waits_for(source, source.batch[0])
                if wait is not None:
                    self._parked[source] = wait
                    yield
            # A file that grows may have had its chunk lengthened.
            for event in islice(source.batch, seq + 1 - source.first, None):
                if "after" in event:
                    for reference in event["after"]:
                        node, inc, newest = reference
                        other = by_inc.get(inc)
                        if other is None or other.node != node:
                            while (other := self._by_name.get(node, {}).get(inc)) is None:
                                source.waiting_for = reference
                                yield
                        # Also of an earlier incarnation than one already heard of: its end may be missing.
                        if other.consumed < newest:
                            source.waiting_for = reference
                            other.awaited.setdefault(newest, []).append(source)
                            yield
                            source.waiting_for = None
                        code = other.base + newest
                        if code > heard[node]:
                            heard[node] = code
                source.consumed = seq = seq + 1
                try:
                    handlers[event["event"]](source, event)
                except NotThere as missing:
                    # It has not been judged, and never will be: whoever comes after a later one comes too late.
                    source.consumed, source.waiting_for = seq - 1, missing.reference
                    yield
                    raise
                if seq in awaited:
                    ready.extend(awaited.pop(seq))
                if not seq % turn:
                    ready.append(source)
                    yield

    def _unpark(self) -> bool:
        """Take up the Starts that can now be judged."""
        # What one waits for changes: first for who made an entry, say, and then for who stood for election.
        waits = [(source, self._judge.starts.waits_for(source, source.batch[0])) for source in self._parked]
        self._parked = {source: wait for source, wait in waits if wait is not None}
        again = [source for source, wait in waits if wait is None]
        self._ready.extend(again)
        return bool(again)

    def _finish(self, source: Source) -> None:
        source.finished = True
        self._judge.finished(source)
        source.heard.clear()
        if source.next_inc is not None and source.reader.gap is None:
            self._ready.append(source.next_inc)
