"""Steers the implementation over every edge of the state graphs (`make cover`; docs/coverage.md).

A schedule is a list of steps, each of which is done to a simulated cluster of three voters and an observer:

    tick n1             time passes until n1 wants to look at the clock, and it does
    deliver n1 n2 K     the K-th of the messages in flight from n1 to n2 arrives; what never arrives is lost
    write n1            a client writes, if n1 lets it
    crash n1 [POINT]    n1 is killed, now or at that point of its next turn
    restart n1          n1 starts again
    stop n1             n1 ends in good order
    slow n1, done n1    the executions of n1's changes of type begin to take time; what they were at is done
    order N             the checker takes up the events in another order than its own, number N

A step that is not possible does nothing. A trace fixes which events come before which, and most of them not: an edge
counts if it is taken in some such order. The search is coverage-guided: it changes schedules at random and keeps those
whose traces walk edges that no other has, as the checker counts them.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from hacoord.raft.core import Timing
from hacoord.sim import Cluster, CrashPoint
from trace_check import Edge, Verdict, replay
from trace_check.graphs import Graphs
from trace_check.replay import DEFAULT_GRAPHS

SCHEDULES = Path(__file__).with_name("schedules.txt")
VOTERS = ("n1", "n2", "n3")
NAMES = (*VOTERS, "o1")
GRAPHS = ("Ballot3", "Fencing", "Frontend")
# (graph, action, part of the state) of the edges that this implementation never takes; docs/coverage.md says why.
IMPOSSIBLE = (("Frontend", "Exit", 'role = "leader"'),)
LOADED = Graphs(DEFAULT_GRAPHS)
# How many other orders are tried for each schedule, besides the checker's own.
ORDERS = 3

Schedule = list[str]
Walked = set[tuple[str, Edge]]


class Run:
    """A cluster under a schedule."""

    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.cluster = Cluster(directory, len(VOTERS), observers=1, timing=Timing(1.0, 0.2), clock=lambda: self.now)

    def close(self) -> None:
        self.cluster.close()

    def do(self, step: str) -> None:
        """One step of a schedule."""
        cluster = self.cluster
        what, name, *rest = step.split()
        if what == "order":
            return
        if what == "restart":
            if name not in cluster.running:
                cluster.restart(name)
        elif what == "deliver":
            found = [m for m in cluster.in_flight if (m.src, m.dst) == (name, rest[0])]
            if int(rest[1]) < len(found):
                message = found[int(rest[1])]
                cluster.in_flight = [m for m in cluster.in_flight if m is not message]
                cluster.deliver(message)
        elif name in cluster.running:
            self._do_to(what, name, rest)

    def _do_to(self, what: str, name: str, rest: list[str]) -> None:
        cluster = self.cluster
        match what:
            case "tick":
                self.now = max(self.now, cluster.running[name].frontend.deadline())
                cluster.tick(name)
            case "write":
                if name in cluster.leaders():
                    cluster.write(name)
            case "crash":
                if rest:
                    cluster.crash_at(name, CrashPoint[rest[0]])
                else:
                    cluster.crash(name)
            case "stop":
                cluster.stop(name)
            case "slow":
                cluster.slow.add(name)
            case "done":
                cluster.slow.discard(name)
                cluster.carry_out(name)
            case _:
                raise ValueError(f"no step of a schedule: {what}")


def all_edges() -> Walked:
    """Every edge of the three graphs, with the name of its graph."""
    return {
        (name, Edge(graph.describe(state), action))
        for name in GRAPHS
        for graph in [LOADED.load(name)]
        for state, moves in enumerate(graph.table)
        for action in moves
    }


def impossible() -> Walked:
    """The edges that this implementation never takes."""
    return {
        (graph, edge)
        for graph, edge in all_edges()
        if any((graph, edge.action) == (g, action) and part in edge.state for g, action, part in IMPOSSIBLE)
    }


def load() -> list[Schedule]:
    """The schedules that together walk all the others."""
    return [line.split("; ") for line in SCHEDULES.read_text().splitlines()] if SCHEDULES.exists() else []


def traced(schedule: Iterable[str], directory: Path) -> None:
    """Do what a schedule says, and leave its traces in a directory."""
    with closing(Run(directory)) as run:
        for step in schedule:
            run.do(step)


def order(number: int) -> Callable[[int], int]:
    """A way to choose among files whose next event could be taken: mostly the last one again, or mostly any."""
    rng = random.Random(number)
    stay = rng.random()
    return lambda ready: ready - 1 if rng.random() < stay else rng.randrange(ready)


def edges_of(directory: Path, number: int | None) -> Walked:
    """The edges that a trace walks in that order. Raises AssertionError if the checker does not accept it."""
    result = replay(directory, graphs=LOADED, pick=None if number is None else order(number))
    assert result.verdict is Verdict.HOLDS, result
    return {(view.graph, edge) for view in result.coverage for edge in view.walked}


def walked(schedule: Schedule) -> Walked:
    """The edges that the traces of a schedule walk, in the order it names."""
    orders = [int(step.split()[1]) for step in schedule if step.startswith("order")]
    with tempfile.TemporaryDirectory() as directory:
        traced(schedule, Path(directory))
        return edges_of(Path(directory), orders[-1] if orders else None)


class Author:
    """Writes a schedule while it is carried out, one random step after the other."""

    def __init__(self, schedule: Sequence[str], run: Run, rng: random.Random) -> None:
        """Begin with what `schedule` says."""
        self.steps: Schedule = []
        self._run = run
        self._rng = rng
        for step in schedule:
            self._do(step)

    def _do(self, step: str) -> None:
        self._run.do(step)
        self.steps.append(step)

    def go_on(self) -> None:
        """One more step, or a few that belong together."""
        rng, cluster = self._rng, self._run.cluster
        name = rng.choice(NAMES if rng.random() < 0.1 else VOTERS)
        other = rng.choice([n for n in VOTERS if n != name])
        kinds = ("reordered", "talk", "elect", "tick", "write", "crash", "crash_at", "restart", "stop", "slow", "done")
        match rng.choices(kinds, (6, 6, 3, 3, 3, 0.4, 0.6, 2, 0.2, 0.5, 1))[0]:
            case "reordered":
                waiting = [(m.src, m.dst) for m in cluster.in_flight]
                if waiting:
                    src, dst = rng.choice(waiting)
                    self._do(f"deliver {src} {dst} {rng.randrange(waiting.count((src, dst)))}")
            case "talk":
                self._talk({name, other, rng.choice(NAMES)}, rng.randrange(1, 9))
            case "elect":
                self._do(f"tick {name}")
                self._talk({name, other}, rng.randrange(4, 14))
            case "crash_at":
                self._do(f"crash {name} {rng.choice(list(CrashPoint)).name}")
            case "write":
                for leader in cluster.leaders():
                    self._do(f"write {leader}")
            case "restart":
                for down in NAMES:
                    if down not in cluster.running:
                        self._do(f"restart {down}")
            case kind:
                self._do(f"{kind} {name}")

    def _talk(self, among: set[str], count: int) -> None:
        """Some nodes hear each other, newest first: what is old is more often of no use."""
        for _ in range(count):
            waiting = [(m.src, m.dst) for m in self._run.cluster.in_flight if {m.src, m.dst} <= among]
            if not waiting:
                return
            src, dst = waiting[-1 if self._rng.random() < 0.5 else 0]
            self._do(f"deliver {src} {dst} {waiting.count((src, dst)) - 1 if self._rng.random() < 0.5 else 0}")


def extend(schedule: Sequence[str], rng: random.Random, length: int) -> Schedule:
    """The schedule and some random steps after it."""
    with tempfile.TemporaryDirectory() as directory, closing(Run(Path(directory))) as run:
        author = Author(schedule, run, rng)
        for _ in range(length):
            author.go_on()
        return author.steps


def mutate(schedule: Schedule, rng: random.Random) -> Schedule:
    """A schedule that differs from this one."""
    base = [step for step in schedule if not step.startswith("order")]
    cut = rng.randrange(len(base) + 1)
    match rng.randrange(4):
        case 0:
            return extend(base[:cut], rng, rng.randrange(1, 20))
        case 1:
            return extend(base[:cut], rng, rng.randrange(1, 4)) + base[cut:]
        case 2:
            return extend([step for step in base if rng.random() < 0.95], rng, rng.randrange(1, 10))
        case _:
            return extend(base, rng, rng.randrange(1, 10))


def search(seed: int, seconds: float, corpus: list[Schedule], wanted: Walked) -> list[Schedule]:
    """Schedules that together walk as many of the wanted edges as can be found in the time there is."""
    rng = random.Random(seed)
    walks = [(schedule, walked(schedule)) for schedule in corpus]
    found = set[tuple[str, Edge]]().union(*(edges for _, edges in walks)) & wanted
    end, tried = time.monotonic() + seconds, 0
    while found < wanted and time.monotonic() < end:
        # Half of the time, go on from one that has been in a state with an edge not taken yet.
        goals = {(graph, edge.state) for graph, edge in wanted - found}
        near = [s for s, edges in walks if any((graph, edge.state) in goals for graph, edge in edges)]
        candidates = near if near and rng.random() < 0.5 else corpus
        schedule = mutate(rng.choice(candidates) if candidates else [], rng)
        tried += 1
        with tempfile.TemporaryDirectory() as directory:
            traced(schedule, Path(directory))
            for number in (None, *(rng.randrange(1000) for _ in range(ORDERS))):
                edges = edges_of(Path(directory), number)
                if edges & wanted - found:
                    corpus.append(schedule if number is None else [*schedule, f"order {number}"])
                    walks.append((corpus[-1], edges))
                    found |= edges & wanted
                    print(f"{tried} tried, {len(found)} of {len(wanted)} edges", file=sys.stderr, flush=True)
    return corpus


def fewest(corpus: Sequence[Schedule], wanted: Walked) -> list[tuple[Schedule, Walked]]:
    """Schedules that walk all the edges that these do, without most of those that are not needed; and what for."""
    left = [(schedule, walked(schedule) & wanted) for schedule in corpus]
    chosen: list[tuple[Schedule, Walked]] = []
    while left:
        schedule, best = max(left, key=lambda item: (len(item[1]), -len(item[0])))
        chosen.append((schedule, best))
        left = [(other, rest) for other, edges in left if (rest := edges - best)]
    return chosen


def shorten(schedule: Schedule, edges: Walked) -> Schedule:
    """The schedule without steps that these edges do not need."""
    size = len(schedule) // 2
    while size:
        at = 0
        while at < len(schedule):
            shorter = schedule[:at] + schedule[at + size :]
            if edges <= walked(shorter):
                schedule = shorter
            else:
                at += size
        size //= 2
    return schedule


def needed(schedules: Sequence[Schedule]) -> list[Schedule]:
    """Those that walk an edge that no other one does; all of the edges are still walked."""
    walks = [(schedule, walked(schedule)) for schedule in schedules]
    for item in list(walks):
        others = set[tuple[str, Edge]]().union(*(edges for schedule, edges in walks if schedule is not item[0]))
        if item[1] <= others:
            walks.remove(item)
    return [schedule for schedule, _ in walks]


def main() -> int:
    """Search, shorten, save. Exit status 0 when every edge that is possible is taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to search; shortening comes after it")
    args = parser.parse_args()
    wanted = all_edges() - impossible()
    corpus = search(args.seed, args.seconds, load(), wanted)
    short = needed([shorten(schedule, edges) for schedule, edges in fewest(corpus, wanted)])
    SCHEDULES.write_text("".join("; ".join(schedule) + "\n" for schedule in short))
    left = wanted.difference(*map(walked, short))
    for graph, edge in sorted(left):
        print(f"not taken: {graph}, {edge.action} where {edge.state}")
    print(f"{len(wanted - left)} of {len(wanted)} edges, by {len(short)} schedules in {SCHEDULES.name}")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
