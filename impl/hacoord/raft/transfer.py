"""An image on its way to a peer that lacks what its leader has given up (Raft, section 7): both ends of it.

One part is under way at a time, so that an image of any size neither fills a connection nor keeps a turn of the loop
busy. Who answers says how much it has: that is where the leader goes on, after a loss, after a connection is replaced,
and when another leader, or the same one after a restart, has the same image. What a part holds is not the core's to
know: the driver reads the bytes from its disk and puts them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from hacoord.raft.messages import Image, InstallSnapshot, Piece

CHECKSUM_SIZE = 16


def checksum(data: bytes) -> bytes:
    """What an image's `checksum` is."""
    return blake2b(data, digest_size=CHECKSUM_SIZE).digest()


@dataclass(slots=True)
class Sending:
    """The leader's end: how much of the image the peer has, whether that is known, and whether a frame is under way."""

    image: Image
    offset: int = 0
    located: bool = False
    awaiting: bool = False

    def due(self) -> None:
        """Nothing has been heard since the last heartbeat: what is under way may be lost, so ask first."""
        if self.awaiting:
            self.located = False

    def answered(self, checksum: bytes, offset: int) -> None:
        """The peer has so much of the image with this checksum."""
        # A second answer about the same place says nothing about the part that has been sent meanwhile.
        if checksum == self.image.checksum and not (self.located and offset == self.offset):
            self.offset = offset
            self.located = True
            self.awaiting = False


class Receiving:
    """The peer's end: what has arrived of one image. Another one begins anew."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing is being received."""
        self.image: Image | None = None
        self.offset = 0
        self._hash = blake2b(digest_size=CHECKSUM_SIZE)

    def take(self, m: InstallSnapshot) -> Piece | None:
        """Take in a frame; returns what is to be kept of it, None if that is nothing."""
        if m.image != self.image:
            self.forget()
            self.image = m.image
        if not m.data or m.offset != self.offset or m.offset + len(m.data) > m.image.size:
            return None
        self.offset += len(m.data)
        self._hash.update(m.data)
        return Piece(m.offset, m.data)

    @property
    def complete(self) -> bool:
        """Whether all of the image is here."""
        return self.image is not None and self.offset == self.image.size

    @property
    def sound(self) -> bool:
        """Whether what is here is what the leader's image was when it was made."""
        return self.image is not None and self._hash.digest() == self.image.checksum
