"""What a node knows while it takes part in the protocol, and what can be read off it (see core.py)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hacoord.raft.group import Configuration, Part
from hacoord.raft.handover import Handover
from hacoord.raft.leadership import Leadership, Limits
from hacoord.raft.log import Log
from hacoord.raft.messages import (
    Base,
    Entry,
    HardState,
    Image,
    Kind,
    Persist,
    Piece,
    Ref,
)
from hacoord.raft.outbox import Outbox
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


class State:
    """One node's memory: what its disk has, what the disk has still to take, what has been said of it."""

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

    def deadline(self) -> float:
        """The time at which `tick` wants to be called next."""
        return self._deadline

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

    def removal(self, name: str) -> tuple[int, int] | None:
        """The position up to which the log is committed, if by then a node has been removed; else None.

        Also None if this log has it added again: it is not to end while that is on its way.
        """
        at, group = self.commit_index, self.log.group
        removed = name in group.at(at)[1].removed and name not in group.current.members
        return (at, self.log.term_at(at)) if removed else None

    def told_removed(self, index: int, term: int) -> None:
        """By that position of the log this node was removed, says another; unless this log goes on from there to
        where it belongs to the group again, that is so."""
        again = self.log.holds(index, term) and self.name in self.log.group.current.members
        self.removed = self.removed or not again

    @property
    def sends_image(self) -> bool:
        """Whether a peer is being sent this leader's image, and answers."""
        leadership = self._leadership
        return leadership is not None and leadership.sends_image(self._now - self._timing.election)

    def propose(self, kind: Kind, data: Sequence[bytes]) -> tuple[int, int]:
        """Append entries as the leader; returns the first and last index. Raises NotLeader."""
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader)
        first = self.log.last + 1
        for item in data:
            self.log.append(self.term, kind, item)
        self._dirty_from = self._dirty_from or first
        return first, self.log.last

    def to_persist(self) -> Persist | None:
        """What the disk must take in one transaction before `persisted` is called; None when it is up to date."""
        if not (self._hard_dirty or self._dirty_from or self._pieces or self._image_dirty):
            return None
        hard_state = HardState(self.term, self.vote) if self._hard_dirty else None
        entries = tuple(self.log.between(self._dirty_from, self.log.last)) if self._dirty_from else ()
        image = self.newest_image if self._image_dirty else None
        base = self.log.base if self._base_dirty else None
        return Persist(hard_state, self._dirty_from, entries, tuple(self._pieces), image, self._received, base)

    def _wait_for_election(self) -> None:
        self._deadline = self._now + self._timing.election * (1 + self._rng.random())
