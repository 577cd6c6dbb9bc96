"""The other engine: has TLC follow a trace through HACoordination.tla itself. See docs/audit.md.

`Audit` stands where the judge stands in a replay and gets the same events in the same order. It turns them into steps
of the protocol (spec/Recorded.tla) and lets TLC take them, a piece at a time. Of the judge's guards and of the views it
uses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from trace_check import images
from trace_check.audit import tlc
from trace_check.audit.piece import Piece
from trace_check.audit.state import Group, Member, Run, State, Step, Term
from trace_check.audit.steps import action, describe, steps
from trace_check.configuration import Configuration, configuration
from trace_check.graphs import Graphs
from trace_check.nodes import Cluster, Node
from trace_check.read import Handler, Source
from trace_check.replay import Progress, replay
from trace_check.schema import CLIENT_EVENTS, NODE_EVENTS, Event, Reference
from trace_check.starts import Starts
from trace_check.tree import Leader
from trace_check.verdict import BadInput, Counts, Coverage, Failover, Refused, Result
from trace_check.views import Ballots, Fencing, Frontends

# Events in a piece, and leaders: TLC takes a second to start, and longer for each step the more entries and terms.
PIECE = 200
LEADERS = 6
RULE = "HACoordination"
CONFIG = """SPECIFICATION RecordedSpec
CONSTANTS
  None = None
  Node = {Node}
  Term = {Term}
  Stop = {Stop}
  Steps <- TheSteps
  Begin <- TheBegin
  Configs <- TheConfigs
  Latest <- Highest
  Common <- Matching
INVARIANTS
  InvNow
  Reached
  InTheWay
PROPERTIES
  TermsAdvance
  CommittedStays
  LeaderOnlyEnds
  LeaderAppendOnly
  NothingForgotten
  LeaderNeverCampaigns
  ImplementsFencing
  ImplementsFrontend
CHECK_DEADLOCK FALSE
"""
# Where all nodes have a vote for good, the quorums are HACoordination's own, and with them a view; else Recorded's.
FIXED = "PROPERTIES\n  ImplementsBallot\n"
CHANGING = "CONSTANTS\n  IsQuorum <- Some\n  MayCommit <- MayCommitByConfiguration\n"
NOTE = "clients' traces, and what only the trace format demands, are no part of HACoordination: see docs/audit.md"


def audit(
    directory: Path | str,
    *,
    graphs: Path | str | None = None,
    allow_gaps: bool = False,
    progress: Progress | None = None,
    pick: Callable[[int], int] | None = None,
) -> Result:
    """Judge the traces in a directory by TLC on HACoordination.tla, which lies beside the directory of the graphs.

    Raises BadInput as `replay` does, and when there is no Java or no TLC.
    """
    tlc.find()
    return replay(directory, graphs=graphs, allow_gaps=allow_gaps, progress=progress, pick=pick, engine=Audit)


class Audit:
    """One per run. Events must come in an order that respects happens-before (merge.py)."""

    def __init__(self, founding: Configuration, graphs: Graphs) -> None:
        """`founding` as the first Start shows it. Raises BadInput when the specification is not there."""
        self.voters = founding.voters
        self.cluster = Cluster(founding, (Ballots(graphs), Fencing(graphs), Frontends(graphs)))
        self.starts = Starts(self.cluster)
        self._node_handlers: dict[str, Handler] = dict.fromkeys(NODE_EVENTS, self._take)
        self._client_handlers: dict[str, Handler] = dict.fromkeys(CLIENT_EVENTS, lambda source, event: None)
        self._spec = graphs.directory.parent
        self._state = State({name: Member() for name in founding.members}, {})
        self._addresses: dict[str, list[str]] = {}
        self._state.groups[0, 0] = self._group(founding)
        self._steps: list[Step] = []
        self._events = self._taken = 0
        self._campaigns: dict[str, tuple[int, int]] = {}
        if not (self._spec / "Recorded.tla").is_file():
            raise BadInput(f"{self._spec}: no Recorded.tla there; the specification lies beside the graphs (--graphs)")

    def add(self, source: Source) -> None:
        """One more incarnation, after the earlier ones of its node."""
        self.cluster.add(source)
        source.handlers = self._client_handlers if source.client else self._node_handlers
        if not source.client:
            self._state.members.setdefault(source.node, Member())

    def may_pause(self, source: Source) -> None:
        """A file has no more lines for now."""

    def finished(self, source: Source) -> None:
        """A file has no more lines."""

    def missing(self) -> list[str]:
        """What keeps a trace without a violation from being accepted."""
        return [f"no trace of {v}, a voter" for v in sorted(self.cluster.electorate) if v not in self.cluster.nodes]

    def coverage(self) -> tuple[Coverage, ...]:
        """None: there are no graphs here."""
        return ()

    def failovers(self) -> tuple[Failover, ...]:
        """None."""
        return ()

    def notes(self) -> list[str]:
        """What the verdict does not cover."""
        return [NOTE]

    def counts(self, events: int) -> Counts:
        """The numbers of the run, as far as TLC came."""
        sources = self.cluster.sources
        nodes = [s for s in sources if not s.client]
        return Counts(
            files=sum(len(s.parts) for s in sources),
            nodes=len(self.cluster.nodes),
            incarnations=len(nodes),
            clients=len({s.node for s in sources if s.client}),
            events=events,
            terms=max((n.term for n in self.cluster.nodes.values()), default=0),
            leaders=len(self.cluster.tree.terms),
            epochs=max((leader.epoch for leader in self.cluster.tree.leaders.values()), default=0),
            entries_committed=max((t.commit for t in self._state.terms.values()), default=0),
            writes_acknowledged=0,
            writes_lost=0,
            writes_unknown=0,
            writes_failed=0,
        )

    # --- from events to steps ------------------------------------------------------------------------------------

    def _take(self, source: Source, event: Event) -> None:
        if event["event"] == "Append" and "members" in event:
            changed = configuration(event["members"])
            self._state.groups.setdefault((event["last"], event["term"]), self._group(changed))
            for name in changed.members:
                self._state.members.setdefault(name, Member())
            self.cluster.electorate.update(changed.voters)
        if event["event"] == "Start":
            self._found(source)
        crashed = source.consumed == 1 and source.of.started and not source.of.ended
        self._steps += steps(source, event, self._state.members, crashed, self._cited)
        self._learn(source.of, source, event)
        self._events += 1
        self._taken += 1
        if self._events >= PIECE or sum(step.action == "Win" for step in self._steps) >= LEADERS:
            self.end()

    def _cited(self, source: Source, reference: Reference, wanted: tuple[str, ...]) -> Event | None:
        """The event that a reference names, if it is there, of such a kind, and the node has heard of it."""
        name, inc, seq = reference
        of = self.cluster.incarnations.get(name, {}).get(inc)
        if of is None or not 1 <= seq <= of.consumed:
            return None
        known = seq < source.consumed if of is source else of.base + seq <= source.heard.get(name, 0)
        event = of.event(seq) if known else None
        return event if event is not None and event["event"] in wanted else None

    def _group(self, group: Configuration) -> Group:
        """A configuration, its addresses numbered."""
        members = []
        for name, (part, address) in group.members.items():
            known = self._addresses.setdefault(name, [])
            if address and address not in known:
                known.append(address)
            members.append((name, part, known.index(address) if address else 0))
        return Group(group.voters, tuple(members), bool(group.may_have_moved()))

    def _found(self, source: Source) -> None:
        """A group that was founded from another one's state begins with that, of the term of its last entry.

        To the protocol it is as if one of the founders had led that term. Which one does not matter.
        """
        founders = self.cluster.founding.members
        founded = next((s.founded for s in self.cluster.sources if s.founded and s.node in founders), None)
        if founded is not None and not self._taken:
            last, term, epoch = (int(founded[at]) for at in (0, 1, 3))
            log = (Run(term, epoch, self.voters[0], last),)
            self._state.members |= {name: Member(term, log, shown=term) for name in founders}
            self._state.terms[term] = Term(log, last, winners=frozenset(self.voters[:1]))
        if source.founded != (founded if source.node in founders else None):
            expected = f"a group founded from {founded}" if founded else "a group that was not founded from another"
            self.end()
            raise Refused(RULE, expected, f"{source.founded or 'nothing'} of {source.node}")

    def _learn(self, node: Node, source: Source, event: Event) -> None:
        """What `starts.waits_for` goes by, taken at the nodes' word."""
        tree, term, name = self.cluster.tree, event["term"], event["event"]
        node.term = max(node.term, term)
        if name in ("Start", "Exit", "Lose") and node.leads is not None:
            node.leads.over = True
            node.leads = None
        match name:
            case "Start":
                node.started, node.ended = True, False
                node.vote_term, node.vote = (term, event["vote"]) if event["vote"] else (node.vote_term, node.vote)
                with suppress(Refused):
                    images.found(self.cluster, node, event)
                self._stored(node, event)
            case "Exit":
                node.ended = True
            case "Campaign":
                self.cluster.ballots.stood.add((term, node.name))
                node.vote_term, node.vote = term, node.name
                self._campaigns[node.name] = event["last"], event["last_term"]
            case "Grant":
                node.vote_term, node.vote = term, event["candidate"]
            case "Win":
                base, base_term = self._campaigns.get(node.name, (0, 0))
                if term not in tree.leaders and base_term < term and tree.exists(base, base_term):
                    run = base, base_term, base + 1, base
                    group = [self.cluster.configuration(base, base_term)]
                    node.leads = Leader(term, node.name, source, source.consumed, *run, group)
                    tree.add(node.leads)
            case "Append" if node.leads is not None and node.leads.term == term:
                node.leads.last = max(node.leads.last, event["last"])
                node.end, node.end_term = node.leads.last, term
                node.leads.epoch = event.get("epoch", node.leads.epoch)
            case "Store" | "Install":
                self._stored(node, event)
            case "Commit" if node.leads is not None and "stores" in event and event["runs"]:
                _, last, last_term = event["runs"][-1]
                node.leads.committed = max(node.leads.committed, last)
                if last > tree.committed and tree.exists(last, last_term):
                    tree.committed, tree.committed_term = last, last_term

    def _stored(self, node: Node, event: Event) -> None:
        last, last_term = event["last"], event["last_term"]
        if self.cluster.tree.exists(last, last_term):
            node.stored, node.stored_term = last, last_term
            # Who has led may have more than it has stored.
            if event["event"] == "Start" or not self.cluster.tree.is_prefix(last, last_term, node.end, node.end_term):
                node.end, node.end_term = last, last_term
            if event["event"] != "Start":
                node.stored_under = event["term"]
            else:
                node.stored_under = max(node.stored_under, last_term)

    # --- to TLC --------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Let TLC take the steps there are. Raises Refused at the first that the protocol cannot take."""
        steps, self._steps, self._events = self._steps, [], 0
        if not steps:
            return
        piece = Piece(self._state, steps)
        found = self._run(piece, 0)
        if found.violated:
            raise self._broken(piece, found)
        if "reached" not in found.printed:
            raise self._stuck(piece, found.depth)
        self._state = piece.read(_record(found.printed["reached"][0]))

    def _run(self, piece: Piece, stop: int) -> tlc.Run:
        values = {name: tlc.literal(value) for name, value in piece.config().items()}
        state = self._state
        fixed = len(state.groups) == 1 and state.members.keys() == set(self.voters)
        config = CONFIG.format(**values, Stop=stop) + (FIXED if fixed else CHANGING)
        found = tlc.run("Piece", piece.module(), config, self._spec)
        if found.errors:
            raise BadInput(f"TLC stopped: {' '.join(found.errors)[:1000]}")
        return found

    def _stuck(self, piece: Piece, at: int) -> Refused:
        step = piece.origin[at - 1]
        guards, there = self._run(piece, at).printed["stopped"]
        assert isinstance(guards, frozenset)
        wanted = " and ".join(sorted(map(str, guards))) or "its conditions together"
        state = piece.read(_record(there))
        return self._refused(step, f"{wanted}, for {action(step)}", describe(state, step))

    def _broken(self, piece: Piece, found: tlc.Run) -> Refused:
        step = piece.origin[max(0, found.states - 2)]
        return self._refused(step, f"{found.violated} by {action(step)}", "a state or a step that violates it")

    def _refused(self, step: Step, expected: str, actual: str) -> Refused:
        refused = Refused(RULE, expected, actual)
        refused.where = step.source.where(step.seq)
        return refused


def _record(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value
