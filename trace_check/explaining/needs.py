"""A guess at which earlier events an event stands on, for shrink.py: what it cites, and what it takes for granted.

Only a guess: the checker judges every piece made from it, and what is missing in it is searched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trace_check.explaining.piece import File, Key, Piece, age, cites, events_of, key
from trace_check.schema import Event

Position = tuple[int, int]


class Needs:
    """All events of a piece, each with those it needs."""

    def __init__(self, piece: Piece) -> None:
        self._wins: dict[int, Key] = {}
        self._ends: dict[Position, Key] = {}
        self._openings: dict[int, Key] = {}
        self._candidacies: dict[tuple[str, int], Key] = {}
        for event in events_of(piece):
            term = event["term"]
            match event["event"]:
                case "Win":
                    self._wins.setdefault(term, key(event))
                case "Append":
                    self._ends.setdefault((event["last"], term), key(event))
                    if "epoch" in event:
                        self._openings.setdefault(term, key(event))
                case "Campaign":
                    self._candidacies.setdefault((event["node"], term), key(event))
        self._needs: dict[Key, tuple[Key, ...]] = {}
        self._first = {file: key(events[0]) for file, events in piece.items()}
        self._node: str | None = None
        for file in sorted(piece, key=lambda f: (f[0], age(f))):
            self._file(file, piece[file])

    def closed(self, keys: Iterable[Key]) -> set[Key]:
        """Some events with all that they need, and the first event of each one's file."""
        found: set[Key] = set()
        todo = list(keys)
        while todo:
            at = todo.pop()
            if at in self._needs and at not in found:
                found.add(at)
                todo += self._needs[at]
                todo.append(self._first[at[:2]])
        return found

    def _file(self, file: File, events: list[Event]) -> None:
        if file[0] != self._node:
            self._node = file[0]
            # By what each end of the node's log, and each of its votes, was last shown.
            self._shown: dict[Position, Key] = {}
            self._votes: dict[int, Key] = {}
            self._last: dict[str, Key] = {}
        for name in ("Transfer", "Commit", "Activate"):
            self._last.pop(name, None)
        invoked: dict[str, Key] = {}
        for event in events:
            at, name = key(event), event["event"]
            found = {*cites(event), *self._implied(event)}
            if name in ("Ok", "Fail", "Unknown") and event["op"] in invoked:
                found.add(invoked[event["op"]])
            found.discard(at)
            self._needs[at] = tuple(sorted(found))
            self._last[name] = at
            if name in ("Start", "Store", "Install"):
                self._shown[event["last"], event["last_term"]] = at
            elif name in ("Campaign", "Grant"):
                self._votes[event["term"]] = at
            elif name == "Invoke":
                invoked[event["op"]] = at

    def _implied(self, event: Event) -> Iterator[Key]:
        term = event["term"]
        match event["event"]:
            case "Start":
                yield from self._position(event)
                if event["vote"] is not None:
                    yield from self._known(self._candidacies.get((event["vote"], term)), self._votes.get(term))
            case "Campaign" | "Grant":
                yield from self._position(event)
                yield from self._before("Transfer")
            case "Win" | "Transfer":
                yield from self._before("Transfer")
            case "Append":
                yield from self._known(self._wins.get(term), self._openings.get(term))
                if "epoch" not in event:
                    yield from self._before("Activate")
            case "Store":
                yield from self._known(self._wins.get(term))
                yield from self._position(event)
            case "Commit":
                yield from self._before("Store" if "leader_commit" in event else "Append", "Install")
            case "Activate" | "Ack" | "ReadStart" | "ReadServe":
                yield from self._known(self._wins.get(term))
                yield from self._before("Commit", "Activate")
            case "Image":
                yield from self._before("Commit", "Install")
            case "Lose":
                yield from self._known(self._wins.get(term))

    def _position(self, event: Event) -> Iterator[Key]:
        position = event["last"], event["last_term"]
        yield from self._known(self._ends.get(position), self._shown.get(position))

    def _before(self, *names: str) -> Iterator[Key]:
        yield from self._known(*(self._last.get(name) for name in names))

    @staticmethod
    def _known(*found: Key | None) -> Iterator[Key]:
        yield from (k for k in found if k is not None)
