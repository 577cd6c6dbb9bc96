"""The lines of another system's trace: one file, one JSON object per line, in the order in which things happened."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trace_check.parts import unreadable
from trace_check.verdict import BadInput

LONGEST_LINE = 1 << 20
LARGEST_NUMBER = 1 << 53


class Record:
    """A JSON object of a line, whose fields are checked when they are asked for. `at` says where it is, for people."""

    __slots__ = ("_fields", "at")

    def __init__(self, fields: dict[str, Any], at: str) -> None:
        self._fields = fields
        self.at = at

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return name in self._fields

    def text(self, name: str, default: str | None = None) -> str:
        """A string. Raises BadInput."""
        value = self._fields.get(name, default)
        if isinstance(value, str):
            return value
        raise self.bad(name, "a string")

    def number(self, name: str) -> int:
        """A natural number. Raises BadInput."""
        value = self._fields.get(name)
        if type(value) is int and 0 <= value <= LARGEST_NUMBER:
            return value
        raise self.bad(name, "a natural number")

    def flag(self, name: str) -> bool:
        """A boolean. Raises BadInput."""
        value = self._fields.get(name)
        if isinstance(value, bool):
            return value
        raise self.bad(name, "true or false")

    def record(self, name: str) -> Record:
        """An object. Raises BadInput."""
        value = self._fields.get(name)
        if isinstance(value, dict):
            return Record(value, self.at)
        raise self.bad(name, "an object")

    def records(self, name: str) -> list[Record]:
        """A list of objects. Raises BadInput."""
        return [Record(value, self.at) for value in self._list(name, dict)]

    def numbers(self, name: str) -> list[int]:
        """A list of integers. Raises BadInput."""
        return self._list(name, int)

    def names(self, name: str) -> frozenset[str]:
        """A list of strings, or the names in an object. Raises BadInput."""
        value = self._fields.get(name)
        return frozenset(value if isinstance(value, dict) else self._list(name, str))

    def lists_of_names(self, name: str) -> tuple[frozenset[str], ...]:
        """A list of lists of strings; empty ones are left out. Raises BadInput."""
        lists = self._list(name, list)
        if all(isinstance(item, str) for each in lists for item in each):
            return tuple(frozenset(each) for each in lists if each)
        raise self.bad(name, "a list of lists of strings")

    def bad(self, name: str, wanted: str) -> BadInput:
        """The complaint about a field."""
        found = json.dumps(self._fields[name])[:60] if name in self._fields else "no such field"
        return BadInput(f"{self.at}: field {name!r} must be {wanted}; found {found}")

    def _list(self, name: str, kind: type) -> list[Any]:
        value = self._fields.get(name)
        if isinstance(value, list) and all(isinstance(item, kind) for item in value):
            return value
        raise self.bad(name, f"a list of {kind.__name__}")


def find(path: Path) -> Path:
    """The trace file that is meant: the file itself, or the only one in the directory. Raises BadInput."""
    if not path.is_dir():
        return path
    files = sorted([*path.glob("*.ndjson"), *path.glob("*.ndjson.gz")])
    if len(files) != 1:
        raise BadInput(f"{path}: {len(files)} *.ndjson files, packed or not; a run in this format is one, so name it")
    return files[0]


def read(path: Path, notes: list[str]) -> Iterator[tuple[int, int, Record]]:
    """(line number, bytes of the file read so far, record) of each line that is not blank. Raises BadInput.

    The file may be packed with gzip.
    A last line without its newline that is no JSON was being written when its process ended: a note.
    """
    try:
        with path.open("rb") as raw:
            file = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
            known = raw.seekable()
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
                done = raw.tell() if known else 0
                whole = line.endswith(b"\n")
                if not whole and len(line) == LONGEST_LINE:
                    raise BadInput(f"{path}:{number}: a line of more than {LONGEST_LINE:,} bytes")
                if line.isspace():
                    continue
                try:
                    fields = json.loads(line)
                except (ValueError, RecursionError):
                    if not whole:
                        notes.append(f"{path}:{number}: the last line is torn, and does not count")
                        return
                    raise BadInput(f"{path}:{number}: not a JSON object: {line[:60]!r}") from None
                if not isinstance(fields, dict):
                    raise BadInput(f"{path}:{number}: not a JSON object: {line[:60]!r}")
                yield number, done, Record(fields, f"{path}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None
