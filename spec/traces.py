"""Exports behaviours of HACoordination.tla, Membership.tla and Accepted.tla as traces, for the checker to judge.

    python spec/traces.py            writes traces/ anew: all behaviours (needs TLC 1.8.0)
    python spec/traces.py NAME       a wrong protocol, 01 and so on for a right behaviour, or AcceptedWithout...

Right behaviours are simulated by TLC (traces/Simulated.tla, traces/SimulatedGroup.tla) and end up in traces/good/NN;
the checker has to accept them. The counterexample of each wrong protocol, a variant of HACoordination or Membership,
ends up in traces/broken/NAME; the checker has to refuse it, by the rule that REFUSED_BY names. What Accepted admits
without one of its guards or views ends up in traces/accepted/GUARD; the checker has to refuse it by that very guard, or
by the one that ASKED_BEFORE names. traces/manifest.json lists all of them, and tests/test_spec_traces.py needs no TLC.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tlc
from accepted import Writer
from exporter import Behaviour, Exporter, State
from membership import as_protocol

TRACES = tlc.SPEC / "traces"
MANIFEST = TRACES / "manifest.json"

# What the checker has to say of each wrong protocol: a guard of docs/trace-format.md, or a view.
REFUSED_BY = {
    "HACoordinationAnyLog": "UpToDate",
    "HACoordinationTwoLogs": "UpToDate",
    "HACoordinationRewritten": "UpToDate",
    "HACoordinationStaleStore": "TermMonotonic",
    "HACoordinationStaleCommit": "TermMonotonic",
    "HACoordinationCountedOld": "CommitOwnTerm",
    "HACoordinationForgottenVote": "NothingForgotten",
    "HACoordinationSecondVote": "NothingForgotten",
    "HACoordinationForgottenTerm": "TermMonotonic",
    "HACoordinationOldTermAgain": "TermMonotonic",
    "HACoordinationUnsynced": "NothingForgotten",
    "HACoordinationLostEntry": "NothingForgotten",
    "HACoordinationLostCommit": "NothingForgotten",
    "HACoordinationTwoVotes": "VoteOnce",
    "HACoordinationTwoLeaders": "VoteOnce",
    "HACoordinationHalf": "ElectionQuorum",
    "HACoordinationShortened": "NothingForgotten",
    "HACoordinationEarlyActivation": "Frontend",
    "HACoordinationUnfenced": "Frontend",
    "HACoordinationOldClaim": "Frontend",
    "HACoordinationEagerWriter": "LeaderAppends",
    "HACoordinationEagerWrite": "LeaderAppends",
    "HACoordinationStepDown": "Frontend",
    "HACoordinationSteppedDown": "Frontend",
    "HACoordinationWriterRunsOn": "LeaderAppends",
    "HACoordinationUndying": "Frontend",
    "HACoordinationLocalEpoch": "EpochConsecutive",
    "HACoordinationEpochAgain": "EpochConsecutive",
    "HACoordinationOwnDisk": "AckCommitted",
    "HACoordinationEarlyAck": "AckCommitted",
    "HACoordinationQuorumOfOne": "CommitQuorum",
    "HACoordinationClearedDisk": "SameDisk",
    "HACoordinationNoRecord": "EpochConsecutive",
    "MembershipClearedDisk": "SameDisk",
    "MembershipEarlyChange": "LeaderAppends",
    "MembershipEarlyPromotion": "GroupGoesOn",
    "MembershipLeaderRemoved": "GroupGoesOn",
    "MembershipLearnerCounted": "SameConfiguration",
    "MembershipLearnerStands": "SameConfiguration",
    "MembershipLearnerVotes": "SameConfiguration",
    "MembershipLearnersWord": "SameConfiguration",
    "MembershipOverride": "GroupGoesOn",
    "MembershipOverrideSplit": "GroupGoesOn",
    "MembershipPending": "OneChangeAtATime",
    "MembershipQuorumLost": "GroupGoesOn",
    "MembershipQuorumsApart": "OneChangeAtATime",
    "MembershipSentToRemoved": "GroupGoesOn",
    "MembershipSharedAddress": "GroupGoesOn",
    "MembershipTwoAtOnce": "OneChangeAtATime",
    "MembershipTwoDiffer": "OneChangeAtATime",
    "MembershipTwoPending": "OneChangeAtATime",
    "MembershipVoteAtOnce": "GroupGoesOn",
    "SnapshotUncommitted": "ImageCommitted",
}

# Of what a node without a vote was sent the checker does not ask whether it was committed (docs/decisions/0011).
UNSEEN = ("MembershipLearnerAhead",)

# The guards and views that the checker has no occasion to ask, and what has refused before.
ASKED_BEFORE = {
    # A leader that is not active has a write committed. The checker does not let it append one (Accepted does, because
    # Fencing is enough), so this part of Fencing is a conclusion, kept as it names the reason.
    "Fencing": "LeaderAppends",
}
WITHOUT = re.compile("(Accepted|Images)Without")

# The right behaviours: (nodes, terms, length), the n-th with seed n.
GOOD = [(3, 3, 30 + at) for at in range(0, 30, 2)] + [(5, 3, 40 + at) for at in range(0, 20, 4)] + [(1, 2, 30)]
GOOD += [(2, 3, 36), (3, 5, 60), (3, 5, 58), (4, 3, 50)]

# The right behaviours of groups that change: (voters at first, nodes, length), the n-th with seed n.
GROUPS = [(1, 2, 24), (1, 3, 30), (2, 3, 30), (3, 3, 28), (3, 4, 34), (3, 4, 38), (4, 4, 30), (2, 4, 40)]

# And of those that make images: likewise.
IMAGES = [(3, 3, 36), (3, 4, 38), (3, 3, 44), (3, 3, 40)]

# Every model is wrapped, so that states show what is needed; of HACoordination also how far each leader may commit and
# what each LEADER may acknowledge, by the protocol's own guards, overridden or not.
SEEN_PROTOCOL = """
Furthest(t) == CHOOSE i \\in 0..Len(leaderLog[t]) :
                 /\\ i = 0 \\/ MayCommit(t, i)
                 /\\ \\A k \\in (i + 1)..Len(leaderLog[t]) : ~MayCommit(t, k)
Owed(n) == IF term[n] = 0 \\/ ~MayWrite(n) THEN {}
           ELSE {i \\in 1..Len(leaderLog[term[n]]) : MayAck(term[n], i)}
Seen == [term |-> term, log |-> log, type |-> type, role |-> role, leaderLog |-> leaderLog, acked |-> acked,
         commit |-> commit, vote |-> vote, reach |-> [t \\in Term |-> Furthest(t)], acks |-> [n \\in Node |-> Owed(n)]]
"""
SEEN_GROUP = """
Seen == [term |-> term, log |-> log, leaderLog |-> leaderLog, acked |-> acked, commit |-> commit, vote |-> vote]
"""
# TLC names a step only if it is nothing but an operator. Who adds images adds to all other steps that they leave images
# as they are.
ALONE = ("Restart", "Campaign", "Win", "Append", "Store", "Commit")
ABOUT_ANOTHER = ("Grant", "AddLearner", "AddObserver", "Promote", "Remove", "Demote", "Enlist", "Move")
ONLY = "Only"


def named(init: str, kept: str, own: Iterable[str], others: Iterable[str]) -> str:
    """NamedSpec: its own steps, and `others` that leave what is `kept`. A step is `Name(n)` or `Name(n, m)`."""
    found = [f"{ONLY}{step} == {step} /\\ UNCHANGED {kept}\n" for step in others]
    found.append("Named == \\/ FALSE\n")
    for step in [*own, *(ONLY + step for step in others)]:
        names = step[step.index("(") + 1 : -1]
        found.append(f"         \\/ \\E {names} \\in Node : {step}\n")
    return "".join(found) + f"NamedSpec == {init} /\\ [][Named]_<<vars, {kept}>>\n"


SEEN_IMAGES = SEEN_GROUP.replace("[", "[image |-> image, ", 1) + named(
    "ImageInit",
    "image",
    ["Image(n)", "Install(n, m)"],
    [f"{name}(n)" for name in ALONE] + [f"{name}(n, m)" for name in ABOUT_ANOTHER],
)
# Of Images the models have no clients and no changes of types.
LINES = ("Start", "Campaign", "Grant", "Win", "Append", "Store", "Commit", "Activate", "Lose", "Exit", "Crash")
NAMED_LINES = named("ImagesInit", "images", ["Image(n)", "Install(n)"], [f"{name}(n)" for name in LINES])


# From TLC to behaviours


def run(module: Path, config: str, *options: str) -> Behaviour:
    """What TLC finds when it runs a model, as the wrapped module shows it, in the words of HACoordination."""
    family = module.stem.removeprefix("MC")
    images = family.startswith(("SimulatedImages", "Snapshot"))
    group = images or family.startswith(("SimulatedGroup", "Membership"))
    seen = SEEN_IMAGES if images else SEEN_GROUP if group else SEEN_PROTOCOL
    behaviour = explore(module, config, seen, *options)
    return as_protocol(behaviour) if group else behaviour


def explore(module: Path, config: str, seen: str, *options: str) -> Behaviour:
    """What TLC finds when it runs a model; states are what `seen` defines as Seen, or all variables if it does not.

    Where `seen` defines NamedSpec, that takes the place of the model's specification.
    """
    with tempfile.TemporaryDirectory(prefix="tlc-traces-") as directory:
        here = Path(directory)
        (here / "Exported.tla").write_text(f"---- MODULE Exported ----\nEXTENDS {module.stem}\n{seen}====\n")
        if "NamedSpec ==" in seen:
            config = re.sub(r"SPECIFICATION \w+", "SPECIFICATION NamedSpec", config)
        (here / "Exported.cfg").write_text(config + ("\nALIAS Seen\n" if "Seen ==" in seen else ""))
        dump = here / "behaviour.json"
        command = [tlc.find_java(), "-XX:+UseParallelGC", "-XX:-UsePerfData", f"-Djava.io.tmpdir={directory}"]
        library = os.pathsep.join(str(place) for place in (*tlc.LIBRARY, module.parent))
        command += [f"-DTLA-Library={library}", "-cp", str(tlc.find_jar().resolve()), "tlc2.TLC"]
        command += ["-tool", "-fp", "0", "-workers", "1", "-metadir", str(here / "states"), *options]
        command += ["-dumpTrace", "json", str(dump), "-config", "Exported.cfg", "Exported.tla"]
        done = subprocess.run(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        result = tlc.read_output(done.stdout.splitlines(), module.stem, raw=False)
        if not dump.is_file():
            reason = " ".join(result.errors) or f"nothing found in {result.states} states"
            raise tlc.Unusable(f"{module.stem}: no behaviour (needs TLC 1.8.0): {reason}")
        found: dict[str, Any] = json.loads(dump.read_text())["counterexample"]
    actions = [action for _, action, _ in found["action"]]
    names = [action["name"].removeprefix(ONLY) for action in actions]
    steps = [(n, [a["context"][p] for p in a.get("parameters", [])]) for n, a in zip(names, actions, strict=True)]
    states = [state for _, state in found["state"]]
    return Behaviour(result.violated, states, steps, len(states))


def simulate(nodes: int, terms: int, length: int, seed: int, voters: int = 0, images: bool = False) -> Behaviour:
    """One right behaviour of that length, which counts Acks, though they change nothing and TLC does not show them.

    With `voters`, of a group that changes, and in which so many have a vote at first; or of one that makes images.
    """
    module = TRACES / f"Simulated{'Images' if images else 'Group' if voters else ''}.tla"
    names = [f"n{n + 1}" for n in range(nodes)]
    config = module.with_suffix(".cfg").read_text()
    config += f"\nCONSTANTS\n  Node = {{{', '.join(names)}}}\n  Length = {length}\n"
    config += f"  Term = {{{', '.join(str(t + 1) for t in range(terms))}}}\n"
    if voters:
        config += f"  Voter = {{{', '.join(names[:voters])}}}\n  Address = {{{', '.join(names)}, elsewhere}}\n"
    found = run(module, config, "-simulate", "-seed", str(seed), "-depth", str(length + 1))
    found.violates = ""  # what TLC takes for a violation is that the behaviour is as long as it should be
    return found


def wrong_models() -> Iterator[tlc.Model]:
    """The wrong protocols of which TLC finds a shortest counterexample, and Accepted or Images without a guard."""
    for model in tlc.load_models(tlc.TABLE):
        of_a_protocol = Path(model.module).name.startswith(tlc.FAMILIES) and model.name not in UNSEEN
        if model.length and (of_a_protocol or WITHOUT.match(model.name)):
            yield model


# Commands


def write(directory: Path, behaviour: Behaviour) -> None:
    """A behaviour of a protocol."""
    exporter = Exporter(directory.name, behaviour.states[0]["type"])
    exporter.export(behaviour)
    write_files(directory, exporter.files)


def keep(model: tlc.Model, directory: Path, seed: int) -> bool:
    """Runs a model again and writes down what TLC finds; false if nothing is known of the traces of such a module."""
    module, config = tlc.SPEC / model.module, (tlc.SPEC / model.config).read_text()
    family = module.stem.removeprefix("MC").removesuffix("Deep")
    options = tlc.simulation(model, seed) if model.behaviours else []
    if family.startswith(tlc.FAMILIES):
        write(directory, run(module, config, *options))
    elif family in ("Accepted", "Images"):
        write_accepted(directory, model.name, explore(module, config, what_is_seen(model), *options))
    else:
        return False
    return True


def write_accepted(directory: Path, name: str, behaviour: Behaviour) -> None:
    """A behaviour of Accepted, with all of its guards unless the name of the model says which one is missing."""
    missing = name.partition("Without")[2]
    writer = Writer(name, missing, behaviour.states[0]["type"])
    writer.write(behaviour)
    write_files(directory, writer.files)


def write_files(directory: Path, files: dict[str, list[str]]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, lines in files.items():
        (directory / name).write_text("".join(line + "\n" for line in lines))


def export(names: list[str], out: Path) -> int:
    wrong = {model.name: model for model in wrong_models()}
    good: dict[str, tuple[int, int, int, int, int, bool]] = {
        f"{seed:02}": (*sizes, seed, 0, False) for seed, sizes in enumerate(GOOD, 1)
    }
    for seed, (voters, nodes, length) in enumerate(GROUPS, 1):
        good[f"group{seed}"] = (nodes, 4, length, seed, voters, False)
    for seed, (voters, nodes, length) in enumerate(IMAGES, 1):
        good[f"image{seed}"] = (nodes, 4, length, seed, voters, True)
    if unknown := set(names) - set(good) - set(wrong):
        raise tlc.Unusable(f"no such behaviour: {', '.join(sorted(unknown))}")
    # What belongs into each directory.
    guards = [WITHOUT.sub("", name) for name in wrong if WITHOUT.match(name)]
    kinds = {"good": list(good), "broken": [name for name in wrong if not WITHOUT.match(name)], "accepted": guards}
    out.mkdir(parents=True, exist_ok=True)
    kept = out / MANIFEST.name
    index: State = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in names or [*wrong, *good]:
        if name in good:
            kind, entry = "good", export_good(out / "good" / name, *good[name])
        elif WITHOUT.match(name):
            kind, entry = "accepted", export_accepted(wrong[name], out / "accepted" / WITHOUT.sub("", name))
        else:
            kind, entry = "broken", export_wrong(wrong[name], out / "broken" / name)
        index.setdefault(kind, {})[WITHOUT.sub("", name)] = entry
        for kind, wanted in kinds.items():
            index[kind] = {name: index[kind][name] for name in wanted if name in index.get(kind, {})}
            for old in (out / kind).glob("*"):
                if old.name not in wanted:
                    shutil.rmtree(old)
        tlc.write_atomically(kept, (json.dumps(index, indent=2) + "\n").encode())
        tlc.say(f"{name}: {entry}")
    return 0


def export_wrong(model: tlc.Model, directory: Path) -> State:
    refused_by = REFUSED_BY.get(model.name)
    if refused_by is None:
        raise tlc.Unusable(f"{model.name}: say in REFUSED_BY (spec/traces.py) by which rule it has to be refused")
    behaviour = run(tlc.SPEC / model.module, (tlc.SPEC / model.config).read_text())
    write(directory, as_expected(model, behaviour))
    return {"violates": model.violates, "length": model.length, "refused_by": refused_by}


def export_accepted(model: tlc.Model, directory: Path) -> State:
    guard = directory.name
    behaviour = explore(tlc.SPEC / model.module, (tlc.SPEC / model.config).read_text(), what_is_seen(model))
    write_accepted(directory, model.name, as_expected(model, behaviour))
    return {"violates": model.violates, "length": model.length, "refused_by": ASKED_BEFORE.get(guard, guard)}


def what_is_seen(model: tlc.Model) -> str:
    """What `explore` adds to a model whose steps TLC would not name."""
    return NAMED_LINES if model.name.startswith("Images") else ""


def as_expected(model: tlc.Model, behaviour: Behaviour) -> Behaviour:
    if (behaviour.violates, behaviour.length) != (model.violates, model.length):
        raise tlc.Unusable(f"{model.name}: {behaviour.violates}, {behaviour.length} states; expected {model.expected}")
    return behaviour


def export_good(
    directory: Path, nodes: int, terms: int, length: int, seed: int, voters: int = 0, images: bool = False
) -> State:
    write(directory, simulate(nodes, terms, length, seed, voters, images))
    return {"nodes": nodes, "terms": terms, "length": length, "seed": seed} | ({"voters": voters} if voters else {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="behaviours (default: all)")
    parser.add_argument("--out", type=Path, default=TRACES, help="directory (default: traces/)")
    args = parser.parse_args()
    try:
        return export(args.names, args.out)
    except tlc.Unusable as error:
        tlc.say(f"traces.py: {error}")
        return 2
    except KeyboardInterrupt:
        tlc.say("traces.py: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
