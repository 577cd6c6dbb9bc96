"""Takes the images of one node, on its own: a little in each turn of the loop, so that heartbeats are not late.

Nobody else is asked, and nobody waited for, except a peer that is just being sent the image there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b

from hacoord.config import Images
from hacoord.disk.image_store import PART
from hacoord.images import parts
from hacoord.journal import Journal
from hacoord.raft.core import Raft
from hacoord.raft.messages import Base, Image, Piece
from hacoord.raft.transfer import CHECKSUM_SIZE


class Checkpoint:
    """The image under way, if any."""

    def __init__(self, raft: Raft, journal: Journal, settings: Images, stage: Callable[[Piece], None]) -> None:
        """`stage` writes a part of the image that is being made to the disk (storage.Storage.stage)."""
        self._raft = raft
        self._journal = journal
        self._settings = settings
        self._stage = stage
        self._parts: Iterator[bytes] | None = None
        self._base = Base()
        self._size = 0
        self._hash = blake2b(digest_size=CHECKSUM_SIZE)
        self._wanted: list[Callable[[int], None]] = []
        self._due: list[tuple[Callable[[int], None], int]] = []

    @property
    def under_way(self) -> bool:
        """Whether there is something to do in the next turn."""
        return self._parts is not None

    def request(self, done: Callable[[int], None]) -> None:
        """Take an image, whether or not it is time for one; `done` is told, in the loop, up to where it reaches."""
        self._wanted.append(done)

    def turn(self) -> None:
        """Begin, or go on. All that is replayed has been traced as committed by now."""
        if self._parts is not None and self._superseded():
            self._parts = None
        if self._parts is None:
            self._begin()
        if self._parts is not None:
            self._go_on(self._parts)

    def _newest(self) -> int:
        image = self._raft.newest_image
        return image.base.last if image else 0

    def _superseded(self) -> bool:
        """Whether an image from the leader has replaced the log meanwhile."""
        return self._newest() >= self._base.last

    def _begin(self) -> None:
        applied, newest = self._journal.applied, self._newest()
        due = self._journal.hosts and applied - newest >= self._settings.every
        if self._raft.sends_image or not (due or self._wanted):
            return
        if applied == newest:
            self._tell(newest)
            return
        self._base = self._raft.log.base_at(applied)
        self._size = 0
        self._hash = blake2b(digest_size=CHECKSUM_SIZE)
        self._parts = parts(self._journal.image(), PART)

    def _go_on(self, rest: Iterator[bytes]) -> None:
        part = next(rest, None)
        if part is not None:
            self._stage(Piece(self._size, part))
            self._size += len(part)
            self._hash.update(part)
            return
        self._parts = None
        # A node that hosts no machine keeps its whole journal: it has nothing else to read it from.
        give_up = self._base.last - self._settings.keep if self._journal.hosts else 0
        self._raft.image(Image(self._base, self._size, self._hash.digest()), give_up)
        self._tell(self._base.last)

    def _tell(self, last: int) -> None:
        self._due += [(done, last) for done in self._wanted]
        self._wanted = []

    def answer(self) -> None:
        """Tell who asked for an image that it is there. Only after it is on the disk, and traced."""
        due, self._due = self._due, []
        for done, last in due:
            done(last)
