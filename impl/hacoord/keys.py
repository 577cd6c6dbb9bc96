"""Idempotency keys: a write that is tried again with the key it had is written once, and answered as it was then.

The key is part of the entry. Whoever is LEADER has applied all that earlier leaders have written, so that it finds
there, or among what it has proposed itself, whether a key has been written: no entry follows another with the same key
unless KEYS other keyed writes came between. So nobody has to skip anything when applying; what is remembered here only
serves to answer.
"""

from __future__ import annotations

from dataclasses import dataclass

KEYS = 10_000
"""How many keys are remembered: those of the newest keyed writes. The same on every node."""
MAX_KEY = 200
"""The longest key, in bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class Written:
    """The entry that a key has written, and what the state machine said of it."""

    index: int
    term: int
    epoch: int
    result: object


class Keys:
    """The newest keys, as of what has been applied."""

    def __init__(self) -> None:
        self._written: dict[str, Written] = {}

    def get(self, key: str) -> Written | None:
        """What a key has written, if it is one of the newest."""
        return self._written.get(key)

    def add(self, key: str, written: Written) -> None:
        """An entry with this key has been applied."""
        self._written.pop(key, None)
        self._written[key] = written
        if len(self._written) > KEYS:
            del self._written[next(iter(self._written))]

    def dump(self) -> list[tuple[object, ...]]:
        """Everything, the oldest first, as JSON can express it."""
        return [(key, w.index, w.term, w.epoch, w.result) for key, w in self._written.items()]

    def load(self, rows: list[list[object]]) -> None:
        """Be what was dumped. Raises ValueError, TypeError."""
        self._written = {}
        for key, index, term, epoch, result in rows:
            if not (type(key) is str and type(index) is type(term) is type(epoch) is int):
                raise ValueError(f"no key with its entry: {key!r:.80}")
            self._written[key] = Written(index, term, epoch, result)


def pack(key: str, data: bytes) -> bytes:
    """The data of a keyed entry. Raises ValueError for a key that is empty or too long."""
    head = key.encode()
    if not 0 < len(head) <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} bytes, this one has {len(head)}")
    return bytes([len(head)]) + head + data


def unpack(packed: bytes) -> tuple[str, bytes]:
    """The key and the data that was written with it."""
    end = 1 + packed[0]
    return packed[1:end].decode(), packed[end:]
