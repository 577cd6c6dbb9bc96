"""What the judge of other systems' traces knows of each node, each election and each leader."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trace_check.graphs import Graphs
from trace_check.tree import LogTree, Position
from trace_check.verdict import Coverage, Refused
from trace_check.views import Ballots, Fencing, Frontends

# The voters: a quorum is more than half of each set (more than one set while a configuration is being replaced).
Voters = tuple[frozenset[str], ...]


class Incomplete(Exception):
    """Raised where nothing further can be judged for want of evidence; the message says what is missing."""


@dataclass(slots=True, eq=False)
class Leader:
    """The winner of a term, its run of entries, and who says how much of its log they hold."""

    term: int
    node: str
    base: int
    base_term: int
    first: int
    last: int
    append_label: str
    committed: int = 0
    fencing: int = 0
    active: bool = False
    # By node: the last index it has said to hold in this term, and the last of which the leader has heard.
    said: dict[str, int] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Candidate:
    """Who asks for votes in one term: where its log ends, who decides, and whose votes it has heard of."""

    last: int
    last_term: int
    voters: Voters
    heard: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Election:
    """The votes of one term."""

    candidates: dict[str, Candidate] = field(default_factory=dict)
    votes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Member:
    """One node over all its incarnations."""

    name: str
    frontend: int
    incarnation: int = 0
    lines: int = 0
    term: int = 0
    # Where its log ends. After a crash that is not `sure`: what nobody has heard of may be lost.
    end: int = 0
    end_term: int = 0
    sure: bool = True
    committed: int = 0
    leads: Leader | None = None
    # What cannot be forgotten, as others have heard of it; and votes by term of which nobody has.
    heard_term: int = 0
    stored: int = 0
    stored_term: int = 0
    unheard: dict[int, str] = field(default_factory=dict)


def is_quorum(names: Iterable[str], voters: Voters) -> bool:
    """Whether these are more than half of each set of voters."""
    chosen = set(names)
    return bool(voters) and all(2 * len(chosen & each) > len(each) for each in voters)


def shown(voters: Voters) -> str:
    """Voters for people."""
    return " and of ".join("{" + ", ".join(sorted(each)) + "}" for each in voters) or "nobody"


class Group:
    """Everything known: the nodes, the elections, the log tree and the views."""

    def __init__(self, graphs: Graphs) -> None:
        self.ballots = Ballots(graphs)
        self.fencing = Fencing(graphs)
        self.frontends = Frontends(graphs)
        self.tree: LogTree[Leader] = LogTree()
        self.members: dict[str, Member] = {}
        self.elections: dict[int, Election] = {}
        # How long the log is with which the nodes began; its entries have term 0 in the tree.
        self.given: int | None = None
        self.epochs = 0

    def electorate(self, voters: Voters) -> tuple[str, ...] | None:
        """These voters for the Ballot view; None for two sets of them, of which the view knows nothing."""
        return tuple(sorted(voters[0])) if len(voters) == 1 else None

    def member(self, name: str) -> Member:
        """A node that has started. Raises Incomplete."""
        member = self.members.get(name)
        if member is None:
            raise Incomplete(f"the beginning of the trace of {name}: it does not begin with the start of the node")
        return member

    def election(self, term: int) -> Election:
        """The election of a term, opened when first needed."""
        election = self.elections.get(term)
        if election is None:
            election = self.elections[term] = Election()
        return election

    def position(self, last: int, last_term: int) -> Position:
        """A position as a line names it: what was given before the trace began has no term that counts."""
        return (last, 0) if last <= (self.given or 0) else (last, last_term)

    def exists(self, last: int, last_term: int) -> bool:
        """Whether the trace has shown this entry to have been made, or it was given."""
        return last <= (self.given or 0) if not last_term else self.tree.exists(last, last_term)

    def own(self, member: Member, last: int) -> Position:
        """A position in the log of a node. Guard TruePosition."""
        if last > member.end:
            raise Refused("TruePosition", f"part of {member.name}'s log, which ends at {member.end}", f"entry {last}")
        return self.tree.at(last, member.end_term)

    def leads(self, member: Member, what: str) -> Leader:
        """The leadership under which a node acts. Guard LeaderAppends."""
        if member.leads is None:
            found = f"{member.name}, which does not"
            raise Refused("LeaderAppends", f"{what} only from who leads term {member.term}", found)
        return member.leads

    def step_frontend(self, member: Member, action: str) -> None:
        """One step of the node's frontend."""
        member.frontend = self.frontends.step(member.frontend, action, member.name)

    def coverage(self) -> tuple[Coverage, ...]:
        """How much of each view's graph has been walked; Ballot once for each number of voters."""
        frontends = self.frontends.view.coverage(len(self.members))
        return *self.ballots.coverage(), self.fencing.coverage(), frontends
