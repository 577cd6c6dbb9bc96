"""The replicated log in memory: a list of entries from index 1 on, with the epochs and configurations in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from hacoord.raft.group import Configuration, Group, configuration
from hacoord.raft.messages import EMPTY_DIGEST, Entry, Kind


def epoch_record(epoch: int, owner: str) -> bytes:
    """The data of the epoch record with which a leader opens its term."""
    return json.dumps({"epoch": epoch, "owner": owner}, separators=(",", ":")).encode()


def epoch_of(entry: Entry) -> int:
    """The epoch that an epoch record names."""
    return int(json.loads(entry.data)["epoch"])


class Log:
    """Entries 1..last. Terms never decrease along it; each entry's digest chains it to those before it."""

    def __init__(self, entries: Iterable[Entry] = (), founding: Configuration | None = None) -> None:
        """`founding` is the configuration that the group was set up with."""
        self._entries = list(entries)
        self._epochs = [(e.index, epoch_of(e)) for e in self._entries if e.kind is Kind.EPOCH]
        self.group = Group(founding or configuration(()))
        for entry in self._entries:
            if entry.kind is Kind.CONFIGURATION:
                self.group.append(entry.index, entry.data)

    @property
    def last(self) -> int:
        """Index of the last entry; 0 when the log is empty."""
        return len(self._entries)

    @property
    def last_term(self) -> int:
        """Term of the last entry; 0 when the log is empty."""
        return self.term_at(self.last)

    @property
    def last_epoch(self) -> int:
        """The newest epoch recorded, committed or not; 0 when there is none."""
        return self._epochs[-1][1] if self._epochs else 0

    def __getitem__(self, index: int) -> Entry:
        if not 1 <= index <= self.last:
            raise IndexError(f"no log entry {index}: the log holds 1 to {self.last}")
        return self._entries[index - 1]

    def between(self, first: int, last: int) -> Sequence[Entry]:
        """Entries first..last, both included."""
        return self._entries[first - 1 : last]

    def term_at(self, index: int) -> int:
        """Term of the entry at an index of this log; 0 at index 0."""
        return self._entries[index - 1].term if index else 0

    def digest_at(self, index: int) -> bytes:
        """Digest of the entries 1..index."""
        return self._entries[index - 1].digest if index else EMPTY_DIGEST

    def holds(self, index: int, term: int) -> bool:
        """Whether this log has an entry of that term at that index (Raft section 5.3: the consistency check)."""
        return index <= self.last and self.term_at(index) == term

    def append(self, term: int, kind: Kind, data: bytes) -> Entry:
        """Put a new entry at the end, its digest computed here from what this log already holds."""
        entry = Entry.after(self.digest_at(self.last), self.last + 1, term, kind, data)
        self._entries.append(entry)
        if kind is Kind.EPOCH:
            self._epochs.append((entry.index, epoch_of(entry)))
        if kind is Kind.CONFIGURATION:
            self.group.append(entry.index, data)
        return entry

    def truncate(self, first: int) -> None:
        """Forget every entry from `first` on."""
        del self._entries[first - 1 :]
        while self._epochs and self._epochs[-1][0] >= first:
            self._epochs.pop()
        self.group.truncate(first)

    def runs(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """(first, last, term) of each stretch of one term between two indexes, both included."""
        runs: list[tuple[int, int, int]] = []
        for entry in self.between(first, last):
            if runs and runs[-1][2] == entry.term:
                runs[-1] = (runs[-1][0], entry.index, entry.term)
            else:
                runs.append((entry.index, entry.index, entry.term))
        return runs

    def epochs(self, first: int, last: int) -> list[tuple[int, int]]:
        """(index, epoch) of each epoch record between two indexes, both included."""
        found = []
        for index, epoch in reversed(self._epochs):
            if index < first:
                break
            if index <= last:
                found.append((index, epoch))
        return found[::-1]
