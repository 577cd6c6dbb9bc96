"""A leader that leaves on purpose sees to it that a voter who has its whole log succeeds it (Ongaro's thesis, 3.10).

Nothing new comes into the log meanwhile; once the heir has stored all of it, and all is committed, it is asked to stand
for election at once, without waiting for the silence after which others would. If it does not win in time, the leader
goes on as before.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Handover:
    """One attempt: to whom, until when (seconds on the core's clock), and whether the heir need not have everything."""

    heir: str
    until: float
    force: bool = False
    asked: bool = False

    def due(self, stored: int, committed: int, last: int) -> bool:
        """Whether to ask the heir now: once, and again after each heartbeat."""
        return not self.asked and (self.force or stored == committed == last)
