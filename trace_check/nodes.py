"""What is known of each node from its own evidence, and the guards that every kind of evidence shares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from trace_check.configuration import Configuration
from trace_check.read import Source
from trace_check.schema import Event, Reference, parse_incarnation
from trace_check.tree import Leader, LogTree
from trace_check.verdict import NotThere, Refused
from trace_check.views import Ballots, Fencing, Frontends

Views = tuple[Ballots, Fencing, Frontends]


@dataclass(slots=True, eq=False)
class Node:
    """One node over all its incarnations. Positions are (index, term) in two fields."""

    name: str
    frontend: int
    source: Source | None = None
    started: bool = False
    ended: bool = True
    disk: str = ""
    term: int = 0
    # Its vote in the newest term in which it voted.
    vote_term: int = 0
    vote: str | None = None
    # What it last showed to be durable, and the term of the leader on whose log that lies, as far as is known.
    stored: int = 0
    stored_term: int = 0
    stored_under: int = 0
    # The newest term in which it has written down that it took over that term's log.
    follows: int = 0
    # Where its log ends, what is not durable included; it has lost a term and not shown yet whether it kept that.
    end: int = 0
    end_term: int = 0
    may_give_up: bool = False
    # What it last showed to have an image of.
    image: int = 0
    image_term: int = 0
    # What this incarnation knows committed.
    committed: int = 0
    committed_term: int = 0
    leads: Leader | None = None


class Digests:
    """SameDigest: who names the digest of a position names the one everybody else names.

    Digests are chained, so a difference at one position shows at every later one of that log. Hence a window of the
    positions named last suffices, and what lies before it is compared with the leader's own Append, if one ended there.
    """

    def __init__(self, tree: LogTree[Leader], size: int = 1 << 15) -> None:
        self._tree = tree
        self._size = size
        self.known: dict[tuple[int, int], str] = {(0, 0): "0" * 16}
        # Positions where no Append ended, as first named by anybody.
        self._claimed: dict[tuple[int, int], str] = {}
        self._pruned = False
        # Of the position where all logs begin, if that is not the empty log.
        self.root: str | None = None

    def check(self, last: int, term: int, digest: str, *, own: bool = False) -> None:
        """`last`, `term` is a position that exists. Whoever is in a hurry may ask `known` first.

        With `own`, an Append must have ended there: what a leader counts is compared with what it named itself.
        """
        known = self.known.get((last, term))
        if known is None and self._pruned and last:
            known = self._appended(last, term)
        if known is None:
            if own:
                ended = f"an end at an index where an Append of term {term} ended, which names the digest"
                raise Refused("StoreOnLeaderLog", ended, f"an end at {last}, where none did")
            known = self._claimed.setdefault((last, term), digest)
            self._prune(self._claimed)
        if known != digest:
            raise Refused("SameDigest", f"digest {known} at index {last} of term {term}, as named before", digest)

    def learn(self, last: int, term: int, digest: str) -> None:
        """An Append has ended here."""
        self.known[last, term] = digest
        if self._prune(self.known):
            self._pruned = True

    def _prune(self, window: dict[tuple[int, int], str]) -> bool:
        too_many = len(window) > 2 * self._size
        if too_many:
            for old in list(islice(window, 1, self._size)):
                del window[old]
        return too_many

    def _appended(self, last: int, term: int) -> str | None:
        """The digest by the leader's Append that ended at this position, found by bisection in its file."""
        if term == self._tree.root_term:
            return self.root
        leader = self._tree.leaders[term]
        # The Append sought, if there is one, is after `low` and not after `high`.
        low, high = leader.win_seq, leader.append_code - leader.source.base
        while low < high:
            middle = at = (low + high + 1) // 2
            event = leader.source.event(at)
            while event["event"] != "Append" and at > low:
                at -= 1
                event = leader.source.event(at)
            if at == low or event["last"] < last:
                low = middle
            elif event["last"] > last:
                high = at - 1
            else:
                found: str = event["digest"]
                return found
        return None


class Cluster:
    """Everything the judge knows: the nodes, the log tree and the views."""

    def __init__(self, founding: Configuration, views: Views) -> None:
        """`founding` is the configuration that the group was set up with."""
        # Everybody who has ever had a vote.
        self.electorate = set(founding.voters)
        self.ballots, self.fencing, self.frontends = views
        self.founding = founding
        # What its founders show to have set it up from; None as long as no founder has started.
        self.founded: list[Any] | None = None
        self.tree: LogTree[Leader] = LogTree()
        self.digests = Digests(self.tree)
        # By index, what of the committed log is no client's write.
        self.records: dict[int, str] = {}
        self.disks: dict[str, str] = {}
        self.nodes: dict[str, Node] = {}
        self.sources: list[Source] = []
        self.incarnations: dict[str, dict[str, Source]] = {}

    def add(self, source: Source) -> None:
        """One more incarnation, after the earlier ones of its node."""
        self.sources.append(source)
        self.incarnations.setdefault(source.node, {})[source.inc] = source
        if not source.client:
            source.of = self.nodes.setdefault(source.node, Node(source.node, self.frontends.initial))

    def enter(self, source: Source, term: int) -> Node:
        """The node whose event this is, now in the event's term. Guard TermMonotonic."""
        node = source.of
        if term != node.term:
            if term < node.term:
                raise Refused("TermMonotonic", f"term {node.term} or later, where {node.name} is", f"term {term}")
            if node.leads is not None:
                raise Refused(
                    "TermMonotonic",
                    f"Lose of term {node.leads.term}, which {node.name} leads, before anything in a later one",
                    f"term {term}",
                )
            node.term = term
        return node

    def leads(self, node: Node, term: int, guard: str, what: str) -> Leader:
        """The leadership under which a node acts."""
        leader = node.leads
        if leader is None or leader.term != term:
            raise Refused(guard, f"{what} only from who leads term {term}", f"{node.name}, which does not")
        return leader

    def lose(self, node: Node, ts: int | None = None) -> None:
        """The node stops leading, if it led (Fencing: Lose)."""
        leader = node.leads
        if leader is not None:
            self.fencing.step(leader, "Lose")
            leader.over = True
            leader.ended_ts = ts
            node.leads = None
            node.may_give_up = True

    def reach(self, source: Source, leader: Leader) -> int:
        """How far the leader had appended by its newest event that this incarnation has heard; -1 if before its Win."""
        of = leader.source
        if of is source:
            return leader.last
        code = source.heard.get(leader.node, 0)
        if code >= leader.append_code:
            return leader.last
        if code < leader.win_code:
            return -1
        for seq in range(code - of.base, leader.win_seq, -1):
            event = of.event(seq)
            if event["event"] == "Append":
                reach: int = event["last"]
                return reach
        return leader.base

    def cited(
        self, guard: str, source: Source, reference: Reference, wanted: str, term: int | None, *others: str
    ) -> Event:
        """The event a reference names: it must exist, have been heard, and be of that kind, or others, and term.

        Raises NotThere if it may be in an incarnation that is not in the trace, or at the lost end of one.
        """
        node, inc, seq = reference
        try:
            of = self.incarnations[node][inc]
        except KeyError:
            of = None
        # Heard, or earlier in the same file. Who has heard of a later incarnation has not heard of what is not there.
        if of is None or (
            seq >= source.consumed if of is source else seq > of.consumed or of.base + seq > source.heard.get(node, 0)
        ):
            if self._left_out(reference, source):
                raise NotThere(reference)
            heard = f"a {' or '.join((wanted, *others))} that {source.node} has heard of"
            raise Refused(guard, heard, f"[{node}, {inc}, {seq}], which it has not")
        at = seq - of.first
        event = of.batch[at] if at >= 0 else of.event(seq)
        kind = event["event"]
        if (kind != wanted and kind not in others) or (term is not None and event["term"] != term):
            kind = " or ".join((wanted, *others)) + (f" of term {term}" if term is not None else "")
            raise Refused(
                guard, f"a {kind} at [{node}, {inc}, {seq}]", f"{event['event']} of term {event['term']}"
            )
        return event

    def may_stand(self, node: Node, term: int) -> None:
        """Guards TermMonotonic and SameFounding for a candidacy, of which a Campaign tells or only a Start's vote."""
        # By its own Store or Install: whose log a Start shows depends on who is known to have led.
        if node.follows == term:
            moved = f"a term after {term}, in which {node.name} has stored its leader's log"
            raise Refused("TermMonotonic", moved, f"a candidacy in term {term}")
        if term <= self.tree.root_term:
            later = f"a term after {self.tree.root_term}, the last one of the group this one was founded from"
            raise Refused("SameFounding", later, f"a candidacy in term {term}")

    def keeps(self, node: Node, last: int, last_term: int) -> None:
        """Guard CommitAgrees for the log that a node shows: nothing else where it knows an entry committed.

        It may be a shorter one, of who has led and had committed what it had not stored itself.
        """
        if not self.tree.comparable(last, last_term, node.committed, node.committed_term):
            known = f"entry {node.committed} of term {node.committed_term}, which {node.name} knows committed"
            raise Refused("CommitAgrees", f"a log with {known}", f"one that ends at {last} of term {last_term}")

    def _left_out(self, reference: Reference, source: Source) -> bool:
        """Whether an event is not there but lies between two incarnations of its node, of which the later was heard."""
        name, inc, _ = reference
        counter, _ = parse_incarnation(inc) or (0, "")
        heard = source.heard.get(name, 0)
        return any(
            heard > after.base and (before.counter < counter < after.counter or (before.inc == inc and before.cut_off))
            for before, after in self.gaps(name)
        )

    def frontend(self, node: Node, action: str) -> None:
        """One step of the node's frontend."""
        node.frontend = self.frontends.step(node.frontend, action, node.name)

    def configuration(self, last: int, last_term: int) -> tuple[int, Configuration]:
        """The last configuration in the log that ends here, which must exist, and its index; 0 if the founding one."""
        if not last_term:
            return 0, self.founding
        configurations = self.tree.leaders[last_term].configurations
        return next((c for c in reversed(configurations) if c[0] <= last), configurations[0])

    def same_voters(self, voters: list[str], last: int, last_term: int) -> Configuration:
        """Guard SameConfiguration for the voters that a node with this log names. Returns the configuration."""
        if len(set(voters)) != len(voters):
            raise Refused("SameConfiguration", "each voter once", ", ".join(sorted(voters)))
        index, configuration = self.configuration(last, last_term)
        if tuple(sorted(voters)) != configuration.voters:
            since = f"by the configuration at {index}" if index else "as named first"
            expected = f"the voters {', '.join(configuration.voters)}, {since}"
            raise Refused("SameConfiguration", expected, ", ".join(sorted(voters)) or "none")
        return configuration

    def same_members(self, members: list[list[str]], last: int, last_term: int) -> None:
        """Guard SameConfiguration for the members that a node with this log names. Where they are found is no part."""
        index, configuration = self.configuration(last, last_term)
        parts = sorted((name, part) for name, part, _ in members)
        expected = sorted((name, part) for name, (part, _) in configuration.members.items())
        if parts != expected:
            since = f"by the configuration at {index}" if index else "as a founder showed first"
            raise Refused("SameConfiguration", f"the members {_listed(expected)}, {since}", _listed(parts))

    def is_voter(self, name: str, configuration: Configuration, what: str) -> None:
        """Guard SameConfiguration for one node that takes a voter's part."""
        if name not in configuration.voters:
            raise Refused("SameConfiguration", f"{what} from a voter ({', '.join(configuration.voters)})", name)

    def sources_of(self, name: str) -> Iterator[Source]:
        """The incarnations of a node."""
        yield from self.incarnations.get(name, {}).values()

    def gaps(self, name: str) -> Iterator[tuple[Source, Source]]:
        """Incarnations of a node between which others were counted, of which there is nothing, or lines may be lost."""
        for before, after in pairwise(self.sources_of(name)):
            if after.counter > before.counter + 1 or before.cut_off:
                yield before, after


def _listed(parts: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({part})" for name, part in parts) or "none"
