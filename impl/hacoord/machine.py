"""What an embedding system makes of the journal: one state, the same on every node that has applied as much of it."""

from __future__ import annotations

from typing import Protocol


class StateMachine(Protocol):
    """Applies the journal's entries, in order, in the node's loop: a slow one delays heartbeats.

    What `apply` does may depend on nothing but the entries applied before, so that all nodes come to the same.
    An exception from any of these ends the process (node.Exit.REPLAY).
    """

    def apply(self, index: int, data: bytes) -> object:
        """Take in the committed entry at an index; what JSON can express of what came of it goes to its writer."""

    def image(self) -> bytes:
        """The whole state, as `restore` takes it."""

    def restore(self, image: bytes) -> None:
        """Become what the machine was whose image this is."""
