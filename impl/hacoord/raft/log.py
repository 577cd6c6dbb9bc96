"""The replicated log in memory: the entries that follow its base, with the epochs and configurations in them.

The base stands for entries that are committed and have been given up, all of which an image covers. Without an image it
is empty, and the log starts at index 1.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from hacoord.raft.group import Configuration, Group, configuration, decode, encode
from hacoord.raft.messages import Base, Entry, Kind

NOBODY = configuration(())


def epoch_record(epoch: int, owner: str) -> bytes:
    """The data of the epoch record with which a leader opens its term."""
    return json.dumps({"epoch": epoch, "owner": owner}, separators=(",", ":")).encode()


def epoch_of(entry: Entry) -> int:
    """The epoch that an epoch record names."""
    return int(json.loads(entry.data)["epoch"])


class Log:
    """Entries base.last + 1 .. last. Terms never decrease along it; each digest chains an entry to those before it."""

    def __init__(
        self, entries: Iterable[Entry] = (), founding: Configuration | None = None, base: Base | None = None
    ) -> None:
        """`founding` is the configuration that the group was set up with."""
        kept = list(entries)
        base = base or Base()
        # Replaced as a whole when entries are given up, so that other threads may read what is committed meanwhile.
        self._kept = base, kept
        self._epochs = [(base.last, base.epoch), *((e.index, epoch_of(e)) for e in kept if e.kind is Kind.EPOCH)]
        self.group = Group(decode(base.members), base.members_index) if base.members else Group(founding or NOBODY)
        for entry in kept:
            if entry.kind is Kind.CONFIGURATION:
                self.group.append(entry.index, entry.data)

    @property
    def base(self) -> Base:
        """What is known of the entries that have been given up."""
        return self._kept[0]

    @property
    def last(self) -> int:
        """Index of the last entry; 0 when the log is empty."""
        base, entries = self._kept
        return base.last + len(entries)

    @property
    def last_term(self) -> int:
        """Term of the last entry; 0 when the log is empty."""
        return self.term_at(self.last)

    @property
    def last_epoch(self) -> int:
        """The newest epoch recorded, committed or not; 0 when there is none."""
        return self._epochs[-1][1]

    def __getitem__(self, index: int) -> Entry:
        base, entries = self._kept
        at = index - base.last - 1
        if not 0 <= at < len(entries):
            raise IndexError(f"no log entry {index}: the log holds {base.last + 1} to {base.last + len(entries)}")
        return entries[at]

    def between(self, first: int, last: int) -> Sequence[Entry]:
        """Entries first..last, both included; `first` lies after the base."""
        base, entries = self._kept
        return entries[first - base.last - 1 : last - base.last]

    def term_at(self, index: int) -> int:
        """Term of the entry at an index, from the base on; 0 at index 0."""
        base = self.base
        return base.last_term if index == base.last else self[index].term

    def digest_at(self, index: int) -> bytes:
        """Digest of the entries 1..index, from the base on."""
        base = self.base
        return base.digest if index == base.last else self[index].digest

    def epoch_at(self, index: int) -> int:
        """The newest epoch recorded up to an index, from the base on; 0 if none."""
        epochs = self._epochs
        return epochs[bisect_right(epochs, index, key=lambda record: record[0]) - 1][1]

    def base_at(self, index: int) -> Base:
        """What would have to be known of the entries up to an index, from the base on, if they were given up."""
        members_index, group = self.group.at(index)
        members = encode(group), members_index
        return Base(index, self.term_at(index), self.digest_at(index), self.epoch_at(index), *members)

    def holds(self, index: int, term: int) -> bool:
        """Whether this log has an entry of that term at that index (Raft section 5.3: the consistency check).

        Of what has been given up only the last is compared. It is all committed, so that no leader has another.
        """
        return index < self.base.last or (index <= self.last and self.term_at(index) == term)

    def append(self, term: int, kind: Kind, data: bytes) -> Entry:
        """Put a new entry at the end, its digest computed here from what this log already holds."""
        entry = Entry.after(self.digest_at(self.last), self.last + 1, term, kind, data)
        self._kept[1].append(entry)
        if kind is Kind.EPOCH:
            self._epochs.append((entry.index, epoch_of(entry)))
        if kind is Kind.CONFIGURATION:
            self.group.append(entry.index, data)
        return entry

    def truncate(self, first: int) -> None:
        """Forget every entry from `first` on, which lies after the base."""
        base, entries = self._kept
        del entries[first - base.last - 1 :]
        while len(self._epochs) > 1 and self._epochs[-1][0] >= first:
            self._epochs.pop()
        self.group.truncate(first)

    def give_up(self, index: int) -> None:
        """Give up the entries up to an index, from the base on."""
        base = self.base_at(index)
        entries = list(self.between(index + 1, self.last))
        self._epochs = [(base.last, base.epoch), *(record for record in self._epochs if record[0] > index)]
        self._kept = base, entries
        self.group.give_up(index)

    def restart(self, base: Base) -> None:
        """Have nothing but what an image stands for."""
        self._epochs = [(base.last, base.epoch)]
        self._kept = base, []
        self.group = Group(decode(base.members), base.members_index)

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
        """(index, epoch) of each epoch record between two indexes after the base, both included."""
        found = []
        for index, epoch in reversed(self._epochs):
            if index < first:
                break
            if index <= last:
                found.append((index, epoch))
        return found[::-1]
