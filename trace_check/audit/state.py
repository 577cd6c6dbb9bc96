"""The state of HACoordination between two pieces of a trace, and the steps from there, in the trace's own numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from trace_check.read import Source
from trace_check.tree import Position


@dataclass(frozen=True, slots=True)
class Run:
    """The entries of one leader in a log, up to index `last`; the first of them is its epoch record."""

    term: int
    epoch: int
    owner: str
    last: int


Log = tuple[Run, ...]


@dataclass(slots=True)
class Member:
    """A node, as HACoordination has it; `shown` is the term of its last event."""

    term: int = 0
    log: Log = ()
    type: str = "DOWN"
    role: str = "follower"
    shown: int = 0


@dataclass(slots=True)
class Term:
    """A term, as HACoordination has it. What is not in a dictionary is None or 0 there."""

    log: Log = ()
    commit: int = 0
    active: bool = False
    winners: frozenset[str] = frozenset()
    acked: dict[str, int] = field(default_factory=dict)
    vote: dict[str, str | None] = field(default_factory=dict)
    request: dict[str, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """A configuration: who has a vote, and of each member its part, and which of the addresses it has had.

    An address that is not known is taken for the first that is; `open` if there is one.
    """

    voters: tuple[str, ...]
    members: tuple[tuple[str, str, int], ...] = ()
    open: bool = False


@dataclass(slots=True)
class State:
    """The state between two pieces, in the trace's own numbers, and the configurations, by their places in logs."""

    members: dict[str, Member]
    terms: dict[int, Term]
    groups: dict[Position, Group] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A step for Recorded.tla, in the trace's own numbers, and the event that it stands for or goes before.

    `named` are the nodes that the event names as voters, by counting or listing them; `by` are those that count.
    `told` says whether what it cites as its reason is there, was heard of, and says what the event takes it to say.
    """

    action: str
    node: str
    term: int
    source: Source
    seq: int
    last: int = 0
    last_term: int = 0
    first: int = 0
    other: str | None = None
    by: tuple[str, ...] = ()
    epoch: int | None = None
    epochs: tuple[tuple[int, int], ...] = ()
    told: bool = True
    named: tuple[str, ...] = ()

    def indexes(self) -> list[int]:
        """The indexes it names."""
        match self.action:
            case "Campaign":  # if it wins, its epoch record is the next one
                return [self.last, self.last + 1]
            case "Append" | "Change":
                return [self.first - 1, self.last] + ([self.first] if self.epoch is not None else [])
            case "Ack":
                return [self.first - 1, self.last]
        return [self.last]
