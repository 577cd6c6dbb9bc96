"""The judge of other systems' traces: what an adapter can tell it of a node, guard by guard, and the views' steps.

Such a trace is one sequence, and names no evidence: so what a node may know is what has happened before in the file.
Nor does it say what is on disk. Hence a vote, or entries stored, cannot be forgotten from the moment on when another
node has *heard* of them; until then a crash may take them back. Guards bear the names of docs/trace-format.md.
"""

from __future__ import annotations

from trace_check.adapters.logs import Logs
from trace_check.adapters.members import Candidate, Group, Incomplete, Leader, Member, Voters, is_quorum, shown
from trace_check.graphs import Graphs
from trace_check.tree import Position
from trace_check.verdict import Refused


class Judge:
    """One per trace. Each method is something that happened; they raise Refused, and Incomplete."""

    def __init__(self, graphs: Graphs) -> None:
        self.group = Group(graphs)
        self.logs = Logs(self.group)
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
            if vote is not None:
                raise Incomplete(f"earlier traces of {name}: it has voted for {vote} in term {term}")
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
            # It may have been cast shortly before a crash, so that no line tells of it.
            self.grant(name, term, vote, self.standing(name))

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
        end = (member.end, member.end_term) if last is None else group.own(member, last)
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
        return (member.end, member.end_term) if last is None else self.group.own(member, last)

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

    def shows_vote(self, name: str, term: int, vote: str | None) -> None:
        """A line shows the vote a node has cast in its term. Guard VoteOnce."""
        known = self.group.election(term).votes.get(name)
        if known is None:
            if vote is not None:
                self.grant(name, term, vote, self.standing(name))
        elif vote != known:
            found = f"one for {vote}" if vote else "no vote"
            raise Refused("VoteOnce", f"the vote of {name} in term {term}, for {known}", found)

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
        voters = group.electorate(asked.voters)
        if voters is None or candidate not in asked.heard or candidate not in voters:
            return
        # Its own vote first, then those that were heard of before it.
        if voter == candidate:
            group.ballots.campaign(term, candidate, voters)
        for granter in sorted(before if voter == candidate else {voter}):
            if granter in voters:
                group.ballots.vote(term, granter, candidate)

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
        label = ""
        voters = group.electorate(asked.voters) or ()
        if name in voters:
            if name not in asked.heard:
                # The others were faster than its own disk: its vote, which was cast when it campaigned, is not counted.
                if group.election(term).votes.get(name) != name:
                    raise Refused("GrantsCited", f"a vote of {name} for itself in term {term}", "none")
                group.ballots.campaign(term, name, voters)
                for granter in sorted(asked.heard.intersection(voters)):
                    group.ballots.vote(term, granter, name)
                asked.heard.add(name)
            group.ballots.win(term, name)
            label = group.ballots.append_label(term, name)
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
