"""The part of a node's database that is about images: the one in force, those under way, and what the log begins after.

An image is written in parts, each in a transaction of its own, and is in force from the transaction on that says so; in
that one the entries it stands for stop to count. The rows that have come to nothing (entries given up, older images,
images left half-way) are removed a few at a time, whenever something is written anyway: that many at once would hold
everything up.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from hacoord.raft.messages import Base, Image, Persist, Piece
from hacoord.raft.transfer import checksum

PART = 256 * 1024
"""How much of an image is written in one transaction, and sent in one frame, in bytes."""
SWEEP_ENTRIES = 2000
SWEEP_PARTS = 4


class Damaged(Exception):
    """What is stored is not what was written; the text says what."""


def create_tables(connection: sqlite3.Connection) -> None:
    """Add to a database what `ImageStore` needs."""
    connection.execute("CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT, seal BLOB)")
    connection.execute("CREATE TABLE part (image INTEGER, start INTEGER, data BLOB, PRIMARY KEY (image, start))")


@dataclass(frozen=True, slots=True)
class _State:
    """Which parts belong to what: numbers of images, 0 for none; `newest` is the last number given."""

    base: Base
    image: Image | None
    number: int
    newest: int
    received: int = 0
    made: int = 0
    swept: bool = False


class ImageStore:
    """What a database says of images. Raises Damaged if it contradicts itself.

    Its caller makes the transactions, and sets `state` to what `write` or `stage` returned once they are committed.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._conn = connection
        facts = {name: self._fact(*row) for name, *row in connection.execute("SELECT name, value, seal FROM fact")}
        number = 0
        image: Image | None = None
        try:
            base = _base(facts.get("base", _values(Base())))
            if "image" in facts:
                number, size, digest, *rest = facts["image"]
                image = Image(_base(rest), size, bytes.fromhex(digest))
            self.founded = _base(facts["founded"]) if "founded" in facts else None
        except (TypeError, ValueError) as error:
            raise Damaged(f"what it says of its image is none: {error}") from error
        if base.last > (image.base.last if image else 0):
            raise Damaged(f"the log begins after entry {base.last}, and no image holds what came before")
        newest: int = connection.execute("SELECT coalesce(max(image), 0) FROM part").fetchone()[0]
        self.state = _State(base, image, number, max(newest, number))

    @property
    def base(self) -> Base:
        """What the log begins after."""
        return self.state.base

    @property
    def image(self) -> Image | None:
        """The image in force."""
        return self.state.image

    def read(self) -> bytes:
        """The image in force, whole. Raises Damaged, and ValueError if there is none."""
        image = self.image
        if image is None:
            raise ValueError("there is no image")
        rows = self._conn.execute("SELECT data FROM part WHERE image = ? ORDER BY start", (self.state.number,))
        data = b"".join(part for (part,) in rows)
        if len(data) != image.size or checksum(data) != image.checksum:
            raise Damaged(f"the image up to entry {image.base.last} does not match its checksum")
        return data

    def part(self, image: Image, offset: int) -> bytes:
        """What follows `offset` in the image, one part of it; nothing if this is not the image in force."""
        if image != self.image:
            return b""
        row = self._conn.execute(
            "SELECT start, data FROM part WHERE image = ? AND start <= ? ORDER BY start DESC LIMIT 1",
            (self.state.number, offset),
        ).fetchone()
        return bytes(row[1][offset - row[0] :]) if row else b""

    def stage(self, piece: Piece) -> _State:
        """Add to the image that is being made here. Its first part has offset 0, and begins a new one."""
        state = self.state
        if piece.offset == 0:
            state = replace(state, made=state.newest + 1, newest=state.newest + 1, swept=False)
        self._add(state.made, piece)
        return state

    def write(self, persist: Persist) -> _State:
        """Write what a transaction says of images."""
        state = self.state
        for piece in persist.pieces:
            if piece.offset == 0:
                state = replace(state, received=state.newest + 1, newest=state.newest + 1, swept=False)
            self._add(state.received, piece)
        if persist.image is not None:
            image, number = persist.image, state.received if persist.received else state.made
            if not number:
                raise ValueError("no part of that image has been written")
            self.put("image", [number, image.size, image.checksum.hex(), *_values(image.base)])
            state = replace(state, image=image, number=number, swept=False)
            state = replace(state, received=0) if persist.received else replace(state, made=0)
        if persist.base is not None:
            self.put("base", _values(persist.base))
            state = replace(state, base=persist.base, swept=False)
        return state if state.swept else replace(state, swept=self._sweep(state))

    def put(self, name: str, value: list[object]) -> None:
        """Write a fact down."""
        text = json.dumps(value)
        self._conn.execute("INSERT OR REPLACE INTO fact VALUES (?, ?, ?)", (name, text, _seal(text)))

    def found(self, base: Base, content: bytes) -> None:
        """Have nothing but an image with this content, of what another cluster had written up to `base`."""
        for start in range(0, len(content), PART):
            self._add(1, Piece(start, content[start : start + PART]))
        self.put("image", [1, len(content), checksum(content).hex(), *_values(base)])
        self.put("base", _values(base))
        self.put("founded", _values(base))

    def _add(self, number: int, piece: Piece) -> None:
        self._conn.execute("INSERT INTO part VALUES (?, ?, ?)", (number, piece.offset, piece.data))

    def _sweep(self, state: _State) -> bool:
        """Remove some of the rows that have come to nothing; whether that was all."""
        execute = self._conn.execute
        lowest = execute("SELECT min(idx) FROM log").fetchone()[0]
        entries = 0
        if lowest is not None and lowest <= state.base.last:
            last = min(state.base.last, lowest + SWEEP_ENTRIES - 1)
            entries = execute("DELETE FROM log WHERE idx <= ?", (last,)).rowcount
        parts = execute(
            "DELETE FROM part WHERE rowid IN (SELECT rowid FROM part WHERE image NOT IN (?, ?, ?) LIMIT ?)",
            (state.number, state.received, state.made, SWEEP_PARTS),
        ).rowcount
        return entries == 0 and parts == 0

    @staticmethod
    def _fact(value: object, seal: object) -> list[Any]:
        if not isinstance(value, str) or seal != _seal(value):
            raise Damaged("what it says of its image does not match its seal")
        fact: list[Any] = json.loads(value)
        return fact


def _seal(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _values(base: Base) -> list[object]:
    return [base.last, base.last_term, base.digest.hex(), base.epoch, base.members.decode(), base.members_index]


def _base(values: list[Any]) -> Base:
    last, last_term, digest, epoch, members, members_index = values
    return Base(last, last_term, bytes.fromhex(digest), epoch, members.encode(), members_index)
