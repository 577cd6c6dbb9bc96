"""Tells what the nodes of a cluster do, in plain words, from their traces and while these grow."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hacoord.node import Exit

PATIENCE = 20.0
"""Seconds that anything may take before the story has failed."""

Line = dict[str, Any]
"""One line of a trace (docs/trace-format.md)."""


class NothingHappened(Exception):
    """What should have happened did not, in PATIENCE seconds."""


class Narrator:
    """Reads the traces while they grow, says what happens in plain words, and remembers who is what."""

    def __init__(self, directory: Path, nodes: Iterable[str]) -> None:
        """`directory` is where the nodes' traces are being written."""
        self._directory = directory
        self._read: dict[Path, int] = {}
        self._began = time.time_ns()
        self._winners: dict[int, str] = {}
        self.leader = ""
        self.epoch = 0
        self.term = 0
        self.types = dict.fromkeys(nodes, "DOWN")
        self.progress: Callable[[], str] = str

    def listen(self) -> None:
        """Say what is new."""
        lines = sorted(self._new_lines(), key=lambda line: line["ts"])
        for line in lines:
            text = self._tell(line)
            if text:
                self.say(text, line["node"], (line["ts"] - self._began) / 1e9)
        if sys.stdout.isatty():
            print(f"\r\033[K           {self.progress()}\r", end="", flush=True)

    def say(self, text: str, who: str = "", at: float | None = None) -> None:
        """One line of the story; `at` is seconds since the beginning."""
        at = (time.time_ns() - self._began) / 1e9 if at is None else at
        clear = "\r\033[K" if sys.stdout.isatty() else ""
        print(f"{clear}  {at:5.2f} s  {who:2}  {text}", flush=True)

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Go on listening until the condition holds. Raises NothingHappened after PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        self.listen()
        while not condition():
            if time.monotonic() > deadline:
                raise NothingHappened(f"waited {PATIENCE:g} s in vain: {what}")
            time.sleep(0.02)
            self.listen()

    def _new_lines(self) -> Iterator[Line]:
        for path in self._directory.glob("*.ndjson"):
            if path.name.partition(".")[0] not in self.types:
                continue  # a client's
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
            # A line counts once its newline is there.
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            yield from map(json.loads, whole.splitlines())

    def _tell(self, line: Line) -> str:
        node, term = line["node"], line["term"]
        self.term = max(self.term, term)
        match line["event"]:
            case "Start":
                self.types[node] = "INIT"
                held = f"with {line['last']} log entries on its disk" if line["last"] else "with an empty disk"
                return f"starts as INIT, {held}"
            case "Campaign":
                return f"hears no leader, and asks for votes in term {term}"
            case "Win":
                self._winners[term] = node
                voters = sorted({grant[0] for grant in line["grants"]})
                return f"wins term {term} with the votes of {' and '.join(voters)}; it may not write yet"
            case "Commit" if self._winners.get(term) == node and "epochs" in line:
                epoch = line["epochs"][-1][1]
                return f"a majority has stored its epoch record: epoch {epoch} fences off all earlier leaders"
            case "Activate":
                self.types[node] = "LEADER"
                self.leader, self.epoch = node, line["epoch"]
                return f"is LEADER, and takes writes under epoch {self.epoch}"
            case "Transfer":
                self.types[node] = line["to"]
                # UNKNOWN is what every follower is for a moment when its leader has gone; told only where it matters.
                return "follows the leader: it is FOLLOWER" if line["to"] == "FOLLOWER" else ""
            case "Exit":
                self.types[node] = "DOWN"
                self.leader = "" if self.leader == node else self.leader
                why = ": it hears no majority" if line["code"] == Exit.LOST_LEADERSHIP else ""
                return f"ends its process with exit code {line['code']}{why}"
        return ""
