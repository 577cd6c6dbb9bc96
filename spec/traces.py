"""Exports behaviours of HACoordination.tla as traces, for the checker to judge.

    python spec/traces.py            writes traces/ anew: all behaviours (needs TLC 1.8.0)
    python spec/traces.py HAHalf     one of the wrong protocols, or 01 and so on for one of the right behaviours

Right behaviours are simulated by TLC (traces/Simulated.tla) and end up in traces/good/NN; the checker has to accept
them. The counterexample of each wrong protocol broken/HA* ends up in traces/broken/NAME; the checker has to refuse it,
by the rule that REFUSED_BY names. traces/manifest.json lists all of them, and tests/test_spec_traces.py needs no TLC.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tlc
from exporter import Behaviour, Exporter, State

TRACES = tlc.SPEC / "traces"
MANIFEST = TRACES / "manifest.json"

# What the checker has to say of each wrong protocol: a guard of docs/trace-format.md, or a view.
REFUSED_BY = {
    "AnyLog": "UpToDate",
    "TwoLogs": "UpToDate",
    "Rewritten": "UpToDate",
    "StaleStore": "TermMonotonic",
    "StaleCommit": "TermMonotonic",
    "CountedOld": "CommitOwnTerm",
    "ForgottenVote": "NothingForgotten",
    "SecondVote": "NothingForgotten",
    "ForgottenTerm": "TermMonotonic",
    "OldTermAgain": "TermMonotonic",
    "Unsynced": "NothingForgotten",
    "LostEntry": "NothingForgotten",
    "LostCommit": "NothingForgotten",
    "TwoVotes": "VoteOnce",
    "TwoLeaders": "VoteOnce",
    "Half": "ElectionQuorum",
    "Shortened": "NothingForgotten",
    "EarlyActivation": "Frontend",
    "Unfenced": "Frontend",
    "OldClaim": "Frontend",
    "EagerWriter": "LeaderAppends",
    "EagerWrite": "LeaderAppends",
    "StepDown": "Frontend",
    "SteppedDown": "Frontend",
    "WriterRunsOn": "LeaderAppends",
    "Undying": "Frontend",
    "LocalEpoch": "EpochConsecutive",
    "EpochAgain": "EpochConsecutive",
    "OwnDisk": "AckCommitted",
    "EarlyAck": "AckCommitted",
    "QuorumOfOne": "CommitQuorum",
    "ClearedDisk": "SameDisk",
    "NoRecord": "EpochConsecutive",
}

# The right behaviours: (nodes, terms, length), the n-th with seed n.
GOOD = [(3, 3, 30 + at) for at in range(0, 30, 2)] + [(5, 3, 40 + at) for at in range(0, 20, 4)] + [(1, 2, 30)]
GOOD += [(2, 3, 36), (3, 5, 60), (3, 5, 58), (4, 3, 50)]

# Every model is wrapped, so that states show besides the variables how far each leader may commit and what each
# LEADER may acknowledge, by the protocol's own guards, overridden or not.
SEEN = """---- MODULE Exported ----
EXTENDS {module}
Furthest(t) == CHOOSE i \\in 0..Len(leaderLog[t]) :
                 /\\ i = 0 \\/ MayCommit(t, i)
                 /\\ \\A k \\in (i + 1)..Len(leaderLog[t]) : ~MayCommit(t, k)
Owed(n) == IF term[n] = 0 \\/ ~MayWrite(n) THEN {{}}
           ELSE {{i \\in 1..Len(leaderLog[term[n]]) : MayAck(term[n], i)}}
Seen == [term |-> term, log |-> log, type |-> type, role |-> role, leaderLog |-> leaderLog, acked |-> acked,
         commit |-> commit, vote |-> vote, reach |-> [t \\in Term |-> Furthest(t)], acks |-> [n \\in Node |-> Owed(n)]]
====
"""


# From TLC to behaviours


def run(module: Path, config: str, *options: str) -> Behaviour:
    """What TLC finds when it runs a model, as the wrapped module shows it."""
    with tempfile.TemporaryDirectory(prefix="tlc-traces-") as directory:
        here = Path(directory)
        (here / "Exported.tla").write_text(SEEN.format(module=module.stem))
        (here / "Exported.cfg").write_text(config + "\nALIAS Seen\n")
        dump = here / "behaviour.json"
        command = [tlc.find_java(), "-XX:+UseParallelGC", "-XX:-UsePerfData", f"-Djava.io.tmpdir={directory}"]
        library = os.pathsep.join(str(place) for place in (tlc.SPEC, tlc.SPEC / "models", module.parent))
        command += [f"-DTLA-Library={library}", "-cp", str(tlc.find_jar().resolve()), "tlc2.TLC"]
        command += ["-tool", "-fp", "0", "-workers", "1", "-metadir", str(here / "states"), *options]
        command += ["-dumpTrace", "json", str(dump), "-config", "Exported.cfg", "Exported.tla"]
        done = subprocess.run(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        result = tlc.read_output(done.stdout.splitlines(), module.stem, raw=False)
        if not dump.is_file():
            reason = " ".join(result.errors) or f"nothing found in {result.states} states"
            raise tlc.Unusable(f"{module.stem}: no behaviour (needs TLC 1.8.0): {reason}")
        found: dict[str, Any] = json.loads(dump.read_text())["counterexample"]
    steps = [(action["name"], [action["context"][p] for p in action["parameters"]]) for _, action, _ in found["action"]]
    return Behaviour(result.violated, [state for _, state in found["state"]], steps)


def simulate(nodes: int, terms: int, length: int, seed: int) -> Behaviour:
    """One right behaviour of that length, which counts Acks, though they change nothing and TLC does not show them."""
    config = (TRACES / "Simulated.cfg").read_text()
    config += f"\nCONSTANTS\n  Node = {{{', '.join(f'n{n + 1}' for n in range(nodes))}}}\n"
    config += f"  Term = {{{', '.join(str(t + 1) for t in range(terms))}}}\n  Length = {length}\n"
    return run(TRACES / "Simulated.tla", config, "-simulate", "-seed", str(seed), "-depth", str(length + 1))


def wrong_protocols() -> Iterator[tlc.Model]:
    for model in tlc.load_models(tlc.TABLE):
        if model.violates and Path(model.module).name.startswith("HA"):
            yield model


# Commands


def write(directory: Path, behaviour: Behaviour) -> None:
    exporter = Exporter(directory.name, behaviour.states[0]["type"])
    exporter.export(behaviour)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, lines in exporter.files.items():
        (directory / name).write_text("".join(line + "\n" for line in lines))


def export(names: list[str], out: Path) -> int:
    wrong = {model.name: model for model in wrong_protocols()}
    good = {f"{seed:02}": (*sizes, seed) for seed, sizes in enumerate(GOOD, 1)}
    if unknown := set(names) - set(good) - set(wrong):
        raise tlc.Unusable(f"no such behaviour: {', '.join(sorted(unknown))}")
    out.mkdir(parents=True, exist_ok=True)
    kept = out / MANIFEST.name
    index = json.loads(kept.read_text()) if kept.is_file() else {"good": {}, "broken": {}}
    for name in names or [*wrong, *good]:
        if name in wrong:
            index["broken"][name] = export_wrong(wrong[name], out / "broken" / name)
        else:
            index["good"][name] = export_good(*good[name], out / "good" / name)
        for kind, wanted in (("good", good), ("broken", wrong)):
            index[kind] = {name: index[kind][name] for name in wanted if name in index[kind]}
            for old in (out / kind).glob("*"):
                if old.name not in wanted:
                    shutil.rmtree(old)
        tlc.write_atomically(kept, (json.dumps(index, indent=2) + "\n").encode())
        tlc.say(f"{name}: {index['broken' if name in wrong else 'good'][name]}")
    return 0


def export_wrong(model: tlc.Model, directory: Path) -> State:
    refused_by = REFUSED_BY.get(model.name.removeprefix("HACoordination"))
    if refused_by is None:
        raise tlc.Unusable(f"{model.name}: say in REFUSED_BY (spec/traces.py) by which rule it has to be refused")
    behaviour = run(tlc.SPEC / model.module, (tlc.SPEC / model.config).read_text())
    length = len(behaviour.states)
    if (behaviour.violates, length) != (model.violates, model.length):
        raise tlc.Unusable(f"{model.name}: {behaviour.violates}, {length} states; expected {model.expected}")
    write(directory, behaviour)
    return {"violates": model.violates, "length": length, "refused_by": refused_by}


def export_good(nodes: int, terms: int, length: int, seed: int, directory: Path) -> State:
    write(directory, simulate(nodes, terms, length, seed))
    return {"nodes": nodes, "terms": terms, "length": length, "seed": seed}


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
