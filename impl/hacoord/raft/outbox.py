"""What a node has to say, in the order in which it may be said: trace events and messages, before and after the disk.

The order is persist, trace, send (docs/trace-format.md). What does not depend on the disk may leave at once, so that a
leader's frames travel while its own disk syncs; from the moment something must be durable first, everything waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from hacoord.raft.messages import Message, Ref


@dataclass(frozen=True, slots=True)
class Event:
    """One trace event, all but what its file knows (cluster, node, incarnation) and the wall clock."""

    name: str
    seq: int
    term: int
    fields: dict[str, object]
    after: tuple[Ref, ...]


class Outbox:
    """Numbers one incarnation's events, remembers what each happened after, and holds back what must wait."""

    def __init__(self, node: str, inc: str) -> None:
        self.newest = Ref(node, inc, 0)
        self._heard: dict[str, Ref] = {}
        self._now: tuple[list[Event], list[Message]] = ([], [])
        self._held: tuple[list[Event], list[Message]] = ([], [])
        self.holding = False

    def heard(self, ref: Ref) -> None:
        """A message has arrived whose sender's newest event was `ref`."""
        known = self._heard.get(ref.node)
        if known is None or (known.counter, known.seq) < (ref.counter, ref.seq):
            self._heard[ref.node] = ref

    def record(self, name: str, term: int, **fields: object) -> Ref:
        """Append a trace event; returns the reference that messages and later events may cite."""
        self.newest = Ref(self.newest.node, self.newest.inc, self.newest.seq + 1)
        event = Event(name, self.newest.seq, term, fields, tuple(self._heard.values()))
        self._heard.clear()
        (self._held if self.holding else self._now)[0].append(event)
        return self.newest

    def send(self, message: Message) -> None:
        """Queue a message; it leaves after every event recorded before it has been traced."""
        (self._held if self.holding else self._now)[1].append(message)

    def hold(self) -> None:
        """From now on nothing leaves before `release`: the disk comes first."""
        self.holding = True

    def release(self) -> None:
        """The disk has what it must: everything held may leave."""
        self._now[0].extend(self._held[0])
        self._now[1].extend(self._held[1])
        self._held = ([], [])
        self.holding = False

    def take(self) -> tuple[list[Event], list[Message]]:
        """Events to trace, then messages to send. Both are forgotten here."""
        taken, self._now = self._now, ([], [])
        return taken
