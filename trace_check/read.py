"""Reads trace files lazily: lines to checked events, a chunk at a time, and back again to events already judged.

A `Source` is one file: one incarnation of one node or client. It remembers where each chunk began, 16 bytes per chunk,
so that any earlier event can be had again exactly, from a small shared window of chunks or else from the file. Hence
nothing has to be kept in memory because somebody might cite it later.
"""

from __future__ import annotations

import json
import os
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from trace_check import schema
from trace_check.schema import Event, Reference
from trace_check.verdict import BadInput, Where

if TYPE_CHECKING:
    from trace_check.nodes import Node

CHUNK = 1 << 16
LONGEST_LINE = 1 << 24
# `base` of the k-th incarnation of a node is k * RANK: base + seq orders all events of one node.
RANK = 1 << 48


class Window:
    """The chunks that were used last, of all files: decoded events by (file, chunk)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._chunks: OrderedDict[tuple[int, int], list[Event]] = OrderedDict()

    def get(self, key: tuple[int, int]) -> list[Event] | None:
        """A chunk, if it is still here."""
        events = self._chunks.get(key)
        if events is not None:
            self._chunks.move_to_end(key)
        return events

    def put(self, key: tuple[int, int], events: list[Event]) -> None:
        """Keep a chunk, and forget the one that was not used for longest."""
        self._chunks[key] = events
        if len(self._chunks) > self._size:
            self._chunks.popitem(last=False)


class Source:
    """One trace file. `consumed` is the seq of the newest event judged, `heard` the newest event of each other node."""

    __slots__ = (
        "_chunk_offset",
        "_chunk_seq",
        "_file",
        "_identity",
        "_offset",
        "_prefix",
        "_rest",
        "_window",
        "allow_gaps",
        "awaited",
        "base",
        "batch",
        "begins_empty",
        "client",
        "cluster",
        "consumed",
        "counter",
        "finished",
        "first",
        "gap",
        "heard",
        "inc",
        "members",
        "next_inc",
        "node",
        "notes",
        "number",
        "of",
        "path",
        "random",
        "size",
        "voters",
        "waiting_for",
    )

    def __init__(self, number: int, path: Path, head: Event, size: int, window: Window) -> None:
        self.number = number
        self.path = path
        self.cluster: str = head["cluster"]
        self.node: str = head["node"]
        self.inc: str = head["inc"]
        self.counter, self.random = schema.parse_incarnation(self.inc) or (0, "")
        self.client = head["event"] in schema.CLIENT_EVENTS
        self.size = size
        self.voters: list[str] | None = head.get("voters") if head["event"] == "Start" else None
        self.members: list[list[str]] | None = head.get("members") if head["event"] == "Start" else None
        self.begins_empty = self.voters is not None and not head["last"]
        self.allow_gaps = False
        self.notes: list[str] = []
        self.gap: str | None = None
        # Set by merge: order among the incarnations of the node, the next one, who waits for which seq.
        self.base = RANK
        self.next_inc: Source | None = None
        self.consumed = 0
        self.finished = False
        self.heard: dict[str, int] = {}
        self.awaited: dict[int, list[Source]] = {}
        self.waiting_for: Reference | None = None
        # Set by judge: the node whose incarnation this is.
        self.of: Node
        # The chunk at hand begins with event `first`; the ones before it are found by seq.
        self.batch: list[Event] = []
        self.first = 1
        self._window = window
        self._chunk_seq = array("q")
        self._chunk_offset = array("q")
        self._file: FileIO | None = None
        self._offset = 0
        self._rest = b""
        self._identity = {"v": schema.VERSION, "cluster": self.cluster, "node": self.node, "inc": self.inc}
        # What a writer puts before `seq` on every line; lines that all begin so are decoded together.
        self._prefix = json.dumps(self._identity, separators=(",", ":"))[1:-1].encode() + b","

    def __str__(self) -> str:
        return f"{self.node} {self.inc}"

    def where(self, seq: int) -> Where:
        """The line of event `seq`, which is its number as no line may be missing."""
        return Where(str(self.path), seq, self.node, self.inc, seq, self.event(seq)["event"])

    def event(self, seq: int) -> Event:
        """An event with 1 <= seq <= consumed."""
        at = seq - self.first
        if at >= 0:
            return self.batch[at]
        chunk = bisect_right(self._chunk_seq, seq) - 1
        events = self._window.get((self.number, chunk))
        if events is None:
            events = self._read_again(chunk)
            self._window.put((self.number, chunk), events)
        return events[seq - self._chunk_seq[chunk]]

    def load(self) -> bool:
        """Make the next chunk the one at hand; False at the end of the file. Raises BadInput."""
        if self.batch:
            self._window.put((self.number, len(self._chunk_seq) - 1), self.batch)
            self.first += len(self.batch)
            self.batch = []
        data = b"" if self.gap else self._read()
        if not data:
            self.close()
            return False
        self._chunk_seq.append(self.first)
        self._chunk_offset.append(self._offset)
        self.batch = self._decode(data)
        self._offset += len(data)
        return bool(self.batch)

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def read_bytes(self) -> int:
        """How much of the file has been read."""
        return self._offset

    def _read(self) -> bytes:
        """Whole lines, about a chunk of them; none at the end."""
        try:
            if self._file is None:
                self._file = FileIO(self.path, "r")
                self._file.seek(self._offset)
            data = self._rest
            self._rest = b""
            while True:
                more = self._file.read(CHUNK) or b""
                data += more
                end = data.rfind(b"\n") + 1
                if end:
                    self._rest = data[end:]
                    return data[:end]
                if not more:
                    if data:
                        self.notes.append(
                            f"{self.path}: the last line has no newline and was left out; its writer was killed, or is "
                            "still writing"
                        )
                    return b""
                if len(data) > LONGEST_LINE:
                    raise BadInput(f"{self.path}:{self.first}: a line of more than {LONGEST_LINE} bytes: no trace")
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be read: {error}") from error

    def _read_again(self, chunk: int) -> list[Event]:
        start = self._chunk_offset[chunk]
        end = self._chunk_offset[chunk + 1] if chunk + 1 < len(self._chunk_offset) else self._offset
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                data = file.read(end - start)
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be read: {error}") from error
        if len(data) < end - start:
            raise BadInput(f"{self.path}: became shorter while it was read; judge a copy")
        return self._decode(data, self._chunk_seq[chunk])

    def _decode(self, data: bytes, first: int | None = None) -> list[Event]:
        first = self.first if first is None else first
        prefix = self._prefix
        lines = data.count(b"\n")
        start = b"{" + prefix
        if data.startswith(start) and data.count(b"\n" + start) == lines - 1:
            # No JSON string holds a raw newline, so this joins lines and nothing else.
            text = b"[{" + data[len(start) : -1].replace(b"\n" + start, b",{") + b"]"
            try:
                events: list[Event] = json.loads(text)
            except (ValueError, RecursionError):
                events = []
            if len(events) == lines and schema.fits(events, first, client=self.client):
                return events
        return self._decode_lines(data, first)

    def _decode_lines(self, data: bytes, first: int) -> list[Event]:
        """The slow path: line by line, to accept any order of fields and to name the line that is wrong."""
        events: list[Event] = []
        for line in data[:-1].split(b"\n"):
            seq = first + len(events)
            try:
                event = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadInput(
                    f"{self.path}:{seq}: not JSON: {error}; a trace has one JSON object per line, whole, in UTF-8"
                ) from None
            problem = schema.complaint(event) or self._stranger(event)
            if problem:
                raise BadInput(f"{self.path}:{seq}: {problem}")
            if event["seq"] != seq:
                problem = f"seq {event['seq']} where {seq} was due: events are missing or repeated"
                if not self.allow_gaps:
                    raise BadInput(f"{self.path}:{seq}: {problem} (with --allow-gaps, judge what comes before)")
                self.gap = f"{self.path}:{seq}: {problem}; the rest of the file was left out"
                break
            events.append(event)
        return events

    def _stranger(self, event: Event) -> str | None:
        """Why a well-formed event does not belong into this file."""
        for field in ("cluster", "node", "inc"):
            if event[field] != self._identity[field]:
                return f"{field} is {event[field]!r} here and {self._identity[field]!r} in line 1: one file, one writer"
        if (event["event"] in schema.CLIENT_EVENTS) != self.client:
            return f"{event['event']} in a file of {'a client' if self.client else 'a node'}"
        return None


def open_directory(directory: Path, *, allow_gaps: bool = False) -> tuple[list[Source], list[str]]:
    """The trace files of a directory, in the order of node and incarnation, and notes. Raises BadInput."""
    try:
        paths = sorted(p for p in directory.iterdir() if p.suffix == ".ndjson")
    except OSError as error:
        raise BadInput(f"{directory}: cannot be read: {error.strerror}; give the directory of a run's traces") from None
    if not paths:
        raise BadInput(f"{directory}: no *.ndjson files; give the directory of a run's traces")
    window = Window(max(32, 2 * len(paths) if len(paths) < 64 else 128))
    sources: list[Source] = []
    notes: list[str] = []
    for number, path in enumerate(paths):
        head = _first_event(path)
        if head is None:
            notes.append(f"{path}: holds no complete line and was left out")
            continue
        source = Source(number, path, head, path.stat().st_size, window)
        source.allow_gaps = allow_gaps
        if not source.client and head["seq"] == 1 and head["event"] != "Start":
            raise BadInput(f"{path}:1: {head['event']} where Start was due: it is the first event of every incarnation")
        sources.append(source)
    _refuse_mixture(sources)
    sources.sort(key=lambda s: (s.node, s.counter, s.random))
    return sources, notes


def _first_event(path: Path) -> Event | None:
    try:
        with open(path, "rb") as file:
            line = file.readline(LONGEST_LINE)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if not line.endswith(b"\n"):
        return None
    try:
        head = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}:1: not JSON: {error}; a trace has one JSON object per line, whole, in UTF-8") from None
    problem = schema.complaint(head)
    if problem:
        raise BadInput(f"{path}:1: {problem}")
    assert isinstance(head, dict)
    return head


def _refuse_mixture(sources: Sequence[Source]) -> None:
    """One directory holds one run of one cluster, each incarnation once."""
    seen: dict[tuple[str, str], Source] = {}
    kinds: dict[str, Source] = {}
    for source in sources:
        first = sources[0]
        if source.cluster != first.cluster:
            raise BadInput(
                f"{source.path}: of cluster {source.cluster!r}, while {first.path.name} is of {first.cluster!r}: "
                "keep the traces of each cluster in a directory of its own"
            )
        other = seen.setdefault((source.node, source.inc), source)
        if other is not source:
            raise BadInput(
                f"{source.path}: {source} is in {other.path.name} as well: an incarnation has one file; remove the copy"
            )
        other = kinds.setdefault(source.node, source)
        if other.client != source.client:
            raise BadInput(f"{source.path}: {source.node!r} is a node and a client at once; see {other.path.name}")


def total_bytes(sources: Sequence[Source]) -> int:
    """How much there is to read."""
    return sum(os.path.getsize(s.path) for s in sources)
