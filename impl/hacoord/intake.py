"""Writes that wait to be put into the log, and when the next batch of them is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from hacoord.config import Batch
from hacoord.outcomes import Answer


@dataclass(frozen=True, slots=True)
class Write:
    """A write on its way; `start` says, when the write's turn has come, whether anybody still wants it."""

    data: bytes
    key: str | None
    answer: Answer
    start: Callable[[], bool]


class Intake:
    """A queue that is taken from in batches. Not thread-safe: whoever shares it has a lock."""

    def __init__(self, batch: Batch, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._batch = batch
        self._clock = clock
        self._waiting: deque[tuple[float, Write]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, write: Write) -> None:
        """Queue a write."""
        self._waiting.append((self._clock(), write))
        self._bytes += len(write.data)

    def due_in(self) -> float:
        """Seconds until a batch is due: it is full, or its first write has waited long enough. inf without any."""
        if not self._waiting:
            return inf
        if len(self._waiting) >= self._batch.entries or self._bytes >= self._batch.bytes:
            return 0.0
        since, _ = self._waiting[0]
        return max(0.0, since + self._batch.deadline - self._clock())

    def take(self) -> list[Write]:
        """The next batch, once it is due, without what nobody wants any more."""
        writes: list[Write] = []
        size = 0
        if self.due_in() > 0:
            return writes
        while self._waiting and len(writes) < self._batch.entries and size < self._batch.bytes:
            _, write = self._waiting.popleft()
            self._bytes -= len(write.data)
            if write.start():
                writes.append(write)
                size += len(write.data)
        return writes

    def drain(self) -> list[Write]:
        """All that still waits and is wanted."""
        writes, self._bytes = [write for _, write in self._waiting if write.start()], 0
        self._waiting.clear()
        return writes
