"""Runs TLC on the specification: checks the models, and writes the state graphs that traces are replayed on.

    python spec/tlc.py check             every model of models/models.json of size quick
    python spec/tlc.py check --size full and the larger ones
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
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SPEC = Path(__file__).resolve().parent
TABLE = SPEC / "models" / "models.json"
GRAPHS = SPEC / "graphs"
KEPT = SPEC.parent / "run" / "counterexamples"
# The modules whose behaviours can be written down as traces, and their variants.
FAMILIES = ("HACoordination", "Membership")
SIZES = ["quick", "full", "deep"]

CACHED_JAR = "~/.cache/tla2tools/tla2tools.jar"
RELEASE = "https://github.com/tlaplus/tlaplus/releases/download/v1.7.4/tla2tools.jar"
RELEASE_SHA256 = "936a262061c914694dfd669a543be24573c45d5aa0ff20a8b96b23d01e050e88"


class Unusable(Exception):
    """What is asked for cannot be done here (exit code 2): no Java, no TLC, an unknown model."""


# The table of models


@dataclass(frozen=True)
class Model:
    """A line of models.json. A model that `violates` nothing is right and has `states` distinct states."""

    name: str
    module: str
    config: str
    size: str
    states: int = 0
    violates: str = ""
    length: int = 0
    graph: bool = False

    @property
    def expected(self) -> str:
        return f"{self.violates} violated, {self.length} states" if self.violates else f"{self.states} states"


def load_models(table: Path) -> list[Model]:
    return [Model(name, **line) for name, line in json.loads(table.read_text()).items()]


def choose(models: list[Model], names: list[str], otherwise: Callable[[Model], bool]) -> list[Model]:
    """The models of these names; without any names, those that satisfy the condition."""
    known = [m.name for m in models]
    if unknown := [name for name in names if name not in known]:
        raise Unusable(f"no such model: {', '.join(unknown)} (known: {', '.join(known)})")
    return [m for m in models if (m.name in names if names else otherwise(m))]


# Finding TLC


def find_java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = (home and shutil.which("java", path=str(Path(home) / "bin"))) or shutil.which("java")
    if java is None:
        raise Unusable("TLC needs Java 11 or later: there is no `java` on the PATH and none in JAVA_HOME")
    return java


def find_jar() -> Path:
    """TLA2TOOLS_JAR if it is set, else the cached jar, else the official release, which is put into the cache."""
    if given := os.environ.get("TLA2TOOLS_JAR"):
        if not Path(given).is_file():
            raise Unusable(f"TLA2TOOLS_JAR names no file: {given}")
        return Path(given)
    cached = Path(CACHED_JAR).expanduser()
    if not cached.is_file():
        say(f"downloading {RELEASE}")
        try:
            download(cached)
        except OSError as error:
            raise Unusable(
                f"no TLC: set TLA2TOOLS_JAR, or put tla2tools.jar at {CACHED_JAR}; "
                f"it could not be downloaded from {RELEASE} ({error})"
            ) from error
    return cached


def download(target: Path) -> None:
    """Puts the release at `target`, whole and verified, or not at all."""
    with urllib.request.urlopen(RELEASE, timeout=30) as response:
        content: bytes = response.read()
    if hashlib.sha256(content).hexdigest() != RELEASE_SHA256:
        raise Unusable(f"what was downloaded from {RELEASE} is not the release: its SHA-256 differs")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, content)


# Running TLC


@dataclass
class State:
    """One state of a behaviour: the action that led to it, and the values of the variables."""

    action: str
    values: dict[str, str]


@dataclass
class Result:
    """What a run of TLC found."""

    version: str = ""
    states: int = 0
    depth: int = 0
    seconds: float = 0.0
    complete: bool = False
    violated: str = ""
    behaviour: list[State] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


START = re.compile(r"@!@!@STARTMSG (\d+):(\d+) @!@!@")
END = re.compile(r"@!@!@ENDMSG (\d+) @!@!@")
VERSION, SUCCESS, STATISTICS, DEPTH, PROGRESS = 2262, 2193, 2199, 2194, 2200
STATE, STUTTERING, BACK_TO = 2217, 2218, 2122
DEADLOCK, BEHAVIOUR_FOLLOWS, ERROR_SEVERITY = 2114, 2121, 1
VIOLATION = re.compile(r"(?:Invariant|[Pp]roperty) (\S+) (?:is|was) violated|(Temporal properties) were violated")
STATE_HEAD = re.compile(r"\d+: <?(.*?)(?: line \d+, .*)?>?$")
CONJUNCT = re.compile(r"^/\\ (\w+) = ", re.MULTILINE)


RUNNING: set[subprocess.Popen[str]] = set()


def run_tlc(model: Model, workers: str, dump: Path | None = None, raw: bool = False) -> Result:
    """Runs TLC in a temporary directory. A fixed fingerprint function and one worker make runs repeatable."""
    with tempfile.TemporaryDirectory(prefix="tlc-") as directory:
        collector = "-XX:+UseSerialGC" if workers == "1" else "-XX:+UseParallelGC"
        command = [find_java(), collector, "-XX:-UsePerfData", f"-Djava.io.tmpdir={directory}"]
        library = f"{SPEC}{os.pathsep}{SPEC / 'models'}"
        command += [f"-DTLA-Library={library}", "-cp", str(find_jar().resolve()), "tlc2.TLC", "-tool", "-fp", "0"]
        command += ["-workers", workers, "-metadir", str(Path(directory) / "states")]
        command += ["-dump", "dot,actionlabels,stuttering", str(dump.resolve())] if dump else []
        command += ["-config", str(SPEC / model.config), str(SPEC / model.module)]
        started = time.monotonic()
        with subprocess.Popen(
            command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            RUNNING.add(process)
            try:
                result = read_output(process.stdout, model.name, raw)
            except BaseException:
                process.kill()
                raise
            finally:
                RUNNING.discard(process)
        result.seconds = time.monotonic() - started
    if not result.version:
        raise Unusable(f"TLC did not start: {' '.join(result.errors) or f'exit status {process.returncode}'}")
    return result


def read_output(lines: Iterable[str], name: str, raw: bool) -> Result:
    """Reads what TLC says in its -tool mode: numbered messages, and between them lines of other programs."""
    result, code, severity, body, loose = Result(), 0, 0, list[str](), list[str]()
    for line in map(str.rstrip, lines):
        if raw:
            print(line)
        if start := START.fullmatch(line):
            code, severity, body = int(start[1]), int(start[2]), []
        elif END.fullmatch(line):
            read_message(result, code, severity, "\n".join(body).strip(), name)
            code = 0
        else:
            (body if code else loose).append(line)
    if not result.version or result.errors:  # Java's own complaints and SANY's are outside of messages
        result.errors += [line for line in loose if line and not line.startswith(("Parsing file", "Semantic proc"))]
    return result


def read_message(result: Result, code: int, severity: int, text: str, name: str) -> None:
    if code == VERSION:
        result.version = text
    elif code == SUCCESS:
        result.complete = True
    elif code == STATISTICS and (found := re.search(r"([\d,]+) distinct states found", text)):
        result.states = int(found[1].replace(",", ""))
    elif code == DEPTH and (found := re.search(r"is (\d+)", text)):
        result.depth = int(found[1])
    elif code == PROGRESS and (found := re.search(r"([\d,]+) distinct states found.*?([\d,]+) states left", text)):
        say(f"{name}: {found[1]} states, {found[2]} to go", passing=True)
    elif code in (STATE, STUTTERING, BACK_TO):
        result.behaviour.append(read_state(text))
    elif code == DEADLOCK:
        result.violated = "Deadlock"
    elif severity == ERROR_SEVERITY and (found := VIOLATION.search(text)):
        result.violated = found[1] or found[2]
        if "/\\" in text:  # violated by an initial state, which is part of the message
            result.behaviour.append(read_state("1: <Initial predicate>\n" + text.partition("\n")[2]))
    elif severity == ERROR_SEVERITY and code != BEHAVIOUR_FOLLOWS:
        result.errors.append(text)


def read_state(text: str) -> State:
    head, _, body = text.partition("\n")
    found = STATE_HEAD.match(head)
    parts = CONJUNCT.split(body)[1:]
    values = {name: " ".join(value.split()) for name, value in zip(parts[::2], parts[1::2], strict=True)}
    return State(found[1].replace("Initial predicate", "Init") if found else head, values)


# Commands


def check(names: list[str], size: str, workers: str, raw: bool, table: Path, keep: Path) -> int:
    chosen = choose(load_models(table), names, lambda m: SIZES.index(m.size) <= SIZES.index(size))
    rows, failures = {m.name: list[str]() for m in chosen}, 0
    for model, result in run_all(chosen, workers, raw):
        if not any(rows.values()):
            say(result.version)
        verdict = judge(model, result)
        say(f"{model.name}: {verdict}")
        if verdict != "ok":
            failures += 1
            print("\n".join(explain(model, result)))
            if result.violated and Path(model.module).stem.removeprefix("MC").startswith(FAMILIES):
                print(f"  {kept_as_trace(model, keep / model.name)}\n")
        numbers = [str(result.states), str(result.depth), f"{result.seconds:.1f}"]
        rows[model.name] = [model.name, *numbers, model.expected, verdict]
    print(format_table([["model", "states", "depth", "seconds", "expected", "verdict"], *rows.values()]))
    print(f"{len(chosen) - failures} of {len(chosen)} models as expected")
    return 1 if failures else 0


def run_all(models: list[Model], workers: str, raw: bool) -> Iterator[tuple[Model, Result]]:
    """Runs the models as fast as this machine can: small ones side by side, large ones with a worker per processor.

    A wrong protocol gets one worker, which finds a shortest behaviour.
    """
    small = [m for m in models if m.violates or m.size == "quick"]
    with ThreadPoolExecutor(1 if raw else os.cpu_count()) as pool:
        try:
            yield from zip(small, pool.map(lambda m: run_tlc(m, "1", raw=raw), small), strict=True)
            for model in models:
                if model not in small:
                    yield model, run_tlc(model, workers, raw=raw)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(RUNNING):
                process.kill()
            raise


def judge(model: Model, result: Result) -> str:
    """The verdict: ok if TLC found what the table says, and else what it found."""
    if result.violated:
        found = f"{result.violated} violated, {len(result.behaviour)} states"
        return "ok" if found == model.expected else f"FAILED: {found}"
    if result.errors or not result.complete:
        return "FAILED: TLC stopped"
    if model.violates:
        return "FAILED: no violation found"
    return "ok" if result.states == model.states else f"FAILED: {result.states} states"


def explain(model: Model, result: Result) -> list[str]:
    """The behaviour TLC found: each step with the variables it changed; or TLC's errors."""
    lines = [f"\n{model.name} ({model.module} with {model.config})"]
    if not result.violated:
        unexpected = [f"{result.states} distinct states found, {model.states} expected"]
        return [*lines, *("  " + line for error in result.errors or unexpected for line in error.splitlines()), ""]
    width = max((len(state.action) for state in result.behaviour), default=0)
    before = dict[str, str]()
    for number, state in enumerate(result.behaviour, 1):
        changes = [f"{name} = {value}" for name, value in state.values.items() if before.get(name) != value]
        lines.append(f"  {number:3}  {state.action:<{width}}  {', '.join(changes)}".rstrip())
        before = state.values
    return [*lines, f"  {result.violated} is violated", ""]


def kept_as_trace(model: Model, directory: Path) -> str:
    """Writes the behaviour down as the traces of its nodes; says where, or why not."""
    import tlc  # this module, under the name by which the next one knows it
    import traces

    try:
        traces.write(directory, traces.run(SPEC / model.module, (SPEC / model.config).read_text()))
    except tlc.Unusable as error:
        return f"Not kept as a trace: {error}"
    return f"Kept as a trace: trace-check report {directory} -o page.html"


def format_table(rows: list[list[str]]) -> str:
    model, states, depth, seconds, expected, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        f"{m:{model}}  {n:>{states}}  {d:>{depth}}  {s:>{seconds}}  {e:{expected}}  {v}" for m, n, d, s, e, v in rows
    )


NODE = re.compile(r'(-?\d+) \[label="(?:[^"\\]|\\.)*"')
EDGE = re.compile(r'(-?\d+) -> (-?\d+) \[label="((?:[^"\\]|\\.)*)"')
DISJUNCT = re.compile(r"^(?:Next ==)?\s*\\/ (?:\\E (.*?) : )?(\w+)", re.MULTILINE)
LARGE = 200_000


def graphs(names: list[str], out: Path) -> int:
    """Dumps the graphs of these models, or of all that have one, and enters them into the manifest."""
    chosen = choose(load_models(TABLE), names, lambda m: m.graph)
    manifest = out / "manifest.json"
    keep = bool(names) and manifest.is_file()
    known: dict[str, Any] = json.loads(manifest.read_text()) if keep else {"tlc": "", "graphs": {}}
    out.mkdir(parents=True, exist_ok=True)
    for model in chosen:
        say(f"{model.name}: running", passing=True)
        with tempfile.TemporaryDirectory(prefix="tlc-graph-") as directory:
            dump = Path(directory) / "graph.dot"
            result = run_tlc(model, "1", dump)
            if (verdict := judge(model, result)) != "ok":
                raise Unusable(f"{model.name} has no graph: {verdict}")
            if known["tlc"] not in ("", result.version):
                raise Unusable(f"the other graphs were made by {known['tlc']}, this is {result.version}: make all")
            text = dump.read_bytes()
        states, edges = survey(model, text.decode(), result.version)
        file = out / (f"{model.name}.dot" if len(text) < LARGE else f"{model.name}.dot.gz")
        content = text if len(text) < LARGE else gzip.compress(text, 9, mtime=0)
        write_atomically(file, content)
        known["tlc"] = result.version
        known["graphs"][model.name] = {
            "file": file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "module": model.module,
            "module_sha256": hashlib.sha256((SPEC / model.module).read_bytes()).hexdigest(),
            "model": model.config,
            "model_sha256": hashlib.sha256((SPEC / model.config).read_bytes()).hexdigest(),
            "states": states,
            "edges": edges,
        }
        say(f"{model.name}: {states} states, {edges} edges, {len(content)} bytes in {file.name}")
    write_atomically(manifest, (json.dumps(known, indent=2) + "\n").encode())
    return 0


def survey(model: Model, text: str, version: str) -> tuple[int, int]:
    """Counts distinct states and edges. A dump without the parameters of actions is of no use."""
    nodes, edges = set[str](), set[tuple[str, ...]]()
    for line in text.splitlines():
        if edge := EDGE.match(line):
            edges.add(edge.groups())
        elif node := NODE.match(line):
            nodes.add(node[1])
    seen = {(label.partition("(")[0], "(" in label) for _, _, label in edges}
    module = (SPEC / model.module).read_text()
    for variables, action in DISJUNCT.findall(module[module.index("\nNext ==") : module.index("\nSpec ==")]):
        if variables and seen & {(action, False), ("Next", False)}:
            raise Unusable(
                f"{version} writes no parameters on edges ({action} instead of {action}(...)): "
                "graphs need TLC 1.8.0 of 27 February 2025 or later; TLA2TOOLS_JAR says which one to take"
            )
    if len(nodes) != model.states:
        raise Unusable(f"{model.name}: the dump has {len(nodes)} states, not {model.states}")
    return len(nodes), len(edges)


# Small tools


def say(message: str, passing: bool = False) -> None:
    """Progress, on stderr. A passing message is shown only on a terminal, until the next one replaces it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{message}", end="" if passing else "\n", file=sys.stderr, flush=True)
    elif not passing:
        print(message, file=sys.stderr, flush=True)


def write_atomically(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    checker = commands.add_parser("check", help="check the models; exit code 1 if one is not as expected")
    checker.add_argument("names", nargs="*", metavar="NAME", help="models (default: all of the given size)")
    checker.add_argument("--size", choices=SIZES, default="quick", help="how much to check (default: %(default)s)")
    checker.add_argument("--workers", default="auto", metavar="N", help="for larger models (default: %(default)s)")
    checker.add_argument("--raw", action="store_true", help="show all that TLC prints")
    checker.add_argument("--table", type=Path, default=TABLE, help="the table of models (default: models/models.json)")
    checker.add_argument("--keep", type=Path, default=KEPT, help="where to keep violations nobody expects, as traces")
    grapher = commands.add_parser("graphs", help="write the state graphs; needs TLC 1.8.0")
    grapher.add_argument("names", nargs="*", metavar="NAME", help="models (default: all that have a graph)")
    grapher.add_argument("--out", type=Path, default=GRAPHS, help="directory (default: graphs/)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that TLC is stopped and its files are removed
    try:
        if args.command == "check":
            return check(args.names, args.size, args.workers, args.raw, args.table, args.keep)
        return graphs(args.names, args.out)
    except Unusable as error:
        say(f"tlc.py: {error}")
        return 2
    except KeyboardInterrupt:
        say("tlc.py: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
