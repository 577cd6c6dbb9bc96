"""How fast the checker is: a long simulated trace is judged, beside a peer that only decodes its lines.

    python tests/bench.py [--events 1000000] [--runs 3]

The peer, `json.loads` on every line, does the least that any reader of the format must do; the ratio says how much the
judging costs on top, whatever machine this is. Memory is the peak of the whole process, for a trace and for one of a
tenth of its length. The trace is kept in `run/bench`, and made anew when it is missing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
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
        next_look = simulation.now + 20
        return written() >= events * size_of_a_line

    simulation.run(enough)
    simulation.cluster.close()
    lines = sum(f.read_bytes().count(b"\n") for f in directory.glob("*.ndjson"))
    done.write_text(str(lines))
    return lines


def measure(command: Sequence[str]) -> tuple[float, float, int]:
    """Wall seconds, peak memory in MiB, exit status of one process."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - begun, usage.ru_maxrss / 1024, process.returncode


def spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", type=Path, default=Path("run/bench"))
    args = parser.parse_args()
    for events in (args.events // 10, args.events):
        directory = args.dir / str(events)
        print(f"making a trace of about {events:,} events ...", file=sys.stderr, flush=True)
        lines = make_trace(directory, events)
        judged, parsed = [], []
        for _ in range(args.runs):
            judged.append(measure([sys.executable, "-m", "trace_check", "replay", str(directory)]))
            parsed.append(measure([sys.executable, "-c", PARSE_ONLY, str(directory)]))
        if any(status for *_, status in judged):
            print(f"trace-check did not accept {directory}", file=sys.stderr)
            return 1
        print(f"{lines:,} events")
        print(f"  judged, events a second    {spread([lines / s for s, *_ in judged], 0)}")
        print(f"  decoded, events a second   {spread([lines / s for s, *_ in parsed], 0)}")
        print(f"  judging / decoding, time   {spread([j[0] / p[0] for j, p in zip(judged, parsed, strict=True)], 2)}")
        print(f"  judged, peak memory, MiB   {spread([m for _, m, _ in judged], 0)}")
        print(f"  decoded, peak memory, MiB  {spread([m for _, m, _ in parsed], 0)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
