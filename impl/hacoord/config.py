"""The settings of one node: a TOML file, checked whole before anything starts.

What a node *is* (its name, its cluster, its members) is no setting: it is written into the data directory once, by
`hacoord init`, and a configuration file can't contradict it. Everything here has a safe default, so that an empty file,
or none, is a good one; only the secret has no default.

A new key is one line below (settings.py says how), and one in docs/configuration.md. Every time is in seconds. Every
refusal is a `ConfigError` with one line that names the key, the value and what would have been right.
"""

# ruff: noqa: RUF009 (what settings.py declares a key with is a dataclass field)

from __future__ import annotations

import dataclasses
import ipaddress
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hacoord.net.frames import OLDEST, PROTOCOL
from hacoord.settings import (
    Address,
    ConfigError,
    Setting,
    address,
    choice,
    flag,
    number,
    parse_address,
    path,
    refusal,
    settings,
)

__all__ = ["Address", "Config", "ConfigError", "load", "parse", "parse_address", "read_secret", "show"]

MIN_SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class Trace:
    """The evidence this node leaves."""

    dir: Path | None = path("a directory", "directory for the trace files", "`trace` in the data directory")
    required: bool = flag(True, "whether a trace that can't be written ends the node; if not, the gap shows")


@dataclass(frozen=True, slots=True)
class Election:
    """When silence becomes an election (Raft, section 5.2)."""

    timeout: float = number(
        1.0, 0.05, 60, "s", "silence after which a node looks for another leader; each wait is one to two of these"
    )
    heartbeat: float = number(0.2, 0.005, 30, "s", "how often a leader speaks up; less than half the timeout")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one turn of the loop takes into one transaction at most, and how many writes may wait for a turn."""

    entries: int = number(1000, 1, 100_000, "entries", "journal entries in one turn of the loop, and in one frame")
    bytes: int = number(1 << 20, 1024, 4 << 20, "bytes", "bytes likewise")
    deadline: float = number(
        0.0, 0, 1, "s", "how long a write may wait for others to share its turn, unless the batch is full before"
    )
    window: int = number(
        8192, 1, 1_000_000, "entries", "entries a peer is sent, at least one frame, before it has answered for them"
    )
    queue: int = number(10_000, 1, 1_000_000, "writes", "writes that may wait, and reads likewise; more are refused")


@dataclass(frozen=True, slots=True)
class Images:
    """When a node that hosts a state machine takes an image of it, by itself, and gives up entries for that."""

    every: int = number(50_000, 1, 1_000_000_000, "entries", "applied after an image, until the next one is taken")
    keep: int = number(10_000, 0, 1_000_000_000, "entries", "in an image but kept, for who is only a little behind")


@dataclass(frozen=True, slots=True)
class StateChange:
    """How often and how long a change of the frontend's type is tried before the process gives up."""

    interval: float = number(
        0.0, 0, 60, "s", "shortest time from the end of one change of state to the beginning of the next"
    )
    retries: int = number(
        20, 0, 1_000_000, "retries", "how often an execution that failed is tried again before the change is given up"
    )
    backoff_min: float = number(0.05, 0.001, 60, "s", "pause after an execution failed, doubled each time")
    backoff_max: float = number(2.0, 0.001, 60, "s", "longest such pause")
    deadline: float = number(30.0, 0.1, 3600, "s", "after which a change is given up and the process ends with code 8")


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How a node leaves in good order."""

    notice: float = number(
        0.0, 0, 3600, "s", "how long a node that is to stop goes on while `/health` already answers 503"
    )
    patience: float = number(
        5.0, 0, 3600, "s", "how long a LEADER that is to stop waits for another to take over, and then leaves anyway"
    )


@dataclass(frozen=True, slots=True)
class Http:
    """Monitoring over HTTP (docs/monitoring.md)."""

    listen: Address | None = address("host:port on loopback for `/metrics`, `/health` and `/status`", "no HTTP")
    staleness: float = number(
        300.0, 0.1, 86400, "s", "`/health` answers 503 when what a FOLLOWER or OBSERVER has applied may be older"
    )


@dataclass(frozen=True, slots=True)
class Log:
    """What `hacoord serve` writes to standard error."""

    format: str = choice("text", ("json",), "how: one line of words with `key=value`, or one JSON object, for each")
    slow: float = number(2.0, 0.001, 3600, "s", "a sync of the disk or a turn of the loop longer than this is logged")


@dataclass(frozen=True, slots=True)
class Connections:
    """How many may be connected, besides the members, and what they may do. Members count once each."""

    clients: int = number(256, 1, 10_000, "clients", "clients that may be connected at a time")
    strangers: int = number(
        64, 8, 10_000, "connections", "connections that have not authenticated; the oldest is closed for a newer one"
    )
    handshake: float = number(5.0, 0.1, 60, "s", "time to authenticate in, TLS included")
    requests: int = number(64, 1, 10_000, "requests", "unanswered requests of one client; more are refused")


@dataclass(frozen=True, slots=True)
class Tls:
    """The files, in PEM. Without them nothing is encrypted, and a node listens on loopback only."""

    cert: Path | None = path("a file", "certificate of this node or client; all three or none", "no TLS")
    key: Path | None = path("a file", "key of that certificate, mode 0600", "no TLS")
    ca: Path | None = path("a file", "certificate of the authority that issued everybody's", "no TLS")


@dataclass(frozen=True, slots=True)
class Protocol:
    """What this node says to others."""

    newest: int = number(PROTOCOL, OLDEST, PROTOCOL, "version", "no newer version of the protocol is spoken")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `hacoord serve` needs to know beside its data directory."""

    listen: Address | None = address("host:port to listen on", "the node's address among the members")
    secret_file: Path | None = path(
        "a file", "the cluster's secret, at least 16 bytes, mode 0600; `--secret-file` overrides it"
    )
    tokens_file: Path | None = path(
        "a file", "tokens that clients may show instead of the secret, mode 0600", "clients need the secret"
    )
    tls: Tls = Tls()
    trace: Trace = Trace()
    election: Election = Election()
    batch: Batch = Batch()
    image: Images = Images()
    state_change: StateChange = StateChange()
    shutdown: Shutdown = Shutdown()
    protocol: Protocol = Protocol()
    http: Http = Http()
    log: Log = Log()
    connections: Connections = Connections()


SETTINGS: dict[str, Setting] = settings(Config)
"""Every key there is."""


def load(file: Path) -> Config:
    """The configuration in this file; relative paths in it are taken from the file's own directory."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't read the configuration: {_reason(error)}") from error
    try:
        return parse(text, base=file.parent)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def parse(text: str, *, base: Path) -> Config:
    """The configuration in this TOML text; relative paths in it are taken from `base`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or what can't be read for its length or depth
        raise ConfigError(f"not valid TOML: {error}") from error
    top: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for key, value in _flatten(document):
        setting = SETTINGS.get(key)
        if setting is None:
            raise ConfigError(f"unknown key {key!r}; the known ones are {', '.join(sorted(SETTINGS))}")
        try:
            taken = setting.read(value, base)
        except ValueError as error:
            raise refusal(key, value, setting, error) from error
        table, dot, name = key.rpartition(".")
        (tables.setdefault(table, {}) if dot else top)[name] = taken
    own = Config()
    config = dataclasses.replace(
        own, **top, **{name: dataclasses.replace(getattr(own, name), **values) for name, values in tables.items()}
    )
    _check_relations(config)
    return config


def show(config: Config) -> str:
    """Every key with its value in this configuration, its unit and its meaning: TOML that `parse` takes back."""
    lines: list[str] = []
    shown = ""
    for key, setting in SETTINGS.items():
        table, _, name = key.rpartition(".")
        if table != shown:
            lines += ["", f"[{table}]"]
            shown = table
        value = getattr(getattr(config, table) if table else config, name)
        unit = f"{setting.unit}; " if setting.unit else ""
        note = f"# {unit}{setting.meaning}" + (" (default)" if value == setting.default else "")
        if value is None:
            lines.append(f"# {name}: {setting.unset}. {note.removeprefix('# ')}")
        else:
            lines.append(f"{name} = {setting.show(value)}  {note}")
    return "\n".join(lines) + "\n"


def read_secret(file: Path) -> bytes:
    """The cluster's shared secret: the file's content without surrounding white space.

    Refused when anybody but its owner may read or write the file: a secret that others can read keeps nobody out.
    """
    secret = read_private(file, "the secret file").strip()
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"the secret in {file} has {len(secret)} bytes; at least {MIN_SECRET_BYTES} are needed "
            f"(head -c 32 /dev/urandom | base64)"
        )
    return secret


def read_private(file: Path, what: str) -> bytes:
    """The content of a file that only its owner may read or write; `what` names it in a ConfigError."""
    check_private(file, what)
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"can't read {what} {file}: {_reason(error)}") from error


def check_private(file: Path, what: str) -> None:
    """Raises ConfigError if anybody but its owner may read or write this file, or it is not there."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"can't read {what} {file}: {_reason(error)}") from error
    if mode & 0o077:
        raise ConfigError(
            f"{what} {file} has mode {mode:04o}: others may use it; only its owner may have access (chmod 600 {file})"
        )


def _flatten(document: dict[str, object]) -> Iterator[tuple[str, object]]:
    """{"election": {"heartbeat": 1}} as ("election.heartbeat", 1); what should be a table and is none is refused."""
    tables = {key.partition(".")[0] for key in SETTINGS if "." in key}
    for key, value in document.items():
        if isinstance(value, dict) and key not in SETTINGS and (value or key in tables):
            yield from ((f"{key}.{inner}", content) for inner, content in value.items())
        elif key in tables:
            raise ConfigError(f"{key} = {value!r}: a table is wanted, [{key}]")
        else:
            yield key, value


def _check_relations(config: Config) -> None:
    election, state_change = config.election, config.state_change
    if not election.heartbeat < election.timeout / 2:
        raise ConfigError(
            f"election.heartbeat = {election.heartbeat:g}: less than half of election.timeout "
            f"({election.timeout:g} s) is wanted, or one lost heartbeat starts an election"
        )
    if state_change.retries and state_change.backoff_min >= state_change.deadline:
        raise ConfigError(
            f"state_change.backoff_min = {state_change.backoff_min:g}: less than state_change.deadline "
            f"({state_change.deadline:g} s) is wanted, or nothing is ever tried again (set retries to 0 for that)"
        )
    if config.http.listen is not None and config.http.listen == config.listen:
        raise ConfigError(f"http.listen = {config.http.listen[1]}: another port than that of listen is wanted")
    unencrypted = {"listen": None if config.tls.cert else config.listen, "http.listen": config.http.listen}
    for key, listen in unencrypted.items():
        if listen is not None and _is_exposed(listen[0]):
            why = "what is sent there is not encrypted"
            raise ConfigError(f"{key} = {listen[0]}:{listen[1]}: an address on loopback is wanted, as {why}")
    if state_change.backoff_max < state_change.backoff_min:
        raise ConfigError(
            f"state_change.backoff_max = {state_change.backoff_max:g}: at least state_change.backoff_min "
            f"({state_change.backoff_min:g} s) is wanted"
        )
    files = (config.tls.cert, config.tls.key, config.tls.ca)
    if None in files and any(files):
        raise ConfigError("tls: cert, key and ca are wanted, all three: both ends show a certificate and check it")


def _is_exposed(host: str) -> bool:
    """Whether other machines can reach this address. A name is looked up when a node listens (net/port.py)."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8"
