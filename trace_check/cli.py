"""`trace-check replay DIR`: the checker for people, scripts and CI."""

from __future__ import annotations

import argparse
import gc
import io
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from trace_check.follow import follow
from trace_check.replay import DEFAULT_GRAPHS, replay_all
from trace_check.report import all_as_json, as_json, as_text
from trace_check.verdict import BadInput, Result


class ProgressLine:
    """Says on stderr how far a long replay is: on a terminal every half second in place, else a line every ten."""

    def __init__(self, after: float) -> None:
        """`after` some seconds there is something to say."""
        self._tty = sys.stderr.isatty()
        self._began = time.monotonic()
        self._next = self._began + after
        self._shown = False

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
        print(f"\r{text:<70}" if self._tty else text, end="" if self._tty else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line to whatever comes next."""
        if self._shown and self._tty:
            print(file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 holds, 1 violation, 2 bad input or usage, 3 incomplete."""
    for stream in (sys.stdout, sys.stderr):
        # Traces may hold any string; showing it must not fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="trace-check", description="Judges HA traces on TLC's graphs.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "replay",
        help="judge the traces of a run",
        description="Exit status: 0 the run holds, 1 violation, 2 bad input or usage, 3 the trace is incomplete.",
    )
    command.add_argument("directory", type=Path, help="directory with the *.ndjson files of all nodes and clients")
    command.add_argument("--follow", action="store_true", help="go on while traces are written, until a violation")
    command.add_argument("--jobs", type=_positive, default=1, metavar="N", help="use up to N processors (default 1)")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--graphs", type=Path, default=DEFAULT_GRAPHS, help="directory of graphs and manifest")
    command.add_argument(
        "--allow-gaps", action="store_true", help="where events are missing in a file, judge what comes before"
    )
    options = parser.parse_args(argv)
    if options.follow and (options.allow_gaps or options.jobs > 1):
        parser.error("--follow goes with neither --allow-gaps nor --jobs")
    # The garbage collector finds nothing here: events are trees. Less often is faster.
    gc.set_threshold(50_000, 20, 100)
    progress = ProgressLine(0.0 if options.follow else 1.0)
    try:
        results = _judged(options, progress)
    except BadInput as error:
        progress.end()
        print(f"trace-check: {error}", file=sys.stderr)
        return BadInput.exit_code
    except KeyboardInterrupt:
        progress.end()
        print("trace-check: interrupted; nothing was judged to the end", file=sys.stderr)
        return BadInput.exit_code
    progress.end()
    try:
        _show(results, json=options.json)
    except BrokenPipeError:
        # Whoever reads has seen enough; the verdict is still the exit status.
        sys.stderr.close()
    codes = [r.exit_code if isinstance(r, BadInput) else r.verdict.exit_code for r in results.values()]
    return min(codes, key=(1, 2, 3, 0).index)


def _judged(options: argparse.Namespace, progress: ProgressLine) -> Mapping[str, Result | BadInput]:
    if not options.follow:
        return replay_all(
            options.directory,
            graphs=options.graphs,
            allow_gaps=options.allow_gaps,
            progress=progress.replaying,
            jobs=options.jobs,
        )
    signals: list[int] = []
    before = {s: signal.signal(s, lambda number, _: signals.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        return follow(
            options.directory, graphs=options.graphs, stop=lambda: bool(signals), progress=progress.following
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(results: Mapping[str, Result | BadInput], *, json: bool) -> None:
    """Print the result of one cluster as it is, of several with their names; what was no trace goes to stderr."""
    several = len(results) > 1
    if json and several:
        print(all_as_json(results), flush=True)
    for cluster, result in results.items():
        name = f"cluster {cluster}: " if several else ""
        if isinstance(result, BadInput):
            print(f"trace-check: {name}{result}", file=sys.stderr)
        elif not json:
            print(f"{name}{as_text(result)}", flush=True)
        elif not several:
            print(as_json(result), flush=True)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
