"""Who lags behind only by what is on its way gets a moment to catch up (Ongaro's thesis, 4.2.1).

A change of the group may have to wait until a node has all that is committed. While clients write without a pause, who
is further away than the others never has: when its answer comes, more is committed. So there are rounds: one begins
with what is committed then, and ends when the node has that. If it took no longer than an election timeout, the node
keeps pace, and writes wait in their queue until the change is made. That takes as long as the node's next answer, and
never longer than an election timeout. Then writes are let alone for ten times as long as they have waited.
"""

from __future__ import annotations

PAUSES = 10
"""How many times as long as they have waited writes are let alone before they may have to wait again."""


class CatchUp:
    """The round under way, and until when writes wait. All times are in seconds, on one monotonic clock."""

    def __init__(self, longest: float) -> None:
        """Nothing is waited for longer than `longest`: an election timeout."""
        self._longest = longest
        self._round: tuple[float, int] | None = None
        self._until = 0.0
        self._again = 0.0

    def hold(self, reach: int | None, commit: int, now: float) -> float:
        """Until when writes had better wait, as a change needs a node that has `reach` to have `commit`.

        `reach` is None when no change waits for anybody.
        """
        if reach is None:
            if now < self._until:
                began = self._until - self._longest
                self._again = now + PAUSES * (now - began)
            self._round = None
            self._until = 0.0
            return 0.0
        if now < self._until:
            return self._until
        if self._round is None:
            self._round = now, commit
        began, goal = self._round
        if reach >= goal:
            self._round = now, commit
            if now - began <= self._longest and now >= self._again:
                self._until = now + self._longest
                self._again = self._until + PAUSES * self._longest
        return self._until
