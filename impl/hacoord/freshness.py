"""How old what a node has applied may be, by its own clock alone (StarRocks: meta_delay_toleration_second)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from hacoord.raft.core import Raft


class Freshness:
    """As of when what is applied was all there was."""

    def __init__(self, raft: Raft, clock: Callable[[], float]) -> None:
        """`clock` is the one, in seconds, that the driver reads for the core."""
        self._raft = raft
        self._clock = clock
        self._fresh_at = -inf
        # What a leader has said to be committed, and when, that is not applied yet.
        self._told: tuple[int, float] | None = None

    def applied(self, index: int) -> None:
        """So much is applied now. What a leader has said is reached or not; what it says meanwhile waits its turn."""
        for word in (self._told, self._raft.told):
            if word is None:
                continue
            if word[0] > index:
                self._told = word
                return
            self._told = None
            self._fresh_at = max(self._fresh_at, word[1])

    def staleness(self) -> float:
        """Seconds; see Journal.staleness."""
        return self._clock() - self._fresh_at
