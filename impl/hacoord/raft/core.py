"""Raft as a pure state machine: no clock, no socket, no disk, no logging (Ongaro and Ousterhout, 2014).

Inputs are `step(message)`, `tick(now)` and `propose(data)`. A driver then turns the crank:

    events, messages = raft.take()      # trace the events, then send the messages
    write = raft.to_persist()           # one disk transaction, if any
    raft.persisted()                    # ... and take() again

`take` gives out only what may be said before the disk has synced; `persisted` frees the rest. A method that records a
trace event bears its name: campaign, grant, win, append, store, commit, lose.

Beyond figure 2 of the paper: pre-vote and check-quorum (Ongaro's thesis, 9.6 and 6.2), and the epoch record, the first
entry of every leader's term, which fences all earlier leaders once it is committed.

The parts of it are chapters of their own: state.py (what a node knows), turn.py (what it says when a turn ends),
elections.py and replication.py; leadership.py is what a leader knows of its peers.
"""

from __future__ import annotations

from collections.abc import Collection

from hacoord.raft.elections import Elections
from hacoord.raft.group import Configuration, Part, encode
from hacoord.raft.messages import (
    Appended,
    AppendEntries,
    Base,
    InstallSnapshot,
    Kind,
    Message,
    Received,
    Ref,
    Removed,
    RequestVote,
    TimeoutNow,
    Vote,
)
from hacoord.raft.outbox import Event
from hacoord.raft.replication import Replication
from hacoord.raft.state import LogDiverged, NotLeader, Role, Timing

__all__ = ["LogDiverged", "NotLeader", "Raft", "Role", "Timing"]


class Raft(Elections, Replication):
    """One node's part in the protocol."""

    def start(self, disk: str, boot: str | None = None) -> None:
        """Trace what this incarnation found on its disk, and when in the machine's life. Call once, before all else."""
        group = self.log.group
        more_than_voters = len(group.current.members) > len(group.current.voters)
        history: dict[str, object] = {}
        if not group.index and (more_than_voters or self._founded):
            history["members"] = group.current.as_traced()
        if self.newest_image:
            history["image"] = _position(self.newest_image.base)
        if self._founded:
            history["founded"] = [*_position(self._founded), self._founded.epoch]
        if boot is not None:
            history["boot"] = boot
        self._shown = self.outbox.record(
            "Start",
            self.term,
            vote=self.vote,
            last=self.log.last,
            last_term=self.log.last_term,
            digest=self.log.digest_at(self.log.last).hex(),
            disk=disk,
            voters=list(self.voters),
            **history,
        )
        if self.newest_image:
            self._commit_ref = self._shown

    def tick(self, now: float) -> None:
        """Let time pass: heartbeats and the quorum check of a leader, the election timeout of all others."""
        self._now = now
        if now < self._deadline:
            return
        if self._leadership:
            self._leadership.heartbeat()
            self._press_heir(now)
            self._deadline = now + self._timing.heartbeat
            if now >= self._quorum_check:
                self._check_quorum()
        else:
            self.conclude()  # an answer may be owed to who has led so far, if this turn took long
            self.leader = None
            self._wait_for_election()
            if self.electable and self.part is Part.VOTER:
                self._precampaign()
            else:
                # Nobody votes for it; but who has been removed is told.
                self._ask_for_votes(self.term + 1, pre=True)

    def step(self, message: Message, now: float) -> None:
        """Take in one message. Raises LogDiverged when it contradicts what is committed here."""
        self._now = now
        self.outbox.heard(message.ref)
        match message:
            case RequestVote():
                self._on_request_vote(message)
            case Vote():
                self._on_vote(message)
            case AppendEntries():
                self._on_append_entries(message)
            case Appended():
                self._on_appended(message)
            case TimeoutNow():
                self._on_timeout_now(message)
            case InstallSnapshot():
                self._on_install_snapshot(message)
            case Received():
                self._on_received(message)
            case Removed():
                self.told_removed(message.index, message.index_term)

    def change(self, group: Configuration, stores: Collection[Ref]) -> int:
        """Append a configuration as the leader, and go by it at once (Membership.tla: Propose); returns its index.

        `stores` are the Stores on which the change depends. changes.py says what may be changed, and when.
        """
        assert self._leadership
        self.append(self._leadership)
        index, _ = self.propose(Kind.CONFIGURATION, [encode(group)])
        self.append(self._leadership, members=group.as_traced(), stores=list(stores))
        self._leadership.regroup(self.peers, index, self._now)
        return index

    def read_start(self) -> None:
        """Begin to answer the reads that have come in, as a leader that is fenced (see reads.py)."""
        assert self._leadership
        self.reads.read_start(self.term, self.commit_index)
        self._leadership.ask()

    def read_serve(self, index: int) -> Ref | None:
        """Answer them: they see the log up to `index`. None while too few have confirmed that this node leads."""
        return self.reads.read_serve(self.term, index, self.voters, self.quorum)

    def persisted(self) -> None:
        """The disk has everything `to_persist` returned."""
        self._hard_dirty = False
        self._dirty_from = 0
        self._pieces.clear()
        self._image_dirty = self._base_dirty = self._received = False
        self._synced = self.log.last
        self.outbox.release()
        if self.role is Role.CANDIDATE:
            self._count_votes()

    def take(self) -> tuple[list[Event], list[Message]]:
        """Events to trace and then messages to send, as far as they need not wait for the disk."""
        if self.role is Role.LEADER or not self.outbox.holding:
            self._settle()
        return self.outbox.take()


def _position(base: Base) -> list[object]:
    return [base.last, base.last_term, base.digest.hex()]
