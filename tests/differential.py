"""The two engines against each other: `replay`, on the state graphs, and TLC, on the protocol itself (docs/audit.md).

    python tests/differential.py [--traces 60] [--seed 1] [--events 80]      # or: make differential N=60 SEED=1
    python tests/differential.py --handmade

Simulated runs with faults, of 3 and 5 nodes, as they are and doctored: one change to one event each time. A doctored
trace need not be wrong. With --handmade, the wrong runs of test_trace_check_refuses.py. Where the verdicts differ, or
are about different events, both are shown in full: marked ~ if replay's rule is one that TLC cannot see, and else #.
At the end there is a matrix of the verdicts, and of the rules by which replay refuses. The exit status is 1 if
anything is marked #.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handmade import Story

from trace_check import BadInput, Result, Verdict, replay
from trace_check import audit as engine
from trace_check.audit import audit, tlc
from trace_check.verdict import Where

Event = dict[str, Any]
Files = dict[str, list[Event]]

# Rules about evidence, of which HACoordination knows nothing, or less; and wrong runs that break another rule, but by
# evidence only. docs/audit.md says why of each.
UNSEEN = {
    "SameDisk", "SameDigest", "PromiseKept", "ReadIndex", "ConfirmHeard", "ReadConfirmed", "SessionOrder",
    "RealTimeOrder", "NewestVersion", "GroupGoesOn", "CommitContiguous", "EpochConsecutive",
    "StoreOnLeaderLog", "CommitOwnTerm", "ImageCommitted",
}
UNSEEN_RUNS = {
    "counter_used_twice", "start_in_the_middle", "observer_stands_for_election", "start_without_the_image",
    "install_cites_an_earlier_incarnation", "joiner_has_a_log_without_the_state",
    "joiner_starts_with_a_log_without_the_state", "a_founder_shows_another_part", "a_founder_shows_one_member_more",
    "a_start_shows_the_members_before_the_last_change", "deposed_leader_is_active_by_its_successors_commit",
    "image_is_given_up_for_the_log_of_an_older_leader", "entry_known_committed_is_given_up_over_a_restart",
    "who_was_deposed_gives_up_what_it_has_an_image_of", "observer_is_promoted_and_stands_for_election",
    "founder_without_an_image", "founder_with_other_contents", "founders_have_different_members",
    "founded_entry_is_acknowledged", "install_before_hearing_of_the_leader",
    "who_has_installed_stands_in_the_term_of_its_leader",
}


# --- traces -----------------------------------------------------------------------------------------------------------


def simulate(directory: Path, seed: int, events: int) -> None:
    """A run of three or five nodes with everything going wrong now and then; in some with images, or other members."""
    from hacoord.sim import Faults, Simulation

    often, down = ((1.0, 3.0), (6.0, 20.0))[seed % 3 == 2]
    faults = Faults(0.05, 0.1, (0.001, 0.1), crash_every=often, partition_every=2.0, downtime=(0.5, down))
    images, changes = (None, 0.2, None, 0.2)[seed % 4], (None, None, 0.2, 0.2)[seed % 4]
    simulation = Simulation(
        directory, (3, 5)[seed % 2], seed=seed, faults=faults, write_every=0.3, image_every=images, change_every=changes
    )
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
    import test_trace_check_images as images
    import test_trace_check_membership as membership
    from test_trace_check_refuses import CASES

    for rule, case in CASES:
        story = Story("n1", "n2", "n3")
        case(story)
        yield f"{case.__name__} ({rule})", story.save(out / case.__name__)
    for module in (images, membership):
        for rule, tale in [*(("HOLDS", tale) for tale in module.RIGHT), *module.WRONG]:
            story = module.begin()
            tale(story)
            yield f"{tale.__name__} ({rule})", story.save(out / tale.__name__)


# --- comparing --------------------------------------------------------------------------------------------------------

COLUMNS = (*(v.name for v in Verdict), "BadInput")


@dataclass(frozen=True, slots=True)
class Said:
    """What an engine says: its verdict, the rule if it is a violation, of which event, and in full."""

    verdict: str
    rule: str
    where: Where | None
    text: str


@dataclass(frozen=True, slots=True)
class Both:
    """What the two say of one trace."""

    replay: Said
    tlc: Said

    @property
    def same(self) -> bool:
        """Whether they agree, and on the event."""
        return (self.replay.verdict, self.replay.where) == (self.tlc.verdict, self.tlc.where)

    @property
    def beside(self) -> str:
        """What TLC says, beside what replay says."""
        if self.replay.verdict != self.tlc.verdict:
            return self.tlc.verdict
        return "the same" if self.same else "another event"


def say(judge: Callable[[Path], Result], directory: Path) -> Said:
    try:
        result = judge(directory)
    except BadInput as error:
        return Said("BadInput", "BadInput", None, str(error))
    found, name = result.violation, result.verdict.name
    return Said(name, found.rule if found else name, found.where if found else None, str(found or result.missing))


def compare(directory: Path) -> Both:
    return Both(say(replay, directory), say(audit, directory))


def is_explained(name: str, both: Both) -> bool:
    # A vote that a Start shows and that nobody can have counted; replay does not ask what log the voter had.
    shown = both.replay.verdict == "HOLDS" and "expected='vote, for Start(" in both.tlc.text
    return both.same or shown or both.replay.rule in UNSEEN or name in UNSEEN_RUNS


def lines(found: list[Both]) -> Iterator[str]:
    """The matrix, and the rules."""
    verdicts = Counter((both.replay.verdict, both.tlc.verdict) for both in found)
    yield f"{'replay':<22}" + "".join(f"{'TLC ' + column:>16}" for column in COLUMNS)
    for row in COLUMNS:
        yield f"{row:<22}" + "".join(f"{verdicts[row, column]:>16}" for column in COLUMNS)
    yield f"\n{'replay says':<22}{'TLC says':<16}{'traces':>6}"
    for (rule, beside), count in sorted(Counter((both.replay.rule, both.beside) for both in found).items()):
        yield f"{rule:<22}{beside:<16}{count:>6}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=80)
    parser.add_argument("--piece", type=int, default=200, help="events that TLC gets at a time")
    parser.add_argument("--handmade", action="store_true", help="the runs of the tests instead")
    parser.add_argument("--only", default="", metavar="TEXT", help="those of them whose name has this in it")
    parser.add_argument("--out", type=Path, help="directory for traces (default: a temporary one)")
    args = parser.parse_args(arguments)
    try:
        tlc.find()
    except BadInput as error:
        parser.error(str(error))
    engine.PIECE = args.piece
    found: list[Both] = []
    unexplained = 0
    with tempfile.TemporaryDirectory(prefix="differential-") as temporary:
        out = args.out or Path(temporary)
        made = handmade(out) if args.handmade else doctored(args.traces, args.seed, args.events, out)
        for what, directory in made:
            if args.only not in what:
                continue
            both = compare(directory)
            found.append(both)
            mark = "=" if both.same else "~" if is_explained(directory.name, both) else "#"
            unexplained += mark == "#"
            said = "" if both.same else f"\n    replay: {both.replay.text}\n    TLC:    {both.tlc.text}"
            print(f"{mark} {what}: {both.replay.rule}, TLC: {both.beside}{said}", flush=True)
    print("", *lines(found), f"{unexplained} disagreements to explain", sep="\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
