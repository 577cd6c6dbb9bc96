"""What an image of the journal holds, as bytes: the state machine's own, and journal entries that come after it.

A node without a state machine has nothing that its entries amount to, so that its image holds them all. With one, the
image holds the machine's state, and entries only if somebody added some. The bytes are sections,

    kind (1 byte) | length (4 bytes) | that many bytes

first the head (`H`, JSON), then the idempotency keys (`K`, JSON: keys.py), the machine's bytes (`M`), and entries (`E`:
index, term, epoch, length of the data, data).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from hacoord.machine import JournalEntry

FORMAT = 1
_SECTION = struct.Struct(">cI")
_ENTRY = struct.Struct(">QQQI")
_BATCH = 256


class BadImage(Exception):
    """The bytes are not the content of an image, or of none that this hacoord can read."""


@dataclass(frozen=True, slots=True)
class Content:
    """The machine's image, None where there was no machine; and the entries of the journal that come after it.

    `after` is the entry up to which the machine had applied the journal, 0 without a machine.
    """

    after: int
    machine: bytes | None
    entries: list[JournalEntry]
    keys: list[list[object]] = field(default_factory=list)


def encode(
    after: int,
    machine: Iterable[bytes] | None,
    entries: Iterable[JournalEntry],
    keys: Sequence[Sequence[object]] = (),
) -> Iterator[bytes]:
    """The `Content`, bit by bit: nothing of the machine's or of the entries is asked for before its turn."""
    yield _section(b"H", json.dumps({"format": FORMAT, "after": after, "machine": machine is not None}).encode())
    for first in range(0, len(keys), _BATCH):
        yield _section(b"K", json.dumps(keys[first : first + _BATCH]).encode())
    for chunk in machine or ():
        yield _section(b"M", chunk)
    batch: list[bytes] = []
    for entry in entries:
        batch += [_ENTRY.pack(entry.index, entry.term, entry.epoch, len(entry.data)), entry.data]
        if len(batch) >= 2 * _BATCH:
            yield _section(b"E", b"".join(batch))
            batch = []
    if batch:
        yield _section(b"E", b"".join(batch))


def decode(content: bytes) -> Content:
    """What the bytes hold. Raises BadImage."""
    try:
        head = None
        machine: list[bytes] = []
        entries: list[JournalEntry] = []
        keys: list[list[object]] = []
        for kind, section in _sections(content):
            match kind:
                case b"H" if head is None:
                    head = json.loads(section)
                    if head["format"] != FORMAT:
                        raise BadImage(f"the image is of format {head['format']}, this hacoord reads {FORMAT}")
                case b"K" if head:
                    keys += json.loads(section)
                case b"M" if head:
                    machine.append(section)
                case b"E" if head:
                    entries += _entries(section)
                case _:
                    raise BadImage(f"the image has an unknown section {kind!r}")
        if head is None:
            raise BadImage("the image has no head")
        return Content(head["after"], b"".join(machine) if head["machine"] else None, entries, keys)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise BadImage(f"the image can't be read: {error}") from error


def parts(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in parts of `size`, the last one shorter."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)


def _section(kind: bytes, data: bytes) -> bytes:
    return _SECTION.pack(kind, len(data)) + data


def _sections(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        kind, length = _SECTION.unpack_from(content, at)
        at += _SECTION.size
        if at + length > len(content):
            raise BadImage("the image ends in a section")
        yield kind, content[at : at + length]
        at += length


def _entries(section: bytes) -> Iterator[JournalEntry]:
    at = 0
    while at < len(section):
        index, term, epoch, length = _ENTRY.unpack_from(section, at)
        at += _ENTRY.size
        yield JournalEntry(index, term, epoch, section[at : at + length])
        at += length
