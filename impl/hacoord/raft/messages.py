"""What Raft nodes say to each other and keep on disk. Plain data: no codec, no socket, no clock.

Every message names the sender's term and, in `ref`, the sender's newest trace event, so that the receiver can say
what it happened after (docs/trace-format.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

DIGEST_SIZE = 8
EMPTY_DIGEST = bytes(DIGEST_SIZE)


class Ref(NamedTuple):
    """One event of one incarnation of one node: how traces and messages point at evidence."""

    node: str
    inc: str
    seq: int

    @property
    def counter(self) -> int:
        """The durable part of the incarnation: orders a node's incarnations."""
        return int(self.inc.partition("-")[0])


class Kind(IntEnum):
    """What a log entry is.

    The epoch record that opens a term, a journal write, the identity of a new LEADER, who belongs to the group, or a
    journal write with an idempotency key.
    """

    EPOCH = 1
    WRITE = 2
    LEADER = 3
    CONFIGURATION = 4
    KEYED = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One log entry; `digest` chains it to everything before it."""

    index: int
    term: int
    kind: Kind
    data: bytes
    digest: bytes

    @classmethod
    def after(cls, digest: bytes, index: int, term: int, kind: Kind, data: bytes) -> Entry:
        """The entry that follows a log prefix with this digest."""
        head = b"%s%d %d %d " % (digest, index, term, kind)
        return cls(index, term, kind, data, blake2b(head + data, digest_size=DIGEST_SIZE).digest())


@dataclass(frozen=True, slots=True)
class Base:
    """What has to be known of the entries 1..last, all committed, once they are given up.

    `epoch` is the newest epoch recorded in them, 0 if none; `members` the newest configuration (group.py), and
    `members_index` where it is, 0 for the one that the group was set up with.
    """

    last: int = 0
    last_term: int = 0
    digest: bytes = EMPTY_DIGEST
    epoch: int = 0
    members: bytes = b""
    members_index: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """The state after the entries up to `base`, which it stands for: `size` bytes with this checksum (BLAKE2b)."""

    base: Base
    size: int
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an image that is being received: these bytes, from `offset` on. The first of an image has offset 0."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be durable before any answer that depends on it (Raft, figure 2: persistent state)."""

    term: int = 0
    vote: str | None = None


@dataclass(frozen=True, slots=True)
class Persist:
    """One disk transaction: the hard state if it changed, and the entries that replace the log from `first` on.

    `first` is 0 when the log does not change; otherwise every stored entry with an index of `first` or above is
    deleted before `entries` are written.

    Before that, `pieces` are added to the image that is being received; `image` becomes the image of this node, the one
    made here or, with `received`, the one received, which takes the place of the whole log; and the entries up to
    `base` are given up.
    """

    hard_state: HardState | None
    first: int
    entries: tuple[Entry, ...]
    pieces: tuple[Piece, ...] = ()
    image: Image | None = None
    received: bool = False
    base: Base | None = None


@dataclass(frozen=True, slots=True)
class RequestVote:
    """A candidate asks for a vote; with `pre` it only asks whether it would get one, and nothing is promised.

    With `heir`, the leader of the term before has asked the candidate to succeed it: nobody need protect that leader.
    """

    src: str
    dst: str
    ref: Ref
    term: int
    last: int
    last_term: int
    pre: bool
    campaign: Ref | None
    heir: bool = False


@dataclass(frozen=True, slots=True)
class Vote:
    """The answer to RequestVote; `grant` is the trace event of a vote that was cast (never for a pre-vote)."""

    src: str
    dst: str
    ref: Ref
    term: int
    granted: bool
    pre: bool
    grant: Ref | None


@dataclass(frozen=True, slots=True)
class AppendEntries:
    """The leader's frame: entries after (prev, prev_term), what it knows committed, and the event that says so.

    `read` is a ReadStart that the receiver is asked to confirm.
    """

    src: str
    dst: str
    ref: Ref
    term: int
    prev: int
    prev_term: int
    entries: tuple[Entry, ...]
    commit: int
    commit_ref: Ref | None
    read: Ref | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to AppendEntries.

    When `ok`, `match` is the index up to which the log is the leader's, durably, and `store` the Store event that says
    so (None when there is none yet). Otherwise `match` is the highest index worth trying next, and `store` is None.
    Either way `confirm` is the Confirm of the ReadStart `read`, if the sender has been asked for one in this term.
    """

    src: str
    dst: str
    ref: Ref
    term: int
    ok: bool
    match: int
    store: Ref | None
    read: Ref | None = None
    confirm: Ref | None = None


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """The leader asks a voter that has its whole log to stand for election at once (Ongaro's thesis, 3.10)."""

    src: str
    dst: str
    ref: Ref
    term: int


@dataclass(frozen=True, slots=True)
class InstallSnapshot:
    """The leader's frame to a peer that lacks entries the leader has given up: a part of its image, from `offset` on.

    `shown` is the event of the leader that shows the image. Without data it only asks how much the peer has. The core
    leaves `data` empty; whoever sends it fills it in if `wanted` (see transfer.py).
    """

    src: str
    dst: str
    ref: Ref
    term: int
    image: Image
    shown: Ref
    offset: int
    wanted: bool
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Received:
    """The answer to InstallSnapshot while there is more to come: so many bytes of the image with this checksum."""

    src: str
    dst: str
    ref: Ref
    term: int
    checksum: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Removed:
    """The answer to RequestVote of a node that was removed, by this position of the log, which is committed."""

    src: str
    dst: str
    ref: Ref
    term: int
    index: int
    index_term: int


Message = RequestVote | Vote | AppendEntries | Appended | TimeoutNow | Removed | InstallSnapshot | Received
