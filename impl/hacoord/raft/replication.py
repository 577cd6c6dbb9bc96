"""Replication: what a node does with its leader's entries and images, and a leader with the answers (see core.py)."""

from __future__ import annotations

from hacoord.raft.messages import (
    Appended,
    AppendEntries,
    Image,
    InstallSnapshot,
    Received,
    Ref,
)
from hacoord.raft.state import LogDiverged, Role
from hacoord.raft.turn import Turn


class Replication(Turn):
    """A follower's part, and what a leader hears of it."""

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

    def _on_install_snapshot(self, m: InstallSnapshot) -> None:
        if not self._follow(m):
            return
        base = m.image.base
        if base.last <= self.commit_index or self.log.holds(base.last, base.last_term):
            # Nothing is missing here that the leader could not send as entries.
            self._receiving.forget()
            self._matched = self.log.last if self.log.last_term == self.term else max(self._matched, base.last)
            self._owes_answer = True
            return
        if self._received:
            # The disk has still to take another one, whose parts are among the pieces. The leader asks again.
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
