"""From a directory of traces to Results: read, merge, judge, and the explanation of how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trace_check.configuration import Configuration, configuration, founding
from trace_check.graphs import Graphs
from trace_check.judge import Judge
from trace_check.merge import Engine, Merge
from trace_check.nodes import Cluster
from trace_check.parts import Part
from trace_check.read import Directory, Incarnations, Source
from trace_check.schema import Event
from trace_check.stuck import explain
from trace_check.verdict import BadInput, Refused, Result, Verdict, Violation
from trace_check.workers import shared_out

DEFAULT_GRAPHS = Path(__file__).resolve().parent.parent / "spec" / "graphs"
Progress = Callable[[int, int, int], None]
Files = list[tuple[Part, Event]]
# Makes what takes the events, given the group as it was set up.
MakeEngine = Callable[[Configuration, Graphs], Engine]
# Called before the first event, for whoever wants to look on.
Attach = Callable[[Engine, Merge], None]


class Replay:
    """The judging of one cluster's traces, at once or as they are written."""

    def __init__(
        self,
        directory: Directory,
        sources: Sequence[Source],
        graphs: Graphs,
        pick: Callable[[int], int] | None = None,
        engine: MakeEngine = Judge,
        attach: Attach | None = None,
    ) -> None:
        """`sources` by node and incarnation. Raises BadInput when there is nothing to judge."""
        self._directory = directory
        self._began = time.monotonic()
        self._judge = engine(_founding(directory.path, sources), graphs)
        self._merge = Merge(self._judge, pick)
        self._missing: list[str] = []
        self.violation: Violation | None = None
        for source in sources:
            self._merge.add(source)
        if attach is not None:
            attach(self._judge, self._merge)

    @property
    def events(self) -> int:
        """How many have been judged."""
        return self._merge.events

    @property
    def read_bytes(self) -> int:
        """How much of all files has been read."""
        return sum(s.read_bytes for s in self._judge.cluster.sources)

    @property
    def pending(self) -> int:
        """How many incarnations wait for something that has not been read."""
        return len(self._merge.stuck())

    def add(self, source: Source) -> None:
        """An incarnation that was not there before. Raises BadInput."""
        self._merge.add(source)

    def go_on(self, progress: Callable[[], None], stop: Callable[[], bool] = lambda: False) -> None:
        """Judge all there is, until a violation."""
        with self._catching():
            self._merge.resume()
            self._merge.run(progress, stop)
            if not stop():
                violation, _ = explain(self._merge.stuck(), self._judge.cluster)
                if violation is not None:
                    # An engine may have events that it has not judged yet: what is wrong with them comes first.
                    self._judge.end()
                self.violation = violation

    def end(self) -> Result:
        """The verdict. Nothing more is read: what waits for more waits in vain. Raises BadInput."""
        complete = True
        if self.violation is None:
            with self._catching():
                complete = self._merge.end()
                self._judge.end()
                self.violation, self._missing = explain(self._merge.stuck(), self._judge.cluster)
        sources = self._judge.cluster.sources
        missing = [s.reader.gap for s in sources if s.reader.gap] + self._missing + self._judge.missing()
        if not complete:
            missing.append("what had not been read when the checker was stopped")
        notes = self._judge.notes() + self._directory.notes()
        notes += [note for s in sources for note in s.reader.notes] + _skipped(self._judge.cluster)
        verdict = Verdict.VIOLATION if self.violation else Verdict.INCOMPLETE if missing else Verdict.HOLDS
        return Result(
            verdict,
            str(self._directory.path),
            sources[0].cluster,
            self._judge.counts(self.events),
            self._judge.coverage(),
            self._judge.failovers(),
            self.violation,
            tuple(missing),
            tuple(notes),
            time.monotonic() - self._began,
        )

    def close(self) -> None:
        """Close all files."""
        for source in self._judge.cluster.sources:
            source.reader.close()

    @contextmanager
    def _catching(self) -> Iterator[None]:
        try:
            yield
        except Refused as refused:
            current = self._merge.current
            where = refused.where or (current.where(current.consumed) if current is not None else None)
            self.violation = Violation(refused.rule, refused.expected, refused.actual, where, refused.step)


def replay(
    directory: Path | str,
    *,
    graphs: Graphs | Path | str | None = None,
    allow_gaps: bool = False,
    progress: Progress | None = None,
    jobs: int = 1,
    pick: Callable[[int], int] | None = None,
    attach: Attach | None = None,
    engine: MakeEngine = Judge,
) -> Result:
    """Judge the traces of one cluster, in a directory, on the state graphs of the specification.

    `graphs` is their directory, or the Graphs themselves where many traces are judged on them. `progress(events,
    bytes_read, bytes_total)` is called now and then; `jobs` is how many processes may be at work. Raises BadInput when
    there is nothing to judge, or traces of several clusters.
    """
    found = Directory(Path(directory))
    clusters = _by_cluster(found)
    if len(clusters) > 1:
        raise BadInput(
            f"{directory}: traces of {len(clusters)} clusters, {', '.join(sorted(clusters))}: `trace-check replay` "
            "and replay_all judge them one by one; else keep the traces of each cluster in a directory of its own"
        )
    job = _Job(found, _loaded(graphs), allow_gaps, progress, jobs)
    (files,) = clusters.values()
    return job.judge(files, pick, engine, attach)


def replay_all(
    directory: Path | str,
    *,
    graphs: Graphs | Path | str | None = None,
    allow_gaps: bool = False,
    progress: Progress | None = None,
    jobs: int = 1,
) -> dict[str, Result | BadInput]:
    """As `replay`, for each of the clusters whose traces are in a directory, by the clusters' names.

    A cluster that cannot be judged has a BadInput; raises BadInput when that is so of the whole directory.
    """
    found = Directory(Path(directory))
    clusters = _by_cluster(found)
    job = _Job(found, _loaded(graphs), allow_gaps, progress, jobs)
    results: dict[str, Result | BadInput] = {}
    for name, files in sorted(clusters.items()):
        try:
            results[name] = job.judge(files)
        except BadInput as error:
            results[name] = error
    return results


def _loaded(graphs: Graphs | Path | str | None) -> Graphs:
    return graphs if isinstance(graphs, Graphs) else Graphs(Path(graphs or DEFAULT_GRAPHS))


def _founding(path: Path, sources: Sequence[Source]) -> Configuration:
    """What a Start of a founder shows; if there is none, the trace is incomplete, and any other has to do."""
    starts = [s for s in sources if s.voters is not None]
    if not starts:
        raise BadInput(f"{path}: no Start in any file; give the traces of the nodes, not only of clients")
    first = min(starts, key=lambda s: (not s.voters, s.founded is None, not s.begins_empty, s.members is None))
    # With no founder's first Start it may be a later configuration: who began with nothing and named nobody has joined.
    joined = set() if first.begins_empty else {s.node for s in starts if s.begins_empty and not s.voters}
    if first.members is not None:
        return configuration([member for member in first.members if member[0] not in joined])
    return founding(voter for voter in first.voters or () if voter not in joined)


def _by_cluster(directory: Directory) -> dict[str, Files]:
    clusters: dict[str, Files] = {}
    for part, head in directory.look():
        clusters.setdefault(head["cluster"], []).append((part, head))
    if not clusters:
        raise BadInput(f"{directory.path}: no *.ndjson files with a line; give the directory of a run's traces")
    return clusters


class _Job:
    """What the clusters of a directory have in common."""

    def __init__(
        self,
        directory: Directory,
        graphs: Graphs,
        allow_gaps: bool,
        progress: Progress | None,
        jobs: int,
    ) -> None:
        self._directory = directory
        self._graphs = graphs
        self._allow_gaps = allow_gaps
        self._progress = progress
        self._jobs = jobs
        self._total = directory.bytes()
        # Of the clusters judged before.
        self._events = 0
        self._read_bytes = 0

    def judge(
        self,
        files: Files,
        pick: Callable[[int], int] | None = None,
        engine: MakeEngine = Judge,
        attach: Attach | None = None,
    ) -> Result:
        """One cluster. Raises BadInput."""
        incarnations = Incarnations(allow_gaps=self._allow_gaps)
        for part, head in files:
            incarnations.add(part, head)
        sources = incarnations.in_order()
        replay = Replay(self._directory, sources, self._graphs, pick, engine, attach)
        try:
            with shared_out(sources, self._jobs):
                replay.go_on(lambda: self._tell(replay))
                return replay.end()
        finally:
            replay.close()
            self._events += replay.events
            self._read_bytes += replay.read_bytes

    def _tell(self, replay: Replay) -> None:
        if self._progress is not None:
            self._progress(self._events + replay.events, self._read_bytes + replay.read_bytes, self._total)


def _skipped(cluster: Cluster) -> list[str]:
    """Incarnations that were counted and left nothing: killed before their Start, or not collected; and lost ends."""
    return [
        f"{name} has no trace between incarnations {before.inc} and {after.inc}: killed before its Start, or a file "
        "was not collected"
        if after.counter > before.counter + 1
        else f"the machine of {before} went down with it: the last lines of its file may be lost"
        for name in sorted(cluster.incarnations)
        for before, after in cluster.gaps(name)
    ]
