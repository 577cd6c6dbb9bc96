"""What `make check` and `make graphs` do.

    python spec/tlc.py check             every model of models/models.json of size quick
    python spec/tlc.py check --size full and the larger ones; --size deep also follows random behaviours of 5 nodes
    python spec/tlc.py check Fencing     one of them
    python spec/tlc.py graphs            graphs/*.dot and graphs/manifest.json anew

models/models.json says for each model what TLC must find: how many distinct states a right one has, or which
property a wrong one (broken/) violates, and by a behaviour of how many states.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import tlc

GRAPHS = tlc.SPEC / "graphs"
KEPT = tlc.SPEC.parent / "run" / "counterexamples"

HEAD = ["model", "states", "depth", "seconds", "expected", "verdict"]


def check(names: list[str], size: str, jobs: int, raw: bool, seed: int, table: Path, keep: Path) -> int:
    """Runs models and prints what was found beside what was expected; 1 if they differ, or an action is never taken."""
    models = tlc.load_models(table)
    chosen = tlc.choose(models, names, lambda m: tlc.SIZES.index(m.size) <= tlc.SIZES.index(size))
    results, rows, failures = dict[str, tlc.Result](), {m.name: list[str]() for m in chosen}, 0
    for model, result in run_all(chosen, jobs, raw, seed):
        if not results:
            tlc.say(result.version)
        results[model.name] = result
        verdict = judge(model, result)
        tlc.say(f"{model.name}: {verdict}")
        if verdict != "ok":
            failures += 1
            print("\n".join(explain(model, result)))
            if result.violated and (kept := kept_as_trace(model, keep / model.name, seed)):
                print(f"  {kept}\n")
        rows[model.name] = row(model, result, verdict, seed)
    print(format_table([HEAD, *rows.values()]))
    print(f"{len(chosen) - failures} of {len(chosen)} models as expected")
    stopped = {m.covers for m in chosen if not results[m.name].complete}  # that has failed, and says nothing of actions
    modules = [module for module in covered(models, chosen) if module not in stopped]
    idle = [line for module in modules for line in never_taken(module, chosen, results)]
    if modules:
        print("\n".join(idle or [f"each action of {', '.join(modules)} is taken"]))
    return 1 if failures or idle else 0


def run_all(models: list[tlc.Model], jobs: int, raw: bool, seed: int) -> Iterator[tuple[tlc.Model, tlc.Result]]:
    """Runs the models side by side, those that take longest first."""
    order = sorted(models, key=lambda m: (tlc.SIZES.index(m.size), m.states), reverse=True)
    with ThreadPoolExecutor(1 if raw else jobs) as pool:
        running = {pool.submit(tlc.run_tlc, model, raw=raw, seed=seed): model for model in order}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(tlc.RUNNING):
                process.kill()
            raise


def judge(model: tlc.Model, result: tlc.Result) -> str:
    """The verdict: ok if TLC found what the table says, and else what it found."""
    if model.behaviours and result.version.startswith("TLC2 Version 2."):
        return "FAILED: needs TLC 1.8.0"  # the releases give up a behaviour at the first step that is made rare
    if result.violated:
        found = f"{result.violated} violated, {len(result.behaviour)} states"
        expected = result.violated == model.violates if model.behaviours else found == model.expected
        return "ok" if expected else f"FAILED: {found}"
    if result.errors or not result.complete:
        return "FAILED: TLC stopped"
    if model.violates:
        return "FAILED: no violation found"
    if model.behaviours:
        return "ok" if result.behaviours == model.behaviours else f"FAILED: {result.behaviours} behaviours"
    return "ok" if result.states == model.states else f"FAILED: {result.states} states"


def row(model: tlc.Model, result: tlc.Result, verdict: str, seed: int) -> list[str]:
    """A line of the table. The states of random behaviours are counted as often as they are met."""
    if model.behaviours:
        depth = len(result.behaviour) or model.steps
        verdict += f", seed {seed}" + (f", {result.behaviours} behaviours" if model.violates else "")
    else:
        depth = result.depth
    return [model.name, str(result.states), str(depth), f"{result.seconds:.1f}", model.expected, verdict]


def explain(model: tlc.Model, result: tlc.Result) -> list[str]:
    """The behaviour TLC found: each step with the variables it changed; or TLC's errors."""
    lines = [f"\n{model.name} ({model.module} with {model.config})"]
    if not result.violated:
        unexpected = [f"{result.states} states found; expected: {model.expected}"]
        return [*lines, *("  " + line for error in result.errors or unexpected for line in error.splitlines()), ""]
    width = max((len(state.action) for state in result.behaviour), default=0)
    before = dict[str, str]()
    for number, state in enumerate(result.behaviour, 1):
        changes = [f"{name} = {value}" for name, value in state.values.items() if before.get(name) != value]
        lines.append(f"  {number:3}  {state.action:<{width}}  {', '.join(changes)}".rstrip())
        before = state.values
    return [*lines, f"  {result.violated} is violated", ""]


def kept_as_trace(model: tlc.Model, directory: Path, seed: int) -> str:
    """Writes the behaviour down as the traces of its nodes; says where, or why not, or nothing for other modules."""
    import traces  # only now: it is a program of its own

    try:
        if not traces.keep(model, directory, seed):
            return ""
    except tlc.Unusable as error:
        return f"Not kept as a trace: {error}"
    return f"Kept as a trace: trace-check report {directory} -o page.html"


def format_table(rows: list[list[str]]) -> str:
    model, states, depth, seconds, expected, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        f"{m:{model}}  {n:>{states}}  {d:>{depth}}  {s:>{seconds}}  {e:{expected}}  {v}" for m, n, d, s, e, v in rows
    )


# Actions that are never taken

NEXT = re.compile(r"^\w*Next ==(.*?)^\w*Spec ==", re.MULTILINE | re.DOTALL)
CHOICE = re.compile(r"^(\w+)\(\w+\) == (\w+\(\w+\)(?: \\/ \w+\(\w+\))+)$", re.MULTILINE)


def actions(module: Path) -> list[str]:
    """The actions of a module as TLC counts them, without the Next of a module that it extends.

    They are the disjuncts of its Next, or their own disjuncts where these are defined as `A(n) == B(n) \\/ C(n)`.
    """
    text = module.read_text()
    found = NEXT.search(text)
    names = [name for _, name in DISJUNCT.findall(found[1])] if found else []
    parts = {name: re.findall(r"\w+(?=\()", line) for name, line in CHOICE.findall(text)}
    return [part for name in dict.fromkeys(names) if name != "Next" for part in parts.get(name, [name])]


def covered(models: list[tlc.Model], chosen: list[tlc.Model]) -> list[str]:
    """The modules of which all models that cover them are among the chosen ones."""
    missing = {m.covers for m in models if m not in chosen}
    return sorted({m.covers for m in chosen if m.covers} - missing)


def never_taken(module: str, chosen: list[tlc.Model], results: dict[str, tlc.Result]) -> list[str]:
    """A line for each action of the module that is taken in none of the models that are to cover it."""
    covering = [m for m in chosen if m.covers == module]
    places = [(tlc.SPEC / m.module).parent for m in covering]
    source = next(p / f"{module}.tla" for p in [tlc.SPEC, *places] if (p / f"{module}.tla").is_file())
    taken = {name for m in covering for (of, name), times in results[m.name].taken.items() if times and of == module}
    models = ", ".join(m.name for m in covering)
    return [f"FAILED: {module}: {name} is never taken in {models}" for name in actions(source) if name not in taken]


# State graphs

NODE = re.compile(r'(-?\d+) \[label="(?:[^"\\]|\\.)*"')
EDGE = re.compile(r'(-?\d+) -> (-?\d+) \[label="((?:[^"\\]|\\.)*)"')
DISJUNCT = re.compile(r"^(?:Next ==)?\s*\\/ (?:\\E (.*?) : )?(\w+)", re.MULTILINE)
LARGE = 200_000


def graphs(names: list[str], out: Path) -> int:
    """Dumps the graphs of these models, or of all that have one, and enters them into the manifest."""
    chosen = tlc.choose(tlc.load_models(tlc.TABLE), names, lambda m: m.graph)
    manifest = out / "manifest.json"
    keep = bool(names) and manifest.is_file()
    known: dict[str, Any] = json.loads(manifest.read_text()) if keep else {"tlc": "", "graphs": {}}
    others = known["tlc"]
    out.mkdir(parents=True, exist_ok=True)
    for model in chosen:
        tlc.say(f"{model.name}: running", passing=True)
        with tempfile.TemporaryDirectory(prefix="tlc-graph-") as directory:
            dump = Path(directory) / "graph.dot"
            result = tlc.run_tlc(model, dump)
            if (verdict := judge(model, result)) != "ok":
                raise tlc.Unusable(f"{model.name} has no graph: {verdict}")
            # Not compared among those made now: a TLC without a build stamp gives the time of day as its version.
            if others not in ("", result.version):
                raise tlc.Unusable(f"the other graphs were made by {others}, this is {result.version}: make all")
            text = dump.read_bytes()
        states, edges = survey(model, text.decode(), result.version)
        file = out / (f"{model.name}.dot" if len(text) < LARGE else f"{model.name}.dot.gz")
        content = text if len(text) < LARGE else gzip.compress(text, 9, mtime=0)
        tlc.write_atomically(file, content)
        known["tlc"] = result.version
        known["graphs"][model.name] = {
            "file": file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "module": model.module,
            "module_sha256": hashlib.sha256((tlc.SPEC / model.module).read_bytes()).hexdigest(),
            "model": model.config,
            "model_sha256": hashlib.sha256((tlc.SPEC / model.config).read_bytes()).hexdigest(),
            "states": states,
            "edges": edges,
        }
        tlc.say(f"{model.name}: {states} states, {edges} edges, {len(content)} bytes in {file.name}")
    tlc.write_atomically(manifest, (json.dumps(known, indent=2) + "\n").encode())
    return 0


def survey(model: tlc.Model, text: str, version: str) -> tuple[int, int]:
    """Counts distinct states and edges. A dump without the parameters of actions is of no use."""
    nodes, edges = set[str](), set[tuple[str, ...]]()
    for line in text.splitlines():
        if edge := EDGE.match(line):
            edges.add(edge.groups())
        elif node := NODE.match(line):
            nodes.add(node[1])
    seen = {(label.partition("(")[0], "(" in label) for _, _, label in edges}
    module = (tlc.SPEC / model.module).read_text()
    for variables, action in DISJUNCT.findall(module[module.index("\nNext ==") : module.index("\nSpec ==")]):
        if variables and seen & {(action, False), ("Next", False)}:
            raise tlc.Unusable(
                f"{version} writes no parameters on edges ({action} instead of {action}(...)): "
                "graphs need TLC 1.8.0 of 27 February 2025 or later; TLA2TOOLS_JAR says which one to take"
            )
    if len(nodes) != model.states:
        raise tlc.Unusable(f"{model.name}: the dump has {len(nodes)} states, not {model.states}")
    return len(nodes), len(edges)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    checker = commands.add_parser("check", help="check the models; exit code 1 if one is not as expected")
    checker.add_argument("names", nargs="*", metavar="NAME", help="models (default: all of the given size)")
    checker.add_argument("--size", choices=tlc.SIZES, default="quick", help="how much to check (default: %(default)s)")
    checker.add_argument(
        "--jobs", type=tlc.number, default=os.cpu_count(), metavar="N", help="models side by side (%(default)s)"
    )
    checker.add_argument("--seed", type=int, default=1, help="of random behaviours (default: %(default)s)")
    checker.add_argument("--raw", action="store_true", help="show all that TLC prints")
    checker.add_argument(
        "--table", type=Path, default=tlc.TABLE, help="the table of models (default: models/models.json)"
    )
    checker.add_argument("--keep", type=Path, default=KEPT, help="where to keep violations nobody expects, as traces")
    grapher = commands.add_parser("graphs", help="write the state graphs; needs TLC 1.8.0")
    grapher.add_argument("names", nargs="*", metavar="NAME", help="models (default: all that have a graph)")
    grapher.add_argument("--out", type=Path, default=GRAPHS, help="directory (default: graphs/)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that TLC is stopped and its files are removed
    try:
        if args.command == "check":
            return check(args.names, args.size, args.jobs, args.raw, args.seed, args.table, args.keep)
        return graphs(args.names, args.out)
    except tlc.Unusable as error:
        tlc.say(f"tlc.py: {error}")
        return 2
    except KeyboardInterrupt:
        tlc.say("tlc.py: interrupted")
        return 130
