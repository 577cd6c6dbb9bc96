"""The command line of the checker, for people, scripts and CI: `trace-check replay` and its siblings."""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Self

from trace_check import adapters, coverage, page, report, runs
from trace_check.adapters import FORMATS
from trace_check.audit import audit
from trace_check.explaining import explain, shrink
from trace_check.follow import follow
from trace_check.graphs import Graphs
from trace_check.replay import DEFAULT_GRAPHS, replay, replay_all
from trace_check.store import DEFAULT, Store
from trace_check.verdict import BadInput, Edge, Result, Verdict


def _tell(text: str, end: str = "\n") -> None:
    """Say on stderr what is no result: where nobody takes it, on a full disk, say, the verdict is the same."""
    with suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)


class ProgressLine:
    """Says on stderr how far a long replay is: on a terminal every half second in place, else a line every ten.

    Used in a `with` statement, whose end leaves the line to whatever comes next.
    """

    def __init__(self, after: float = 1.0) -> None:
        """`after` some seconds there is something to say."""
        self._tty = sys.stderr.isatty()
        self._began = time.monotonic()
        self._next = self._began + after
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._shown and self._tty:
            _tell("")

    def replaying(self, events: int, done: int, total: int) -> None:
        """For replay."""
        rate = events / (time.monotonic() - self._began)
        self._say(f"{events:,} events judged, {100 * done // total if total else 100} % read, {rate:,.0f} a second")

    def following(self, events: int, pending: int) -> None:
        """For follow."""
        self._say(f"following: {events:,} events judged" + (f", {pending} files wait for others" if pending else ""))

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.5 if self._tty else 10.0)
        self._shown = True
        _tell(f"\r{text:<70}" if self._tty else text, end="" if self._tty else "\n")


class StepLine:
    """Says on a terminal what a long explanation is doing; used as a ProgressLine is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self("")

    def __call__(self, what: str) -> None:
        if sys.stderr.isatty():
            _tell(f"\r\033[K{what}", end="")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 holds, 1 violation, 2 bad input or usage, 3 incomplete."""
    # A stream that was closed is None: what nobody hears must not fail.
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        # Traces may hold any string; showing it must not fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(argv)
    # The garbage collector finds nothing here: events are trees. Less often is faster.
    gc.set_threshold(200_000, 20, 100)
    # Of each node and client one file is open at a time.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with suppress(ValueError):  # as Ctrl-C: TLC is stopped, and scratch files are removed (of the main thread alone)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except BadInput as error:
        _tell(f"trace-check: {error}")
    except OSError as error:  # the output, or the file system, fails: not to be taken for a verdict
        _hush()
        _tell(f"trace-check: {error}: make room, or correct the path")
    except KeyboardInterrupt:
        _tell("trace-check: interrupted; nothing was judged to the end")
    except Exception as error:  # a bug: Python would end with 1, which says VIOLATION
        at = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(f"unexpected {type(error).__name__}: {error}".split())
        _tell(f"trace-check: {said} ({Path(at.filename).name}:{at.lineno}); this is no verdict, please report it")
    return BadInput.exit_code


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough; the verdict is still the exit status.
        _hush()


def _hush() -> None:
    """Have what is still to be printed forgotten, or the interpreter would complain at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _replay(options: argparse.Namespace) -> int:
    foreign = FORMATS.get(options.format)
    if options.follow and (options.allow_gaps or options.jobs > 1 or foreign):
        raise BadInput("--follow goes with none of --allow-gaps, --jobs and --format")
    if foreign and (options.allow_gaps or options.jobs > 1):
        raise BadInput("--format goes with neither --allow-gaps nor --jobs")
    # A store that cannot be used is found before the work, not after it.
    with Store(options.db, write=True) if options.db else nullcontext() as store:
        results: Mapping[str, Result | BadInput]
        with ProgressLine(0.0 if options.follow else 1.0) as progress:
            if foreign:
                found = adapters.replay(options.directory, foreign, graphs=options.graphs, progress=progress.replaying)
                results = {found.cluster: found}
            elif options.follow:
                results = _follow(options, progress)
            else:
                results = replay_all(
                    options.directory,
                    graphs=options.graphs,
                    allow_gaps=options.allow_gaps,
                    progress=progress.replaying,
                    jobs=options.jobs,
                )
        _show_all(results, as_json=options.json)
        for result in results.values():
            if store is not None and isinstance(result, Result):
                _tell(f"Kept as run {store.add(result)} in {options.db}.")
    codes = [r.exit_code if isinstance(r, BadInput) else r.verdict.exit_code for r in results.values()]
    return min(codes, key=(1, 2, 3, 0).index)


def _follow(options: argparse.Namespace, progress: ProgressLine) -> Mapping[str, Result | BadInput]:
    signals: list[int] = []
    before = {s: signal.signal(s, lambda number, _: signals.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        return follow(
            options.directory, graphs=options.graphs, stop=lambda: bool(signals), progress=progress.following
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_all(results: Mapping[str, Result | BadInput], *, as_json: bool) -> None:
    """Print the result of one cluster as it is, of several with their names; what was no trace goes to stderr."""
    several = len(results) > 1
    if as_json and several:
        _show(report.all_as_json(results))
    for cluster, result in results.items():
        name = f"cluster {cluster}: " if several else ""
        if isinstance(result, BadInput):
            _tell(f"trace-check: {name}{result}")
        elif not as_json:
            _show(f"{name}{report.as_text(result, alone=not several)}")
        elif not several:
            _show(report.as_json(result))


def _explain(options: argparse.Namespace) -> int:
    with StepLine() as step:
        found = explain.explain(
            options.directory, graphs=options.graphs, allow_gaps=options.allow_gaps, progress=step
        )
    _show(explain.as_json(found) if options.json else explain.as_text(found))
    return found.result.verdict.exit_code


def _shrink(options: argparse.Namespace) -> int:
    with StepLine() as step:
        result, shrunk = shrink.shrink(
            options.directory, options.out, graphs=options.graphs, allow_gaps=options.allow_gaps, progress=step
        )
    said = shrink.as_text(shrunk, options.out) if shrunk else "Nothing to shrink: no event is refused."
    _show(report.as_json(result) if options.json else f"{report.headline(result)}\n{said}")
    return result.verdict.exit_code


def _report(options: argparse.Namespace) -> int:
    with ProgressLine() as progress:
        result = page.write(options.directory, options.output, options.graphs, options.allow_gaps, progress.replaying)
    text = f"{report.headline(result)}\nDrawn in {options.output}"
    _show(report.as_json(result) if options.json else text)
    return result.verdict.exit_code


def _tlc(options: argparse.Namespace) -> int:
    with ProgressLine() as progress:
        told = progress.replaying
        result = audit(options.directory, graphs=options.graphs, allow_gaps=options.allow_gaps, progress=told)
    _show(report.as_json(result) if options.json else report.as_text(result))
    return result.verdict.exit_code


def _runs(options: argparse.Namespace) -> int:
    if len(options.run_numbers) not in (0, 2):
        raise BadInput("give two runs to compare, or none to list them all")
    if options.run_numbers and options.json:
        raise BadInput("--json lists all runs: give no numbers with it")
    with Store(options.db) as store:
        if options.run_numbers:
            _show(runs.compared(store, *options.run_numbers))
        elif options.json:
            _show(json.dumps(store.runs(), indent=2))
        else:
            _show(runs.listed(store.runs()))
    return 0


def _coverage(options: argparse.Namespace) -> int:
    walked: dict[tuple[str, str], set[Edge]] = {}
    if options.db or not options.directory:
        with Store(options.db or DEFAULT) as store:
            walked = store.walked()
    for directory in options.directory:
        with ProgressLine() as progress:
            result = replay(
                directory, graphs=options.graphs, allow_gaps=options.allow_gaps, progress=progress.replaying
            )
        if result.verdict is not Verdict.HOLDS:
            _tell(f"trace-check: {directory}: {result.verdict.value}; counted up to there")
        for view in result.coverage:
            walked.setdefault((view.graph, view.sha256), set()).update(view.walked)
    goals, notes = coverage.goals(Graphs(options.graphs), walked)
    for note in notes:
        _tell(f"trace-check: {note}")
    _show(coverage.as_json(goals) if options.json else coverage.as_text(goals))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trace-check", description="Judges HA traces on TLC's graphs.")
    commands = parser.add_subparsers(dest="command", required=True)

    judging = argparse.ArgumentParser(add_help=False)
    judging.add_argument("--json", action="store_true", help="print JSON")
    judging.add_argument("--graphs", type=Path, default=DEFAULT_GRAPHS, help="directory of graphs and manifest")
    judging.add_argument(
        "--allow-gaps", action="store_true", help="where events are missing in a file, judge what comes before"
    )
    one_run = argparse.ArgumentParser(add_help=False, parents=[judging])
    one_run.add_argument("directory", type=Path, help="directory with the *.ndjson files of all nodes and clients")

    command = commands.add_parser(
        "replay",
        parents=[one_run],
        help="judge the traces of one run",
        description="Exit status: 0 the run holds, 1 violation, 2 bad input or usage, 3 the trace is incomplete.",
    )
    command.add_argument(
        "--format", choices=("hacoord", *FORMATS), default="hacoord", help="whose traces; of others, name the file"
    )
    command.add_argument("--db", type=Path, metavar="FILE", help="keep the result in this store (docs/store.md)")
    command.add_argument("--follow", action="store_true", help="go on while traces are written, until a violation")
    command.add_argument("--jobs", type=_positive, default=1, metavar="N", help="use up to N processors (default 1)")
    command.set_defaults(run=_replay)

    command = commands.add_parser(
        "explain",
        parents=[one_run],
        help="judge, and explain a violation or what is missing",
        description="Judges many edits of the trace. Exit status as of replay.",
    )
    command.set_defaults(run=_explain)

    command = commands.add_parser(
        "shrink",
        parents=[one_run],
        help="write the smallest piece of a trace that is refused as the whole is",
        description="Exit status as of replay.",
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="directory to write, new or empty")
    command.set_defaults(run=_shrink)

    command = commands.add_parser(
        "report",
        parents=[one_run],
        help="judge the traces of one run, and draw it on one HTML page",
        description="The page needs no network. Exit status as of replay.",
    )
    command.add_argument("-o", "--output", type=Path, required=True, help="the page to write")
    command.set_defaults(run=_report)

    command = commands.add_parser(
        "tlc",
        parents=[one_run],
        help="have TLC follow the traces through the protocol itself: slow, needs Java and TLC",
        description="See docs/audit.md. Exit status as of replay.",
    )
    command.set_defaults(run=_tlc)

    command = commands.add_parser(
        "runs",
        help="list the runs kept in a store, or compare two",
        description="Without numbers, lists the runs of a store; with two, says how these differ.",
    )
    command.add_argument("run_numbers", nargs="*", type=int, metavar="RUN", help="two runs to compare")
    command.add_argument("--db", type=Path, default=DEFAULT, metavar="FILE", help=f"the store ({DEFAULT})")
    command.add_argument("--json", action="store_true", help="print the list as JSON")
    command.set_defaults(run=_runs)

    command = commands.add_parser(
        "coverage",
        parents=[judging],
        help="list the edges of the graphs that no trace has taken",
        description="What no run in the store and no directory has shown, the nearest first (docs/coverage.md).",
    )
    command.add_argument("directory", nargs="*", type=Path, help="traces to judge and count, without keeping them")
    command.add_argument(
        "--db", type=Path, metavar="FILE", help=f"count the runs of this store ({DEFAULT}, when no directory is given)"
    )
    command.set_defaults(run=_coverage)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
