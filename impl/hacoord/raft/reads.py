"""Linearizable reads: a leader answers them once a quorum has confirmed that it leads still (Ongaro's thesis, 6.4).

No leases, so no clock has a say in it. One round is under way at a time; whatever comes in meanwhile shares the next.
A frame of replication carries the question, its answer the confirmation; heartbeats repeat what gets lost.
"""

from __future__ import annotations

from collections.abc import Collection

from hacoord.raft.messages import Ref
from hacoord.raft.outbox import Outbox


class Reads:
    """One node's part in the rounds of one term: it asks as the leader, or answers as a follower."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.forget()

    def forget(self) -> None:
        """The term, or the leadership in it, is over."""
        self._start: Ref | None = None
        self._confirms: dict[str, Ref] = {}
        self._answer: tuple[Ref, Ref] | None = None

    def read_start(self, term: int, index: int) -> None:
        """Begin a round; `index` is how far this leader knows the log committed."""
        self._start = self._outbox.record("ReadStart", term, index=index)
        self._confirms = {}

    def asks(self, peer: str) -> Ref | None:
        """The ReadStart that a peer has still to confirm."""
        return None if peer in self._confirms else self._start

    def confirmed(self, by: str, start: Ref | None, confirm: Ref | None) -> None:
        """A peer has answered. Answers to earlier rounds are none."""
        if start is not None and confirm is not None and start == self._start:
            self._confirms[by] = confirm

    def read_serve(self, term: int, index: int, voters: Collection[str], quorum: int) -> Ref | None:
        """End the round, if with this leader enough voters have confirmed; returns the event for clients to cite."""
        confirms = [ref for voter, ref in self._confirms.items() if voter in voters]
        if self._start is None or len(confirms) + 1 < quorum:
            return None
        start, self._start = self._start, None
        return self._outbox.record("ReadServe", term, start=start, confirms=confirms, index=index)

    def confirm(self, term: int, start: Ref) -> None:
        """Say, durably in this term, that its leader still was that after `start`; once for each round."""
        if self._answer is None or self._answer[0].seq < start.seq:
            self._answer = start, self._outbox.record("Confirm", term, start=start)

    def answer(self) -> tuple[Ref | None, Ref | None]:
        """The round confirmed last, and the event that says so."""
        return self._answer or (None, None)
