"""`trace-check replay DIR`: the checker for people, scripts and CI."""

from __future__ import annotations

import argparse
import gc
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trace_check.explain import as_json as explained_json
from trace_check.explain import as_text as explained_text
from trace_check.explain import explain
from trace_check.replay import DEFAULT_GRAPHS, replay
from trace_check.report import as_json, as_text, headline
from trace_check.shrink import as_text as shrunk_text
from trace_check.shrink import shrink
from trace_check.verdict import BadInput

EXIT_BAD_INPUT = 2


class ProgressLine:
    """Says on stderr how far a long replay is: on a terminal every half second in place, else a line every ten."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._began = time.monotonic()
        self._next = self._began + 1.0
        self._shown = False

    def __call__(self, events: int, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.5 if self._tty else 10.0)
        self._shown = True
        percent = 100 * done // total if total else 100
        text = f"{events:,} events judged, {percent} % read, {events / (now - self._began):,.0f} a second"
        print(f"\r{text}" if self._tty else text, end="" if self._tty else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line to whatever comes next."""
        if self._shown and self._tty:
            print(file=sys.stderr)


class StepLine:
    """Says on a terminal what a long explanation is doing."""

    def __call__(self, what: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line to whatever comes next."""
        self("")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trace-check", description="Judges HA traces on TLC's graphs.")
    commands = parser.add_subparsers(dest="command", required=True)
    status = "Exit status: 0 the run holds, 1 violation, 2 bad input or usage, 3 the trace is incomplete."
    for name, text, more in (
        ("replay", "judge the traces of one run", ""),
        ("explain", "judge, and explain a violation or what is missing", "Judges many edits of the trace. "),
        ("shrink", "write the smallest piece of a trace that is refused as the whole is", ""),
    ):
        command = commands.add_parser(name, help=text, description=more + status)
        command.add_argument("directory", type=Path, help="directory with the *.ndjson files of all nodes and clients")
        command.add_argument("--graphs", type=Path, default=DEFAULT_GRAPHS, help="directory of graphs and manifest")
        command.add_argument(
            "--allow-gaps", action="store_true", help="where events are missing in a file, judge what comes before"
        )
        if name == "shrink":
            command.add_argument("-o", "--out", type=Path, required=True, help="directory to write, new or empty")
        else:
            command.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _judged(options: argparse.Namespace, progress: ProgressLine, step: StepLine) -> tuple[str, int]:
    """What to print, and the exit status. Raises BadInput."""
    directory, graphs, gaps = options.directory, options.graphs, options.allow_gaps
    match options.command:
        case "explain":
            explanation = explain(directory, graphs=graphs, allow_gaps=gaps, progress=step)
            text = explained_json(explanation) if options.json else explained_text(explanation)
            return text, explanation.result.verdict.exit_code
        case "shrink":
            result, shrunk = shrink(directory, options.out, graphs=graphs, allow_gaps=gaps, progress=step)
            said = shrunk_text(shrunk, options.out) if shrunk else "Nothing to shrink: no event is refused."
            return f"{headline(result)}\n{said}", result.verdict.exit_code
        case _:
            result = replay(directory, graphs=graphs, allow_gaps=gaps, progress=progress)
            return as_json(result) if options.json else as_text(result), result.verdict.exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 holds, 1 violation, 2 bad input or usage, 3 incomplete."""
    for stream in (sys.stdout, sys.stderr):
        # Traces may hold any string; showing it must not fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(argv)
    # The garbage collector finds nothing here: events are trees. Less often is faster.
    gc.set_threshold(50_000, 20, 100)
    progress, step = ProgressLine(), StepLine()
    try:
        text, status = _judged(options, progress, step)
    except BadInput as error:
        problem = str(error)
    except KeyboardInterrupt:
        problem = "interrupted; nothing was judged to the end"
    else:
        problem = ""
    progress.end()
    step.end()
    if problem:
        print(f"trace-check: {problem}", file=sys.stderr)
        return EXIT_BAD_INPUT
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough; the verdict is still the exit status.
        sys.stderr.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
