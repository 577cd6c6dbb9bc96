"""Several processors: child processes read, decode and check chunks ahead, and hand them over as `marshal`.

That is quicker to load than JSON. What is judged, and in which order, stays the same: only who decodes changes.
"""

from __future__ import annotations

import fcntl
import gc
import marshal
import os
import signal
import subprocess
import sys
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from trace_check.decode import Chunk, Decoder, Lines, Reader, Texts
from trace_check.parts import Part
from trace_check.read import Source
from trace_check.schema import Event
from trace_check.verdict import BadInput

# Chunks of one source to be had before they are asked for, and of all together.
AHEAD = 2
MOST = 200
# Events that are kept at both ends, to be sent by their number when they come again.
KEPT = 20_000


Reply = tuple[Chunk | None, str | None, list[str], str | None]
# The number of the first event that is sent now, those not sent before, and the numbers of all there are in a chunk.
Packed = tuple[int, list[Event], bytes]


class Sent:
    """The child's end: what many lines say alike (decode.py) is sent once, and has a number from then on."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        # By identity: as long as they are kept here, no two have the same.
        self._numbers: dict[int, int] = {}

    def pack(self, events: Sequence[Event]) -> Packed:
        """What has to be sent for these."""
        if len(self._events) > KEPT:
            self._events.clear()
            self._numbers.clear()
        first = len(self._events)
        for event in events:
            if id(event) not in self._numbers:
                self._numbers[id(event)] = len(self._events)
                self._events.append(event)
        return first, self._events[first:], array("I", [self._numbers[id(event)] for event in events]).tobytes()


class Received:
    """The other end."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def unpack(self, first: int, new: list[Event], numbers: bytes) -> list[Event]:
        """The events that were packed."""
        if not first:
            self._events.clear()
        self._events += new
        return list(map(self._events.__getitem__, array("I", numbers)))


class Worker:
    """One child process."""

    def __init__(self) -> None:
        package = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from trace_check.workers import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        with suppress(OSError):  # a user may have used up what the kernel gives
            fcntl.fcntl(self._replies, fcntl.F_SETPIPE_SZ, 1 << 20)
        self._events = Received()
        self._arrived: dict[int, deque[Reply]] = {}
        self._asked: dict[int, int] = {}
        self._asked_in_all = 0

    def take(self, sources: Sequence[Source]) -> None:
        """Let the child read these. Raises BadInput."""
        tasks = []
        for source in sources:
            parts = [(str(p.path), p.head, p.first) for p in source.parts]
            tasks.append((source.number, source.decoder.identity, source.client, source.decoder.allow_gaps, parts))
            source.reader = Remote(self, source.number)
            self._arrived[source.number], self._asked[source.number] = deque(), 0
        self._say(tasks)

    def next(self, number: int) -> Reply:
        """What the child says next of a source."""
        arrived = self._arrived[number]
        while (ahead := self._asked[number]) == 0 or (ahead <= AHEAD and self._asked_in_all < MOST):
            self._say(number)
            self._asked[number] += 1
            self._asked_in_all += 1
        while not arrived:
            reply = _receive(self._replies)
            if reply is None:
                raise self._dead()
            other, chunk, gap, notes, problem = marshal.loads(reply)
            # In the order in which they were sent, as each may use what came with earlier ones.
            self._arrived[other].append((self._unpacked(chunk), gap, notes, problem))
        self._asked[number] -= 1
        self._asked_in_all -= 1
        return arrived.popleft()

    def _unpacked(self, chunk: tuple[Any, ...] | None) -> Chunk | None:
        if chunk is None:
            return None
        part, start, size, packed, times, read_bytes = chunk
        return Chunk(part, start, size, Lines(self._events.unpack(*packed), times), read_bytes)

    def close(self) -> None:
        """End the child."""
        self._process.kill()
        self._process.wait()
        self._replies.close()
        with suppress(BrokenPipeError):
            self._requests.close()

    def _say(self, value: Any) -> None:
        try:
            _send(self._requests, value)
        except BrokenPipeError:
            raise self._dead() from None

    def _dead(self) -> BadInput:
        return BadInput(f"a child process ended by itself, with status {self._process.wait()}: try --jobs 1")


class Remote:
    """The Reader of a source, in a child process."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        self._over = False
        self.at = 0
        self.growing = False
        self.gap: str | None = None
        self.notes: list[str] = []

    def read(self) -> Chunk | None:
        """The next chunk; None at the end. Raises BadInput."""
        if self._over:
            return None
        chunk, self.gap, self.notes, problem = self._worker.next(self._number)
        if problem is not None:
            raise BadInput(problem)
        self._over = chunk is None
        return chunk

    def end(self) -> None:
        """The child has."""

    def close(self) -> None:
        """The child does."""


@contextmanager
def shared_out(sources: Sequence[Source], jobs: int) -> Iterator[None]:
    """Give the reading of the sources to `jobs` - 1 child processes, the largest first to who has least to do."""
    shares: list[list[Source]] = [[] for _ in range(jobs - 1)]
    loads = [0] * len(shares)
    sizes = {source: sum(part.size() for part in source.parts) for source in sources}
    for source in sorted(sources, key=lambda s: -sizes[s]) if shares else ():
        least = loads.index(min(loads))
        loads[least] += sizes[source]
        shares[least].append(source)
    with ExitStack() as workers:
        for share in shares:
            if share:
                worker = Worker()
                workers.callback(worker.close)
                worker.take(share)
        yield


def _send(file: IO[bytes], value: Any) -> None:
    data = marshal.dumps(value)
    file.write(len(data).to_bytes(8, "little") + data)
    file.flush()


def _receive(file: IO[bytes]) -> bytes | None:
    """What was sent, still packed; None at the end."""
    length = file.read(8)
    data = file.read(int.from_bytes(length, "little"))
    return data if length and data else None


def serve() -> None:
    """The child: answers with a chunk of the source that is asked for, until there are no more requests."""
    # Whoever started this ends it: by closing the pipe, if in no other way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    readers: dict[int, Reader] = {}
    texts = {client: Texts(client=client) for client in (False, True)}
    sent = Sent()
    for number, identity, client, allow_gaps, files in marshal.loads(_receive(requests) or marshal.dumps([])):
        parts = [Part(Path(path), head, first, 0) for path, head, first in files]
        readers[number] = Reader(parts, Decoder(identity, texts[client], client=client, allow_gaps=allow_gaps))
    try:
        while (request := _receive(requests)) is not None:
            number = marshal.loads(request)
            _send(replies, (number, *_answer(readers[number], sent)))
    except BrokenPipeError:
        os._exit(1)


def _answer(reader: Reader, sent: Sent) -> tuple[object, ...]:
    chunk: Chunk | None = None
    problem: str | None = None
    try:
        chunk = reader.read()
        if chunk is None:
            reader.end()
    except BadInput as error:
        problem = str(error)
    # What is a tuple by another name cannot be sent.
    plain = chunk and (*chunk[:3], sent.pack(chunk.lines.events), chunk.lines.times, chunk.read_bytes)
    return plain, reader.gap, reader.notes, problem
