"""What the leader of one term knows of its peers, and what it sends them next. Begins with Win, ends with Lose."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from hacoord.raft.log import Log
from hacoord.raft.messages import Appended, Entry, Image, Received, Ref
from hacoord.raft.transfer import Sending


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a leader sends: entries and bytes in one frame, and entries a peer has not answered for."""

    frame_entries: int = 1024
    frame_bytes: int = 1 << 20
    window_entries: int = 8192


@dataclass(slots=True)
class Progress:
    """One peer: what it gets next, what it has stored, and whether the leader still looks for where they agree.

    If so, `stride` is how much further back than the peer says it looks next.
    """

    next: int
    heard: float
    match: int = 0
    store: Ref | None = None
    probing: bool = True
    stride: int = 0
    awaiting: bool = False
    due: bool = True
    commit_told: int = 0
    sending: Sending | None = None


class Leadership:
    """The leader's side of replication (Raft 5.3): while probing one frame at a time, else as the window allows."""

    def __init__(self, peers: Iterable[str], last: int, now: float, limits: Limits) -> None:
        """Begin with a log that ends at `last`, at `now` seconds, having heard nothing yet."""
        self._peers = {name: Progress(next=last + 1, heard=now) for name in peers}
        self._limits = limits
        self._opening = last + 1
        self._ends = array("q")
        self._base = 0

    def regroup(self, peers: Iterable[str], last: int, now: float) -> None:
        """The leader's log ends at `last` with another configuration: these are its peers from now on.

        So who has been removed is not sent the entry that says so.
        """
        self._peers = {name: self._peers.get(name) or Progress(next=last, heard=now) for name in peers}

    def piece(self, log: Log, first: int) -> int:
        """The last of the entries from `first` on that the next Append covers: no more than fit into one frame."""
        end = first + len(self._slice(log, first)) - 1
        self._ends.append(end)
        return end

    def heartbeat(self) -> None:
        """Every peer is owed a frame, and is asked again for what it has not answered."""
        for peer in self._peers.values():
            peer.due = True
            peer.awaiting = False
            if peer.sending:
                peer.sending.due()

    def ask(self) -> None:
        """Every peer is owed a frame, whatever it has answered."""
        for peer in self._peers.values():
            peer.due = True

    def stored(self, name: str) -> int:
        """How far a peer is known to have stored this leader's log."""
        return self._peers[name].match

    def heard_since(self, then: float) -> set[str]:
        """The peers that have answered since a time in seconds."""
        return {name for name, peer in self._peers.items() if peer.heard >= then}

    @property
    def progress(self) -> dict[str, tuple[int, float]]:
        """For each peer, how far it is known to have stored the log, and when it answered last."""
        return {name: (peer.match, peer.heard) for name, peer in self._peers.items()}

    def heard_by(self, voters: Iterable[str], count: int, now: float) -> float:
        """Since when so many of these voters have answered; now, if it takes none."""
        heard = sorted((self._peers[name].heard for name in voters if name in self._peers), reverse=True)
        return heard[count - 1] if 0 < count <= len(heard) else now

    def stores(self, names: Iterable[str]) -> dict[str, tuple[int, Ref]]:
        """How far each of these peers is known to have stored the log of this term, and the Store that says so."""
        peers = ((name, self._peers[name]) for name in names if name in self._peers)
        return {name: (peer.match, peer.store) for name, peer in peers if peer.store}

    def answered(self, m: Appended, now: float) -> None:
        """Take in a peer's answer of this term."""
        peer = self._peers[m.src]
        peer.heard = now
        peer.awaiting = False
        if m.ok:
            peer.sending = None
            peer.probing = False
            peer.stride = 0
            if m.match >= peer.match:
                peer.match = m.match
                peer.store = m.store or peer.store
            peer.next = max(peer.next, peer.match + 1)
        elif m.match + 1 < peer.next:
            # Further and further back, not below what the log has unless the peer says so: a tail of the peer's that
            # nobody else has may be long. What is found too far back costs no more than was stepped over.
            lowest = max(peer.match, min(m.match, self._base))
            peer.next = max(lowest, m.match - peer.stride) + 1
            peer.stride = 2 * peer.stride + 1 if peer.probing else 0
            peer.probing = peer.due = True

    def received(self, m: Received, now: float) -> None:
        """Take in how much of an image a peer has."""
        peer = self._peers[m.src]
        peer.heard = now
        if peer.sending:
            peer.sending.answered(m.checksum, m.offset)

    def sends_image(self, then: float) -> bool:
        """Whether an image is under way to a peer that has answered since a time in seconds."""
        return any(peer.sending and peer.heard >= then for peer in self._peers.values())

    def parts(self, log: Log, image: Image) -> Iterator[tuple[str, int, bool]]:
        """For each peer that lacks what the log no longer has: its name, where in the image to go on, and whether to.

        If not, the frame only asks: it is a heartbeat that is due, or the first one.
        """
        for name, peer in self._peers.items():
            if peer.next > log.base.last:
                continue
            if peer.sending is None or peer.sending.image != image:
                peer.sending = Sending(image)
            sending = peer.sending
            if peer.due or not sending.awaiting:
                yield name, sending.offset, sending.located and not sending.awaiting
                peer.due = False
                sending.awaiting = True

    def frames(
        self, log: Log, commit: int, voters: Collection[str]
    ) -> Iterator[tuple[str, int, tuple[Entry, ...]]]:
        """For each peer that is to get one now: its name, the index before the entries, and the entries.

        A frame carries entries the peer lacks, news of the commit index, or is a heartbeat that is due. Who is no voter
        gets only what is committed (Membership.tla: MaySend).
        """
        if self._base != log.base.last:  # what is given up is sent to nobody
            self._base = log.base.last
            del self._ends[: bisect_right(self._ends, self._base)]
        for name, peer in self._peers.items():
            if peer.next <= log.base.last:
                continue
            open_window = not peer.awaiting and peer.next - peer.match <= self._limits.window_entries
            last = log.last if name in voters else commit
            entries = self._entries(log, peer.next, last) if open_window and peer.next <= last else ()
            news = peer.commit_told < commit and not peer.awaiting
            if not (entries or news or peer.due):
                continue
            prev = peer.next - 1
            peer.due = False
            peer.commit_told = commit
            peer.awaiting = peer.probing
            if not peer.probing:
                peer.next += len(entries)
            yield name, prev, entries

    def _entries(self, log: Log, first: int, last: int) -> tuple[Entry, ...]:
        """The entries of the next frame, up to `last` at most. Those of this term end where an Append ended.

        So whoever stores them ends at a position whose digest the leader has named, and can be held against it.
        """
        entries = self._slice(log, first)
        end = min(first + len(entries) - 1, last)
        if end >= self._opening:
            ends = bisect_right(self._ends, end)
            end = self._ends[ends - 1] if ends else self._opening - 1
        return entries[: end - first + 1]

    def _slice(self, log: Log, first: int) -> tuple[Entry, ...]:
        """As many entries from `first` on as one frame may hold, and at least one."""
        entries = log.between(first, first + self._limits.frame_entries - 1)
        size = 0
        for count, entry in enumerate(entries):
            size += len(entry.data)
            if size > self._limits.frame_bytes and count:
                return tuple(entries[:count])
        return tuple(entries)
