"""The catalog's state: what its commands, applied in the order of the journal, amount to. The same on every node.

Every definition has a version: the journal index of the command that made it what it is. So a command may say which
version it means to change, and a reader can tell whether what it saw has changed since. What has been dropped leaves
its version behind, so that a reader who finds nothing can say since when; the newest TOMBSTONES of these are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_KEY = 1024
"""The longest name, in characters."""
TOMBSTONES = 10_000


class BadCommand(ValueError):
    """Not a command of the catalog; the text says what is wrong with it."""


class Outcome(StrEnum):
    """What became of a command. All but DONE leave the catalog as it was."""

    DONE = "done"
    EXISTS = "exists"
    MISSING = "missing"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Command:
    """One change. `verb` is put, create, alter or drop; `expected` is the version it is meant for, None for any.

    put writes whether or not the key is there, create only if it is not, alter and drop only if it is. Version 0 is
    that of a key which is not there.
    """

    verb: str
    key: str
    value: str | None = None
    expected: int | None = None

    def __post_init__(self) -> None:
        if self.verb not in ("put", "create", "alter", "drop"):
            raise BadCommand(f"unknown verb {self.verb!r}: put, create, alter or drop is wanted")
        if not 0 < len(self.key) <= MAX_KEY:
            raise BadCommand(f"a key has 1 to {MAX_KEY} characters, this one has {len(self.key)}")
        if (self.value is None) != (self.verb == "drop"):
            raise BadCommand(f"{self.verb} takes {'no' if self.verb == 'drop' else 'a'} value")
        try:
            f"{self.key}{self.value}".encode()
        except UnicodeEncodeError:  # half a surrogate pair: no node could answer with it
            raise BadCommand("a key and its definition are text, and this is not UTF-8") from None

    def encode(self) -> bytes:
        """As a journal entry."""
        fields = {"verb": self.verb, "key": self.key, "value": self.value, "expected": self.expected}
        present = {name: field for name, field in fields.items() if field is not None}
        return json.dumps({"catalog": present}, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Command:
        """The command in a journal entry. Raises BadCommand if it holds none."""
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BadCommand(f"not JSON: {error}") from error
        match document:
            case {"catalog": {"verb": str(verb), "key": str(key), **rest}} if rest.keys() <= {"value", "expected"}:
                value, expected = rest.get("value"), rest.get("expected")
                if (value is None or isinstance(value, str)) and (expected is None or type(expected) is int):
                    return cls(verb, key, value, expected)
        raise BadCommand("not a command of the catalog")


@dataclass(frozen=True, slots=True)
class Item:
    """A key's definition and its version; no value and the version of the drop, or 0, where there is none.

    `version` is None where the key was dropped too long ago for that to be remembered.
    """

    value: str | None
    version: int | None


class Catalog:
    """A StateMachine (journal.py). Nothing here asks for the time, for chance, or for what is not in the journal."""

    def __init__(self) -> None:
        self._items: dict[str, tuple[str, int]] = {}
        self._dropped: dict[str, int] = {}
        # Whether a tombstone has ever been given up: from then on, that there is none says nothing.
        self._forgot = False

    def __len__(self) -> int:
        return len(self._items)

    def apply(self, index: int, data: bytes) -> Outcome | None:
        """Carry out the entry at an index; what became of it, or None if it is none of the catalog's."""
        try:
            command = Command.decode(data)
        except BadCommand:
            return None
        # Not JSON that only means the same: how deep it may nest depends on the node, and so would what became of it.
        if command.encode() != data:
            return None
        found = self._items.get(command.key)
        if command.verb == "create" and found:
            return Outcome.EXISTS
        if command.verb in ("alter", "drop") and not found:
            return Outcome.MISSING
        if command.expected is not None and command.expected != (found[1] if found else 0):
            return Outcome.CONFLICT
        if command.value is None:
            del self._items[command.key]
            self._dropped[command.key] = index
            if len(self._dropped) > TOMBSTONES:
                del self._dropped[next(iter(self._dropped))]
                self._forgot = True
        else:
            self._items[command.key] = (command.value, index)
            self._dropped.pop(command.key, None)
        return Outcome.DONE

    def get(self, key: str) -> Item:
        """What a key means now."""
        found = self._items.get(key)
        if found:
            return Item(*found)
        return Item(None, self._dropped.get(key, None if self._forgot else 0))

    def list(self, prefix: str, after: str) -> Iterator[tuple[str, Item]]:
        """The keys with a prefix that come after a key, in order, and what they mean."""
        for key in sorted(self._items):
            if key.startswith(prefix) and key > after:
                yield key, Item(*self._items[key])

    def image(self) -> bytes:
        """Everything, as `restore` takes it; equal catalogs have equal images."""
        items = {key: self._items[key] for key in sorted(self._items)}
        whole = {"items": items, "dropped": list(self._dropped.items()), "forgot": self._forgot}
        return json.dumps(whole, separators=(",", ":")).encode()

    def restore(self, image: bytes) -> None:
        """Be what another catalog was when its image was made."""
        whole: dict[str, Any] = json.loads(image)
        self._items = {key: (value, version) for key, (value, version) in whole["items"].items()}
        self._dropped = dict(whole["dropped"])
        self._forgot = whole["forgot"]
