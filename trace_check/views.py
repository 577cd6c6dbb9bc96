"""The three views: stepping Ballot, Fencing and Frontend along the edges of their graphs.

Every step is an edge with the event's action from where the instance stands, or the event is refused.

Fencing has an instance per pair of terms, which must not cost a step per pair. Its two leaders' statuses (what each
has done by itself) determine the state of the pair, whatever the order of their steps was; `Fencing` makes sure of that
when it takes the graph, and that only steps do not commute which the log itself orders. So it keeps each leader's
status, and for a step tries one pair for every status there is among the other leaders: if that has the edge, all of
them have it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

from trace_check.graphs import Graph, Graphs
from trace_check.verdict import BadInput, Coverage, Edge, Refused, RefusedStep

ACTIONS = ("Claim", "CommitEpoch", "Activate", "Write", "Lose")
# Commitments are taken in log order, so these need not commute (docs/trace-format.md, "Steps").
_ORDERED_BY_LOG = {("CommitEpoch", "CommitEpoch"), ("Write", "CommitEpoch")}
# Told of every step: the view, the instance ("term 3", "node n1"; in Fencing one of the two leaders'), the action.
Watch = Callable[[str, str, str], None]


# What Fencing has found out about each graph that is loaded: whoever judges often does so on the same one.
_SHAPES: WeakKeyDictionary[Graph, tuple[list[dict[str, int]], dict[tuple[int, int], int]]] = WeakKeyDictionary()


def _pair(lo: int | None, hi: int | None) -> str:
    def name(term: int | None) -> str:
        return "any other term" if term is None else f"term {term}"

    return f"lo = {name(lo)}, hi = {name(hi)}"


def _kind(label: str) -> str:
    return label.partition("(")[0]


class View:
    """A graph, and which of its edges a trace has taken."""

    def __init__(self, name: str, graph: Graph) -> None:
        self.name = name
        self.graph = graph
        self.table = graph.table
        self.taken: set[tuple[int, str]] = set()
        self.watch: Watch | None = None

    def take(self, state: int, action: str) -> int | None:
        """Where the action leads from a state; None if there is no such edge. Tells nobody: who is watched, `step`s."""
        to = self.table[state].get(action)
        if to is not None:
            self.taken.add((state, action))
        return to

    def step(self, state: int, action: str, instance: str, names: Iterable[tuple[str, str]] = ()) -> int:
        """Where the action leads from a state. Raises Refused when there is no such edge."""
        to = self.take(state, action)
        if to is None:
            raise self.refused(state, action, instance, names)
        if self.watch is not None:
            self.watch(self.name, instance, action)
        return to

    def refused(self, state: int, action: str, instance: str, names: Iterable[tuple[str, str]] = ()) -> Refused:
        """The refusal of an action, with everything there is to say about it."""
        legal = tuple(sorted(self.table[state]))
        path = self.graph.path_to(state)
        renamed = tuple((name, model) for name, model in names if name != model)
        step = RefusedStep(self.name, instance, action, self.graph.describe(state), legal, path, renamed)
        return Refused(self.name, f"one of {', '.join(legal)}" if legal else "no step at all", action, step)

    def coverage(self, instances: int) -> Coverage:
        """How much of the graph has been walked."""
        graph = self.graph
        walked = frozenset(Edge(graph.describe(state), action) for state, action in self.taken)
        size = len(graph.states), graph.edges
        return Coverage(self.name, graph.name, instances, *size, len(walked), walked, graph.sha256)


Voters = tuple[str, ...]


@dataclass(slots=True)
class Election:
    """One term's election: the votes cast, who asked for them, and where the Ballot of each electorate stands."""

    term: int
    votes: dict[str, str] = field(default_factory=dict)
    candidates: dict[str, Voters] = field(default_factory=dict)
    ballots: dict[Voters, int] = field(default_factory=dict)


class Ballots:
    """The Ballot view: one instance per term and electorate, dropped once every voter has left the term.

    Candidates of one term may count in different configurations. Each of these has an instance, in which the votes of
    its voters for its voters are steps; a candidate wins in the instance of its own.
    """

    def __init__(self, graphs: Graphs) -> None:
        """An electorate that is larger than the graphs there are is judged by evidence alone."""
        self.elections: dict[int, Election] = {}
        # Who has stood in which term, of elections that are forgotten too: who is no voter may have voted in these.
        self.stood: set[tuple[int, str]] = set()
        self.without: list[int] = []
        # The first electorate there was, or will be, and the view for it.
        self.first: Voters | None = None
        self.view: View | None = None
        self._graphs = graphs
        # By size: the view, and how many instances it has had.
        self._views: dict[int, View | None] = {}
        self._counts: dict[int, int] = {}

    def election(self, term: int) -> Election:
        """The election of a term, opened when first needed."""
        election = self.elections.get(term)
        if election is None:
            election = self.elections[term] = Election(term)
        return election

    def forget_before(self, term: int) -> None:
        """No voter is in an earlier term any more: nothing can happen in those elections."""
        for old in [t for t in self.elections if t < term]:
            del self.elections[old]

    def campaign(self, term: int, node: str, voters: Voters) -> None:
        """Campaign(n), of a node that counts in a configuration with these voters, sorted."""
        election = self.election(term)
        election.candidates[node] = voters
        self.stood.add((term, node))
        if voters not in election.ballots:
            self._open(election, voters)
        self.vote(term, node, node)

    def vote(self, term: int, node: str, candidate: str) -> None:
        """Grant(n, c); a node's vote for itself is Campaign(n)."""
        election = self.election(term)
        election.votes[node] = candidate
        for voters in election.ballots:
            self._cast(election, voters, node, candidate)

    def win(self, term: int, node: str) -> None:
        """Win(n)."""
        election = self.election(term)
        voters = election.candidates[node]
        self._step(election, voters, f"Win({_as_model(voters, node)})")

    def append_label(self, term: int, node: str) -> str:
        """What `append` takes for the winner of a term."""
        return f"Append({_as_model(self.election(term).candidates[node], node)})"

    def append(self, term: int, voters: Voters, label: str) -> None:
        """Append(n), of a winner among these voters."""
        self._step(self.elections[term], voters, label)

    def prepare(self, voters: Voters) -> View | None:
        """The view for these voters. Raises BadInput when its graph cannot be read."""
        size = len(voters)
        if size not in self._views:
            graph = self._graphs.ballot(size)
            self._views[size] = View("Ballot", graph) if graph else None
            self._counts[size] = 0
            if graph is None:
                self.without.append(size)
        if self.first is None:
            self.first, self.view = voters, self._views[size]
        return self._views[size]

    def _open(self, election: Election, voters: Voters) -> None:
        view = self.prepare(voters)
        election.ballots[voters] = view.graph.initial if view else 0
        self._counts[len(voters)] += 1
        for node, candidate in election.votes.items():
            self._cast(election, voters, node, candidate)

    def _cast(self, election: Election, voters: Voters, node: str, candidate: str) -> None:
        if node in voters and candidate in voters:
            names = _as_model(voters, node), _as_model(voters, candidate)
            self._step(election, voters, f"Campaign({names[0]})" if node == candidate else f"Grant({','.join(names)})")

    def _step(self, election: Election, voters: Voters, action: str) -> None:
        view = self._views[len(voters)]
        if view is None:
            return
        to = view.take(election.ballots[voters], action)
        if to is None or view.watch is not None:
            instance = f"term {election.term}"
            if voters != self.first:
                instance += f", voters {' '.join(voters)}"
            names = ((name, _as_model(voters, name)) for name in voters)
            to = view.step(election.ballots[voters], action, instance, names)
        election.ballots[voters] = to

    def coverage(self) -> list[Coverage]:
        """How much of the graph for each size of an electorate has been walked."""
        return [
            view.coverage(self._counts[size])
            if view
            else Coverage("Ballot", f"none for {size} voters", self._counts[size], 0, 0, 0)
            for size, view in sorted(self._views.items())
        ]


def _as_model(voters: Voters, name: str) -> str:
    return f"n{voters.index(name) + 1}"


class Frontends:
    """The Frontend view: one instance per node."""

    def __init__(self, graphs: Graphs) -> None:
        self.view = View("Frontend", graphs.load("Frontend"))
        self.initial = self.view.graph.initial

    def step(self, state: int, action: str, node: str) -> int:
        """One step of a node's frontend."""
        to = self.view.take(state, action)
        return to if to is not None and self.view.watch is None else self.view.step(state, action, f"node {node}")


class Leadership(Protocol):
    """A leader, as far as Fencing is concerned: its term, and where it stands."""

    term: int
    fencing: int


class Fencing:
    """The Fencing view: one instance per pair of leaders."""

    NONE = 0

    def __init__(self, graphs: Graphs) -> None:
        """Raises BadInput when the graph does not have the shape this class relies on."""
        self.view = View("Fencing", graphs.load("Fencing"))
        self.leaders = 0
        # A status is a number; `_alone[s]` says where its moves lead when no other leader is in the way.
        self._alone: list[dict[str, int]] = []
        self._pairs: dict[tuple[int, int], int] = {}
        graph = self.view.graph
        if graph in _SHAPES:
            self._alone, self._pairs = _SHAPES[graph]
        else:
            self._find_statuses()
            self._find_pairs()
            self._check_order()
            _SHAPES[graph] = self._alone, self._pairs
        self._terms: list[list[int]] = [[] for _ in self._alone]
        # The last leader to step, and what it has been found to be free to do since any other did.
        self._latest = 0
        self._checked: set[tuple[int, str]] = set()

    def _broken(self, why: str) -> BadInput:
        return BadInput(f"graph {self.view.graph.name}: {why}; this checker knows another Fencing.tla")

    def _find_statuses(self) -> None:
        table, initial = self.view.table, self.view.graph.initial
        known = {(initial, initial): 0}
        for lo, hi in (queue := [(initial, initial)]):
            moves: dict[str, int] = {}
            for action in ACTIONS:
                to = table[lo].get(f"{action}(lo)"), table[hi].get(f"{action}(hi)")
                if to[0] is not None and to[1] is not None:
                    if to not in known:
                        known[to[0], to[1]] = len(known)
                        queue.append((to[0], to[1]))
                    moves[action] = known[to[0], to[1]]
                elif to != (None, None):
                    raise self._broken(f"a leader alone may {action} as one of lo and hi only")
            self._alone.append(moves)

    def _find_pairs(self) -> None:
        self._pairs[0, 0] = self.view.graph.initial
        for lo, hi in (queue := [(0, 0)]):
            for label, to in self.view.table[self._pairs[lo, hi]].items():
                action, who = label.rstrip(")").split("(")
                moved = self._alone[lo if who == "lo" else hi].get(action)
                if moved is None:
                    raise self._broken(f"{label} is possible for a pair, but not for that leader alone")
                pair = (moved, hi) if who == "lo" else (lo, moved)
                if pair not in self._pairs:
                    self._pairs[pair] = to
                    queue.append(pair)
                elif self._pairs[pair] != to:
                    raise self._broken(f"where {label} leads depends on the order of earlier steps")

    def _check_order(self) -> None:
        """The verdict must not depend on the order of steps that evidence does not order."""
        table = self.view.table
        for moves in table:
            for a, after_a in moves.items():
                for b in moves.keys() | table[after_a].keys():
                    lo, hi = (a, b) if a.endswith("(lo)") else (b, a)
                    if not (lo.endswith("(lo)") and hi.endswith("(hi)")):
                        continue
                    one, other = table[after_a].get(b), table[moves[b]].get(a) if b in moves else None
                    if (one is None or one != other) and (_kind(lo), _kind(hi)) not in _ORDERED_BY_LOG:
                        raise self._broken(f"{a} and {b} do not commute, and no evidence orders them")

    def step(self, leader: Leadership, action: str) -> None:
        """One step of a leader, in every pair it is in. Raises Refused."""
        status, term = leader.fencing, leader.term
        if term != self._latest:
            self._latest = term
            self._checked.clear()
        if (status, action) not in self._checked:
            self._check_pairs(term, status, action)
            self._checked.add((status, action))
        moved = self._alone[status][action]
        if status != self.NONE:
            del self._terms[status][bisect_left(self._terms[status], term)]
        else:
            self.leaders += 1
        insort(self._terms[moved], term)
        leader.fencing = moved
        if self.view.watch is not None:
            self.view.watch(self.view.name, f"term {term}", action)

    def _check_pairs(self, term: int, status: int, action: str) -> None:
        pairs, table, taken = self._pairs, self.view.table, self.view.taken
        as_hi, as_lo = f"{action}(hi)", f"{action}(lo)"
        for other, terms in enumerate(self._terms):
            # Status 0 stands for the leaders that no trace has shown yet.
            if not other or (terms and terms[0] < term):
                state = pairs[other, status]
                if as_hi not in table[state]:
                    raise self._refused(state, as_hi, terms[0] if terms else None, term)
                taken.add((state, as_hi))
            if not other or (terms and terms[-1] > term):
                state = pairs[status, other]
                if as_lo not in table[state]:
                    raise self._refused(state, as_lo, term, terms[-1] if terms else None)
                taken.add((state, as_lo))

    def pair(self, one: Leadership, other: Leadership) -> tuple[str, int]:
        """The instance of two leaders, and its state."""
        lo, hi = sorted((one, other), key=lambda leader: leader.term)
        return _pair(lo.term, hi.term), self._pairs[lo.fencing, hi.fencing]

    def _refused(self, state: int, action: str, lo: int | None, hi: int | None) -> Refused:
        return self.view.refused(state, action, _pair(lo, hi))

    def coverage(self) -> Coverage:
        """How much of the graph has been walked."""
        return self.view.coverage(self.leaders * (self.leaders - 1) // 2)
