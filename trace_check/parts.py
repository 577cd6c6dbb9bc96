"""The bytes of trace files: whole lines, about a chunk at a time, from plain files and gzip, also while they grow.

A `Part` is one file: all that an incarnation wrote, or the piece of it between two rotations. Any stretch of it can be
had again. In a plain file that is a seek; gzip must be unpacked from the beginning, or from one of a few points where
the unpacker's state was kept (32 KiB of history and its tables, some 40 KiB each).
"""

from __future__ import annotations

import os
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from trace_check.verdict import BadInput

CHUNK = 1 << 16
LONGEST_LINE = 1 << 24
# n1.1-0a0b0c0d.ndjson, and as rotation names them: ...ndjson.1, ...ndjson-20260131.gz
_is_trace = re.compile(r"[^.].*\.ndjson([.-][0-9]+)?(\.gz)?", re.DOTALL).fullmatch


def trace_files(directory: Path) -> list[Path]:
    """What may be traces, by name; a plain file before its own archive. Raises BadInput."""
    try:
        return sorted(p for p in directory.iterdir() if _is_trace(p.name))
    except OSError as error:
        raise BadInput(f"{directory}: cannot be read: {error.strerror}; give the directory of a run's traces") from None


def unreadable(path: Path, error: Exception) -> BadInput:
    """What to raise when a file can't be read or unpacked: in the system's words, if it has any."""
    return BadInput(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")


class Points:
    """Where unpacking may begin: states of the unpacker, spread evenly over what has been unpacked so far."""

    def __init__(self, limit: int) -> None:
        """Keeps `limit` of them at most, however long the file gets."""
        self._limit = limit
        self._step = 16 * CHUNK
        self._offsets: list[int] = []
        self._states: list[tuple[zlib._Decompress, int]] = []

    def offer(self, offset: int, unpacker: zlib._Decompress, position: int) -> None:
        """The state at an offset of the text, with `position` in the file the next to be read."""
        if offset < (self._offsets[-1] if self._offsets else 0) + self._step:
            return
        self._offsets.append(offset)
        self._states.append((unpacker.copy(), position))
        if len(self._offsets) > self._limit:
            del self._offsets[::2], self._states[::2]
            self._step *= 2

    def before(self, offset: int) -> tuple[int, zlib._Decompress, int]:
        """Offset, state and position of the last point that is not after an offset."""
        at = bisect_right(self._offsets, offset) - 1
        if at < 0:
            return 0, zlib.decompressobj(31), 0
        unpacker, position = self._states[at]
        return self._offsets[at], unpacker.copy(), position


class Gzip:
    """Unpacks a file of one gzip member or several from the last of its points that is not after `start`."""

    def __init__(self, file: FileIO, points: Points, start: int = 0) -> None:
        self.offset, self._unpacker, position = points.before(start)
        self._file = file
        self._points = points
        self._packed = b""
        file.seek(position)

    @property
    def complete(self) -> bool:
        """Whether the file ends, as far as it was read, where a member does."""
        return self._unpacker.eof

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, some if there are any. Raises zlib.error."""
        while True:
            if self._unpacker.eof:
                # Zeros may follow a member, and then another member.
                following = self._unpacker.unused_data.lstrip(b"\0")
                while not following:
                    more = self._file.read(CHUNK)
                    if not more:
                        return b""
                    following = more.lstrip(b"\0")
                self._unpacker, self._packed = zlib.decompressobj(31), following
            if not self._packed:
                self._packed = self._file.read(CHUNK) or b""
                if not self._packed:
                    return b""
            data = self._unpacker.decompress(self._packed, size)
            self._packed = self._unpacker.unconsumed_tail
            if data:
                self.offset += len(data)
                if not self._unpacker.eof:
                    self._points.offer(self.offset, self._unpacker, self._file.tell() - len(self._packed))
                return data


def first_line(file: FileIO) -> bytes | None:
    """The first line of a file, with its newline; None if it is not there yet. Raises OSError, zlib.error."""
    text = _text(file, Points(0))
    line = b""
    while b"\n" not in line:
        if len(line) > LONGEST_LINE:
            raise BadInput(f"{file.name!s}: a line of more than {LONGEST_LINE} bytes: no trace")
        more = text.read(max(4096, len(line)))
        if not more:
            return None
        line += more
    return line[: line.index(b"\n") + 1]


def _packed(file: FileIO) -> bool:
    return os.pread(file.fileno(), 2, 0) == b"\x1f\x8b"


def _text(file: FileIO, points: Points, start: int = 0) -> FileIO | Gzip:
    """The text of a file, from `start` or before."""
    if _packed(file):
        return Gzip(file, points, start)
    file.seek(start)
    return file


class Part:
    """One file. Offsets count bytes of its text, unpacked."""

    __slots__ = ("_file", "_points", "_rest", "_text", "first", "head", "left", "path")

    def __init__(self, path: Path, head: bytes, first: int, points: int) -> None:
        """`head` is its first line, `first` the seq there; of gzip, up to `points` points are kept."""
        self.path = path
        self.head = head
        self.first = first
        # Its inode and its size when it was closed.
        self.left: tuple[int, int] | None = None
        self._points = Points(points)
        self._file: FileIO | None = None
        self._text: FileIO | Gzip
        self._rest = b""

    @property
    def torn(self) -> str | None:
        """Why what has been read does not end as it should, if it does not."""
        if self._rest:
            return "the last line has no newline"
        if isinstance(text := self._file and self._text, Gzip) and not text.complete:
            return "the archive ends in the middle"
        return None

    @property
    def position(self) -> int:
        """How much of the file has been read."""
        return self._file.tell() if self._file is not None else 0

    def size(self) -> int:
        """Bytes of the file; 0 if it is not there any more."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def read(self) -> bytes:
        """The next whole lines, about a chunk of them; none at the end, or as long as there are no more."""
        try:
            if self._file is None:
                self._file = self._open()
                self._text = _text(self._file, self._points)
            data = self._rest
            while True:
                more = self._text.read(CHUNK) or b""
                data += more
                end = data.rfind(b"\n") + 1
                self._rest = data[end:]
                if end or not more:
                    return data[:end]
                if len(data) > LONGEST_LINE:
                    raise BadInput(f"{self.path}: a line of more than {LONGEST_LINE} bytes: no trace")
        except (OSError, zlib.error) as error:
            raise unreadable(self.path, error) from error

    def again(self, start: int, size: int) -> bytes:
        """A stretch of what has been read before."""
        try:
            with self._open() as file:
                text = _text(file, self._points, start)
                while isinstance(text, Gzip) and text.offset < start and text.read(min(CHUNK, start - text.offset)):
                    pass
                data = b""
                while len(data) < size and (more := text.read(size - len(data))):
                    data += more
        except (OSError, zlib.error) as error:
            raise unreadable(self.path, error) from error
        if len(data) < size:
            raise BadInput(f"{self.path}: became shorter while it was read; judge a copy")
        return data

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file is not None:
            status = os.fstat(self._file.fileno())
            self.left = status.st_ino, status.st_size
            self._file.close()
            self._file = None

    def in_place(self) -> bool:
        """Whether the file is still where it was found, neither renamed nor packed since."""
        try:
            with FileIO(self.path) as file:
                return first_line(file) == self.head
        except (OSError, zlib.error):
            return False

    def copied_to(self, other: Path) -> bool:
        """Whether another file that begins as this one is neither the same by another name nor its archive."""
        try:
            with FileIO(self.path) as file, FileIO(other) as copy:
                same = os.path.sameopenfile(file.fileno(), copy.fileno())
                return not same and _packed(file) == _packed(copy)
        except OSError:
            return False

    def _open(self) -> FileIO:
        """The file, by this or another name: rotation may have renamed or packed it since."""
        problem: Exception | None = None
        for path in self._places():
            try:
                file = FileIO(path)
                if first_line(file) == self.head:
                    self.path = path
                    return file
                file.close()
            except (OSError, zlib.error) as error:
                problem = problem or error
        reason = problem or "another file has its name now"
        raise BadInput(f"{self.path}: cannot be read: {reason}; keep a trace until it has been judged")

    def _places(self) -> Iterator[Path]:
        """Where the file may be. Listing the directory takes time: only when it is not where it was."""
        yield self.path
        yield from trace_files(self.path.parent)
