"""The log in other systems' traces: what leaders append and send, what nodes hold, and what is committed."""

from __future__ import annotations

from trace_check.adapters.members import Group, Leader, Member, Voters, is_quorum, shown
from trace_check.tree import Position
from trace_check.verdict import Refused


class Logs:
    """The part of the judge that logs are told to. Each method raises Refused, and Incomplete."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._tree = group.tree


    def append(self, name: str, last: int) -> None:
        """The log of a leader ends here now."""
        group = self._group
        member = group.member(name)
        leader = group.leads(member, "an append")
        if last == leader.last:
            return
        if last < leader.last:
            raise Refused("LeaderAppends", f"a log that reaches {leader.last}, as before, or beyond", f"{last}")
        voters = group.electorate(group.elections[leader.term].candidates[name].voters)
        if voters is not None and leader.append_label:
            group.ballots.append(leader.term, voters, leader.append_label)
        leader.last = last
        member.end, member.end_term = last, leader.term

    def offers(self, name: str, term: int, after: Position, upto: int) -> None:
        """As the leader of `term`, a node sends what its log has after a position, up to an index."""
        tree = self._tree
        leader = tree.leaders.get(term)
        if leader is None or leader.node != name:
            found = leader.node if leader else "nobody"
            raise Refused("LeaderAppends", f"{name} to lead term {term}, as it says", found)
        if max(upto, after[0]) > leader.last:
            found = f"entry {max(upto, after[0])}"
            raise Refused("LeaderAppends", f"part of {name}'s log, which ends at {leader.last}", found)
        there = tree.at(after[0], term) if after[0] else after
        if self._group.position(*after) != there:
            found = f"one of term {after[1]}"
            raise Refused("LeaderAppends", f"entry {after[0]} of {name}'s log, of term {there[1]}", found)

    def ends(self, name: str, size: int) -> None:
        """A line shows how long the log of a node is that has not changed since. Guard TruePosition."""
        member = self._group.member(name)
        if member.sure and size != member.end:
            raise Refused("TruePosition", f"the log of {name} to end at {member.end}", f"its end at {size}")

    def store(self, name: str, last: int, size: int) -> None:
        """The log of a node, of length `size`, is that of its term's leader up to `last`, it says."""
        tree = self._tree
        member = self._group.member(name)
        term = member.term
        leader = tree.leaders.get(term)
        if leader is None or last > leader.last:
            expected = f"a log of term {term}'s leader that reaches {last}"
            raise Refused("StoreOnLeaderLog", expected, f"its end at {leader.last}" if leader else "no such leader")
        position = tree.at(last, term)
        if leader is not member.leads and not tree.is_prefix(*position, member.end, member.end_term):
            member.end, member.end_term = position
        if not member.sure and size == last:
            member.end, member.end_term = position
            member.sure = True
        self.ends(name, size)
        leader.said[name] = max(last, leader.said.get(name, 0))

    def heard_store(self, name: str, term: int, voter: str, last: int) -> None:
        """A leader hears how far a node holds its log: from here on it is there for good. Guard StoresCited."""
        tree = self._tree
        leader = tree.leaders.get(term)
        if leader is None or leader.node != name:
            raise Refused("StoresCited", f"{name} to lead term {term}, as what it hears is for", "another or nobody")
        said = leader.said.get(voter, 0)
        if last > said:
            raise Refused("StoresCited", f"{voter} to have said that it holds {last} entries or more", f"{said}")
        member = self._group.member(voter)
        member.heard_term = max(member.heard_term, term)
        leader.heard[voter] = max(last, leader.heard.get(voter, 0))
        position = tree.at(last, term)
        if not tree.is_prefix(*position, member.stored, member.stored_term):
            member.stored, member.stored_term = position

    def truncate(self, name: str, last: int) -> None:
        """A node that does not lead gives up the end of its log, but nothing committed."""
        member = self._group.member(name)
        if last < member.end:
            if last < member.committed:
                expected = f"the log of {name} to reach {member.committed}, which it knows committed"
                raise Refused("NothingForgotten", expected, f"its end at {last}")
            member.end, member.end_term = self._group.own(member, last)

    def commit(self, name: str, last: int, voters: Voters) -> None:
        """The node knows its log committed up to `last`, and if it leads, by counting these voters."""
        group = self._group
        member = group.member(name)
        before = member.committed
        if last == before:
            return
        if last < before:
            raise Refused("CommitContiguous", f"{before} entries committed, as before, or more", f"{last}")
        leader = member.leads
        if leader is not None:
            self._count(leader, last, voters)
        else:
            self._told(member, last)
        member.committed = last
        if leader is not None and before < leader.first <= last:
            group.step_frontend(member, "CommitEpoch")

    def _count(self, leader: Leader, last: int, voters: Voters) -> None:
        """Guards CommitContiguous, CommitOwnTerm, CommitQuorum, CommitAgrees, LeaderCompleteness."""
        tree, term = self._tree, leader.term
        if last > leader.last:
            raise Refused("CommitContiguous", f"part of {leader.node}'s log, which ends at {leader.last}", f"{last}")
        if last < leader.first:
            found = f"entry {last} of term {tree.at(last, term)[1]}"
            raise Refused("CommitOwnTerm", f"a last entry of term {term}", found)
        holders = [name for name, heard in leader.heard.items() if heard >= last]
        if not is_quorum(holders, voters):
            expected = f"more than half of {shown(voters)} to hold entry {last}, as far as {leader.node} has heard"
            raise Refused("CommitQuorum", expected, ", ".join(sorted(holders)) or "none")
        if not tree.is_prefix(last, term, tree.committed, tree.committed_term):
            if not tree.is_prefix(tree.committed, tree.committed_term, last, term):
                raise self._disagreement(last, term)
            self._advance(leader, last)
        for later in tree.after(term):
            if not tree.is_prefix(last, term, later.base, later.base_term):
                raise Refused(
                    "LeaderCompleteness",
                    f"entry {last} of term {term} in the log of {later.node}, winner of term {later.term}",
                    f"that log, which ended at {later.base} of term {later.base_term}",
                )
        self._activate(leader)
        leader.committed = max(leader.committed, last)

    def _activate(self, leader: Leader) -> None:
        if not leader.active:
            self._group.fencing.step(leader, "Activate")
            leader.active = True

    def _advance(self, leader: Leader, last: int) -> None:
        """Fencing, in the order of the log: the first entry of a term stands for the epoch record."""
        tree, fencing = self._tree, self._group.fencing
        for first, end, maker in tree.runs(tree.committed, tree.committed_term, last, leader.term):
            if first == maker.first:
                fencing.step(maker, "CommitEpoch")
                self._group.epochs += 1
            if maker is leader:
                self._activate(leader)
            # Entries of a leader that was never active are in the log below its successor's: no Write of its own.
            if end > maker.first and maker.active:
                fencing.step(maker, "Write")
        tree.committed, tree.committed_term = last, leader.term

    def _told(self, member: Member, last: int) -> None:
        """Guards CommitContiguous, CommitCited and CommitAgrees for who does not lead."""
        tree = self._tree
        if last > tree.committed:
            raise Refused("CommitCited", f"no more than {tree.committed} entries, as leaders have committed", f"{last}")
        if not member.sure:
            return
        if last > member.end:
            raise Refused("CommitContiguous", f"part of {member.name}'s log, which ends at {member.end}", f"{last}")
        position = self._group.own(member, last)
        if not tree.is_prefix(*position, tree.committed, tree.committed_term):
            raise self._disagreement(*position)

    def _disagreement(self, last: int, last_term: int) -> Refused:
        tree = self._tree
        return Refused(
            "CommitAgrees",
            f"part of the log committed so far, which ends at {tree.committed} of term {tree.committed_term}",
            f"{last} of term {last_term}, which is not on it",
        )
