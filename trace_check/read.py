"""Reads traces lazily: the events of each incarnation, a chunk at a time, and back again to events already judged.

A `Source` is one incarnation of one node or client, in one file or in several parts. It remembers where each chunk
began, 16 bytes per chunk, so that any earlier event can be had again exactly, from a small shared window of chunks or
else from the file. Hence nothing has to be kept in memory because somebody might cite it later.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right, insort
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from trace_check import parts, schema
from trace_check.decode import Chunk, Decoder, Lines, Reader, Texts, parse
from trace_check.parts import Part, first_line, trace_files
from trace_check.schema import Event, Reference
from trace_check.verdict import BadInput, Where

if TYPE_CHECKING:
    from trace_check.nodes import Node
    from trace_check.workers import Remote

# `base` of the k-th incarnation of a node is k * RANK: base + seq orders all events of one node.
RANK = 1 << 48
Handler = Callable[["Source", Event], None]
# For all archives of a directory together (parts.Points), about 40 KiB each.
POINTS = 256


class Window:
    """What sources share: the chunks that were used last, by (source, chunk), and the texts of clients and of nodes."""

    def __init__(self) -> None:
        self.texts = {client: Texts(client=client) for client in (False, True)}
        self._size = 2
        self._chunks: OrderedDict[tuple[int, int], Lines] = OrderedDict()

    def room_for(self, sources: int) -> None:
        """Choose the size, for so many sources."""
        self._size = max(32, min(2 * sources, 128))

    def get(self, key: tuple[int, int]) -> Lines | None:
        """A chunk, if it is still here."""
        lines = self._chunks.get(key)
        if lines is not None:
            self._chunks.move_to_end(key)
        return lines

    def put(self, key: tuple[int, int], lines: Lines) -> None:
        """Keep a chunk, and forget the one that was not used for longest."""
        self._chunks[key] = lines
        if len(self._chunks) > self._size:
            self._chunks.popitem(last=False)


class Source:
    """One incarnation. `consumed` is the seq of the newest event judged, `heard` the newest of each other node."""

    __slots__ = (
        "_chunk_seq",
        "_chunk_size",
        "_chunk_start",
        "_window",
        "awaited",
        "base",
        "batch",
        "begins_empty",
        "boot",
        "client",
        "cluster",
        "consumed",
        "counter",
        "decoder",
        "finished",
        "first",
        "founded",
        "handlers",
        "heard",
        "inc",
        "members",
        "next_inc",
        "node",
        "number",
        "of",
        "parts",
        "random",
        "read_bytes",
        "reader",
        "times",
        "turns",
        "voters",
        "waiting_for",
    )

    def __init__(self, number: int, head: Event, window: Window, *, allow_gaps: bool = False) -> None:
        """`head` is any of its events, with all fields; its parts are added after."""
        self.number = number
        self.parts: list[Part] = []
        self.cluster: str = head["cluster"]
        self.node: str = head["node"]
        self.inc: str = head["inc"]
        self.counter, self.random = schema.parse_incarnation(self.inc) or (0, "")
        # What its Start shows of the group, and whether nothing is in its log but what the group was founded from.
        self.voters: list[str] | None = None
        self.members: list[list[str]] | None = None
        self.founded: list[int | str] | None = None
        self.begins_empty = False
        # Which run of its machine it was in, if its Start says so.
        self.boot: str | None = None
        # Set by merge: order among the incarnations of the node, the next one, who waits for which seq.
        self.base = RANK
        self.next_inc: Source | None = None
        self.consumed = 0
        self.finished = False
        self.heard: defaultdict[str, int] = defaultdict(int)
        self.awaited: dict[int, list[Source]] = {}
        self.waiting_for: Reference | None = None
        self.turns: Iterator[None]
        # Set by judge: the node whose incarnation this is, and what judges each event.
        self.of: Node
        self.handlers: dict[str, Handler]
        # The chunk at hand begins with event `first`; the ones before it are found by seq.
        self.batch: list[Event] = []
        self.times: list[bytes] = []
        self.first = 1
        self.read_bytes = 0
        self._window = window
        self.client = head["event"] in schema.CLIENT_EVENTS
        self.decoder = Decoder(head, window.texts[self.client], client=self.client, allow_gaps=allow_gaps)
        self.reader: Reader | Remote = Reader(self.parts, self.decoder)
        # Of each chunk, its first seq, where in its part it begins, and how long it is.
        self._chunk_seq = array("q")
        self._chunk_start = array("q")
        self._chunk_size = array("i")

    def __str__(self) -> str:
        return f"{self.node} {self.inc}"

    @property
    def path(self) -> Path:
        """Its file, or the first of them."""
        return self.parts[0].path

    def add(self, part: Part, head: Event) -> None:
        """One more of its files, and the first event there. Raises BadInput."""
        for other in self.parts:
            if other.first == part.first:
                raise BadInput(
                    f"{part.path}: begins with event {part.first} of {self}, as {other.path.name} does: an incarnation "
                    "has one file, or parts that follow each other; remove the copy"
                )
        if part.first == 1 and not self.client:
            if head["event"] != "Start":
                raise BadInput(f"{part.path}:1: {head['event']} where Start was due: a node's trace begins with it")
            self.voters, self.members, self.founded = head["voters"], head.get("members"), head.get("founded")
            self.begins_empty = head["last"] == (self.founded[0] if self.founded else 0)
            self.boot = head.get("boot")
        if self.finished or (self.consumed and part.first < self.parts[self.reader.at].first):
            raise BadInput(f"{part.path}: came when later parts had been judged; judge the directory anew")
        insort(self.parts, part, key=lambda p: p.first)

    @property
    def cut_off(self) -> bool:
        """Whether its machine may have gone down with it, and with the last of what it wrote."""
        after = self.next_inc
        if after is None or self.boot is None or after.boot in (None, self.boot):
            return False
        return self.finished and self.consumed > 0 and self.event(self.consumed)["event"] != "Exit"

    def line(self, seq: int) -> str:
        """Where event `seq` is or would be: no line may be missing, so it follows from where its part begins."""
        part = self._part_of(seq)
        return f"{part.path}:{seq - part.first + 1}"

    def where(self, seq: int) -> Where:
        """The line of event `seq`."""
        part = self._part_of(seq)
        return Where(str(part.path), seq - part.first + 1, self.node, self.inc, seq, self.event(seq)["event"])

    def _part_of(self, seq: int) -> Part:
        return self.parts[max(0, bisect_right(self.parts, seq, key=lambda p: p.first) - 1)]

    def event(self, seq: int) -> Event:
        """An event with 1 <= seq <= consumed."""
        at = seq - self.first
        if at >= 0:
            return self.batch[at]
        lines, at = self._earlier(seq)
        return lines.events[at]

    def ts(self, seq: int) -> int:
        """When that event was, by the node's own clock: nanoseconds since the epoch."""
        at, times = seq - self.first, self.times
        if at < 0:
            (_, times), at = self._earlier(seq)
        return int(times[at].removeprefix(b'"ts":'))

    def _earlier(self, seq: int) -> tuple[Lines, int]:
        """The chunk of an event, and its place there."""
        chunk = bisect_right(self._chunk_seq, seq) - 1
        lines = self._window.get((self.number, chunk))
        if lines is None:
            lines = self._read_again(chunk)
            self._window.put((self.number, chunk), lines)
        return lines, seq - self._chunk_seq[chunk]

    def load(self) -> bool:
        """Have more events at hand, a new chunk of them or a longer one; False when there are none. Raises BadInput."""
        chunk = self.reader.read()
        if chunk is None:
            if not self.growing:
                self.end()
            return False
        # What a writer adds little by little becomes chunks of the same size as what is read at once.
        if self.batch and self._continues(chunk):
            self.batch += chunk.lines.events
            self.times += chunk.lines.times
            self._chunk_size[-1] += chunk.size
        else:
            self._put_away()
            self._chunk_seq.append(self.first)
            self._chunk_start.append(chunk.start)
            self._chunk_size.append(chunk.size)
            self.batch, self.times = chunk.lines
        self.read_bytes = chunk.read_bytes
        return True

    def _continues(self, chunk: Chunk) -> bool:
        size = self._chunk_size[-1]
        return chunk.start == self._chunk_start[-1] + size and chunk.size + size <= parts.CHUNK

    @property
    def growing(self) -> bool:
        """Whether more may still be written, so that having no more events is not the end."""
        return self.reader.growing

    @growing.setter
    def growing(self, growing: bool) -> None:
        self.reader.growing = growing

    def end(self) -> None:
        """There is no more to be read. Raises BadInput."""
        self._put_away()
        self.reader.end()

    def _put_away(self) -> None:
        if self.batch:
            self._window.put((self.number, len(self._chunk_seq) - 1), Lines(self.batch, self.times))
            self.first += len(self.batch)
            self.batch, self.times = [], []

    def _read_again(self, chunk: int) -> Lines:
        seq = self._chunk_seq[chunk]
        part = self._part_of(seq)
        data = part.again(self._chunk_start[chunk], self._chunk_size[chunk])
        return self.decoder.lines(part, data, seq)[0]


class Incarnations:
    """The sources of one cluster."""

    def __init__(self, *, allow_gaps: bool = False, growing: bool = False) -> None:
        """`growing` if more may still be written to them."""
        self._allow_gaps = allow_gaps
        self._growing = growing
        self._window = Window()
        self._sources: dict[tuple[str, str], Source] = {}
        self._kinds: dict[str, Source] = {}

    def add(self, part: Part, head: Event) -> Source | None:
        """One more file, which begins with this event; its source, if it is a new one. Raises BadInput."""
        key = head["node"], head["inc"]
        source = self._sources.get(key)
        if source is not None:
            source.add(part, head)
            return None
        number = len(self._sources)
        self._window.room_for(number + 1)
        source = Source(number, head, self._window, allow_gaps=self._allow_gaps)
        source.growing = self._growing
        source.add(part, head)
        self._sources[key] = source
        other = self._kinds.setdefault(source.node, source)
        if other.client != source.client:
            raise BadInput(f"{part.path}: {source.node!r} is a node and a client at once; see {other.path.name}")
        return source

    def in_order(self) -> list[Source]:
        """By node and incarnation."""
        return sorted(self._sources.values(), key=lambda s: (s.node, s.counter, s.random))


class Directory:
    """The trace files of a directory."""

    def __init__(self, path: Path, *, growing: bool = False) -> None:
        """With `growing`, files may be written, renamed and packed while they are being judged."""
        self.path = path
        self._growing = growing
        # By what a file's inode, size and time were, those that have not changed are passed over.
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._known: dict[bytes, Part] = {}
        self._without_line: set[Path] = set()

    def look(self) -> list[tuple[Part, Event]]:
        """The files that are new since the last look, with the event each begins with. Raises BadInput."""
        found: list[tuple[Part, Event]] = []
        paths = trace_files(self.path)
        for path in paths:
            part_and_head = self._open(path, POINTS // len(paths))
            if part_and_head is not None:
                found.append(part_and_head)
        return found

    def notes(self) -> list[str]:
        """What there is to say of files without a line."""
        return [f"{path}: holds no complete line and was left out" for path in sorted(self._without_line)]

    def bytes(self) -> int:
        """How much there is to read, in all parts known so far."""
        return sum(part.size() for part in self._known.values())

    def _open(self, path: Path, points: int) -> tuple[Part, Event] | None:
        try:
            status = path.stat()
            state = status.st_ino, status.st_size, status.st_mtime_ns
            if self._seen.get(path) == state:
                return None
            with FileIO(path) as file:
                line = first_line(file)
        except FileNotFoundError:
            # Renamed since it was listed, or a link to nowhere.
            if not self._growing:
                raise BadInput(f"{path}: is not there any more; judge the directory anew") from None
            return None
        except (OSError, zlib.error) as error:
            raise parts.unreadable(path, error) from None
        self._seen[path] = state
        if line is None:
            self._without_line.add(path)
            return None
        self._without_line.discard(path)
        known = self._known.get(line)
        if known is not None and self._growing:
            # Renamed, packed, or only longer. While both a file and its archive are there, the first one serves.
            if known.path != path and not known.in_place():
                known.path = path
            elif known.path != path and known.size() < status.st_size and known.copied_to(path):
                raise BadInput(f"{path}: begins as {known.path.name} does, and has more; remove the copy")
            elif known.left is not None and known.left[0] == status.st_ino and known.left[1] < status.st_size:
                raise BadInput(f"{path}: went on when what follows it had been judged; judge the directory anew")
            return None
        head = parse(line, f"{path}:1")
        self._known[line] = part = Part(path, line, head["seq"], points)
        return part, head


def sources_in(path: Path, *, allow_gaps: bool = False) -> list[Source]:
    """The incarnations of one cluster whose traces are in a directory, with nothing read of them. Raises BadInput."""
    incarnations = Incarnations(allow_gaps=allow_gaps)
    for part, head in Directory(path).look():
        incarnations.add(part, head)
    return incarnations.in_order()
