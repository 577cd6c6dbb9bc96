"""Writes a node's trace: one NDJSON file per incarnation, all lines of a turn in one unbuffered write.

The format is docs/trace-format.md. A written line is in the kernel and so survives the process; it is not synced,
because what a trace claims to be durable is durable in the node's storage, and the next `Start` shows that. Whether the
machine has gone down since, so that lines may be lost, the next `Start` shows too: `boot`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hacoord.raft.outbox import Event

VERSION = 1

# Linux makes up another one each time it starts.
_BOOT = Path("/proc/sys/kernel/random/boot_id")

# ASCII only, no blanks; NaN is no JSON. One encoder for all lines: making one costs more than a line.
_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class TraceFailed(Exception):
    """The trace could not be written, and it is required: the node must not act on what it could not write down."""


def boot() -> str | None:
    """The name of this run of the machine, the same for all its processes; None where the kernel gives none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def line_prefix(cluster: str, node: str, inc: str) -> str:
    """The part that all lines of one file share, up to the value of `seq`; for `encode`."""
    return _dumps({"v": VERSION, "cluster": cluster, "node": node, "inc": inc})[:-1] + ',"seq":'


def encode(event: Event, prefix: str, ts: int) -> bytes:
    """One line with its newline; `prefix` is from `line_prefix`, `ts` is wall clock, nanoseconds since the epoch."""
    own = event.fields
    if event.after:
        own = {**own, "after": event.after}
    tail = "," + _dumps(own)[1:] if own else "}"
    return f'{prefix}{event.seq},"ts":{ts},"event":"{event.name}","term":{event.term}{tail}\n'.encode("ascii")


class TraceWriter:
    """The trace file of one incarnation of a node or client: `<node>.<inc>.ndjson` in `directory`.

    With `required`, a failure raises TraceFailed. Without, what could not be written is dropped and counted in
    `dropped`; the numbers missing from `seq` show the gap, and the next call tries again. `clock` is wall clock in
    nanoseconds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        cluster: str,
        node: str,
        inc: str,
        required: bool = True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        name = f"{node}.{inc}.ndjson"
        if name != os.path.basename(name) or name.startswith("."):
            raise ValueError(f"{node!r} and {inc!r} do not make a file name: leave out '/', and begin with no '.'")
        self.path = directory / name
        self.dropped = 0
        self._required = required
        self._clock = clock
        self._prefix = line_prefix(cluster, node, inc)
        self._fd = -1
        self._closed = False
        # The rest of a line whose beginning is in the file: it goes out first, so that no later line joins the stump.
        self._rest = b""
        try:
            self._open()
        except OSError as error:
            if required:
                raise self._failed(error) from error

    def write(self, events: Sequence[Event]) -> None:
        """Append the events, in one system call unless the kernel takes less. Raises TraceFailed if required."""
        if not events:
            return
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        ts, prefix = self._clock(), self._prefix
        data = self._rest + b"".join([encode(event, prefix, ts) for event in events])
        done = 0
        try:
            if self._fd < 0:
                self._open()
            while done < len(data):
                done += os.write(self._fd, data[done:] if done else data)
            self._rest = b""
        except OSError as error:
            self._remember(data, done)
            if self._required:
                raise self._failed(error) from error

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._closed = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL: an incarnation is never used twice, and two writers in one file would make it worthless.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o644)

    def _remember(self, data: bytes, done: int) -> None:
        """`data` failed after `done` bytes: keep the rest of the line it stopped in, count the lines after it."""
        inside = data[done - 1 : done] != b"\n" if done else bool(self._rest)
        end = data.index(b"\n", done) + 1 if inside else done
        self._rest = data[done:end]
        self.dropped += data.count(b"\n", end)

    def _failed(self, error: OSError) -> TraceFailed:
        return TraceFailed(
            f"cannot write the trace {self.path}: {error}; make room or correct the path, or set trace.required = "
            "false to go on without evidence"
        )
