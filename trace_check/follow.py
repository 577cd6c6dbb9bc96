"""A live monitor: judges traces while they are written, also files that appear, are renamed or packed meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from trace_check.graphs import Graphs
from trace_check.read import Directory, Incarnations, Source
from trace_check.replay import DEFAULT_GRAPHS, Replay
from trace_check.verdict import BadInput, Result

# Seconds between looks at the directory and the ends of the files.
POLL = 0.1
# Seconds in the end for what was judged last and refers to lines that had not been written when their file was read.
LAST_LOOKS = 1.0
# Events judged, incarnations that wait for something not yet written.
Told = Callable[[int, int], None]


def follow(
    directory: Path | str,
    *,
    graphs: Path | str | None = None,
    stop: Callable[[], bool],
    progress: Told | None = None,
) -> dict[str, Result | BadInput]:
    """Judge the traces in a directory as they are written, until `stop()`: the verdicts so far, by cluster.

    Ends as soon as there is a violation, with that one. `progress(events, pending)` is called whenever everything there
    is has been judged, and in between. Raises BadInput as soon as a file cannot be judged, or when none came.
    """
    monitor = Monitor(Path(directory), Graphs(Path(graphs or DEFAULT_GRAPHS)), progress)
    try:
        while not stop() and not monitor.alarmed:
            monitor.look(stop)
            if not (stop() or monitor.alarmed):
                time.sleep(POLL)
        return monitor.end()
    finally:
        monitor.close()


class Monitor:
    """All clusters of a directory, each judged as far as it has been written."""

    def __init__(self, path: Path, graphs: Graphs, progress: Told | None) -> None:
        self._directory = Directory(path, growing=True)
        self._graphs = graphs
        self._progress = progress
        self._incarnations: dict[str, Incarnations] = {}
        self._replays: dict[str, Replay] = {}

    @property
    def alarmed(self) -> bool:
        """Whether there is a violation."""
        return any(r.violation is not None for r in self._replays.values())

    @property
    def _pending(self) -> int:
        return sum(r.pending for r in self._replays.values())

    def look(self, stop: Callable[[], bool]) -> None:
        """Judge what is there now. Raises BadInput."""
        new = self._find()
        for cluster, incarnations in self._incarnations.items():
            if cluster in self._replays:
                for source in new.get(cluster, []):
                    self._replays[cluster].add(source)
            else:
                sources = incarnations.in_order()
                # Only a founder's first Start shows what the group was set up with.
                if any(s.voters and s.begins_empty for s in sources):
                    self._replays[cluster] = Replay(self._directory, sources, self._graphs)
        problem: BadInput | None = None
        for replay in self._replays.values():
            try:
                replay.go_on(self._tell, stop)
            except BadInput as error:
                problem = problem or error
        if problem is not None and not self.alarmed:
            raise problem
        self._tell()

    def end(self) -> dict[str, Result | BadInput]:
        """The verdicts so far; after an alarm, only that one. Raises BadInput."""
        deadline = time.monotonic() + LAST_LOOKS
        while self._pending and not self.alarmed and time.monotonic() < deadline:
            self.look(lambda: time.monotonic() > deadline)
        if not self._incarnations:
            raise BadInput(f"{self._directory.path}: no *.ndjson files with a line came: there was nothing to judge")
        results: dict[str, Result | BadInput] = {}
        for cluster in sorted(self._incarnations):
            replay = self._replays.get(cluster)
            if self.alarmed and (replay is None or replay.violation is None):
                continue
            try:
                if replay is None:
                    replay = Replay(self._directory, self._incarnations[cluster].in_order(), self._graphs)
                    self._replays[cluster] = replay
                    replay.go_on(self._tell)
                results[cluster] = replay.end()
            except BadInput as error:
                results[cluster] = error
        return results

    def close(self) -> None:
        """Close all files."""
        for replay in self._replays.values():
            replay.close()

    def _find(self) -> dict[str, list[Source]]:
        """The new incarnations by cluster, in order."""
        found: dict[str, list[Source]] = {}
        # A listing may miss a file that was made or renamed while it was taken, and yet show a later one.
        while new := self._directory.look():
            for part, head in new:
                cluster = head["cluster"]
                if cluster not in self._incarnations:
                    self._incarnations[cluster] = Incarnations(growing=True)
                source = self._incarnations[cluster].add(part, head)
                if source is not None:
                    found.setdefault(cluster, []).append(source)
        for sources in found.values():
            sources.sort(key=lambda s: (s.node, s.counter, s.random))
        return found

    def _tell(self) -> None:
        if self._progress is not None:
            events = sum(r.events for r in self._replays.values())
            self._progress(events, self._pending)
