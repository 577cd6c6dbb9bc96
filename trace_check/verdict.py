"""What the checker hands back: a verdict, the evidence for it, and the numbers. Plain data, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class BadInput(Exception):
    """The input cannot be judged at all: a bad line, a graph that does not match its specification, wrong usage."""

    exit_code = 2


class Verdict(Enum):
    """What became of a trace, and the exit code that says so."""

    HOLDS = "holds"
    VIOLATION = "violation"
    INCOMPLETE = "incomplete"

    @property
    def exit_code(self) -> int:
        """0, 1 or 3; 2 is left for BadInput."""
        return {Verdict.HOLDS: 0, Verdict.VIOLATION: 1, Verdict.INCOMPLETE: 3}[self]


@dataclass(frozen=True, slots=True)
class Where:
    """One line of one trace file."""

    file: str
    line: int
    node: str
    inc: str
    seq: int
    event: str


class Refused(Exception):
    """Raised where a guard or a view refuses an event; whoever drives the judge knows which event that was."""

    def __init__(self, rule: str, expected: str, actual: str, step: RefusedStep | None = None) -> None:
        super().__init__(f"{rule}: expected {expected}; found {actual}")
        self.rule = rule
        self.expected = expected
        self.actual = actual
        self.step = step
        # Set when it is not the event being judged at the moment.
        self.where: Where | None = None


class NotThere(Exception):
    """Raised where an event cites one of an incarnation that was counted, and of which nothing was kept."""

    def __init__(self, reference: list[Any]) -> None:
        super().__init__(reference)
        self.reference = reference


@dataclass(frozen=True, slots=True)
class RefusedStep:
    """A step that a view's instance cannot take: where it stands, what it could do there, how it got there."""

    view: str
    instance: str
    action: str
    state: str
    legal: tuple[str, ...]
    path: tuple[str, ...]
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """The first event that a guard or a view refuses. `where` is None only for a circle of events."""

    rule: str
    expected: str
    actual: str
    where: Where | None
    step: RefusedStep | None = None
    circle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """One edge of a view's graph: a state in the words of the specification, and an action that is legal there."""

    state: str
    action: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a view's graph the trace has walked; `edges` 0 when there is no graph for it.

    `walked` are the edges taken, each once; `sha256` is that of the graph's file, as the manifest has it.
    """

    view: str
    graph: str
    instances: int
    states: int
    edges: int
    taken: int
    walked: frozenset[Edge] = frozenset()
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Failover:
    """From the end of one active leader to the activation of the next, by the clocks of the nodes, in seconds.

    Negative when the earlier leader noticed its end only after the later one was active.
    """

    from_node: str
    from_term: int
    to_node: str
    to_term: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Promise:
    """What one client was told, over its incarnations; `index` is the highest it was shown."""

    client: str
    writes: int
    reads: int
    unknown: int
    refused: int
    index: int


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of a run, as far as it was judged."""

    files: int
    nodes: int
    incarnations: int
    clients: int
    events: int
    terms: int
    leaders: int
    epochs: int
    entries_committed: int
    writes_acknowledged: int
    writes_lost: int
    writes_unknown: int
    writes_failed: int
    reads_served: int = 0
    reads_promised: int = 0
    reads_stale: int = 0
    promises: tuple[Promise, ...] = ()


# The fields of Counts that are numbers.
NUMBERS = tuple(name for name in Counts.__dataclass_fields__ if name != "promises")


@dataclass(frozen=True, slots=True)
class Result:
    """A judged trace directory."""

    verdict: Verdict
    directory: str
    cluster: str
    counts: Counts
    coverage: tuple[Coverage, ...]
    failovers: tuple[Failover, ...]
    violation: Violation | None
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    # What a trace in another system's format cannot show (docs/adapters.md).
    not_checked: tuple[str, ...] = ()
