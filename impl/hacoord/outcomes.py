"""What may become of a write or a read of the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hacoord.raft.core import NotLeader
from hacoord.raft.messages import Ref

__all__ = ["OUTCOME_NAMES", "Answer", "NotLeader", "Outcome", "OutcomeUnknown", "Overloaded", "ReadPoint", "Receipt"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The promise that an entry is committed: its place in the log, its leader's epoch, and the Ack as evidence.

    `result` is what the state machine said when it applied the entry, None where there is no machine.
    """

    index: int
    term: int
    epoch: int
    ack: Ref
    result: object = None


@dataclass(frozen=True, slots=True)
class ReadPoint:
    """A linearizable read: it sees the journal up to `index`, no less and no more; the ReadServe is the evidence."""

    index: int
    serve: Ref


class Overloaded(Exception):
    """Too many writes or reads are waiting; this one was not and will not be taken in."""


class OutcomeUnknown(Exception):
    """The write was proposed, and nobody can say whether it will be committed."""


Outcome = Receipt | ReadPoint | NotLeader | Overloaded | OutcomeUnknown
Answer = Callable[[Outcome], None]

OUTCOME_NAMES: dict[type[Outcome], str] = {
    Receipt: "committed",
    ReadPoint: "read",
    NotLeader: "not_leader",
    Overloaded: "overloaded",
    OutcomeUnknown: "unknown",
}
