"""Judges what the log leaves behind: Append, Store, Commit, Ack. (Images: images.py.) These are the hot path."""

from __future__ import annotations

from trace_check.configuration import configuration, goes_on
from trace_check.images import image_shown
from trace_check.nodes import Cluster, Node
from trace_check.read import Source
from trace_check.schema import Event, Reference
from trace_check.tree import Leader, LogTree
from trace_check.verdict import Refused

Run = list[int]


class Logs:
    """Judges durability and commitment by evidence, then steps Fencing and Frontend."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._tree = cluster.tree
        self._digests = cluster.digests
        self._known = cluster.digests.known
        self.epochs_committed = 0

    # --- entries -------------------------------------------------------------------------------------------------

    def append(self, source: Source, event: Event) -> None:
        """The leader puts entries at the end of its log."""
        cluster = self._cluster
        term, first, last = event["term"], event["first"], event["last"]
        node = cluster.enter(source, term)
        leader = cluster.leads(node, term, "LeaderAppends", "Append")
        if first != leader.last + 1 or last < first:
            ended = f"entries from {leader.last + 1} on, where the log ended"
            raise Refused("LeaderAppends", ended, f"{first} to {last}")
        if first == leader.first or "epoch" in event:
            self._epoch(leader, first, event.get("epoch"))
        if last > leader.first and leader.activated_ts is None:
            raise Refused(
                "LeaderAppends", f"nothing but the epoch record, {leader.first}, before Activate", f"{first} to {last}"
            )
        if "members" in event:
            self._change(source, node, leader, event)
        cluster.ballots.append(term, leader.configurations[0][1].voters, leader.append_label)
        leader.last = last
        leader.append_code = source.base + source.consumed
        node.end, node.end_term = last, term
        self._digests.learn(last, term, event["digest"])

    def _epoch(self, leader: Leader, first: int, epoch: int | None) -> None:
        tree = self._tree
        before = tree.leaders[leader.base_term].epoch if leader.base_term else 0
        expected = before + 1 if first == leader.first else None
        if epoch != expected:
            raise Refused(
                "EpochConsecutive",
                f"epoch {expected}, after epoch {before}" if expected else f"no epoch record but at {leader.first}",
                f"{'no epoch' if epoch is None else f'epoch {epoch}'} at index {first}",
            )
        leader.epoch = before + 1

    def _change(self, source: Source, node: Node, leader: Leader, event: Event) -> None:
        """Guards OneChangeAtATime and GroupGoesOn for a configuration that the leader appends."""
        index, before = leader.configurations[-1]
        after = configuration(event["members"])
        changed = before.changed(after)
        guard = "OneChangeAtATime"
        if event["first"] != event["last"]:
            entries = f"entries {event['first']} to {event['last']}"
            raise Refused(guard, "a configuration as the only entry of its Append", entries)
        if node.committed < max(index, leader.first):
            since = f"the configuration at {index}" if index > leader.first else f"the epoch record at {leader.first}"
            found = f"nothing that {node.name} knows committed after {node.committed}"
            raise Refused(guard, f"{since} to be committed before the next configuration", found)
        # Of founders that a trace shows without address, a move is no difference that could be seen.
        nodes = changed or before.may_have_moved()
        if len(changed) > 1 or not nodes or len(event["members"]) != len(after.members):
            found = f"changes of {', '.join(changed) or 'none'}"
            raise Refused(guard, "a configuration that differs in one node from the one before", found)
        reach = self._stored(source, leader, event.get("stores", []))
        caught_up = {name for name, last in reach.items() if last >= node.committed}
        for name in nodes:
            if problem := goes_on(before, after, name, node.name, caught_up):
                raise Refused("GroupGoesOn", *problem)
        leader.configurations.append((event["first"], after))
        self._cluster.electorate.update(after.voters)

    def store(self, source: Source, event: Event) -> None:
        """A node's log is durable, and the beginning of the log of its term's leader."""
        tree, node = self._tree, source.of
        term, last, last_term = event["term"], event["last"], event["last_term"]
        if term != node.term:
            self._cluster.enter(source, term)
        leader = tree.leaders.get(term)
        if leader is None:
            raise Refused("StoreOnLeaderLog", f"a leader of term {term} whose log this is", "no winner of that term")
        reach = self._reach(source, leader)
        if last_term == term:
            on_log = leader.first <= last <= reach
        else:
            on_log = tree.has(last, last_term, leader.base, leader.base_term)
        # What a Start has shown to be in the log needs no hearing of: it came before the crash.
        if not on_log and not self._own(node, leader, last, last_term):
            raise Refused(
                "StoreOnLeaderLog",
                f"a position on the log of {leader.node}, leader of term {term}, as far as {node.name} has heard: "
                f"{leader.base} of term {leader.base_term}, or up to {reach} of term {term}",
                f"{last} of term {last_term}",
            )
        changed = len(leader.configurations) > 1 or node.name not in leader.configuration.members
        # What its Start has shown it may have had from a leader that had appended more than it has heard of since.
        if changed and not tree.has(last, last_term, node.stored, node.stored_term):
            self.gone(node, leader, last, reach)
        if node.image < tree.root:
            first = f"an Install of entries 1 to {tree.root}, with which all logs begin, before a Store of {node.name}"
            raise Refused("SameFounding", first, f"a Store up to {last}")
        if term == node.stored_under:
            forgets = last < node.stored
        else:
            stored = node.stored, node.stored_term
            forgets = (last, last_term) != stored and tree.is_prefix(last, last_term, *stored)
            # A Commit of a later term can be heard of, and that term's leader not.
            self._cluster.keeps(node, last, last_term)
        if forgets:
            raise Refused(
                "NothingForgotten",
                f"the log of {node.name} to end at {node.stored} of term {node.stored_term}, which it had stored, or "
                "beyond",
                f"its end at {last} of term {last_term}",
            )
        if self._known.get((last, last_term)) != event["digest"]:
            # The digest of an image was compared when the image was shown, and T's leader has named it.
            own = last_term == term and (last, last_term) != (node.image, node.image_term)
            self._digests.check(last, last_term, event["digest"], own=own)
        node.stored, node.stored_term, node.stored_under = last, last_term, term
        node.follows = term
        if leader.source is not source:
            node.end, node.end_term = last, last_term

    def gone(self, node: Node, leader: Leader, last: int, reach: int) -> None:
        """Guard GroupGoesOn for a Store or an Install: a leader sends no node the entry that removes it.

        `reach` is how far the node has heard: what the leader appends after that must not matter.
        """
        for index, group in reversed(leader.configurations):
            if index > reach:
                continue
            if node.name in group.members or not index:
                return  # Of the founding configuration the trace need not show everybody.
            if index <= last:
                what = f"{node.name}, which is no member since index {index}"
                raise Refused("GroupGoesOn", "a member, as the leader sends to others nothing", what)

    def _reach(self, source: Source, leader: Leader) -> int:
        """How far the leader had appended by its newest event that this incarnation has heard."""
        reach = self._cluster.reach(source, leader)
        if reach < 0:
            won = f"to have heard of the Win of {leader.node} in term {leader.term}"
            raise Refused("StoreOnLeaderLog", won, "nothing heard of it")
        return reach

    def _own(self, node: Node, leader: Leader, last: int, last_term: int) -> bool:
        tree = self._tree
        on_log = tree.has(last, last_term, node.stored, node.stored_term)
        return on_log and tree.is_prefix(last, last_term, leader.last, leader.term)

    # --- commitment ----------------------------------------------------------------------------------------------

    def commit(self, source: Source, event: Event) -> None:
        """A node learns that more of its log is committed."""
        cluster, tree, node = self._cluster, self._tree, source.of
        term = event["term"]
        if term != node.term:
            cluster.enter(source, term)
        before = node.committed
        runs = event["runs"]
        first, last, last_term = runs[0] if len(runs) == 1 else (0, 0, 0)
        if not (
            # The common case, more of the node's newest run, told from the rest at a glance.
            last_term == node.committed_term == node.end_term
            and first == before + 1 <= last <= node.end
            and "epochs" not in event
        ):
            last, last_term = self._continue(node, runs)
            self._records(event)
        if self._known.get((last, last_term)) != event["digest"]:
            self._digests.check(last, last_term, event["digest"])
        if "stores" in event:
            leader = cluster.leads(node, term, "StoresCited", "a Commit that counts Stores")
            self._count(source, leader, last, last_term, event["stores"])
            self._agree(last, last_term)
            self._known_to_later(last, last_term)
            if last > leader.committed:
                leader.committed = last
        else:
            self._told(source, node, last, event.get("leader_commit"))
            on_log = last_term == tree.committed_term and last <= tree.committed
            if not on_log and not tree.is_prefix(last, last_term, tree.committed, tree.committed_term):
                raise self._disagreement(last, last_term)
            if node.leads is not None and before < node.leads.first <= last:
                raise Refused("CommitCited", f"the Stores counted, as {node.name} leads", "another node's Commit")
        node.committed, node.committed_term = last, last_term
        own = node.leads
        if own is not None and before < own.first <= last:
            cluster.frontend(node, "CommitEpoch")

    def _continue(self, node: Node, runs: list[Run]) -> tuple[int, int]:
        """Guard CommitContiguous; returns the last position."""
        tree = self._tree
        guard = "CommitContiguous"
        if not runs:
            raise Refused(guard, "at least one run", "none")
        at, at_term, neighbour = node.committed, node.committed_term, -1
        for first, last, term in runs:
            leader = tree.leaders.get(term)
            if leader is None or term == tree.root_term:
                found = f"{first} to {last} of term {term}, which has no leader"
                raise Refused(guard, f"entries that {node.name} has", found)
            if first != at + 1 or last < first or term == neighbour:
                next_run = f"a run from {at + 1} on, of another term than the one before"
                raise Refused(guard, next_run, f"{first} to {last} of term {term}")
            if term != at_term and (leader.base, leader.base_term) != (at, at_term):
                raise Refused(
                    guard,
                    f"an entry of {node.name}'s log after {at} of term {at_term}",
                    f"{first} of term {term}, whose run begins after {leader.base} of term {leader.base_term}",
                )
            at, at_term, neighbour = last, term, term
        if not tree.is_prefix(at, at_term, node.end, node.end_term):
            raise Refused(
                guard,
                f"part of {node.name}'s log, which ends at {node.end} of term {node.end_term}",
                f"entries up to {at} of term {at_term}",
            )
        return at, at_term

    def _records(self, event: Event) -> None:
        """Guard EpochConsecutive for the epoch records that become known committed."""
        leaders = self._tree.leaders
        expected = [[first, leaders[t].epoch] for first, _, t in event["runs"] if first == leaders[t].first]
        if event.get("epochs", []) != expected:
            raise Refused(
                "EpochConsecutive", f"epochs {expected}, as appended", f"{event.get('epochs', 'none')}"
            )

    def _count(self, source: Source, leader: Leader, last: int, last_term: int, stores: list[Reference]) -> None:
        """Guards StoresCited, CommitQuorum, CommitOwnTerm."""
        if last_term != leader.term:
            raise Refused("CommitOwnTerm", f"a last entry of term {leader.term}", f"entry {last} of term {last_term}")
        configuration = leader.configuration
        reach = self._stored(source, leader, stores)
        for voter in reach:
            if voter not in configuration.voters:
                self._cluster.is_voter(voter, configuration, "a Store to count")
        counted = [voter for voter, stored in reach.items() if stored >= last]
        if len(counted) < configuration.majority:
            raise Refused(
                "CommitQuorum",
                f"Stores of {configuration.majority} voters or more that reach index {last}",
                f"{len(counted)}: {', '.join(sorted(counted)) or 'none'}",
            )

    def _stored(self, source: Source, leader: Leader, stores: list[Reference]) -> dict[str, int]:
        """How far each node has stored the log of this leader, by the Stores it cites. Guard StoresCited."""
        reach: dict[str, int] = {}
        for reference in stores:
            store = self._cluster.cited("StoresCited", source, reference, "Store", leader.term)
            node = reference[0]
            if node in reach:
                raise Refused("StoresCited", "Stores of distinct voters", f"two of {node}")
            reach[node] = store["last"]
        return reach

    def _told(self, source: Source, node: Node, last: int, reference: Reference | None) -> None:
        """Guard CommitCited."""
        if reference is None:
            raise Refused("CommitCited", "the Stores counted, or another node's Commit", "neither")
        told = self._cluster.cited("CommitCited", source, reference, "Commit", None, "Install", "Start")
        if reference[0] == node.name:
            raise Refused("CommitCited", "the Commit of another node", f"one of {node.name}")
        reached = told["runs"][-1][1] if "runs" in told else image_shown(told)[0]
        if reached < last:
            raise Refused("CommitCited", f"a Commit that reaches index {last}", f"one that reaches {reached}")

    def _agree(self, last: int, last_term: int) -> None:
        """Guard CommitAgrees for a leader's Commit; what it commits first steps Fencing, in log order."""
        tree, fencing, records = self._tree, self._cluster.fencing, self._cluster.records
        if tree.is_prefix(last, last_term, tree.committed, tree.committed_term):
            return
        if not tree.is_prefix(tree.committed, tree.committed_term, last, last_term):
            raise self._disagreement(last, last_term)
        for first, end, leader in tree.runs(tree.committed, tree.committed_term, last, last_term):
            if first == leader.first:
                fencing.step(leader, "CommitEpoch")
                self.epochs_committed += 1
                records[first] = "an epoch record"
            for index, _ in leader.configurations[1:]:
                if first <= index <= end:
                    records[index] = "a configuration"
            if end > leader.first:
                fencing.step(leader, "Write")
        tree.committed, tree.committed_term = last, last_term

    def _known_to_later(self, last: int, last_term: int) -> None:
        """Guard LeaderCompleteness, for winners of later terms that are known already."""
        tree = self._tree
        if tree.terms[-1] == last_term:
            return
        for later in tree.after(last_term):
            if not tree.is_prefix(last, last_term, later.base, later.base_term):
                raise Refused(
                    "LeaderCompleteness",
                    f"entry {last} of term {last_term} in the log of {later.node}, winner of term {later.term}, "
                    "before it may be committed",
                    f"that log, which ended at {later.base} of term {later.base_term}",
                )

    def _disagreement(self, last: int, last_term: int) -> Refused:
        tree = self._tree
        return Refused(
            "CommitAgrees",
            f"part of the log committed so far, which ends at {tree.committed} of term {tree.committed_term}",
            f"{last} of term {last_term}, which is not on it" + _fork(tree, last, last_term),
        )

    def ack(self, source: Source, event: Event) -> None:
        """A node is about to tell a client that entries are committed."""
        cluster = self._cluster
        term, first, last = event["term"], event["first"], event["last"]
        node = cluster.enter(source, term)
        leader = cluster.leads(node, term, "AckCommitted", "Ack")
        if event.get("entry_term", term) != term:
            self._older(node, event)
            cluster.frontend(node, "Ack")
            return
        reach = node.committed if node.committed_term == term else leader.first
        if not leader.first < first <= last <= reach:
            raise Refused(
                "AckCommitted",
                f"entries after {leader.first}, the epoch record, up to {reach}, which {node.name} knows committed",
                f"{first} to {last}",
            )
        cluster.frontend(node, "Ack")

    def _older(self, node: Node, event: Event) -> None:
        """Guard AckCommitted for entries of an earlier term, as a write that is tried again may have been written."""
        tree, first, last, entry_term = self._tree, event["first"], event["last"], event["entry_term"]
        made = tree.leaders.get(entry_term)
        on_log = tree.is_prefix(last, entry_term, node.committed, node.committed_term)
        if made is None or not made.first < first <= last or not on_log:
            raise Refused(
                "AckCommitted",
                f"entries of term {entry_term} after its epoch record, up to {node.committed}, which {node.name} knows "
                "committed",
                f"{first} to {last}",
            )


def _fork(tree: LogTree[Leader], last: int, last_term: int) -> str:
    """Which term's entry is committed where this position's log has another."""
    for first, end, leader in tree.runs(tree.root, tree.root_term, tree.committed, tree.committed_term):
        if first <= last <= end and leader.term != last_term:
            return f": entry {last} is of term {leader.term}"
    return ""
