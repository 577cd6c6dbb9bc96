"""What of the journal one node has applied, and from where it can still be read: the log, and the image before it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from hacoord.images import BadImage, Content, decode, encode
from hacoord.keys import Keys, Written, unpack
from hacoord.machine import JournalEntry, StateMachine
from hacoord.raft.core import Raft
from hacoord.raft.log import Log
from hacoord.raft.messages import Entry, Kind


class GivenUp(Exception):
    """Entries are asked for that this node has given up for an image; `first` is the first that can be read."""

    def __init__(self, first: int) -> None:
        super().__init__(f"the entries before {first} are given up for an image: read from {first} on")
        self.first = first


class ReplayFailed(Exception):
    """A replay callback raised: what it keeps no longer follows the journal, so the process has to end."""


def journal_entry(log: Log, entry: Entry) -> JournalEntry | None:
    """What the journal shows of an entry of a log, from its base on: nothing of those that are the log's own."""
    match entry.kind:
        case Kind.WRITE:
            data = entry.data
        case Kind.KEYED:
            _, data = unpack(entry.data)
        case _:
            return None
    return JournalEntry(entry.index, entry.term, log.epoch_at(entry.index), data)


class Replay:
    """Applies what is committed, in order, to the state machine and the callbacks; after a start, from the image on."""

    def __init__(self, raft: Raft, read_image: Callable[[], bytes] | None) -> None:
        """`read_image` returns the content of the image there is."""
        self.machine: StateMachine | None = None
        self.callbacks: list[Callable[[JournalEntry], None]] = []
        self.applied = 0
        self.keys = Keys()
        self._raft = raft
        self._read_image = read_image
        # The image that was restored last: the entries that were in it, and where it ends.
        self._restored = Content(0, None, []), 0

    def read(self, first: int, last: int) -> list[JournalEntry]:
        """The journal's entries with first <= index <= last, as far as this node has replayed them.

        A node that lags behind returns less than its leader would. Raises GivenUp when the first of them are there no
        more.
        """
        # Entries up to `applied` never change, so that other threads may read them while the loop runs; they may be
        # given up meanwhile, which shows afterwards.
        log = self._raft.log
        first = max(first, 1)
        base = log.base.last
        found = self._from_image(first, last, base)
        entries = log.between(max(first, base + 1), min(last, self.applied))
        found += filter(None, (journal_entry(log, entry) for entry in entries))
        if first <= min(last, self.applied) and first < self.first:
            raise GivenUp(self.first)
        return found

    @property
    def first(self) -> int:
        """The first index that `read` can be asked for."""
        base = self._raft.log.base.last
        content, end = self._restored
        return (content.after if base <= end else base) + 1

    def _from_image(self, first: int, last: int, base: int) -> list[JournalEntry]:
        """Those of the entries up to the log's base that came with an image."""
        entries = self._restored[0].entries
        start, end = (bisect_left(entries, at, key=lambda entry: entry.index) for at in (first, min(last, base) + 1))
        return entries[start:end]

    def run(self) -> dict[int, object]:
        """Apply what is committed now; returns what the machine said, by index. Raises ReplayFailed."""
        raft = self._raft
        image = raft.newest_image
        if image and self.applied < image.base.last:
            self._restore(image.base.last)
        results: dict[int, object] = {}
        while self.applied < raft.commit_index:
            entry = raft.entry(self.applied + 1)
            written = journal_entry(raft.log, entry)
            if written:
                result = results[entry.index] = self._apply(written)
                if entry.kind is Kind.KEYED:
                    key, _ = unpack(entry.data)
                    self.keys.add(key, Written(entry.index, entry.term, written.epoch, result))
            self.applied = entry.index
        return results

    def _restore(self, last: int) -> None:
        """Become what an image of the entries up to `last` says, at the start or when the leader has sent one."""
        assert self._read_image is not None
        try:
            content = decode(self._read_image())
            self.keys.load(content.keys)
            if content.machine is not None:
                if self.machine is None:
                    raise BadImage("it holds a state machine's state: start the node with that machine")
                self.machine.restore(content.machine)
                self.applied = content.after
        except Exception as error:  # whatever the embedding system raises, the answer is the same
            raise ReplayFailed(f"the image of the entries up to {last} can't be restored: {error}") from error
        for entry in content.entries:
            if entry.index > self.applied:
                self._apply(entry)
        # Not what the machine has by now: it may be large.
        self._restored = replace(content, machine=None, keys=[]), last
        self.applied = last

    def image(self) -> Iterator[bytes]:
        """The content of an image of what has been applied. What is applied later does not show in it.

        Raises ReplayFailed, now or while it is taken.
        """
        last, machine = self.applied, self.machine
        if machine is None:
            return encode(0, None, self._all_entries(last), self.keys.dump())
        try:
            made = machine.image()
            chunks = iter([made] if isinstance(made, bytes) else made)
            # A generator begins to work when it is asked for the first of them. It has to see the machine as it is now,
            # and many keys come before it.
            first = list(islice(chunks, 1))
        except Exception as error:
            raise ReplayFailed(f"the image of the entries up to {last} failed: {error}") from error
        return self._watched(encode(last, chain(first, chunks), (), self.keys.dump()), last)

    def _watched(self, chunks: Iterable[bytes], last: int) -> Iterator[bytes]:
        try:
            yield from chunks
        except Exception as error:
            raise ReplayFailed(f"the image of the entries up to {last} failed: {error}") from error

    def _all_entries(self, last: int) -> Iterator[JournalEntry]:
        for first in range(self.first, last + 1, 1024):
            yield from self.read(first, min(first + 1023, last))

    def _apply(self, entry: JournalEntry) -> object:
        try:
            result = None if self.machine is None else self.machine.apply(entry.index, entry.data)
            for callback in self.callbacks:
                callback(entry)
        except Exception as error:
            raise ReplayFailed(f"replay of entry {entry.index} failed: {error}") from error
        return result
