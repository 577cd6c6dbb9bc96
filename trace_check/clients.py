"""Judges what clients say happened to their operations: PromiseKept, and the orders that operations must respect.

Every operation has a place in the log: a write its own, a read the index up to which it saw. So nothing has to be
searched: a write saw what is before it, and whoever begins after an answer must have seen what that answer showed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trace_check.history import TRIES, Moments, Places, Versions
from trace_check.nodes import Cluster
from trace_check.read import Source
from trace_check.schema import Event, Reference
from trace_check.verdict import Promise, Refused

# Events of a client from one mark to the next (Session.marks).
MARK_EVERY = 256
# Until as many entries have come after it, a write that is tried again is not written again (docs/trace-format.md).
REMEMBERED = 10_000


@dataclass(slots=True, eq=False)
class Operation:
    """One that is under way: what it must see because its client knew of it before, and when it began."""

    read: bool
    key: str | None
    must_see: int
    began: list[Any] | None
    # How far its client had heard of each node by then, as in Source.heard.
    heard: dict[str, int]
    # What it is a try of, if it may be tried again.
    write: Write | None
    # Whether it cannot come to `Fail` any more.
    settled: bool = False

    @property
    def begun(self) -> Operation:
        """The one with which it began: itself, or the first try of the write."""
        return self if self.write is None else self.write.tries[0]


@dataclass(slots=True, eq=False)
class Write:
    """One that may be tried again."""

    name: str
    # Those that have not come to `Fail`, up to the first that cannot any more: with which the write began.
    tries: list[Operation] = field(default_factory=list)
    # Where the newest answer says that it is.
    place: int | None = None
    # The first answer that came while the first of the tries could still come to `Fail`.
    answer: Event | None = None


@dataclass(slots=True)
class Session:
    """One client, over its incarnations. `seen` is the highest index it was shown, or knows others were.

    The counts are answers; what is refused or unknown is counted of writes only, as a read without answer is nothing.
    """

    seen: int = 0
    # How far it had heard of each node by the end of its earlier incarnations, as in Source.heard.
    heard: dict[str, int] = field(default_factory=dict)
    open: dict[str, Operation] = field(default_factory=dict)
    # By `idempotency`, the newest writes that may be tried again.
    tried: dict[str, Write] = field(default_factory=dict)
    # The newest reading of each clock.
    clocks: dict[str, int] = field(default_factory=dict)
    writes: int = 0
    reads: int = 0
    unknown: int = 0
    failed: int = 0

    def writing(self) -> int:
        """How many writes are under way."""
        return sum(not operation.read for operation in self.open.values())


class Clients:
    """Holds every client's operations against what the nodes promised, and against each other."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sessions: dict[str, Session] = {}
        # By file: `seen` at some of its events, so that others can ask what it was at any.
        self._marks: dict[Source, tuple[list[int], list[int]]] = {}
        self._places = Places()
        self._moments: dict[str, Moments] = {}
        self._versions = Versions()
        self.lost = 0
        self.stale = 0

    @property
    def late(self) -> int:
        """Operations that came too late to be held against all others."""
        return self._versions.late + self._places.late + sum(moments.late for moments in self._moments.values())

    def promises(self) -> tuple[Promise, ...]:
        """What each client was told."""
        return tuple(
            Promise(name, s.writes, s.reads, s.unknown + s.writing(), s.failed, s.seen)
            for name, s in self._sessions.items()
        )

    # --- events --------------------------------------------------------------------------------------------------

    def invoke(self, source: Source, event: Event) -> None:
        """An operation begins."""
        session = self._session(source, event)
        kind = event.get("kind", "write")
        if event["op"] in session.open:
            raise Refused("PromiseKept", "an operation name of its own for each one", f"{event['op']!r} once more")
        once = event.get("idempotency") if kind == "write" else None
        heard = _newest(session.heard, source.heard) if session.heard else dict(source.heard)
        write = None if once is None else session.tried.setdefault(once, Write(once))
        operation = Operation(kind == "read", event.get("key"), session.seen, event.get("at"), heard, write)
        if write is not None:
            if not write.tries or not write.tries[-1].settled:
                write.tries.append(operation)
            if len(session.tried) > TRIES:
                del session.tried[next(iter(session.tried))]
        session.open[event["op"]] = operation

    def ok(self, source: Source, event: Event) -> None:
        """An operation was answered: what the answer says must be so, for good, and agree with other answers."""
        session = self._session(source, event)
        operation = self._answered(session, event)
        if operation.read != ("serve" in event):
            cites = "a ReadServe, as it is to a read" if operation.read else "an Ack, as it is to a write"
            raise Refused("PromiseKept", f"an answer to {event['op']!r} that cites {cites}", "another one")
        if not operation.read:
            self._written(source, event, operation)
            self._one_place(operation, event)
            self._in_order(operation, event, event["index"] - 1)
            self._since(operation.begun, event["ack"], "an Ack")
            session.writes += 1
        else:
            start = self._served(source, event)
            try:
                self._in_order(operation, event, event["index"])
            except Refused:
                self.stale += 1
                raise
            self._since(operation, start, "a round of reads, from its ReadStart on,")
            session.reads += 1
        session.seen = max(session.seen, event["index"])

    def fail(self, source: Source, event: Event) -> None:
        """An operation was refused."""
        session = self._session(source, event)
        operation = self._answered(session, event)
        session.failed += not operation.read
        write = operation.write
        if write is None or operation not in write.tries:
            return
        # It was not written, so that the write begins with the next try, also if that has been answered.
        first = operation.begun
        write.tries.remove(operation)
        if not write.tries:
            if session.tried.get(write.name) is write:
                del session.tried[write.name]
        elif first is operation and write.answer is not None:
            self._saw(write.tries[0], write.answer["index"] - 1)
            self._since(write.tries[0], write.answer["ack"], "an Ack")

    def unclear(self, source: Source, event: Event) -> None:
        """Nobody knows what became of an operation."""
        session = self._session(source, event)
        session.unknown += not self._answered(session, event).read

    def finished(self, source: Source) -> None:
        """A client's file has no more lines; what it did not hear of is unknown."""
        session = self._sessions.get(source.node)
        if session is not None:
            session.unknown += session.writing()
            for operation in session.open.values():
                operation.settled = True
            session.open.clear()
            session.heard = _newest(session.heard, source.heard)

    # --- evidence ------------------------------------------------------------------------------------------------

    @staticmethod
    def _answered(session: Session, event: Event) -> Operation:
        operation = session.open.pop(event["op"], None)
        if operation is None:
            raise Refused("PromiseKept", "an answer to an operation that is under way", f"one to {event['op']!r}")
        operation.settled = True
        return operation

    def _written(self, source: Source, event: Event, operation: Operation) -> None:
        """Guard PromiseKept for a write: it is where it was said to be."""
        cluster = self._cluster
        tree = cluster.tree
        index, term = event["index"], event["entry_term"]
        ack = cluster.cited("PromiseKept", source, event["ack"], "Ack", None)
        of = ack.get("entry_term", ack["term"])
        if of != term:
            raise Refused("PromiseKept", f"an Ack of entries of term {term}", f"one of entries of term {of}")
        if not ack["first"] <= index <= ack["last"]:
            covers = f"an Ack that covers index {index}"
            raise Refused("PromiseKept", covers, f"one from {ack['first']} to {ack['last']}")
        if not tree.has(index, term, tree.committed, tree.committed_term):
            self.lost += 1
            raise Refused(
                "PromiseKept",
                f"entry {index} of term {term} in the committed log, which ends at {tree.committed}",
                "another entry there, or none: an acknowledged write was lost",
            )
        self._is_a_write("PromiseKept", index)
        if not self._places.add(index, None if operation.write is None else (source.node, operation.write.name)):
            self.lost += 1
            both = "two, not one tried again, that were acknowledged there: one of them was lost"
            raise Refused("PromiseKept", f"one write at index {index}", both)

    def _served(self, source: Source, event: Event) -> Reference:
        """Guard PromiseKept for a read: it saw what the leader served. Returns the ReadStart of that."""
        serve = self._cluster.cited("PromiseKept", source, event["serve"], "ReadServe", None)
        if serve["index"] != event["index"]:
            raise Refused("PromiseKept", f"index {serve['index']}, as served", f"index {event['index']}")
        start: Reference = serve["start"]
        return start

    def _one_place(self, operation: Operation, event: Event) -> None:
        """Guard PromiseKept for a write that is tried again: it is written once."""
        write, index = operation.write, event["index"]
        if write is None:
            return
        if write.place is not None and 0 < abs(index - write.place) <= REMEMBERED:
            found = f"index {index}: it was written twice"
            raise Refused("PromiseKept", f"index {write.place}, where this write was acknowledged before", found)
        write.place = index
        if write.answer is None and not operation.begun.settled:
            write.answer = event

    def _since(self, operation: Operation, reference: Reference, what: str) -> None:
        """Guard PromiseKept: nobody can answer what has not been asked yet."""
        node, inc, seq = reference
        if self._cluster.incarnations[node][inc].base + seq <= operation.heard.get(node, 0):
            known = f"[{node}, {inc}, {seq}], of which its client had heard before it began"
            raise Refused("PromiseKept", f"{what} after the operation that it answers", known)

    def _saw(self, begun: Operation, saw: int) -> None:
        """Guards SessionOrder and RealTimeOrder, for one that saw the log up to an index at least, since it began."""
        what = "a read" if begun.read else "a write"
        if saw < begun.must_see:
            raise Refused(
                "SessionOrder",
                f"{what} that sees index {begun.must_see}, which its client had been shown before it began",
                f"{what} that saw no more than index {saw}",
            )
        if begun.began is not None:
            clock, began = begun.began
            self._clock(clock).began(began, saw)

    def _in_order(self, operation: Operation, event: Event, saw: int) -> None:
        """Guards SessionOrder, RealTimeOrder and NewestVersion, for one that was answered."""
        self._saw(operation.begun, saw)
        ended = event.get("at")
        if ended is not None:
            self._clock(ended[0]).ended(ended[1], event["index"])
        if not operation.read:
            if not event.get("wrote", True):
                self._versions.unchanged(event["index"])
            elif operation.key is not None:
                self._versions.write(operation.key, event["index"])
        elif "version" in event:
            if operation.key is None or event["version"] > event["index"]:
                seen = f"an entry up to {event['index']}, of the key in the Invoke"
                raise Refused("NewestVersion", seen, f"entry {event['version']}, key {operation.key!r}")
            self._versions.read(operation.key, event["version"], event["index"])
            self._is_a_write("NewestVersion", event["version"])

    def _is_a_write(self, guard: str, index: int) -> None:
        """Refuses a committed entry that is no client's."""
        what = self._cluster.records.get(index)
        if what is not None:
            raise Refused(guard, "an entry that a client can have written", f"entry {index}, {what}")

    def _clock(self, name: str) -> Moments:
        moments = self._moments.get(name)
        if moments is None:
            moments = self._moments[name] = Moments()
        return moments

    # --- sessions ------------------------------------------------------------------------------------------------

    def _session(self, source: Source, event: Event) -> Session:
        """The session in which an event happens, after what its client has heard from other clients."""
        session = self._sessions.get(source.node)
        if session is None:
            session = self._sessions[source.node] = Session()
        before = session.seen
        if "after" in event:
            for node, inc, seq in event["after"]:
                other = self._cluster.incarnations[node][inc]
                if other.client and other is not source:
                    session.seen = max(session.seen, self._as_of(other, seq))
        if session.seen > before or source.consumed % MARK_EVERY == 1:
            seqs, seen = self._marks.setdefault(source, ([], []))
            seqs.append(source.consumed)
            seen.append(session.seen)
        if "at" in event:
            clock, now = event["at"]
            before_it = session.clocks.get(clock, 0)
            if now < before_it:
                raise Refused("RealTimeOrder", f"a clock that goes on from {before_it}", f"{now}")
            session.clocks[clock] = now
        return session

    def _as_of(self, other: Source, seq: int) -> int:
        """What another client had seen by its event `seq`, which has been judged."""
        seqs, marked = self._marks[other]
        at = bisect_right(seqs, seq) - 1
        seen = marked[at]
        for since in range(seqs[at], seq + 1):
            event = other.event(since)
            if event["event"] == "Ok":
                seen = max(seen, event["index"])
        return seen


def _newest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {**one, **{node: max(code, one.get(node, 0)) for node, code in other.items()}}
