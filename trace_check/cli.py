"""`trace-check replay DIR` and `trace-check tlc DIR`: the checker for people, scripts and CI."""

from __future__ import annotations

import argparse
import gc
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trace_check.audit import audit
from trace_check.replay import DEFAULT_GRAPHS, replay
from trace_check.report import as_json, as_text
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


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 holds, 1 violation, 2 bad input or usage, 3 incomplete."""
    for stream in (sys.stdout, sys.stderr):
        # Traces may hold any string; showing it must not fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="trace-check", description="Judges HA traces on TLC's graphs.")
    commands = parser.add_subparsers(dest="command", required=True)
    status = "Exit status: 0 the run holds, 1 violation, 2 bad input or usage, 3 the trace is incomplete."
    for name, help_ in (
        ("replay", "judge the traces of one run"),
        ("tlc", "have TLC follow them through the protocol itself: slow, needs Java and TLC (docs/audit.md)"),
    ):
        command = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}. {status}")
        command.add_argument("directory", type=Path, help="directory with the *.ndjson files of all nodes and clients")
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.add_argument("--graphs", type=Path, default=DEFAULT_GRAPHS, help="directory of graphs and manifest")
        command.add_argument(
            "--allow-gaps", action="store_true", help="where events are missing in a file, judge what comes before"
        )
    options = parser.parse_args(argv)
    # The garbage collector finds nothing here: events are trees. Less often is faster.
    gc.set_threshold(50_000, 20, 100)
    progress = ProgressLine()
    try:
        judge = audit if options.command == "tlc" else replay
        result = judge(options.directory, graphs=options.graphs, allow_gaps=options.allow_gaps, progress=progress)
    except BadInput as error:
        progress.end()
        print(f"trace-check: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        progress.end()
        print("trace-check: interrupted; nothing was judged to the end", file=sys.stderr)
        return EXIT_BAD_INPUT
    progress.end()
    try:
        print(as_json(result) if options.json else as_text(result), flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough; the verdict is still the exit status.
        sys.stderr.close()
    return result.verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
