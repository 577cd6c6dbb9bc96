"""Runs TLC on one module and reads what it prints. Knows nothing of traces.

TLC is looked for where spec/tlc.py puts it, but never downloaded: TLA2TOOLS_JAR, else ~/.cache/tla2tools/tla2tools.jar.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from trace_check.verdict import BadInput

CACHED_JAR = "~/.cache/tla2tools/tla2tools.jar"
# A number, a string, a name (as model values and TRUE), a tuple, a set, a function with strings for its domain.
Value = int | str | bool | None | tuple["Value", ...] | frozenset["Value"] | dict[str, "Value"]

_MESSAGE = re.compile(r"@!@!@STARTMSG (\d+):(\d+) @!@!@\n(.*?)@!@!@ENDMSG \1 @!@!@\n", re.DOTALL)
_DEPTH, _SUCCESS, _ERROR, _BEHAVIOUR_FOLLOWS = 2194, 2193, 1, 2121
_VIOLATED = re.compile(r"(?:Invariant|[Pp]roperty) (\S+) (?:is|was) violated")
_STATE, _STATE_NUMBER = 2217, re.compile(r"(\d+):")
_PRINTED = re.compile(r'^<<\s*"', re.MULTILINE)
_TOKEN = re.compile(r'\s*(<<|>>|\|->|[\[\]{},]|-?\d+|"(?:[^"\\]|\\.)*"|\w+)')


@dataclass
class Run:
    """What TLC found: how deep it came, what it printed by its label, which property is violated after how many states.

    `errors` are of TLC's own, or of who wrote the module; then the rest means nothing.
    """

    depth: int = 0
    printed: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    violated: str = ""
    states: int = 0
    errors: list[str] = field(default_factory=list)


def find() -> tuple[str, Path]:
    """Java and the jar. Raises BadInput when there is none."""
    home = os.environ.get("JAVA_HOME")
    java = (home and shutil.which("java", path=str(Path(home) / "bin"))) or shutil.which("java")
    if java is None:
        raise BadInput("TLC needs Java 11 or later: there is no `java` on the PATH and none in JAVA_HOME")
    jar = Path(os.environ.get("TLA2TOOLS_JAR") or CACHED_JAR).expanduser()
    if not jar.is_file():
        raise BadInput(f"no TLC: {jar} is no file; set TLA2TOOLS_JAR, or run `make check` once, which fetches it")
    return java, jar


def run(name: str, module: str, config: str, library: Path) -> Run:
    """Check a module, given as text, with one worker. Raises BadInput when TLC does not start."""
    java, jar = find()
    with tempfile.TemporaryDirectory(prefix="trace-check-tlc-") as directory:
        (Path(directory) / f"{name}.tla").write_text(module)
        (Path(directory) / f"{name}.cfg").write_text(config)
        # Runs are short: it takes longer to start than to get going, and the better compiler never pays.
        command = [java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
        command += [f"-Djava.io.tmpdir={directory}"]
        command += [f"-DTLA-Library={library.resolve()}", "-cp", str(jar.resolve()), "tlc2.TLC", "-tool", "-fp", "0"]
        command += ["-workers", "1", "-metadir", f"{directory}/states", "-config", f"{name}.cfg", f"{name}.tla"]
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = _read(done.stdout)
    if not found.depth and not found.violated:
        found.errors = found.errors or [f"TLC ended with status {done.returncode}: {done.stdout[-500:]}"]
    return found


def _read(output: str) -> Run:
    found = Run()
    for code, severity, text in _MESSAGE.findall(output):
        if int(code) == _DEPTH and (depth := re.search(r"is (\d+)", text)):
            found.depth = int(depth[1])
        elif int(code) == _STATE and (number := _STATE_NUMBER.match(text)):
            found.states = int(number[1])
        elif violated := _VIOLATED.search(text):
            found.violated = found.violated or violated[1]
            found.states = max(found.states, 1)
        elif int(severity) == _ERROR and int(code) != _BEHAVIOUR_FOLLOWS:
            found.errors.append(" ".join(text.split()))
    loose = _MESSAGE.sub("", output)
    for start in _PRINTED.finditer(loose):
        label, *values = _Reader(loose, start.start()).tuple()
        # States that differ in nothing that matters later (docs/audit.md) say the same; the first will do.
        found.printed.setdefault(str(label), tuple(values))
    return found


class _Reader:
    """Reads a value as TLC prints it."""

    def __init__(self, text: str, at: int) -> None:
        self._text, self._at = text, at

    def _token(self, *, peek: bool = False) -> str:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise BadInput(f"not a value of TLC: {self._text[self._at : self._at + 40]!r}")
        if not peek:
            self._at = found.end()
        return found[1]

    def tuple(self) -> tuple[Value, ...]:
        """The tuple that begins here."""
        self._token()
        return tuple(self._until(">>"))

    def _until(self, end: str) -> list[Value]:
        values: list[Value] = []
        while self._token(peek=True) != end:
            values.append(self._value())
            if self._token(peek=True) == ",":
                self._token()
        self._token()
        return values

    def _value(self) -> Value:
        token = self._token(peek=True)
        if token == "<<":
            return self.tuple()
        self._token()
        if token == "{":
            return frozenset(self._until("}"))
        if token == "[":
            return self._record()
        if token.startswith('"'):
            return token[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        if token in ("TRUE", "FALSE"):
            return token == "TRUE"
        return None if token == "None" else int(token)

    def _record(self) -> dict[str, Value]:
        fields: dict[str, Value] = {}
        while True:
            name, _ = self._token(), self._token()
            fields[name] = self._value()
            if self._token() == "]":
                return fields


def literal(value: object) -> str:
    """A value in TLA+. Names must be made of letters and digits; None is the model value of that name."""
    match value:
        case None:
            return "None"
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(value)
        case str():
            return f'"{value}"'
        case dict():
            return "[" + ", ".join(f"{name} |-> {literal(v)}" for name, v in value.items()) + "]"
        case tuple() | list():
            return "<<" + ", ".join(map(literal, value)) + ">>"
        case set() | frozenset():
            return "{" + ", ".join(map(literal, sorted(value))) + "}"
    raise TypeError(f"{value!r} has no form in TLA+")
