"""What an embedding system makes of the journal: one state, the same on every node that has applied as much of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One committed entry of the journal. Indexes have gaps where the log holds records of its own."""

    index: int
    term: int
    epoch: int
    data: bytes


class StateMachine(Protocol):
    """Applies the journal's entries, in order, in the node's loop: a slow one delays heartbeats.

    What `apply` does may depend on nothing but the entries applied before, so that all nodes come to the same.
    An exception from any of these ends the process (node.Exit.REPLAY).
    """

    def apply(self, index: int, data: bytes) -> object:
        """Take in the committed entry at an index; what JSON can express of what came of it goes to its writer."""

    def image(self) -> bytes | Iterable[bytes]:
        """The whole state, as `restore` takes it.

        It is what the entries applied so far amount to. The bytes of a large state are better handed out bit by bit:
        the node takes about a quarter of a megabyte each turn, so that nothing is held up, and goes on applying entries
        meanwhile, of which the rest must show nothing. So make a copy first (of a dictionary whose values never change,
        say) and then yield from that.
        """

    def restore(self, image: bytes) -> None:
        """Become what the machine was whose image this is."""
