"""The end of a turn, and the end of a term: what a node says of all that has come in (see core.py)."""

from __future__ import annotations

from hacoord.raft.leadership import Leadership
from hacoord.raft.messages import (
    Appended,
    AppendEntries,
    Entry,
    InstallSnapshot,
    Ref,
    TimeoutNow,
)
from hacoord.raft.state import Role, State


class Turn(State):
    """Says at most one Append, Store and Commit in a turn, and sends one frame to each peer."""

    def _settle(self) -> None:
        """Say what this turn has come to: at most one Append, Store and Commit, and one frame to each peer."""
        if self._leadership:
            self.append(self._leadership)
            durable = self.log.last if self.outbox.holding else self._synced
            if durable >= self.epoch_index:
                self.store(durable)
            self._commit_what_a_quorum_stored()
            for to, prev, entries in self._leadership.frames(self.log, self.commit_index, self.voters):
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

    def _send_image(self, leadership: Leadership) -> None:
        if self.newest_image is None or self._shown is None:
            return
        for to, offset, wanted in leadership.parts(self.log, self.newest_image):
            ref, image, shown = self.outbox.newest, self.newest_image, self._shown
            self.outbox.send(InstallSnapshot(self.name, to, ref, self.term, image, shown, offset, wanted))

    def _ask_heir(self, leadership: Leadership) -> None:
        handover = self._handover
        if handover and handover.due(leadership.stored(handover.heir), self.commit_index, self.log.last):
            handover.asked = True
            self.outbox.send(TimeoutNow(self.name, handover.heir, self.outbox.newest, self.term))

    def _answer_leader(self) -> None:
        self._owes_answer = False
        assert self.leader is not None
        store = self._store_ref if self._stored[0] == self.term else None
        self._send_appended(self.leader, True, self._matched, store)

    def _send_appended(self, to: str, ok: bool, match: int, store: Ref | None) -> None:
        ref = self.outbox.newest
        self.outbox.send(Appended(self.name, to, ref, self.term, ok, match, store, *self.reads.answer()))

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
