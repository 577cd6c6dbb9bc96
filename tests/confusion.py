"""The checker's confusion matrix: thousands of right runs, and for each a doctored one, all judged.

    python tests/confusion.py --traces 10000              # or: make confusion
    python tests/confusion.py --seed 1234 --only usurper  # again, one of them, and keep its files

Right runs come from the simulation of the implementation and from `wander`, which does anything the protocol allows.
A doctored run is a right one with a single change that makes it illegal (doctor.py). Every right run must hold, and
every doctored one must be a violation. The exit status is 1 if that is not so.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import doctor_forgeries
import doctor_groups
import doctor_images
import doctor_lives
import doctor_logs
import doctor_votes
import wander
from doctor import KINDS, Trace

from hacoord.raft.core import Timing
from hacoord.raft.leadership import Limits
from hacoord.sim import Faults, Simulation
from trace_check import BadInput, Verdict, replay
from trace_check.graphs import Graphs
from trace_check.replay import DEFAULT_GRAPHS

__all__ = ["doctor_forgeries", "doctor_groups", "doctor_images", "doctor_lives", "doctor_logs", "doctor_votes"]

COLUMNS = (*(v.name for v in Verdict), "BadInput")
GOOD = "good"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was made of one trace. `kind` is GOOD or that of the change, `note` says what was changed or refused."""

    seed: int
    kind: str
    verdict: str
    rule: str
    note: str

    @property
    def expected(self) -> bool:
        """Whether this is on the diagonal."""
        return self.verdict == (Verdict.HOLDS if self.kind == GOOD else Verdict.VIOLATION).name


# --- right runs ----------------------------------------------------------------------------------------------------


def make_good(seed: int, directory: Path) -> None:
    """A right run, by this seed."""
    rng = random.Random(f"good {seed}")
    if rng.random() < 0.5:
        _simulate(rng, directory)
    else:
        size = rng.choice((1, 2, 3, 3, 3, 4, 5, 5, 7))
        wanderer = wander.Wanderer(rng, size, observers=rng.choice((0, 0, 1)), clients=rng.randint(0, 3))
        wander.save(wanderer.wander(rng.randint(30, 250)), directory, rng)


def _simulate(rng: random.Random, directory: Path) -> None:
    """The implementation, on a network and on disks that are as bad as chance will have it."""
    slow = rng.choice((0.005, 0.05, 0.2))
    changes = rng.choice((None, 0.02, 0.05))
    often = rng.choice((None, 0.5, 1.0, 3.0))
    simulation = Simulation(
        directory,
        rng.choice((1, 2, 3, 3, 3, 4, 5, 5, 7)),
        seed=rng.getrandbits(32),
        faults=Faults(
            drop=rng.choice((0.0, 0.05, 0.2)),
            duplicate=rng.choice((0.0, 0.1)),
            delay=(0.001, slow),
            crash_every=often,
            partition_every=rng.choice((None, 1.0, 3.0)),
            transfer_every=rng.choice((None, None, 0.5, 2.0)),
            downtime=(0.02, rng.choice((0.1, 1.5))),
        ),
        writes_per_turn=rng.choice((1, 1, 3, 8)),
        write_every=rng.choice((0.02, 0.1, 0.3)),
        timing=Timing(election=rng.choice((0.2, 0.5)), heartbeat=0.05),
        limits=rng.choice((None, Limits(1, 64, 1), Limits(2, 64, 3), Limits(3, 1 << 20, 8))),
        image_every=rng.choice((None, 0.03, 0.2)),
        change_every=changes,
        observers=rng.choice((0, 0, 1)),
    )
    cluster = simulation.cluster
    events, until = rng.randint(30, 250) * (2 if changes else 1), rng.uniform(1, 15)

    def enough() -> bool:
        written = sum(p.outbox.newest.seq for p in cluster.running.values()) + 3 * sum(
            d.counter for d in cluster.disks.values()
        )
        return written > events or simulation.now > until

    simulation.run(enough)
    for name in list(cluster.running):
        if name in cluster.running and rng.random() < 0.3:
            cluster.stop(name)
    cluster.close()


# Each is loaded once, for twenty thousand traces.
GRAPHS = Graphs(DEFAULT_GRAPHS)


# --- judging -------------------------------------------------------------------------------------------------------


def _judge(seed: int, kind: str, note: str, directory: Path) -> Outcome:
    try:
        result = replay(directory, graphs=GRAPHS)
    except BadInput as error:
        return Outcome(seed, kind, "BadInput", "", f"{note} | {error}")
    if result.violation is not None:
        violation = result.violation
        said = f"{violation.rule}: expected {violation.expected}; found {violation.actual}"
        return Outcome(seed, kind, result.verdict.name, violation.rule, f"{note} | {said}")
    return Outcome(seed, kind, result.verdict.name, "", f"{note} | {'; '.join(result.missing)}")


def _in_turn(seed: int) -> list[str]:
    """All kinds of changes, first the one whose turn it is."""
    kinds = list(KINDS)
    return [kinds[seed % len(kinds)], *random.Random(f"doctored {seed}").sample(kinds, len(kinds))]


def doctor(seed: int, directory: Path, kinds: Iterable[str]) -> Outcome | None:
    """Make the first of these changes that applies to the good trace of a seed, and judge what comes of it."""
    good = directory / f"{seed}-{GOOD}"
    texts = {path.name: path.read_text() for path in good.glob("*.ndjson")}
    for kind in kinds:
        trace = Trace(texts)
        note = KINDS[kind](trace, random.Random(f"{kind} {seed}"))
        if note is not None:
            return _judge(seed, kind, note, trace.save(directory / f"{seed}-{kind}"))
    return None


def good(seed: int, directory: Path) -> Outcome:
    """Make and judge the good trace of a seed."""
    make_good(seed, directory / f"{seed}-{GOOD}")
    return _judge(seed, GOOD, "", directory / f"{seed}-{GOOD}")


def one(seed: int, kinds: Iterable[str], directory: Path) -> list[Outcome]:
    """The good trace of a seed, and the doctored one."""
    return [o for o in (good(seed, directory), doctor(seed, directory, kinds)) if o is not None]


def _one_and_clean(seed: int) -> list[Outcome]:
    with tempfile.TemporaryDirectory() as directory:
        return one(seed, _in_turn(seed), Path(directory))


# --- the matrix ----------------------------------------------------------------------------------------------------


@dataclass
class Matrix:
    """Outcomes, counted."""

    verdicts: Counter[tuple[bool, str]] = field(default_factory=Counter)
    rules: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    unexpected: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.verdicts[outcome.kind == GOOD, outcome.verdict] += 1
        if outcome.kind != GOOD:
            self.rules[outcome.kind][outcome.rule or outcome.verdict] += 1
        if not outcome.expected:
            self.unexpected.append(outcome)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{'':10}" + "".join(f"{column:>12}" for column in COLUMNS)
        for good, row in ((True, "good"), (False, "doctored")):
            yield f"{row:10}" + "".join(f"{self.verdicts[good, column]:>12,}" for column in COLUMNS)
        yield ""
        yield "Changes, how often, and what refused them:"
        for kind, rules in self.rules.items():
            counts = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
            yield f"  {kind:38} {rules.total():>5}  {counts}"
        for outcome in self.unexpected[:20]:
            yield f"UNEXPECTED: seed {outcome.seed}, {outcome.kind}: {outcome.verdict}: {outcome.note}"
            yield f"  again: python tests/confusion.py --seed {outcome.seed} --only {outcome.kind}"
        if len(self.unexpected) > 20:
            yield f"and {len(self.unexpected) - 20} more"


def run(first: int, traces: int) -> Matrix:
    """Judge `traces` right runs, from seed `first` on, and as many doctored ones, on all cores."""
    matrix = Matrix()
    done, told = 0, time.monotonic()
    with multiprocessing.Pool() as pool:
        for outcomes in pool.imap_unordered(_one_and_clean, range(first, first + traces), chunksize=16):
            done += 1
            for outcome in outcomes:
                matrix.add(outcome)
            if time.monotonic() > told + 5:
                told = time.monotonic()
                print(f"{done:,} of {traces:,}, {len(matrix.unexpected)} unexpected", file=sys.stderr, flush=True)
    return matrix


def main() -> int:
    """Exit status: 0 when every trace was judged as it should be, 1 when not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(description="The checker's confusion matrix over generated traces.")
    parser.add_argument("--traces", type=int, default=10_000, help="how many right runs, and as many doctored ones")
    parser.add_argument("--seed", type=int, default=0, help="the first one's seed; each has the next")
    parser.add_argument("--only", metavar="KIND", help=f"one run, doctored by KIND (or '{GOOD}'), and keep the files")
    options = parser.parse_args()
    if options.only not in (None, GOOD, *KINDS):
        parser.error(f"no kind of change {options.only!r}; there are {GOOD}, {', '.join(KINDS)}")
    if options.only is None:
        matrix = run(options.seed, options.traces)
        print("\n".join(matrix.lines()))
        return bool(matrix.unexpected)
    directory = Path("run", f"confusion-{options.seed}")
    shutil.rmtree(directory, ignore_errors=True)
    outcomes = one(options.seed, [options.only] if options.only != GOOD else [], directory)
    for outcome in outcomes:
        where = os.path.join(directory, f"{outcome.seed}-{outcome.kind}")
        print(f"{outcome.kind}: {outcome.verdict} {outcome.note}\n  {where}")
    return not all(outcome.expected for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
