"""One frontend, pure like the core it wraps: Raft, the epoch that fences, and the frontend type.

The type changes in two steps. `wanted` says which transition is due; the driver has the registered executions carried
out (StateChangeExecutor) and then calls `transferred`, which makes the change and traces it. A LEADER never changes its
type: when it has lost the leadership, `exit_code` is set and the process must end (Frontend.tla).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum

from hacoord.raft.changes import Changes
from hacoord.raft.core import NotLeader, Raft, Role
from hacoord.raft.group import Part
from hacoord.raft.messages import Kind, Message, Ref
from hacoord.raft.outbox import Outbox

EXIT_LOST_LEADERSHIP = 3
EXIT_HANDED_OVER = 11
EXIT_REMOVED = 12


class FrontendType(Enum):
    """What a frontend is to the system it belongs to (StarRocks: FrontendNodeType)."""

    INIT = "INIT"
    UNKNOWN = "UNKNOWN"
    FOLLOWER = "FOLLOWER"
    OBSERVER = "OBSERVER"
    LEADER = "LEADER"


_T = FrontendType
# Frontend.tla: Transfer and Activate. LEADER has no row: it leaves only by the end of its process.
LEGAL_TRANSITIONS: dict[FrontendType, frozenset[FrontendType]] = {
    _T.INIT: frozenset({_T.FOLLOWER, _T.OBSERVER, _T.LEADER}),
    _T.UNKNOWN: frozenset({_T.FOLLOWER, _T.OBSERVER, _T.LEADER}),
    _T.FOLLOWER: frozenset({_T.UNKNOWN, _T.LEADER}),
    _T.OBSERVER: frozenset({_T.UNKNOWN}),
    _T.LEADER: frozenset(),
}


class Frontend:
    """Drives one Raft, watches what it does, and knows what the process is: which type, which epoch, ready or not."""

    def __init__(self, raft: Raft, outbox: Outbox) -> None:
        self.raft = raft
        self._changes = Changes(raft)
        self.type = FrontendType.INIT
        self.epoch: int | None = None
        self.exit_code: int | None = None
        self._outbox = outbox
        self._transferring: tuple[FrontendType, int] | None = None
        self._identity_index = 0
        self.held_until = 0.0
        """Until when, in seconds on the driver's clock, writes wait in their queue (catch_up.py)."""
        self.leaving = False
        """Whether this process is to end in good order anyway, so that a LEADER which loses its office ends with 0."""

    @property
    def ready(self) -> bool:
        """Whether clients may write here: LEADER, and the entry that says who leads is committed."""
        return self.type is FrontendType.LEADER and self.raft.commit_index >= self._identity_index and not self.stopped

    @property
    def takes_in(self) -> bool:
        """Whether writes and reads are taken in now: ready, and not about to hand over."""
        return self.ready and self.raft.heir is None

    @property
    def stopped(self) -> bool:
        """Whether this process has to end, or is ending."""
        return self.exit_code is not None

    def start(self, disk: str, boot: str | None = None) -> None:
        """Trace the beginning of this incarnation; `disk` names its data directory, `boot` this run of the machine."""
        self.raft.start(disk, boot)

    def told_removed(self, index: int, term: int) -> None:
        """A member refuses this node, because by that position of the log it was removed."""
        if not self.stopped:
            self.raft.told_removed(index, term)
            self._watch()

    def deadline(self) -> float:
        """When `tick` wants to be called next, in seconds on the driver's monotonic clock."""
        return self.raft.deadline()

    def step(self, message: Message, now: float) -> None:
        """Take in one message; nothing once the process has to end."""
        if not self.stopped:
            self.raft.step(message, now)
            self._watch()

    def tick(self, now: float) -> None:
        """Let time pass; nothing once the process has to end."""
        if not self.stopped:
            self.raft.tick(now)
            self._watch()

    def _watch(self) -> None:
        if self.type is FrontendType.LEADER and self.raft.role is not Role.LEADER:
            lost = EXIT_HANDED_OVER if self.raft.handed_over else EXIT_LOST_LEADERSHIP
            self.exit(0 if self.leaving else lost)
        elif self.raft.removed:
            self.exit(EXIT_REMOVED)

    def hand_over(self, heir: str, patience: float, *, force: bool = False) -> None:
        """Take in nothing more, and let another voter lead once it has everything; then end.

        If it does not within `patience` seconds, this LEADER goes on. With `force` the heir is asked at once, whatever
        it has. Raises NotLeader, and ValueError when the heir is no other voter.
        """
        self.demand_ready()
        self.raft.hand_over(heir, patience, force=force)

    def wanted(self) -> FrontendType | None:
        """The transition to carry out now, offered once; None while one is under way or nothing is to change."""
        if self._transferring or self.stopped:
            return None
        target = self._target()
        if target is None or target not in LEGAL_TRANSITIONS[self.type]:
            return None
        self._transferring = (target, self.raft.term)
        return target

    def _target(self) -> FrontendType | None:
        if self.raft.role is Role.LEADER:
            return FrontendType.LEADER if self.raft.fenced else None
        if self.raft.leader is None:
            return FrontendType.UNKNOWN
        match self.raft.part:
            case Part.VOTER | Part.LEARNER:
                wanted = FrontendType.FOLLOWER
            case Part.OBSERVER:
                wanted = FrontendType.OBSERVER
            case None:  # it has joined, and has not received the entry that says as what
                return None
        changes_part = {self.type, wanted} == {FrontendType.FOLLOWER, FrontendType.OBSERVER}
        return FrontendType.UNKNOWN if changes_part else wanted

    def transferred(self, to: FrontendType) -> None:
        """The executions for the transition offered last are done: change, and trace it.

        A change that events have overtaken is dropped; but leadership lost after the executions of a leader have run
        ends the process, because nothing can undo them.
        """
        if self._transferring is None or self._transferring[0] is not to:
            raise ValueError(f"no transition to {to.value} is under way")
        _, term = self._transferring
        self._transferring = None
        leads = self.raft.role is Role.LEADER
        if self.stopped:
            return
        if to is not FrontendType.LEADER:
            if not leads and not (to is FrontendType.OBSERVER and self.raft.part is not Part.OBSERVER):
                self.transfer(to)
        elif leads and self.raft.term == term:
            self.activate()
        else:
            self.exit(EXIT_LOST_LEADERSHIP)

    def transfer(self, to: FrontendType) -> None:
        """Become FOLLOWER, OBSERVER or UNKNOWN (Frontend: Transfer)."""
        self.type = to
        self.raft.electable = to is not FrontendType.OBSERVER
        self._outbox.record("Transfer", self.raft.term, to=to.value)

    def activate(self) -> None:
        """Become LEADER, all earlier ones being fenced, and write into the journal who leads (Fencing: Activate)."""
        self.type = FrontendType.LEADER
        self.epoch = self.raft.log.last_epoch
        self._outbox.record("Activate", self.raft.term, epoch=self.epoch)
        identity = json.dumps({"leader": self.raft.name, "epoch": self.epoch}, separators=(",", ":"))
        self._identity_index, _ = self.raft.propose(Kind.LEADER, [identity.encode()])

    def append(self, data: Sequence[bytes], kind: Kind = Kind.WRITE) -> tuple[int, int]:
        """Propose journal entries; returns the first and last index. Raises NotLeader unless this node is ready."""
        self.demand_ready()
        return self.raft.propose(kind, data)

    def changes(self) -> Changes:
        """What may be done to the group. Raises NotLeader unless this node is ready."""
        self.demand_ready()
        return self._changes

    def read_start(self) -> None:
        """Begin to answer the reads that have come in. Raises NotLeader unless this node is ready."""
        self.demand_ready()
        self.raft.read_start()

    def read_serve(self, index: int) -> Ref | None:
        """Clients are about to be told that their reads see all up to `index`; returns the event to cite.

        None as long as too few voters have confirmed that this node leads.
        """
        return self.raft.read_serve(index)

    def demand_ready(self) -> None:
        """Raises NotLeader unless this node takes writes."""
        if not self.takes_in:
            leader = self.raft.leader
            raise NotLeader(None if leader == self.raft.name else leader)

    def ack(self, first: int, last: int, entry_term: int | None = None) -> Ref:
        """A client is about to be told that its entries are committed (Frontend: Ack); returns the event to cite.

        All are of one term: this one, unless `entry_term` says which.
        """
        older = {} if entry_term in (None, self.raft.term) else {"entry_term": entry_term}
        return self._outbox.record("Ack", self.raft.term, first=first, last=last, **older)

    def exit(self, code: int) -> None:
        """The process is about to end with this status: give up leading, and say so (Frontend: Exit)."""
        if self.stopped:
            return
        self.raft.conclude()
        self.exit_code = code
        self._outbox.record("Exit", self.raft.term, code=code)
