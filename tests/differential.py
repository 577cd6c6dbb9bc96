"""The two engines against each other: `replay`, on the state graphs, and TLC, on the protocol itself (docs/audit.md).

    python tests/differential.py [--traces 40] [--seed 1] [--events 80]
    python tests/differential.py --handmade

Simulated runs with faults, of 3 and 5 nodes, as they are and doctored: one change to one event each time. A doctored
trace need not be wrong. The table says, for what replay says (HOLDS, or the rule by which it refuses), what TLC says.
Where that is something else than the same event, both are shown in full: marked ~ if replay's rule is one that TLC
cannot see, and else #, with exit status 1. With --handmade, the wrong runs of test_trace_check_refuses.py.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from handmade import Story

from trace_check import BadInput, Result, replay
from trace_check import audit as engine
from trace_check.audit import audit

Event = dict[str, Any]
Files = dict[str, list[Event]]

# Rules about evidence, of which HACoordination knows nothing, or less; and wrong runs that break another rule, but by
# evidence only. docs/audit.md says why of each.
UNSEEN = {
    "SameDisk", "SameDigest", "PromiseKept", "ReadIndex", "ConfirmHeard", "ReadConfirmed", "SessionOrder",
    "RealTimeOrder", "NewestVersion", "OneChangeAtATime", "GroupGoesOn", "CommitContiguous", "EpochConsecutive",
    "StoreOnLeaderLog", "CommitOwnTerm",
}
UNSEEN_RUNS = {"counter_used_twice", "start_in_the_middle", "observer_stands_for_election"}


# --- traces -----------------------------------------------------------------------------------------------------------


def simulate(directory: Path, seed: int, events: int) -> None:
    """A run of three or five nodes with everything going wrong now and then."""
    from hacoord.sim import Faults, Simulation

    often, down = ((1.0, 3.0), (6.0, 20.0))[seed % 3 == 2]
    faults = Faults(0.05, 0.1, (0.001, 0.1), crash_every=often, partition_every=2.0, downtime=(0.5, down))
    simulation = Simulation(directory, (3, 5)[seed % 2], seed=seed, faults=faults, write_every=0.3)
    simulation.run(lambda: sum(f.stat().st_size for f in directory.glob("n*.ndjson")) > 230 * events)
    simulation.cluster.close()


def load(directory: Path) -> Files:
    return {f.name: [json.loads(line) for line in f.read_text().splitlines()] for f in sorted(directory.iterdir())}


def save(files: Files, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, events in files.items():
        text = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events)
        (directory / name).write_text(text)
    return directory


# --- doctoring --------------------------------------------------------------------------------------------------------


def change(rng: random.Random, event: Event) -> None:
    """One of an event's fields becomes another value of its kind."""
    plain = ("term", "last", "last_term", "first", "epoch", "vote", "candidate", "to")
    fields: list[str] = [f for f in plain if f in event]
    fields += [f for f in ("runs", "grants", "stores") if event.get(f)]
    field = rng.choice(fields)
    match field:
        case "vote" | "candidate":
            event[field] = rng.choice([n for n in ("n1", "n2", "n3") if n != event[field]])
        case "to":
            event["to"] = rng.choice([to for to in ("UNKNOWN", "FOLLOWER", "OBSERVER") if to != event["to"]])
        case "runs":
            event["runs"][-1][rng.choice((1, 2))] += 1
        case "grants" | "stores":
            event[field].remove(rng.choice(event[field]))
        case _:
            event[field] = max(0, event[field] + rng.choice((-2, -1, 1, 2)))


def renumber(files: Files, name: str, moved: Callable[[int], int]) -> None:
    """Lines of a file have changed places: their numbers and all references to them follow."""
    node, inc = (files[name][0][field] for field in ("node", "inc"))

    def follow(value: Any) -> None:
        if isinstance(value, list):
            if value[:2] == [node, inc] and len(value) == 3:
                value[2] = moved(value[2])
            else:
                for item in value:
                    follow(item)

    for events in files.values():
        for event in events:
            for value in event.values():
                follow(value)
    for seq, event in enumerate(files[name], 1):
        event["seq"] = seq


def doctor(rng: random.Random, files: Files) -> str:
    """Change one thing; returns what."""
    name = rng.choice([n for n, events in files.items() if n.startswith("n") and len(events) > 3])
    events = files[name]
    at = rng.randrange(1, len(events))
    kind = rng.choice(("change", "change", "change", "drop", "swap", "forget"))
    what = f"{kind} {events[at]['event']} at {name}:{at + 1}"
    if kind == "change":
        change(rng, events[at])
    elif kind == "drop":
        del events[at]
        renumber(files, name, lambda seq: max(1, seq - 1) if seq > at else seq)
    elif kind == "swap" and at + 1 < len(events):
        events[at], events[at + 1] = events[at + 1], events[at]
        renumber(files, name, lambda seq: {at + 1: at + 2, at + 2: at + 1}.get(seq, seq))
    else:
        # The end of an incarnation is as if it had not been: what came after it stays, and its successor's Start.
        del events[at:]
        renumber(files, name, lambda seq: min(seq, at))
    return what


def doctored(traces: int, seed: int, events: int, out: Path) -> Iterator[tuple[str, Path]]:
    for number in range(seed, seed + traces):
        directory = out / str(number)
        directory.mkdir(parents=True)
        simulate(directory, number // 4, events)
        if number % 4 == 0:
            yield f"{number}: as simulated", directory
            continue
        files = load(directory)
        what = doctor(random.Random(number), files)
        yield f"{number}: {what}", save(files, directory)


def handmade(out: Path) -> Iterator[tuple[str, Path]]:
    from test_trace_check_refuses import CASES

    for rule, case in CASES:
        story = Story("n1", "n2", "n3")
        case(story)
        yield f"{case.__name__} ({rule})", story.save(out / case.__name__)


# --- comparing --------------------------------------------------------------------------------------------------------


def verdict(result: Result) -> str:
    return result.violation.rule if result.violation else result.verdict.name


def compare(directory: Path) -> tuple[str, str, str]:
    """What replay says, what TLC says beside that, and both in full."""
    try:
        replayed, audited = replay(directory), audit(directory)
    except BadInput as error:
        return "bad input", "bad input", str(error)
    one, other = replayed.violation, audited.violation
    said = f"    replay: {one or replayed.verdict}\n    TLC:    {other or audited.verdict}"
    if replayed.verdict is not audited.verdict:
        return verdict(replayed), audited.verdict.name, said
    if one is None or other is None:
        return verdict(replayed), "the same", said
    return verdict(replayed), "the same" if one.where == other.where else "another event", said


def is_explained(directory: Path, replayed: str, audited: str) -> bool:
    return audited == "the same" or replayed in UNSEEN or directory.name in UNSEEN_RUNS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=80)
    parser.add_argument("--piece", type=int, default=200, help="events that TLC gets at a time")
    parser.add_argument("--handmade", action="store_true")
    parser.add_argument("--out", type=Path, help="directory for traces (default: a temporary one)")
    args = parser.parse_args()
    engine.PIECE = args.piece
    table, unexplained = Counter[tuple[str, str]](), 0
    with tempfile.TemporaryDirectory(prefix="differential-") as temporary:
        out = args.out or Path(temporary)
        made = handmade(out) if args.handmade else doctored(args.traces, args.seed, args.events, out)
        for what, directory in made:
            replayed, audited, said = compare(directory)
            table[replayed, audited] += 1
            mark = "=" if audited == "the same" else "~" if is_explained(directory, replayed, audited) else "#"
            unexplained += mark == "#"
            print(f"{mark} {what}: {replayed}, TLC: {audited}" + ("" if mark == "=" else f"\n{said}"), flush=True)
    print(f"\n{'replay says':<22}{'TLC says':<16}{'traces':>6}")
    for (replayed, audited), count in sorted(table.items()):
        print(f"{replayed:<22}{audited:<16}{count:>6}")
    print(f"{unexplained} disagreements to explain")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
