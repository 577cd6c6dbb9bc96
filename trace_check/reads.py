"""Judges how linearizable reads are served: ReadStart, Confirm, ReadServe. Steps no view; spec/Reads.tla says why."""

from __future__ import annotations

from trace_check.nodes import Cluster, Node
from trace_check.read import Source
from trace_check.schema import Event, Reference
from trace_check.tree import Leader
from trace_check.verdict import Refused


class Reads:
    """Judges that who serves reads was the leader still, after they had come in."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # The ReadStart that each incarnation served last.
        self._served: dict[Source, int] = {}
        self.served = 0

    def start(self, source: Source, event: Event) -> None:
        """A LEADER begins to answer reads."""
        node, _ = self._leader(source, event)
        if event["index"] != node.committed:
            raise Refused(
                "ReadIndex", f"index {node.committed}, as far as {node.name} knows the log committed",
                f"index {event['index']}",
            )

    def confirm(self, source: Source, event: Event) -> None:
        """A node, having heard of a ReadStart, is still in its term."""
        node = self._cluster.enter(source, event["term"])
        self._cluster.cited("ConfirmHeard", source, event["start"], "ReadStart", node.term)

    def serve(self, source: Source, event: Event) -> None:
        """A LEADER is about to tell clients what they have read."""
        node, leader = self._leader(source, event)
        reference = event["start"]
        if reference[:2] != [source.node, source.inc]:
            raise Refused("ReadConfirmed", f"a ReadStart of {source}", f"one of {reference[0]} {reference[1]}")
        start = self._cluster.cited("ReadConfirmed", source, reference, "ReadStart", node.term)
        if reference[2] <= self._served.get(source, 0):
            raise Refused("ReadConfirmed", "a ReadStart later than those already served", f"event {reference[2]}")
        if not start["index"] <= event["index"] <= node.committed:
            bounds = f"an index from {start['index']}, that of the ReadStart, to {node.committed}, which is committed"
            raise Refused("ReadIndex", bounds, f"index {event['index']}")
        self._count(source, leader, reference, event["confirms"])
        self._served[source] = reference[2]
        self.served += 1

    def _leader(self, source: Source, event: Event) -> tuple[Node, Leader]:
        """Guard ReadIndex, as to who: the LEADER of the term, which so has committed an entry of its own term."""
        cluster = self._cluster
        node = cluster.enter(source, event["term"])
        leader = cluster.leads(node, node.term, "ReadIndex", event["event"])
        if leader.activated_ts is None:
            raise Refused("ReadIndex", f"{event['event']} only from a LEADER", f"{node.name}, which is none yet")
        return node, leader

    def _count(self, source: Source, leader: Leader, start: Reference, confirms: list[Reference]) -> None:
        cluster, configuration = self._cluster, leader.configuration
        counted = {leader.node}
        for reference in confirms:
            confirm = cluster.cited("ReadConfirmed", source, reference, "Confirm", leader.term)
            voter: str = reference[0]
            if confirm["start"] != start:
                own = f"a Confirm of the ReadStart that is served, event {start[2]}"
                raise Refused("ReadConfirmed", own, f"{voter}'s of another")
            if voter in counted:
                raise Refused("ReadConfirmed", "Confirms of distinct voters", f"two of {voter}")
            cluster.is_voter(voter, configuration, "a Confirm to count")
            counted.add(voter)
        if len(counted) < configuration.majority:
            raise Refused(
                "ReadConfirmed",
                f"Confirms that make {configuration.majority} voters or more, with {leader.node} itself",
                f"{len(counted)}: {', '.join(sorted(counted))}",
            )
