"""What clients were shown, kept small: places taken, moments of a shared clock, versions of keys.

Clients' files are judged in no particular order to each other. So each of these asks both ways: what is new against
what is known, and what is known against what is new. They keep a window; what is older than that cannot be judged any
more, and is counted in `late`, which makes a trace incomplete.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from trace_check.verdict import Refused

# How many of the newest writes that may be tried again are kept, of one client or of all.
TRIES = 1 << 16


class Indexes:
    """A set of integers kept as intervals, since those who fill it leave few holes."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []

    def add(self, index: int) -> bool:
        """Whether it was new."""
        first, last = self._first, self._last
        at = bisect_right(first, index) - 1
        if at >= 0 and index <= last[at]:
            return False
        joins_left = at >= 0 and last[at] == index - 1
        joins_right = at + 1 < len(first) and first[at + 1] == index + 1
        if joins_left and joins_right:
            last[at] = last.pop(at + 1)
            del first[at + 1]
        elif joins_left:
            last[at] = index
        elif joins_right:
            first[at + 1] = index
        else:
            first.insert(at + 1, index)
            last.insert(at + 1, index)
        return True


class Places:
    """The indexes of acknowledged writes. Only a write that is tried again is acknowledged where one was before."""

    def __init__(self, size: int = TRIES) -> None:
        self._taken = Indexes()
        # Who wrote what there, of writes that may be tried again: the client, and what it calls the write.
        self._writes: dict[int, tuple[str, str]] = {}
        self._size = size
        self._forgotten = -1
        self.late = 0

    def add(self, index: int, write: tuple[str, str] | None) -> bool:
        """Whether this write may be there: nothing was, or this very write."""
        if not self._taken.add(index):
            known = self._writes.get(index)
            if known is None and write is not None and index <= self._forgotten:
                self.late += 1
                return True
            return known is not None and known == write
        if write is not None:
            self._writes[index] = write
            if len(self._writes) > 2 * self._size:
                for old in sorted(self._writes)[: self._size]:
                    del self._writes[old]
                    self._forgotten = max(self._forgotten, old)
        return True


class Moments:
    """Guard RealTimeOrder: operations on one clock. Who begins after another's answer sees what that showed."""

    def __init__(self, size: int = 1 << 16) -> None:
        self._size = size
        # Moments and indexes, both growing: what had been shown by then; how little was seen by who began then.
        self._shown: tuple[list[int], list[int]] = [], []
        self._saw: tuple[list[int], list[int]] = [], []
        # Before these moments something of either is not known any more.
        self._shown_since = self._saw_since = -1
        self.late = 0

    def began(self, began: int, saw: int) -> None:
        """An operation began that saw the log up to index `saw` at least."""
        self.late += began <= self._shown_since
        moments, shown = self._shown
        known = bisect_left(moments, began) - 1
        if known >= 0 and shown[known] > saw:
            raise Refused(
                "RealTimeOrder",
                f"to see index {shown[known]}, which an answer had shown {began - moments[known]} ns before it began",
                f"no more than index {saw}",
            )
        moments, seen = self._saw
        at = first = bisect_left(moments, began)
        if at == len(seen) or seen[at] > saw:
            while first > 0 and seen[first - 1] >= saw:
                first -= 1
            moments[first:at], seen[first:at] = [began], [saw]
        if len(moments) > 2 * self._size:
            self._saw_since = moments[self._size]
            del moments[: self._size], seen[: self._size]

    def ended(self, ended: int, shows: int) -> None:
        """An operation was answered, which showed that the log reaches to index `shows`."""
        self.late += ended <= self._saw_since
        moments, seen = self._saw
        later = bisect_right(moments, ended)
        if later < len(seen) and seen[later] < shows:
            raise Refused(
                "RealTimeOrder",
                f"index {shows} to be seen by who began {moments[later] - ended} ns after this answer",
                f"an operation that saw no more than index {seen[later]}",
            )
        moments, shown = self._shown
        at = last = bisect_right(moments, ended)
        if at == 0 or shown[at - 1] < shows:
            while last < len(shown) and shown[last] <= shows:
                last += 1
            moments[at:last], shown[at:last] = [ended], [shows]
        if len(moments) > 2 * self._size:
            self._shown_since = moments[self._size]
            del moments[: self._size], shown[: self._size]


class Versions:
    """Guard NewestVersion: of each key, which entries wrote it, and how far reads found each of them the newest."""

    def __init__(self, size: int = 1 << 16) -> None:
        # By key, [entry, reach], both growing: no entry after this one, up to index `reach`, wrote the key.
        self._known: dict[str, list[list[int]]] = {}
        self._size = self._limit = size
        self._count = 0
        # By entry, the one key that it wrote, None if it left that as it was; of the newest entries.
        self._keys: dict[int, str | None] = {}
        self.late = 0

    def write(self, key: str, index: int) -> None:
        """The entry at an index wrote the key, and no other."""
        self._wrote(key, index)
        if self._enter(key, index) < 0:
            self.late += 1

    def unchanged(self, index: int) -> None:
        """The entry at an index left its key as it was."""
        self._wrote(None, index)

    def read(self, key: str, version: int, index: int) -> None:
        """Who saw the log up to an index found the key as entry `version` left it; 0 if none had written it."""
        if version:
            self._wrote(key, version)
        at = self._enter(key, version)
        known = self._known[key]
        if at + 1 < len(known) and known[at + 1][0] <= index:
            newer = known[at + 1][0]
            raise Refused("NewestVersion", f"{key!r} as entry {newer} left it, at index {index}", f"entry {version}")
        if at < 0:
            self.late += 1
        else:
            known[at][1] = max(known[at][1], index)

    def _enter(self, key: str, version: int) -> int:
        """Where the entry stands among those known to have written the key; -1 if it is older than they."""
        if self._count > self._limit:
            self._forget()
        if key not in self._known:
            self._known[key] = [[0, 0]]
            self._count += 1
        known = self._known[key]
        at = len(known) - 1
        if known[at][0] > version:  # most are newer than all before
            at = bisect_right(known, version, key=lambda entry: entry[0]) - 1
        if at < 0 or known[at][0] == version:
            return at
        before, reach = known[at]
        if reach >= version:
            raise Refused(
                "NewestVersion",
                f"entry {version} of {key!r}, or a later one, to be found by the read of index {reach}",
                f"that it found entry {before}",
            )
        known.insert(at + 1, [version, version])
        self._count += 1
        return at + 1

    def _wrote(self, key: str | None, index: int) -> None:
        known = self._keys.setdefault(index, key)
        if known != key:
            one, other = ("nothing" if wrote is None else repr(wrote) for wrote in (known, key))
            raise Refused("NewestVersion", f"entry {index} to have written {one}, as it was said before", other)
        if len(self._keys) > 2 * self._size:
            for old in sorted(self._keys)[: self._size]:
                del self._keys[old]

    def _forget(self) -> None:
        """Drop the older half of all entries, but of each key the last of these: who sees more may find it."""
        entries = sorted(entry for known in self._known.values() for entry, _ in known if entry)
        cut = entries[len(entries) // 2] if entries else 0
        for known in self._known.values():
            del known[: max(0, bisect_right(known, cut, key=lambda entry: entry[0]) - 1)]
        self._count = sum(map(len, self._known.values()))
        self._limit = max(self._size, 2 * self._count)
