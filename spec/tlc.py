"""Finds TLC, runs it on a model of the table models/models.json, and reads what it says.

python spec/tlc.py check             TLC on the models, and whether it found what it should: see check.py
python spec/tlc.py graphs            the state graphs that traces are replayed on, anew
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

SPEC = Path(__file__).resolve().parent
TABLE = SPEC / "models" / "models.json"
# The modules whose behaviours can be written down as traces, and their variants.
FAMILIES = ("HACoordination", "Membership", "Snapshot")
SIZES = ["quick", "full", "deep"]
LIBRARY = (SPEC, SPEC / "models")

CACHED_JAR = "~/.cache/tla2tools/tla2tools.jar"
RELEASE = "https://github.com/tlaplus/tlaplus/releases/download/v1.7.4/tla2tools.jar"
RELEASE_SHA256 = "936a262061c914694dfd669a543be24573c45d5aa0ff20a8b96b23d01e050e88"


class Unusable(Exception):
    """What is asked for cannot be done here (exit code 2): no Java, no TLC, an unknown model."""


# The table of models


@dataclass(frozen=True)
class Model:
    """A line of models.json: what TLC runs, and what it must find.

    A model that `violates` nothing is right and has `states` distinct states; the others violate that property, by a
    behaviour of `length` states. With `behaviours`, TLC does not go through all states, but follows that many random
    behaviours of at most `steps` states; a violation may then have any length. `covers` is the module each of whose
    actions is taken in the models that cover it.
    """

    name: str
    module: str
    config: str
    size: str
    states: int = 0
    violates: str = ""
    length: int = 0
    graph: bool = False
    behaviours: int = 0
    steps: int = 0
    covers: str = ""

    @property
    def expected(self) -> str:
        if self.behaviours:
            return f"{self.violates} violated" if self.violates else f"{self.behaviours} behaviours"
        return f"{self.violates} violated, {self.length} states" if self.violates else f"{self.states} states"


def load_models(table: Path) -> list[Model]:
    try:
        return [Model(name, **line) for name, line in json.loads(table.read_text()).items()]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Unusable(f"{table} is no table of models: {error}") from error


def number(text: str) -> int:
    """For argparse: how many processes or threads."""
    if (value := int(text)) < 1:
        raise ValueError
    return value


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
    """What a run of TLC found: `taken` says of each action, with its module, how often it was taken."""

    version: str = ""
    states: int = 0
    depth: int = 0
    behaviours: int = 0
    seconds: float = 0.0
    complete: bool = False
    violated: str = ""
    behaviour: list[State] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    taken: dict[tuple[str, str], int] = field(default_factory=dict)


START = re.compile(r"@!@!@STARTMSG (\d+):(\d+) @!@!@")
END = re.compile(r"@!@!@ENDMSG (\d+) @!@!@")
VERSION, SUCCESS, STATISTICS, DEPTH, PROGRESS = 2262, 2193, 2199, 2194, 2200
STATE, STUTTERING, BACK_TO = 2217, 2218, 2122
DEADLOCK, BEHAVIOUR_FOLLOWS, ERROR_SEVERITY = 2114, 2121, 1
SIMULATING, SIMULATED, COVERAGE = 2209, 2210, 2772
VIOLATION = re.compile(r"(?:Invariant|[Pp]roperty) (\S+) (?:is|was) violated|(Temporal properties) were violated")
STATE_HEAD = re.compile(r"\d+: <?(.*?)(?: line \d+, .*)?>?$")
TAKEN = re.compile(r"<(\w+) line .* of module (\w+)(?: \(.*\))?>: \d+:(\d+)")
CONJUNCT = re.compile(r"^/\\ (\w+) = ", re.MULTILINE)


# Up to so many states, TLC is through before Java's optimizing compiler has earned its time.
SMALL = 6_000

RUNNING: set[subprocess.Popen[str]] = set()


def run_tlc(model: Model, dump: Path | None = None, raw: bool = False, seed: int = 1) -> Result:
    """Runs TLC in a temporary directory.

    A fixed fingerprint function, one worker and a fixed seed make runs repeatable. With several workers the number of
    states would differ from run to run, where a view and a symmetry are combined, and a counterexample need not be a
    shortest one.
    """
    with tempfile.TemporaryDirectory(prefix="tlc-") as directory:
        command = [find_java(), "-XX:+UseSerialGC", "-XX:-UsePerfData", f"-Djava.io.tmpdir={directory}"]
        if model.size == "quick" and model.states < SMALL:
            command += ["-XX:TieredStopAtLevel=1"]
        library = os.pathsep.join(str(place) for place in LIBRARY)
        command += [f"-DTLA-Library={library}", "-cp", str(find_jar().resolve()), "tlc2.TLC", "-tool", "-fp", "0"]
        command += ["-workers", "1", "-metadir", str(Path(directory) / "states")]
        command += simulation(model, seed) if model.behaviours else []
        command += ["-coverage", "1000"] if model.covers else []  # minutes: only at the end
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


def simulation(model: Model, seed: int) -> list[str]:
    """The options that make TLC follow random behaviours."""
    return ["-simulate", f"num={model.behaviours}", "-depth", str(model.steps), "-seed", str(seed)]


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
    elif code == SIMULATING and (found := re.search(r"Progress\((\d+)\)", text)):
        result.behaviours = int(found[1])
        say(f"{name}: {found[1]} behaviours", passing=True)
    elif code == SIMULATED and (found := re.search(r"generated: (\d+)", text)):
        result.states = int(found[1])
        result.complete = not result.violated and not result.errors
    elif code == COVERAGE and (found := TAKEN.match(text)):
        result.taken[found[2], found[1]] = int(found[3])
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


if __name__ == "__main__":
    import check

    sys.exit(check.main())
