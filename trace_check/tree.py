"""The log tree: every leader makes exactly one run of entries, so all logs there are form one tree.

The log of term t's leader is the log it had when it won, its base, plus one run of entries of term t. A log is then
nothing but its end, a position (index, term), and "is the beginning of" is "is an ancestor of". Positions are plain
pairs of integers here; (0, 0) is the empty log.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from trace_check.configuration import Configuration

if TYPE_CHECKING:
    from trace_check.read import Source

Position = tuple[int, int]


class Run(Protocol):
    """What the tree knows of a term's winner: the log it won with, and the entries it has made since."""

    term: int
    base: int
    base_term: int
    first: int
    last: int
    committed: int


R = TypeVar("R", bound=Run)


@dataclass(slots=True, eq=False)
class Leader:
    """The winner of a term, and its run of entries."""

    term: int
    node: str
    source: Source
    win_seq: int
    base: int
    base_term: int
    first: int
    last: int
    # The configurations of its run, each with its index; the first is the one at its base.
    configurations: list[tuple[int, Configuration]]
    epoch: int = 0
    # `base + seq` (see read.RANK) of its Win and of its newest Append.
    win_code: int = 0
    append_code: int = 0
    # The last index it has committed itself, counting Stores; 0 for none.
    committed: int = 0
    # It has lost the term, ended or crashed; and if it crashed, whether its last lines may be lost (Source.cut_off).
    over: bool = False
    cut_off: bool = False
    # Where it stands in Fencing (views.Fencing), and what a Ballot calls its Append.
    fencing: int = 0
    append_label: str = ""
    activated_ts: int | None = None
    ended_ts: int | None = None

    @property
    def configuration(self) -> Configuration:
        """The one it goes by: the last in its log, committed or not."""
        return self.configurations[-1][1]

    def may_have_made(self, index: int) -> bool:
        """Whether an entry is of this run, or can still come to be."""
        return index >= self.first and (index <= self.last or not self.over or self.cut_off)


class LogTree(Generic[R]):
    """All leaders' runs, and the one log that is committed so far."""

    def __init__(self) -> None:
        self.leaders: dict[int, R] = {}
        self.terms: list[int] = []
        self.committed = 0
        self.committed_term = 0
        # What all logs here begin with, and nobody here has made: the empty log, unless the group was founded.
        self.root = 0
        self.root_term = 0

    def found(self, founding: R) -> None:
        """All logs begin with the end of this run, committed by decree, as the log of another group did."""
        self.leaders[founding.term] = founding
        self.root, self.root_term = self.committed, self.committed_term = founding.last, founding.term

    def add(self, leader: R) -> None:
        """A term has its winner. Its base must exist, in an earlier term."""
        self.leaders[leader.term] = leader
        insort(self.terms, leader.term)

    def after(self, term: int) -> Iterator[R]:
        """The known leaders of later terms."""
        for later in islice(self.terms, bisect_right(self.terms, term), None):
            yield self.leaders[later]

    def before(self, term: int) -> Iterator[R]:
        """The known leaders of earlier terms, the latest first."""
        for at in range(bisect_right(self.terms, term - 1) - 1, -1, -1):
            yield self.leaders[self.terms[at]]

    def exists(self, index: int, term: int) -> bool:
        """Whether a leader is known to have made this entry."""
        if term == 0:
            return index == 0
        leader = self.leaders.get(term)
        return leader is not None and leader.first <= index <= leader.last

    def is_prefix(self, index: int, term: int, end: int, end_term: int) -> bool:
        """Whether the log ending at (index, term) is the beginning of the one ending at (end, end_term).

        Both must exist. A log is the beginning of itself.
        """
        while end_term > term:
            leader = self.leaders[end_term]
            end, end_term = leader.base, leader.base_term
            if index > end:
                return False
        return end_term == term and index <= end

    def has(self, index: int, term: int, end: int, end_term: int) -> bool:
        """Whether the log ending at (end, end_term), which must exist, has this position, which may be nowhere."""
        return self.exists(index, term) and self.is_prefix(index, term, end, end_term)

    def at(self, index: int, end_term: int) -> Position:
        """The position at an index, no further than its end, of a log whose last entry is of `end_term`."""
        while end_term and self.leaders[end_term].base >= index:
            end_term = self.leaders[end_term].base_term
        return index, end_term

    def comparable(self, index: int, term: int, other: int, other_term: int) -> bool:
        """Whether one of these logs is the beginning of the other. Both must exist."""
        return self.is_prefix(index, term, other, other_term) or self.is_prefix(other, other_term, index, term)

    def common(self, end: int, term: int, other: int, other_term: int) -> int:
        """How long two logs are the same, given their ends. Both must exist."""
        while term != other_term:
            if term < other_term:
                end, term, other, other_term = other, other_term, end, term
            leader = self.leaders[term]
            end, term = leader.base, leader.base_term
        return min(end, other)

    def runs(self, index: int, term: int, end: int, end_term: int) -> list[tuple[int, int, R]]:
        """(first, last, leader) of each run after (index, term) on the log ending at (end, end_term), in log order.

        What all logs begin with is no run of anybody's.
        """
        runs: list[tuple[int, int, R]] = []
        index = max(index, self.root)
        while end > index:
            leader = self.leaders[end_term]
            runs.append((max(leader.first, index + 1), end, leader))
            end, end_term = leader.base, leader.base_term
        runs.reverse()
        return runs

    def committed_before(self, term: int) -> Position:
        """The last position that leaders of earlier terms have committed; where all logs begin, if none.

        A later leader's commits lie above an earlier one's (LeaderCompleteness, checked whenever either grows), so the
        latest leader that committed anything decides.
        """
        for leader in self.before(term):
            if leader.committed:
                return leader.committed, leader.term
        return self.root, self.root_term
