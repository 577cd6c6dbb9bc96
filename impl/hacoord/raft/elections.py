"""Elections: who stands, who votes, who wins, and a leader that lets another win (see core.py)."""

from __future__ import annotations

from collections.abc import Collection

from hacoord.raft.group import Part
from hacoord.raft.handover import Handover
from hacoord.raft.leadership import Leadership
from hacoord.raft.log import epoch_record
from hacoord.raft.messages import (
    Kind,
    Ref,
    Removed,
    RequestVote,
    TimeoutNow,
    Vote,
)
from hacoord.raft.state import NotLeader, Role
from hacoord.raft.turn import Turn


class Elections(Turn):
    """A candidate's part, a voter's, and a leader's as far as it concerns how long it leads."""

    def _ask_for_votes(self, term: int, pre: bool, heir: bool = False) -> None:
        for name in self.peers:
            if name in self.voters:
                ref, campaign = self.outbox.newest, None if pre else self._campaign
                self.outbox.send(
                    RequestVote(self.name, name, ref, term, self.log.last, self.log.last_term, pre, campaign, heir)
                )

    def _precampaign(self) -> None:
        """Ask whether an election could be won before disturbing anyone with a higher term (thesis 9.6)."""
        self.role = Role.PRECANDIDATE
        self._ballots = {self.name: None}
        self._ask_for_votes(self.term + 1, pre=True)
        self._count_votes()

    def campaign(self, heir: bool = False) -> None:
        """Stand for election in the next term, with one's own vote (Ballot: Campaign)."""
        self._leave_term(self.term + 1)
        self.role = Role.CANDIDATE
        self.vote = self.name
        self._campaign = self.outbox.record(
            "Campaign", self.term, last=self.log.last, last_term=self.log.last_term, voters=list(self.voters)
        )
        self._ballots = {self.name: self._campaign}
        self._wait_for_election()
        self._ask_for_votes(self.term, pre=False, heir=heir)

    def _on_request_vote(self, m: RequestVote) -> None:
        up_to_date = (m.last_term, m.last) >= (self.log.last_term, self.log.last)
        # Whose log is up to date has the entry of its removal too, and so belongs to the group again by its own log.
        if not up_to_date and (known := self.removal(m.src)):
            self.outbox.send(Removed(self.name, m.src, self.outbox.newest, self.term, *known))
            return
        # A node that hears from a leader disturbs nobody and lets nobody disturb it (thesis 4.2.3).
        content = not m.heir and (
            self.role is Role.LEADER
            or (self.leader is not None and self._now < self._leader_seen + self._timing.election)
        )
        if m.pre:
            granted = m.term > self.term and up_to_date and not content
            self._send_vote(m.src, granted, pre=True)
            return
        if m.term > self.term and not content:
            self._leave_term(m.term)
        # Whatever part it believes to have: the candidate may know better, and counts accordingly.
        if m.term == self.term and self.vote is None and up_to_date:
            assert m.campaign is not None
            self.grant(m.src, m.campaign)
        elif m.term < self.term or not content:
            self._send_vote(m.src, False, pre=False)

    def grant(self, candidate: str, campaign: Ref) -> None:
        """Vote for a candidate, durably, once in this term (Ballot: Grant)."""
        self.vote = candidate
        self._hard_dirty = True
        self.outbox.hold()
        grant = self.outbox.record(
            "Grant", self.term, candidate=candidate, campaign=campaign, last=self.log.last, last_term=self.log.last_term
        )
        self._wait_for_election()
        self._send_vote(candidate, True, pre=False, grant=grant)

    def _send_vote(self, to: str, granted: bool, *, pre: bool, grant: Ref | None = None) -> None:
        self.outbox.send(Vote(self.name, to, self.outbox.newest, self.term, granted, pre, grant))

    def _on_vote(self, m: Vote) -> None:
        if m.term > self.term:
            self._leave_term(m.term)
            return
        expected = Role.PRECANDIDATE if m.pre else Role.CANDIDATE
        if m.granted and self.role is expected and (m.pre or m.term == self.term) and m.src in self.voters:
            self._ballots[m.src] = m.grant
            self._count_votes()

    def _count_votes(self) -> None:
        if len(self._ballots) < self.quorum:
            return
        if self.role is Role.PRECANDIDATE:
            self.campaign()
        elif self.role is Role.CANDIDATE and not self._hard_dirty:
            self.win()

    def win(self) -> None:
        """Lead this term, and open it with an epoch record that follows the last one in the log (Fencing: Claim)."""
        self.outbox.record("Win", self.term, grants=list(self._ballots.values()))
        self.role = Role.LEADER
        self.leader = self.name
        self._leadership = Leadership(self.peers, self.log.last, self._now, self._limits)
        self._appended = self.log.last
        self._quorum_check = self._now + self._timing.election
        self._deadline = self._now + self._timing.heartbeat
        self.epoch_index, _ = self.propose(Kind.EPOCH, [epoch_record(self.log.last_epoch + 1, self.name)])

    def _check_quorum(self) -> None:
        """Step down when more than half of the voters have been silent for an election timeout (thesis 6.2)."""
        self._quorum_check = self._now + self._timing.election
        if len(self.alive().intersection(self.voters)) < self.quorum:
            self.conclude()

    def hand_over(self, heir: str, patience: float, *, force: bool = False) -> None:
        """Let a voter succeed this leader within so many seconds; with `force` whether or not it has the whole log.

        Propose nothing while `heir` is set; it is None again when that has come to nothing. Raises NotLeader, and
        ValueError when the heir is no other voter.
        """
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader)
        if heir == self.name or heir not in self.voters:
            raise ValueError(f"{heir} is no other voter of the group: one of them has to succeed {self.name}")
        self._handover = Handover(heir, self._now + patience, force)

    @property
    def heir(self) -> str | None:
        """Whom this leader is handing over to. Afterwards `handed_over` says whether it was asked to stand."""
        return self._handover.heir if self._handover else None

    def best_heir(self, among: Collection[str]) -> str | None:
        """Who of these has most of this leader's log, of the voters that answer; None if nobody does."""
        if self._leadership is None:
            return None
        alive = self._leadership.heard_since(self._now - self._timing.election).intersection(self.voters)
        return max(sorted(alive.intersection(among)), key=self._leadership.stored, default=None)

    def _press_heir(self, now: float) -> None:
        """A heartbeat is due: ask the heir again, or give the attempt up."""
        if self._handover:
            self._handover.asked = False
            if now >= self._handover.until:
                self._handover = None

    def _on_timeout_now(self, m: TimeoutNow) -> None:
        if m.term == self.term and m.src == self.leader and self.electable and self.part is Part.VOTER:
            self.campaign(heir=True)
