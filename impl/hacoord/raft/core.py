"""Raft as a pure state machine: no clock, no socket, no disk, no logging (Ongaro and Ousterhout, 2014).

Inputs are `step(message)`, `tick(now)` and `propose(data)`. A driver then turns the crank:

    events, messages = raft.take()      # trace the events, then send the messages
    write = raft.to_persist()           # one disk transaction, if any
    raft.persisted()                    # ... and take() again

`take` gives out only what may be said before the disk has synced; `persisted` frees the rest. A method that records a
trace event bears its name: campaign, grant, win, append, store, commit, lose.

Beyond figure 2 of the paper: pre-vote and check-quorum (Ongaro's thesis, 9.6 and 6.2), and the epoch record, the first
entry of every leader's term, which fences all earlier leaders once it is committed.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from hacoord.raft.group import Configuration, Part, encode
from hacoord.raft.handover import Handover
from hacoord.raft.leadership import Leadership, Limits
from hacoord.raft.log import Log, epoch_record
from hacoord.raft.messages import (
    Appended,
    AppendEntries,
    Base,
    Entry,
    HardState,
    Image,
    InstallSnapshot,
    Kind,
    Message,
    Persist,
    Piece,
    Received,
    Ref,
    Removed,
    RequestVote,
    TimeoutNow,
    Vote,
)
from hacoord.raft.outbox import Event, Outbox
from hacoord.raft.reads import Reads
from hacoord.raft.transfer import Receiving


class Role(Enum):
    """What a node is in its present term."""

    FOLLOWER = "follower"
    PRECANDIDATE = "precandidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class NotLeader(Exception):
    """This node may not append; `leader` is who could, as far as it knows."""

    def __init__(self, leader: str | None) -> None:
        advice = f"ask {leader}" if leader else "none is known: try again"
        super().__init__(f"not the leader; {advice}")
        self.leader = leader


class LogDiverged(Exception):
    """Two nodes disagree where Raft says they cannot: stop this node, and keep its files for examination."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Timeouts in seconds. Each election waits a random time between one and two election timeouts."""

    election: float = 0.5
    heartbeat: float = 0.1


class Raft:
    """One node's part in the protocol."""

    def __init__(
        self,
        name: str,
        founding: Configuration,
        outbox: Outbox,
        *,
        now: float,
        hard_state: HardState | None = None,
        entries: Sequence[Entry] = (),
        base: Base | None = None,
        image: Image | None = None,
        founded: Base | None = None,
        timing: Timing | None = None,
        limits: Limits | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Take up where the disk left off. `now` and every later time is seconds on one monotonic clock.

        `entries` follow `base`, which `image` covers. `founding` is the configuration that the group was set up with;
        `founded`, if it was set up from what another cluster left, is where the log of that one ended.
        """
        self.name = name
        self.outbox = outbox
        self.reads = Reads(outbox)
        self.log = Log(entries, founding, base)
        self.newest_image = image
        self._founded = founded
        state = hard_state or HardState()
        self.term = state.term
        self.vote = state.vote
        self.role = Role.FOLLOWER
        self.leader: str | None = None
        self.commit_index = image.base.last if image else 0
        self.epoch_index = 0
        # Whether this node may stand for election, if it has a vote; and whether it has been told that it was removed.
        self.electable = True
        self.removed = False
        self._timing = timing or Timing()
        self._limits = limits or Limits()
        self._rng = rng or random.Random()
        self._leader_seen = -self._timing.election
        self._now = now
        self._deadline = now
        self._ballots: dict[str, Ref | None] = {}
        self._leadership: Leadership | None = None
        self._handover: Handover | None = None
        self.handed_over = False
        self._quorum_check = now
        self._campaign: Ref | None = None
        self._commit_ref: Ref | None = None
        # Where the disk stands: is the hard state newer than it, and from which index on is the log.
        self._hard_dirty = False
        self._dirty_from = 0
        self._synced = self.log.last
        # An image on its way: what of it the disk has still to take; and the event that shows the one there is.
        self._receiving = Receiving()
        self._pieces: list[Piece] = []
        self._image_dirty = False
        self._base_dirty = False
        self._received = False
        self._shown: Ref | None = None
        # What has been traced: the end of the last Append, and the (term, last) of the last Store.
        self._appended = self.log.last
        self._stored = (0, 0)
        self._store_ref: Ref | None = None
        # As a follower: how far the log is the leader's, what it says is committed, and whether it is owed an answer.
        self._matched = 0
        self._leader_commit: tuple[int, Ref | None] = (0, None)
        self._owes_answer = False
        self._told: tuple[int, float] | None = None
        self._wait_for_election()

    # --- what drivers call ---------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """Index of the last log entry."""
        return self.log.last

    @property
    def part(self) -> Part | None:
        """What this node is, by the configuration that it goes by; None if it is no member."""
        return self.log.group.current.part(self.name)

    @property
    def voters(self) -> tuple[str, ...]:
        """Those who count, by the configuration that this node goes by."""
        return self.log.group.current.voters

    @property
    def peers(self) -> tuple[str, ...]:
        """All other members of that configuration."""
        return tuple(name for name in self.log.group.current.members if name != self.name)

    @property
    def quorum(self) -> int:
        """How many voters are more than half."""
        return self.log.group.current.quorum

    @property
    def fenced(self) -> bool:
        """Whether this leader knows its own epoch record committed (Frontend: `fenced`)."""
        return self.role is Role.LEADER and self.commit_index >= self.epoch_index

    @property
    def progress(self) -> dict[str, tuple[int, float]]:
        """As a leader: for each peer, how far it is known to have stored the log, and when it answered last."""
        return self._leadership.progress if self._leadership else {}

    @property
    def told(self) -> tuple[int, float] | None:
        """What was committed, by a leader's word, and when that was, in seconds; None if nobody has said yet.

        A leader's own word counts as of the time at which a quorum had last answered it.
        """
        if self._leadership is None:
            return self._told
        if not self.fenced:
            return None
        return self.commit_index, self._leadership.heard_by(self.voters, self.quorum - 1, self._now)

    def entry(self, index: int) -> Entry:
        """The log entry at an index; IndexError when there is none."""
        return self.log[index]

    def start(self, disk: str) -> None:
        """Trace what this incarnation found on its disk. Call once, before anything else."""
        group = self.log.group
        more_than_voters = len(group.current.members) > len(group.current.voters)
        history: dict[str, object] = {}
        if not group.index and (more_than_voters or self._founded):
            history["members"] = group.current.as_traced()
        if self.newest_image:
            history["image"] = _position(self.newest_image.base)
        if self._founded:
            history["founded"] = [*_position(self._founded), self._founded.epoch]
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

    def deadline(self) -> float:
        """The time at which `tick` wants to be called next."""
        return self._deadline

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

    def propose(self, kind: Kind, data: Sequence[bytes]) -> tuple[int, int]:
        """Append entries as the leader; returns the first and last index. Raises NotLeader."""
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader)
        first = self.log.last + 1
        for item in data:
            self.log.append(self.term, kind, item)
        self._dirty_from = self._dirty_from or first
        return first, self.log.last

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

    def stores(self) -> dict[str, tuple[int, Ref]]:
        """How far each member is known to have stored the log of this leader's term, and the Store that says so."""
        found = self._leadership.stores(self.peers) if self._leadership else {}
        if self._store_ref and self._stored[0] == self.term:
            found[self.name] = self._stored[1], self._store_ref
        return found

    def alive(self) -> set[str]:
        """This leader, and the members that have answered it within an election timeout."""
        since = self._now - self._timing.election
        return {self.name} | (self._leadership.heard_since(since) if self._leadership else set())

    def read_start(self) -> None:
        """Begin to answer the reads that have come in, as a leader that is fenced (see reads.py)."""
        assert self._leadership
        self.reads.read_start(self.term, self.commit_index)
        self._leadership.ask()

    def read_serve(self, index: int) -> Ref | None:
        """Answer them: they see the log up to `index`. None while too few have confirmed that this node leads."""
        return self.reads.read_serve(self.term, index, self.voters, self.quorum)

    @property
    def sends_image(self) -> bool:
        """Whether a peer is being sent this leader's image, and answers."""
        leadership = self._leadership
        return leadership is not None and leadership.sends_image(self._now - self._timing.election)

    def to_persist(self) -> Persist | None:
        """What the disk must take in one transaction before `persisted` is called; None when it is up to date."""
        if not (self._hard_dirty or self._dirty_from or self._pieces or self._image_dirty):
            return None
        hard_state = HardState(self.term, self.vote) if self._hard_dirty else None
        entries = tuple(self.log.between(self._dirty_from, self.log.last)) if self._dirty_from else ()
        image = self.newest_image if self._image_dirty else None
        base = self.log.base if self._base_dirty else None
        return Persist(hard_state, self._dirty_from, entries, tuple(self._pieces), image, self._received, base)

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

    # --- the end of a turn ---------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Say what this turn has come to: at most one Append, Store and Commit, and one frame to each peer."""
        if self._leadership:
            self.append(self._leadership)
            durable = self.log.last if self.outbox.holding else self._synced
            if durable >= self.epoch_index:
                self.store(durable)
            self._commit_what_a_quorum_stored()
            for to, prev, entries in self._leadership.frames(self.log, self.commit_index):
                self._send_entries(to, prev, entries)
            self._ask_heir(self._leadership)
            self._send_image(self._leadership)
        elif self._owes_answer:
            if self._matched == self.log.last:
                self.store(self._matched)
            self._answer_leader()
            target, ref = self._leader_commit
            self.commit(min(target, self._matched), leader_commit=ref)

    def append(self, leadership: Leadership, **change: object) -> None:
        """Trace the entries put into the log since the last Append, a frame at a time (Ballot: Append).

        `change` is what there is to say of a configuration, which must be the only one of them.
        """
        while self._appended < self.log.last:
            first = self._appended + 1
            last = leadership.piece(self.log, first)
            opening = {"epoch": self.log.last_epoch} if first == self.epoch_index else {}
            digest = self.log.digest_at(last).hex()
            self.outbox.record("Append", self.term, first=first, last=last, digest=digest, **opening, **change)
            self._appended = last

    def store(self, last: int) -> None:
        """Trace that the log is durable up to `last`, its end, and agrees with the log of this term's leader."""
        if last == 0 or self._stored == (self.term, last):
            return
        self._store_ref = self.outbox.record(
            "Store", self.term, last=last, last_term=self.log.term_at(last), digest=self.log.digest_at(last).hex()
        )
        self._stored = (self.term, last)

    def commit(self, index: int, **evidence: object) -> None:
        """Take the log up to `index` as committed; the evidence is the Stores counted, or the leader's Commit."""
        if index <= self.commit_index:
            return
        first = self.commit_index + 1
        epochs = self.log.epochs(first, index)
        if epochs:
            evidence["epochs"] = epochs
        runs = self.log.runs(first, index)
        self.commit_index = index
        self._commit_ref = self.outbox.record(
            "Commit", self.term, runs=runs, digest=self.log.digest_at(index).hex(), **evidence
        )

    def _commit_what_a_quorum_stored(self) -> None:
        """Commit what more than half of the voters stored in this term, if the entry there is of this term (5.4.2)."""
        stores = [store for name, store in self.stores().items() if name in self.voters]
        if len(stores) < self.quorum:
            return
        index = sorted(reach for reach, _ in stores)[-self.quorum]
        if index > self.commit_index and self.log.term_at(index) == self.term:
            self.commit(index, stores=[ref for _, ref in stores])

    def _send_entries(self, to: str, prev: int, entries: tuple[Entry, ...]) -> None:
        ref, prev_term, commit = self.outbox.newest, self.log.term_at(prev), (self.commit_index, self._commit_ref)
        read = self.reads.asks(to) if to in self.voters else None
        self.outbox.send(AppendEntries(self.name, to, ref, self.term, prev, prev_term, entries, *commit, read))

    def _answer_leader(self) -> None:
        self._owes_answer = False
        assert self.leader is not None
        store = self._store_ref if self._stored[0] == self.term else None
        self._send_appended(self.leader, True, self._matched, store)

    def _send_appended(self, to: str, ok: bool, match: int, store: Ref | None) -> None:
        ref = self.outbox.newest
        self.outbox.send(Appended(self.name, to, ref, self.term, ok, match, store, *self.reads.answer()))

    # --- elections -----------------------------------------------------------------------------------------------

    def _wait_for_election(self) -> None:
        self._deadline = self._now + self._timing.election * (1 + self._rng.random())

    def _leave_term(self, term: int) -> None:
        """Move on to a higher term."""
        self.conclude()
        self.term = term
        self.vote = None
        self._hard_dirty = True
        self.outbox.hold()
        self.role = Role.FOLLOWER
        self.leader = None
        self.reads.forget()
        self._matched = 0
        self._leader_commit = (0, None)

    def conclude(self) -> None:
        """Say all there is to say of this term, and stop leading it. Nothing more comes of it, unless more comes in."""
        if self._leadership:
            # Before anything is held back: nobody must find entries on a disk that no trace tells of.
            self.append(self._leadership)
        if self._dirty_from:
            self.outbox.hold()
        self._settle()
        if self.role is Role.LEADER:
            self.lose()

    def lose(self) -> None:
        """Stop leading, in this term; whatever was appended in it stays in the log (Fencing: Lose)."""
        self.outbox.record("Lose", self.term)
        self.role = Role.FOLLOWER
        self.leader = None
        self._leadership = None
        self.handed_over = self._handover is not None and self._handover.asked
        self._handover = None
        self.reads.forget()
        self._wait_for_election()

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
        if known := self.removal(m.src):
            self.outbox.send(Removed(self.name, m.src, self.outbox.newest, self.term, *known))
            return
        # A node that hears from a leader disturbs nobody and lets nobody disturb it (thesis 4.2.3).
        content = not m.heir and (
            self.role is Role.LEADER
            or (self.leader is not None and self._now < self._leader_seen + self._timing.election)
        )
        up_to_date = (m.last_term, m.last) >= (self.log.last_term, self.log.last)
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

    def removal(self, name: str) -> tuple[int, int] | None:
        """The position up to which the log is committed, if by then a node has been removed; else None."""
        at = self.commit_index
        return (at, self.log.term_at(at)) if name in self.log.group.at(at)[1].removed else None

    def told_removed(self, index: int, term: int) -> None:
        """By that position of the log this node was removed, says another; unless this log goes on from there to
        where it belongs to the group again, that is so."""
        again = self.log.holds(index, term) and self.name in self.log.group.current.members
        self.removed = self.removed or not again

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

    def _ask_heir(self, leadership: Leadership) -> None:
        handover = self._handover
        if handover and handover.due(leadership.stored(handover.heir), self.commit_index, self.log.last):
            handover.asked = True
            self.outbox.send(TimeoutNow(self.name, handover.heir, self.outbox.newest, self.term))

    def _on_timeout_now(self, m: TimeoutNow) -> None:
        if m.term == self.term and m.src == self.leader and self.electable and self.part is Part.VOTER:
            self.campaign(heir=True)

    def _check_quorum(self) -> None:
        """Step down when more than half of the voters have been silent for an election timeout (thesis 6.2)."""
        self._quorum_check = self._now + self._timing.election
        if len(self.alive().intersection(self.voters)) < self.quorum:
            self.conclude()

    # --- replication ---------------------------------------------------------------------------------------------

    def _follow(self, m: AppendEntries | InstallSnapshot) -> bool:
        """Whether the sender leads this node's term: then it is this node's leader, and has been heard."""
        if m.term > self.term:
            self._leave_term(m.term)
        if m.term < self.term:
            self._send_appended(m.src, False, 0, None)
            return False
        if self.role is Role.LEADER:
            raise LogDiverged(f"{m.src} claims to lead term {m.term}, which {self.name} leads")
        self.role = Role.FOLLOWER
        self.leader = m.src
        self._leader_seen = self._now
        self._wait_for_election()
        return True

    def _on_append_entries(self, m: AppendEntries) -> None:
        if not self._follow(m):
            return
        self._told = m.commit, self._now
        if m.read:
            self.reads.confirm(self.term, m.read)
        if not self.log.holds(m.prev, m.prev_term):
            self._refuse(m)
            return
        self._take_entries(m)
        self._matched = max(self._matched, m.prev + len(m.entries))
        if self.log.last_term == self.term:
            self._matched = self.log.last
        if m.commit > self._leader_commit[0]:
            self._leader_commit = (m.commit, m.commit_ref)
        self._owes_answer = True

    def _refuse(self, m: AppendEntries) -> None:
        """Say where the leader had better try next: no later than where this log could still agree with its own."""
        hint = min(m.prev - 1, self.log.last)
        while hint > self.commit_index and self.log.term_at(hint) > m.prev_term:
            hint -= 1
        self._send_appended(m.src, False, hint, None)

    def _take_entries(self, m: AppendEntries) -> None:
        """Put the leader's entries into the log, giving up what conflicts with them (Raft 5.3)."""
        new = [e for e in m.entries if not self.log.holds(e.index, e.term)]
        if not new:
            return
        first = new[0].index
        if first <= self.commit_index:
            raise LogDiverged(f"{m.src} sent another entry {first} than the one {self.name} knows to be committed")
        self.log.truncate(first)
        for entry in new:
            if self.log.append(entry.term, entry.kind, entry.data).digest != entry.digest:
                raise LogDiverged(f"entry {entry.index} from {m.src} does not continue the log of {self.name}")
        self._dirty_from = min(self._dirty_from or first, first)
        self.outbox.hold()

    def _on_appended(self, m: Appended) -> None:
        if m.term > self.term:
            self._leave_term(m.term)
            return
        if self._leadership and m.term == self.term and m.src in self.peers:
            self._leadership.answered(m, self._now)
            self.reads.confirmed(m.src, m.read, m.confirm)

    # --- images --------------------------------------------------------------------------------------------------

    def image(self, made: Image, give_up: int) -> None:
        """An image has been made here and is on disk; the entries up to an index that it covers may go.

        It is of nothing but what this node has traced as committed.
        """
        assert made.base.last <= self.commit_index
        if self._leadership:
            self.append(self._leadership)
        self.outbox.hold()
        self.newest_image = made
        self._image_dirty = True
        base = made.base
        self._shown = self.outbox.record(
            "Image", self.term, last=base.last, last_term=base.last_term, digest=base.digest.hex()
        )
        if give_up > self.log.base.last:
            self.log.give_up(give_up)
            self._base_dirty = True

    def _send_image(self, leadership: Leadership) -> None:
        if self.newest_image is None or self._shown is None:
            return
        for to, offset, wanted in leadership.parts(self.log, self.newest_image):
            ref, image, shown = self.outbox.newest, self.newest_image, self._shown
            self.outbox.send(InstallSnapshot(self.name, to, ref, self.term, image, shown, offset, wanted))

    def _on_install_snapshot(self, m: InstallSnapshot) -> None:
        if not self._follow(m):
            return
        base = m.image.base
        if base.last <= self.commit_index or self.log.holds(base.last, base.last_term):
            # Nothing is missing here that the leader could not send as entries.
            self._receiving.forget()
            self._matched = max(self._matched, base.last)
            self._owes_answer = True
            return
        piece = self._receiving.take(m)
        if piece:
            self._pieces.append(piece)
            self.outbox.hold()
        if self._receiving.complete and self._receiving.sound:
            self.install(m.image, m.shown)
            return
        if self._receiving.complete:
            self._receiving.forget()
        offset = self._receiving.offset
        self.outbox.send(Received(self.name, m.src, self.outbox.newest, self.term, m.image.checksum, offset))

    def install(self, image: Image, shown: Ref) -> None:
        """Take the leader's image over in place of the log, which has less or contradicts it (Raft, section 7)."""
        base = image.base
        self.outbox.hold()
        self._receiving.forget()
        self.log.restart(base)
        self.newest_image = image
        self._image_dirty = self._base_dirty = self._received = True
        self._dirty_from = 0
        self.commit_index = self._matched = base.last
        self._shown = self._commit_ref = self.outbox.record(
            "Install", self.term, last=base.last, last_term=base.last_term, digest=base.digest.hex(), image=shown
        )
        self._owes_answer = True

    def _on_received(self, m: Received) -> None:
        if m.term > self.term:
            self._leave_term(m.term)
        elif self._leadership and m.term == self.term and m.src in self.peers:
            self._leadership.received(m, self._now)


def _position(base: Base) -> list[object]:
    return [base.last, base.last_term, base.digest.hex()]
