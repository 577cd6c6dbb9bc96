"""The settings of one node: a TOML file, checked whole before anything starts.

What a node *is* (its name, its cluster, its members) is no setting: it is written into the data directory once, by
`hacoord init`, and a configuration file can't contradict it. Everything here has a safe default, so that an empty file,
or none, is a good one; only the secret has no default.

Every time is in seconds. Every refusal is a `ConfigError` with one line that names the key, the value and what would
have been right.
"""

from __future__ import annotations

import stat
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

Address = tuple[str, int]
"""Host and port."""

MIN_SECRET_BYTES = 16


class ConfigError(Exception):
    """The configuration can't be used; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Election:
    """When silence becomes an election (Raft, section 5.2): each wait is drawn from one to two timeouts."""

    timeout: float = 1.0
    heartbeat: float = 0.2


@dataclass(frozen=True, slots=True)
class Batch:
    """What one turn of the loop takes into one transaction at most, and how many writes may wait for a turn."""

    entries: int = 1000
    bytes: int = 1 << 20
    queue: int = 10_000


@dataclass(frozen=True, slots=True)
class StateChange:
    """How often and how long a change of the frontend's type is tried before the process gives up."""

    backoff_min: float = 0.05
    backoff_max: float = 2.0
    deadline: float = 30.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `hacoord serve` needs to know beside its data directory.

    `listen` is None for the address by which the members know this node. `trace_dir` is None for `trace`
    in the data directory. `secret_file` is None when it is named on the command line instead.
    """

    listen: Address | None = None
    secret_file: Path | None = None
    trace_dir: Path | None = None
    trace_required: bool = True
    election: Election = Election()
    batch: Batch = Batch()
    state_change: StateChange = StateChange()


# key: (type, lowest, highest, unit); numbers outside are refused. The bounds are those within which the thing works at
# all, not those within which it is wise.
_NUMBERS: dict[str, tuple[type[int] | type[float], float, float, str]] = {
    "election.timeout": (float, 0.05, 60, "seconds"),
    "election.heartbeat": (float, 0.005, 30, "seconds"),
    "batch.entries": (int, 1, 100_000, "entries"),
    "batch.bytes": (int, 1024, 4 << 20, "bytes"),
    "batch.queue": (int, 1, 1_000_000, "writes"),
    "state_change.backoff_min": (float, 0.001, 60, "seconds"),
    "state_change.backoff_max": (float, 0.001, 60, "seconds"),
    "state_change.deadline": (float, 0.1, 3600, "seconds"),
}
_OTHERS = {
    "listen": 'an address such as "127.0.0.1:7001"',
    "secret_file": "the path of a file",
    "trace.dir": "the path of a directory",
    "trace.required": "true or false",
}
_TABLES = ("trace", "election", "batch", "state_change")


def load(path: Path) -> Config:
    """The configuration in this file; relative paths in it are taken from the file's own directory."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't read the configuration: {_reason(error)}") from error
    try:
        return parse(text, base=path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(text: str, *, base: Path) -> Config:
    """The configuration in this TOML text; relative paths in it are taken from `base`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from error
    values = _flatten(document)
    for key, value in values.items():
        if key in _NUMBERS:
            _check_number(key, value)
        elif key in _OTHERS:
            _check_other(key, value)
        else:
            known = ", ".join(sorted([*_NUMBERS, *_OTHERS]))
            raise ConfigError(f"unknown key {key!r}; the known ones are {known}")
    election = replace(Election(), **_table(values, "election"))
    batch = replace(Batch(), **_table(values, "batch"))
    state_change = replace(StateChange(), **_table(values, "state_change"))
    _check_relations(election, state_change)
    return Config(
        listen=parse_address(cast(str, values["listen"])) if "listen" in values else None,
        secret_file=_path(values.get("secret_file"), base),
        trace_dir=_path(values.get("trace.dir"), base),
        trace_required=cast(bool, values.get("trace.required", True)),
        election=election,
        batch=batch,
        state_change=state_change,
    )


def read_secret(path: Path) -> bytes:
    """The cluster's shared secret: the file's content without surrounding white space.

    Refused when anybody but its owner may read or write the file: a secret that others can read keeps nobody out.
    """
    try:
        mode = path.stat().st_mode
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"can't read the secret file {path}: {_reason(error)}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"the secret file {path} has mode {stat.S_IMODE(mode):04o}: others may use it; "
            f"only its owner may have access (chmod 600 {path})"
        )
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"the secret in {path} has {len(secret)} bytes; at least {MIN_SECRET_BYTES} are needed "
            f"(head -c 32 /dev/urandom | base64)"
        )
    return secret


def parse_address(text: str) -> Address:
    """The host and port in "host:port"; an IPv6 host stands in brackets. ConfigError for anything else."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host.startswith("[") and host.endswith("]")
    well_formed = colon and bare and not any(c.isspace() or c == "/" for c in host) and (":" not in bare or bracketed)
    if not well_formed or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ConfigError(f"{text!r} is no address; host:port is wanted, with a port from 1 to 65535")
    return bare, int(port)


def _flatten(document: dict[str, object]) -> dict[str, object]:
    """{"election": {"heartbeat": 1}} as {"election.heartbeat": 1}; what should be a table and is none is refused."""
    values: dict[str, object] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            values.update({f"{key}.{inner}": content for inner, content in value.items()})
        elif key in _TABLES:
            raise ConfigError(f"{key} = {value!r}: a table is wanted, [{key}]")
        else:
            values[key] = value
    return values


def _check_number(key: str, value: object) -> None:
    kind, lowest, highest, unit = _NUMBERS[key]
    # bool is an int to Python, but "heartbeat = true" is a mistake; NaN fails the comparison.
    allowed = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, allowed) or not lowest <= value <= highest:
        what = "a number" if kind is float else "a whole number"
        raise ConfigError(f"{key} = {value!r}: {what} from {lowest:g} to {highest:g} ({unit}) is wanted")


def _check_other(key: str, value: object) -> None:
    wanted = bool if key == "trace.required" else str
    if not isinstance(value, wanted) or value == "":
        raise ConfigError(f"{key} = {value!r}: {_OTHERS[key]} is wanted")
    if key == "listen":
        try:
            parse_address(cast(str, value))
        except ConfigError as error:
            raise ConfigError(f"listen = {value!r}: {error}") from error


def _check_relations(election: Election, state_change: StateChange) -> None:
    if not election.heartbeat < election.timeout / 2:
        raise ConfigError(
            f"election.heartbeat = {election.heartbeat:g}: less than half of election.timeout "
            f"({election.timeout:g} s) is wanted, or one lost heartbeat starts an election"
        )
    if state_change.backoff_max < state_change.backoff_min:
        raise ConfigError(
            f"state_change.backoff_max = {state_change.backoff_max:g}: at least state_change.backoff_min "
            f"({state_change.backoff_min:g} s) is wanted"
        )


def _table(values: dict[str, object], name: str) -> dict[str, Any]:
    """The given keys of one table of numbers, each in the type its setting has."""
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): _NUMBERS[key][0](cast(float, value))
        for key, value in values.items()
        if key.startswith(prefix)
    }


def _path(value: object, base: Path) -> Path | None:
    return None if value is None else base / Path(cast(str, value)).expanduser()


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8"
