"""How fast the checker is: simulated traces of growing length are judged, beside a peer that only decodes their lines.

    python tests/bench.py [--events 1000000] [--runs 3] [--jobs 2]

The table goes from 1,000 events to `--events` in powers of ten. Wall time and processor time are those of the whole
process, medians; the processor's microseconds per *further* event are what it takes more than the row above, for the
events it has more, so that the start of Python and the loading of the graphs drop out. These and the peak memory should
not grow with the length.

The peer, `json.loads` on every line, does the least that any reader of the format must do; the ratio of processor times
says how much the judging costs on top, whatever machine this is. The last column is a ratio of wall times, of one
process to several, and means nothing while other work keeps the processors busy. The three are measured in turn and
compared turn by turn: of both ratios the table has the median, and behind it the least and the most.

The traces are kept in `run/bench`, and made when they are missing. `--traces DIR` measures one that is there already.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PARSE_ONLY = """
import json, sys, pathlib
n = 0
for path in pathlib.Path(sys.argv[1]).glob("*.ndjson"):
    with path.open("rb") as lines:
        for line in lines:
            json.loads(line)
            n += 1
print(n)
"""


def make_trace(directory: Path, events: int) -> int:
    """A five-node cluster under writes, with a crash now and then; returns the number of lines written."""
    from hacoord.sim import Faults, Simulation

    done = directory / "complete"
    if done.exists():
        return int(done.read_text())
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.ndjson"):
        old.unlink()
    simulation = Simulation(directory, 5, seed=1, faults=Faults(crash_every=60.0), writes_per_turn=2, write_every=0.02)

    def written() -> int:
        # Virtual time is cheap to ask, lines are not: they are counted once in a while, from the files' sizes.
        return sum(f.stat().st_size for f in directory.glob("*.ndjson"))

    size_of_a_line, next_look = 230, 0.0

    def enough() -> bool:
        nonlocal next_look
        if simulation.now < next_look:
            return False
        next_look = simulation.now + min(20.0, events / 10_000)
        return written() >= events * size_of_a_line

    simulation.run(enough)
    simulation.cluster.close()
    lines = count_lines(directory)
    done.write_text(str(lines))
    return lines


@dataclass
class Cost:
    """Of one process: seconds of wall time and of the processor, peak memory in MiB."""

    wall: float
    processor: float
    peak: float


def measure(command: Sequence[str]) -> Cost:
    """What a command costs that is to succeed."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return Cost(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@dataclass
class Ratio:
    """One ratio over the turns."""

    turns: list[float]

    def __str__(self) -> str:
        return f"{statistics.median(self.turns):5.2f} ({min(self.turns):.2f}-{max(self.turns):.2f})"


@dataclass
class Row:
    """One length: medians over the turns."""

    lines: int
    wall: float
    processor: float
    peak: float
    # The checker's processor time as a multiple of the peer's, and its wall time as one of several processes'.
    decoding: Ratio
    jobs: Ratio


def measure_row(directory: Path, lines: int, runs: int, jobs: int) -> Row:
    """Judge with one process, decode, judge with several, in turn."""
    judge = [sys.executable, "-m", "trace_check", "replay", str(directory)]
    commands = judge, [sys.executable, "-c", PARSE_ONLY, str(directory)], [*judge, "--jobs", str(jobs)]
    turns = [[measure(command) for command in commands] for _ in range(runs)]
    return Row(
        lines,
        statistics.median(alone.wall for alone, _, _ in turns),
        statistics.median(alone.processor for alone, _, _ in turns),
        max(alone.peak for alone, _, _ in turns),
        Ratio([alone.processor / peer.processor for alone, peer, _ in turns]),
        Ratio([alone.wall / several.wall for alone, _, several in turns]),
    )


def count_lines(directory: Path) -> int:
    """Lines of a trace, read a little at a time."""
    lines = 0
    for path in directory.glob("*.ndjson"):
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                lines += piece.count(b"\n")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="the longest trace (10000000 takes a while)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes of the last column")
    parser.add_argument("--dir", type=Path, default=Path("run/bench"))
    parser.add_argument("--traces", type=Path, help="measure this directory of traces, and no other")
    args = parser.parse_args()
    lengths = [10**n for n in range(3, 9) if 10**n < args.events] + [args.events]
    print("               seconds        events  us per   peak      judging /         times as fast")
    print("    events    wall  processor  a second  further   MiB      decoding          with --jobs", args.jobs)
    before = Row(0, 0.0, 0.0, 0.0, Ratio([]), Ratio([]))
    for events in lengths if args.traces is None else [0]:
        if args.traces is None:
            print(f"making a trace of about {events:,} events ...", file=sys.stderr, flush=True)
            directory = args.dir / str(events)
            # In a process of its own: a child's peak memory begins with that of its parent.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as maker:
                lines = maker.submit(make_trace, directory, events).result()
        else:
            directory, lines = args.traces, count_lines(args.traces)
        row = measure_row(directory, lines, args.runs, args.jobs)
        further = (row.processor - before.processor) / (row.lines - before.lines) * 1e6
        print(
            f"{row.lines:10,} {row.wall:7.2f} {row.processor:10.2f} {row.lines / row.wall:9,.0f} {further:8.2f}"
            f" {row.peak:5.0f}  {row.decoding}  {row.jobs}",
            flush=True,
        )
        before = row
    return 0


if __name__ == "__main__":
    sys.exit(main())
