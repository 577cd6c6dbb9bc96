"""The judge of other systems' traces: what an adapter can tell it of a node, guard by guard, and the views' steps.

Such a trace is one sequence, and names no evidence: so what a node may know is what has happened before in the file.
Nor does it say what is on disk. Hence a vote, or entries stored, cannot be forgotten from the moment on when another
node has *heard* of them; until then a crash may take them back. Guards bear the names of docs/trace-format.md.
"""

from __future__ import annotations

from trace_check.adapters.members import (
    Candidate,
    Group,
    Incomplete,
    Leader,
    Member,
    Voters,
    is_quorum,
    shown,
)
from trace_check.graphs import Graphs
from trace_check.tree import Position
from trace_check.verdict import Refused


class Judge:
    """One per trace. Each method is something that happened; they raise Refused, and Incomplete."""

    def __init__(self, graphs: Graphs) -> None:
        self.group = Group(graphs)
        self._tree = self.group.tree

    # --- the life of a node -------------------------------------------------------------------------------------

    def start(self, name: str, term: int, vote: str | None, last: int, committed: int) -> None:
        """A process starts, and finds this on its disk. What it has if it never ran before must be committed."""
        group = self.group
        member = group.members.get(name)
        if member is None:
            member = group.members[name] = Member(name, group.frontends.initial)
            if last != committed:
                raise Incomplete(f"earlier traces of {name}: of its first {last} entries {committed} are committed")
            if last:
                self._begin_with(member, last)
        else:
            if member.incarnation:
                self.crash(name)
            self._restart(member, term, vote, last, committed)
        group.step_frontend(member, "Start")
        member.incarnation += 1
        member.term = term
        if vote is not None:
            group.election(term).votes.setdefault(name, vote)

    def bootstrap(self, name: str, last: int) -> None:
        """A node writes the entries with which every first node begins, without having heard of anybody."""
        member = self.group.member(name)
        if member.end or member.term > 1:
            raise Refused("LeaderAppends", f"entries of which {name} has heard from a leader", f"{last} of its own")
        self._begin_with(member, last)

    def _begin_with(self, member: Member, last: int) -> None:
        group, tree = self.group, self._tree
        if group.given is None and not tree.terms:
            group.given = tree.committed = last
        if last != group.given:
            raise Incomplete(f"traces that begin together: {member.name} begins with {last} entries, others did not")
        member.end = member.stored = member.committed = last

    def _restart(self, member: Member, term: int, vote: str | None, last: int, committed: int) -> None:
        group, tree, name = self.group, self._tree, member.name
        guard = "NothingForgotten"
        if term < member.heard_term:
            expected = f"term {member.heard_term}, in which others have heard {name}, or later"
            raise Refused(guard, expected, f"term {term}")
        for voted, candidate in list(member.unheard.items()):
            if voted > term or (voted == term and candidate != vote):
                del member.unheard[voted], group.elections[voted].votes[name]
        known = group.election(term).votes.get(name)
        if known is not None and known != vote:
            raise Refused(guard, f"the vote for {known} in term {term}, which was counted", f"vote {vote}")
        stored = member.stored, member.stored_term
        if last < stored[0] and tree.is_prefix(*stored, member.end, member.end_term):
            expected = f"the log of {name} to reach {stored[0]}, of which others have heard"
            raise Refused(guard, expected, f"its end at {last}")
        if (member.end, member.end_term) != stored or last != member.end:
            member.sure = False
            member.end, member.end_term = tree.at(min(last, member.end), member.end_term)
        if committed > tree.committed:
            raise Refused("CommitCited", f"no more than {tree.committed} committed, as by now", f"{committed}")
        member.committed = committed

    def crash(self, name: str) -> None:
        """The process ended, of whatever cause."""
        member = self.group.member(name)
        self.group.step_frontend(member, "Crash")
        self._lose(member)

    def enter(self, name: str, term: int) -> Member:
        """The node is in this term. Guard TermMonotonic."""
        member = self.group.member(name)
        if term != member.term:
            if term < member.term:
                raise Refused("TermMonotonic", f"term {member.term} or later, where {name} is", f"term {term}")
            if member.leads is not None:
                expected = f"{name} to stop leading term {member.term} before it is in a later one"
                raise Refused("TermMonotonic", expected, f"term {term}")
            member.term = term
        return member

    # --- elections ----------------------------------------------------------------------------------------------

    def campaign(self, name: str, voters: Voters, last: int | None = None) -> None:
        """The node votes for itself in its term; `last` is where the log ends that counts, if not the whole log."""
        group = self.group
        member = group.member(name)
        election = group.election(member.term)
        self._vote(member, member.term, name)
        group.step_frontend(member, "Campaign")
        end = (member.end, member.end_term) if last is None else self._own(member, last)
        election.candidates[name] = Candidate(*end, voters)

    def claim(self, name: str, last: int, last_term: int) -> None:
        """A candidate names the last entry of its log that counts. Guard TruePosition."""
        group = self.group
        member = group.member(name)
        candidate = group.election(member.term).candidates.get(name)
        if candidate is None:
            raise Refused("CampaignHeard", f"a Campaign of {name} in term {member.term}", "none")
        named = group.position(last, last_term)
        if named != (candidate.last, candidate.last_term):
            if member.sure or not group.exists(*named) or named[1] >= member.term:
                raise Refused(
                    "TruePosition",
                    f"the end of {name}'s log, {candidate.last} of term {candidate.last_term}",
                    f"{last} of term {last_term}",
                )
            # The crash has left an earlier log than was last seen.
            member.end, member.end_term = candidate.last, candidate.last_term = named
        member.sure = True

    def standing(self, name: str, last: int | None = None) -> Position | None:
        """Where the log of a node ends now, as far as it counts in elections; None if that is not known."""
        member = self.group.member(name)
        if not member.sure:
            return None
        return (member.end, member.end_term) if last is None else self._own(member, last)

    def grant(self, name: str, term: int, candidate: str, standing: Position | None) -> None:
        """The node votes for a candidate, its own log being `standing`. Said again, it is no event."""
        election = self.group.election(term)
        if election.votes.get(name) == candidate:
            return
        member = self.group.member(name)
        asked = election.candidates.get(candidate)
        if asked is None:
            raise Refused("CampaignHeard", f"a Campaign of {candidate} in term {term}", "none")
        self._vote(member, term, candidate)
        if standing is not None and (asked.last_term, asked.last) < (standing[1], standing[0]):
            raise Refused(
                "UpToDate",
                f"a candidate whose log ends no earlier than {name}'s, {standing[0]} of term {standing[1]}",
                f"{candidate}'s, which ends at {asked.last} of term {asked.last_term}",
            )

    def _vote(self, member: Member, term: int, candidate: str) -> None:
        votes = self.group.election(term).votes
        if member.name in votes:
            before = f"no vote, as {member.name} has voted for {votes[member.name]} in term {term}"
            raise Refused("VoteOnce", before, f"one for {candidate}")
        if term > member.term:
            raise Refused("TermMonotonic", f"{member.name} in term {term} before it votes there", f"term {member.term}")
        votes[member.name] = candidate
        member.unheard[term] = candidate

    def heard_grant(self, candidate: str, term: int, voter: str) -> None:
        """A candidate has the vote of a node: from here on it is cast for good. Guard GrantsCited."""
        group = self.group
        election = group.election(term)
        vote = election.votes.get(voter)
        if vote != candidate:
            found = f"one for {vote}" if vote else "none"
            raise Refused("GrantsCited", f"a vote of {voter} for {candidate} in term {term}", found)
        member, asked = group.member(voter), election.candidates[candidate]
        member.heard_term = max(member.heard_term, term)
        member.unheard.pop(term, None)
        if voter in asked.heard:
            return
        before = set(asked.heard)
        asked.heard.add(voter)
        ballots = group.ballots(asked.voters)
        if ballots is None or candidate not in asked.heard or candidate not in asked.voters[0]:
            return
        # Its own vote first, then those that were heard of before it.
        if voter == candidate:
            ballots.campaign(term, candidate)
        for granter in sorted(before if voter == candidate else {voter}):
            if granter in asked.voters[0]:
                ballots.grant(term, granter, candidate)

    def win(self, name: str, last: int) -> None:
        """A candidate leads its term, with a log of this length."""
        group, tree = self.group, self._tree
        member = group.member(name)
        term = member.term
        asked = group.election(term).candidates.get(name)
        if asked is None:
            raise Refused("GrantsCited", f"a Campaign of {name} in term {term}", "none")
        if not is_quorum(asked.heard, asked.voters):
            votes = ", ".join(sorted(asked.heard)) or "none"
            raise Refused("ElectionQuorum", f"votes of more than half of {shown(asked.voters)}", votes)
        if not member.sure:
            raise Incomplete(f"what {name} found in its log when it started: it leads without having named its end")
        if last != member.end:
            raise Refused("TruePosition", f"the end of {name}'s log, {member.end}", f"{last}")
        self._complete(member)
        other = tree.leaders.get(term)
        if other is not None:
            raise Refused("ElectionQuorum", f"one winner in term {term}, {other.node}", f"{name} as well")
        ballots = group.ballots(asked.voters)
        if ballots is not None and name in asked.voters[0]:
            ballots.win(term, name)
        label = ballots.append_label(name) if ballots is not None and name in asked.voters[0] else ""
        leader = Leader(term, name, member.end, member.end_term, last + 1, last, label)
        group.fencing.step(leader, "Claim")
        group.step_frontend(member, "Win")
        tree.add(leader)
        member.leads = leader

    def _complete(self, member: Member) -> None:
        """Guard LeaderCompleteness for a winner."""
        tree, term = self._tree, member.term
        last, last_term = tree.committed_before(term)
        if not last:
            last = self.group.given or 0
        if not tree.is_prefix(last, last_term, member.end, member.end_term):
            raise Refused(
                "LeaderCompleteness",
                f"entry {last} of term {last_term}, which is committed, in the log of term {term}'s winner",
                f"the log of {member.name}, which ends at {member.end} of term {member.end_term}",
            )

    def lose(self, name: str) -> None:
        """The node does not lead any more, if it did."""
        member = self.group.member(name)
        if member.leads is not None:
            self.group.step_frontend(member, "Lose")
            self._lose(member)

    def _lose(self, member: Member) -> None:
        if member.leads is not None:
            self.group.fencing.step(member.leads, "Lose")
            member.leads = None

    # --- the log ------------------------------------------------------------------------------------------------

    def append(self, name: str, last: int) -> None:
        """The log of a leader ends here now."""
        group = self.group
        member = group.member(name)
        leader = group.leads(member, "an append")
        if last == leader.last:
            return
        if last < leader.last:
            raise Refused("LeaderAppends", f"a log that reaches {leader.last}, as before, or beyond", f"{last}")
        asked = group.elections[leader.term].candidates[name]
        ballots = group.ballots(asked.voters)
        if ballots is not None and leader.append_label:
            ballots.append(leader.term, leader.append_label)
        leader.last = last
        member.end, member.end_term = last, leader.term

    def store(self, name: str, last: int, size: int) -> None:
        """The log of a node, of length `size`, is that of its term's leader up to `last`, it says."""
        tree = self._tree
        member = self.group.member(name)
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
        if member.sure and size != member.end:
            raise Refused("TruePosition", f"the log of {name} to end at {member.end}", f"its end at {size}")
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
        member = self.group.member(voter)
        member.heard_term = max(member.heard_term, term)
        leader.heard[voter] = max(last, leader.heard.get(voter, 0))
        position = tree.at(last, term)
        if not tree.is_prefix(*position, member.stored, member.stored_term):
            member.stored, member.stored_term = position

    def truncate(self, name: str, last: int) -> None:
        """A node that does not lead gives up the end of its log, but nothing committed."""
        member = self.group.member(name)
        if last < member.end:
            if last < member.committed:
                expected = f"the log of {name} to reach {member.committed}, which it knows committed"
                raise Refused("NothingForgotten", expected, f"its end at {last}")
            member.end, member.end_term = self._own(member, last)

    def commit(self, name: str, last: int, voters: Voters) -> None:
        """The node knows its log committed up to `last`, and if it leads, by counting these voters."""
        group = self.group
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
            self.group.fencing.step(leader, "Activate")
            leader.active = True

    def _advance(self, leader: Leader, last: int) -> None:
        """Fencing, in the order of the log: the first entry of a term stands for the epoch record."""
        tree, fencing = self._tree, self.group.fencing
        for first, end, maker in tree.runs(tree.committed, tree.committed_term, last, leader.term):
            if first == maker.first:
                fencing.step(maker, "CommitEpoch")
                self.group.epochs += 1
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
        position = self._own(member, last)
        if not tree.is_prefix(*position, tree.committed, tree.committed_term):
            raise self._disagreement(*position)

    def _disagreement(self, last: int, last_term: int) -> Refused:
        tree = self._tree
        return Refused(
            "CommitAgrees",
            f"part of the log committed so far, which ends at {tree.committed} of term {tree.committed_term}",
            f"{last} of term {last_term}, which is not on it",
        )

    def _own(self, member: Member, last: int) -> Position:
        """A position in the log of a node. Guard TruePosition."""
        if last > member.end:
            raise Refused("TruePosition", f"part of {member.name}'s log, which ends at {member.end}", f"entry {last}")
        return self._tree.at(last, member.end_term)
