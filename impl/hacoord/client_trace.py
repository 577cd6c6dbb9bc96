"""What a client writes down of its writes and reads, as evidence (docs/trace-format.md)."""

from __future__ import annotations

import glob
import secrets
import time
from pathlib import Path

from hacoord.raft.messages import Ref
from hacoord.raft.outbox import Outbox
from hacoord.trace import TraceWriter, boot

# All processes of this machine share its monotonic clock until it boots again.
_CLOCK = boot()


class ClientTrace:
    """The trace of one incarnation, `inc`, of a client. Without a directory nothing is written."""

    def __init__(self, name: str, cluster: str | None, directory: Path | None) -> None:
        """Raises ValueError if there is a directory and no cluster."""
        counter = 1 if directory is None else 1 + _newest_counter(directory, name)
        self.inc = f"{counter}-{secrets.token_hex(4)}"
        self._outbox = Outbox(name, self.inc)
        self._writer: TraceWriter | None = None
        if directory is not None:
            if cluster is None:
                raise ValueError("a client that traces has to name its cluster")
            self._writer = TraceWriter(directory, cluster=cluster, node=name, inc=self.inc)

    def heard(self, ref: Ref) -> None:
        """A node has answered, and that was its newest event."""
        self._outbox.heard(ref)

    def record(self, name: str, **fields: object) -> None:
        """Something has happened."""
        if _CLOCK:
            fields["at"] = (_CLOCK, time.monotonic_ns())
        self._outbox.record(name, 0, **fields)
        events, _ = self._outbox.take()
        if self._writer is not None:
            self._writer.write(events)

    def close(self) -> None:
        """Nothing more will be recorded."""
        if self._writer is not None:
            self._writer.close()


def _newest_counter(directory: Path, name: str) -> int:
    """The highest incarnation counter among this client's traces: what is on disk is what makes it durable."""
    paths = directory.glob(f"{glob.escape(name)}.*-*.ndjson*")  # also what has been rotated or packed
    counters = [path.name.removeprefix(f"{name}.").partition("-")[0] for path in paths]
    return max((int(counter) for counter in counters if counter.isdigit()), default=0)
