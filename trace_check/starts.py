"""The beginning and the end of an incarnation: what a Start shows against what the node had traced before.

A crash may fall between persisting and tracing, so a Start may show more than was traced. Whatever it shows of others'
doing was traced by them before they sent it; so a Start happens after the Campaign its vote is for, after the Append
that made its last entry and after a Commit that covers its image, although its `after` does not say so. `waits_for`
tells merge about those.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from trace_check import images
from trace_check.nodes import Cluster, Node
from trace_check.read import Source
from trace_check.schema import Event
from trace_check.verdict import Refused


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a Start cannot be judged yet: what has not been seen, which nodes could show it, before leaving which term.

    Without suppliers, nothing in this trace can. What nobody shows may have been in an incarnation of theirs, or of the
    node itself, that is not in the trace, if the node was in terms `since` to `term` then; if `since` is None, only at
    the end of one.
    """

    guard: str
    what: str
    suppliers: tuple[str, ...]
    term: int
    since: int | None = None


class Starts:
    """Judges Start and Exit."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def waits_for(self, source: Source, event: Event) -> Wait | None:
        """What else has to be judged before this Start; None when it can be judged now."""
        node = source.of
        if event["event"] != "Start":
            return None
        term, vote, last, last_term = event["term"], event["vote"], event["last"], event["last_term"]
        if images.founds(node, event):
            return None
        if not node.started and (term or vote or last):
            what = f"earlier traces of {node.name}: its first Start shows term {term} and {last} log entries"
            return Wait("NothingForgotten", what, (), 0)
        if term < node.term or (term == node.vote_term and vote != node.vote):
            return None
        cluster, tree = self._cluster, self._cluster.tree
        anybody = tuple(sorted(cluster.electorate))
        if (last, last_term) != (node.stored, node.stored_term):
            leader = tree.leaders.get(last_term)
            entry = f"entry {last} of term {last_term}, which {node.name} found in its log"
            made = leader is None or leader.may_have_made(last)
            own = leader is not None and leader.last < last and leader.node == node.name
            if last_term > term or not made or (own and not (node.source and node.source.cut_off)):
                return None
            if last_term and leader is None:
                return Wait("NothingForgotten", f"the leader who made {entry}", anybody, last_term, last_term)
            if leader is not None and leader.last < last:
                return Wait("NothingForgotten", f"the Append of {entry}", (leader.node,), last_term)
            # What later leaders all hold: none of them can have replaced it or had anything else in its place.
            settled = tree.committed_before(node.stored_under + 1)
            if self._forgets(node, last, last_term) and self._replaced(node, term, last) is None:
                # To be given up twice, an end needs two later leaders; only then is there anything to wait for.
                since = _since(node)
                if term > since and not tree.is_prefix(last, last_term, *settled):
                    what = f"a leader of terms {since} to {term} who had another entry up to {last}"
                    return Wait("NothingForgotten", what, anybody, term, since)
            elif self._under(node, term, last, last_term) is None and tree.comparable(last, last_term, *settled):
                since = max(node.stored_under, node.term)
                what = f"a leader of terms {since} to {term} whose log has {entry}"
                return Wait("NothingForgotten", what, anybody, term, since)
        uncommitted = images.not_committed(cluster, node, event) if tree.exists(last, last_term) else None
        if uncommitted is not None:
            return Wait("ImageCommitted", uncommitted, anybody, term, last_term)
        silent = vote is not None and vote != node.name and term != node.vote_term
        if silent and (term, vote) not in cluster.ballots.stood:
            what = f"the Campaign of {vote} in term {term}, for whom {node.name} has voted"
            return Wait("CampaignHeard", what, (vote,), term, term)
        return None

    def start(self, source: Source, event: Event) -> None:
        """A Start for which nothing has to be waited any more."""
        cluster = self._cluster
        node = source.of
        if source.consumed != 1:
            raise Refused("Frontend", "Start as the first event of an incarnation only", f"event {source.consumed}")
        self._same_disk(node, event["disk"])
        previous = node.source
        if previous is not None and previous.counter == source.counter:
            raise Refused(
                "NothingForgotten", f"an incarnation after {previous.inc}, as the counter is durable", source.inc
            )
        if previous is not None and not node.ended:
            cluster.frontend(node, "Crash")
            if node.leads is not None:
                node.leads.cut_off = previous.cut_off
            cluster.lose(node, previous.ts(previous.consumed))
        term, vote, last, last_term = event["term"], event["vote"], event["last"], event["last_term"]
        if term < node.term:
            raise Refused("TermMonotonic", f"term {node.term} or later, where {node.name} was", f"term {term}")
        if term == node.vote_term and vote != node.vote:
            cast = f"the vote for {node.vote} that {node.name} cast in term {term}"
            raise Refused("NothingForgotten", cast, f"vote {vote}")
        if vote == node.name and term != node.vote_term:
            cluster.may_stand(node, term)
        images.found(cluster, node, event)
        self._log(node, term, last, last_term)
        images.start(cluster, node, event)
        if event["voters"] or last or node.name in cluster.founding.members:
            cluster.same_voters(event["voters"], last, last_term)
        if "members" in event:
            cluster.same_members(event["members"], last, last_term)
        cluster.digests.check(last, last_term, event["digest"])
        if vote is not None and term != node.vote_term:
            # Cast and durable, but the crash came before its line: a silent step. Whose Campaign has been waited for
            # only if the log is in order.
            cluster.ballots.vote(term, node.name, vote)
            node.vote_term, node.vote = term, vote
        cluster.frontend(node, "Start")
        node.source, node.started, node.ended = source, True, False
        node.term = term
        node.committed, node.committed_term = node.image, node.image_term

    def exit(self, source: Source, event: Event) -> None:
        """The process is about to end."""
        cluster = self._cluster
        node = cluster.enter(source, event["term"])
        cluster.frontend(node, "Exit")
        cluster.lose(node, source.ts(source.consumed))
        node.ended = True

    def finished(self, source: Source) -> None:
        """A node's file has no more lines: nothing may follow an Exit."""
        node = source.of
        if node.ended and source.consumed and source.event(source.consumed)["event"] != "Exit":
            raise Refused("Frontend", f"nothing from {source} after its Exit", f"events up to {source.consumed}")

    def _same_disk(self, node: Node, disk: str) -> None:
        owner = self._cluster.disks.setdefault(disk, node.name)
        if owner != node.name:
            raise Refused("SameDisk", f"a disk of {node.name}'s own", f"disk {disk}, which is {owner}'s")
        if node.started and disk != node.disk:
            raise Refused("SameDisk", f"disk {node.disk}, on which {node.name} was before", f"disk {disk}")
        node.disk = disk

    def _forgets(self, node: Node, last: int, last_term: int) -> bool:
        """Whether a log is a proper beginning of what the node had stored."""
        stored = node.stored, node.stored_term
        return (last, last_term) != stored and self._cluster.tree.is_prefix(last, last_term, *stored)

    def _replaced(self, node: Node, term: int, last: int) -> int | None:
        """The first later leader, up to `term`, to have another entry than what the node had stored, up to `last`.

        Then a log can become a proper beginning of itself: a leader replaces its end, and the next one that again by
        what was there at first.
        """
        tree = self._cluster.tree
        for t in tree.terms[bisect_left(tree.terms, _since(node)) : bisect_right(tree.terms, term)]:
            leader = tree.leaders[t]
            same = tree.common(node.stored, node.stored_term, leader.last, t)
            if same < min(last, leader.last):
                return t
        return None

    def _under(self, node: Node, term: int, last: int, last_term: int) -> int | None:
        """The first term, up to `term`, whose leader can have made of the node's log this other one; None if none.

        More entries may come from the leader whose log it was; other entries only from a later one; and nothing from
        a leader whose term the node had left.
        """
        tree = self._cluster.tree
        if self._forgets(node, last, last_term):
            since = (self._replaced(node, term, last) or term) + 1
        elif not tree.is_prefix(node.stored, node.stored_term, last, last_term):
            since = _since(node)
        elif tree.is_prefix(last, last_term, node.end, node.end_term):
            # Its own, as a leader: that may have become durable in any term since.
            since = node.stored_under
        else:
            since = max(node.stored_under, node.term)
        for t in tree.terms[bisect_left(tree.terms, since) : bisect_right(tree.terms, term)]:
            leader = tree.leaders[t]
            if tree.is_prefix(last, last_term, leader.last, t):
                return t
        return None

    def _log(self, node: Node, term: int, last: int, last_term: int) -> None:
        tree = self._cluster.tree
        stored = node.stored, node.stored_term
        if last_term > term or not tree.exists(last, last_term):
            raise Refused(
                "NothingForgotten",
                f"a log that leaders up to term {term} made",
                f"one that ends at {last} of term {last_term}",
            )
        if (last, last_term) != stored:
            under = self._under(node, term, last, last_term)
            if under is None:
                raise Refused(
                    "NothingForgotten",
                    f"the log of {node.name} to end at {stored[0]} of term {stored[1]}, which it had stored, or beyond",
                    f"its end at {last} of term {last_term}",
                )
            self._cluster.keeps(node, last, last_term)
            node.stored_under = under
            if last_term == term:
                node.follows = term
        node.stored, node.stored_term = node.end, node.end_term = last, last_term


def _since(node: Node) -> int:
    """The first term whose leader can have replaced what the node had stored, after all that its lines tell of."""
    return max(node.stored_under + 1, node.term)
