"""Every setting is checked before anything starts, and each refusal says what would have been right."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import pytest
from test_node import SECRET, WAIT, Running, make, until

from hacoord.client import Client
from hacoord.commands.cli import main
from hacoord.config import (
    SETTINGS,
    Config,
    ConfigError,
    Connections,
    Election,
    Tls,
    load,
    parse,
    parse_address,
    read_secret,
    show,
)
from hacoord.exits import Exit
from hacoord.settings import Setting

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
HERE = Path("/etc/hacoord")


def test_an_empty_file_is_a_good_configuration() -> None:
    assert parse("", base=HERE) == Config()


def test_every_key_is_taken() -> None:
    config = parse(
        """
        listen = "127.0.0.1:7001"
        secret_file = "secret"
        tokens_file = "tokens"
        [tls]
        cert = "n1.pem"
        key = "n1.key"
        ca = "/etc/ca.pem"
        [connections]
        clients = 9
        strangers = 8
        handshake = 1
        requests = 7
        [trace]
        dir = "/var/trace"
        required = false
        [election]
        timeout = 3
        heartbeat = 0.5
        [batch]
        entries = 10
        bytes = 2048
        queue = 5
        [state_change]
        backoff_min = 0.1
        backoff_max = 1
        deadline = 9
        """,
        base=HERE,
    )
    assert config.listen == ("127.0.0.1", 7001)
    assert config.secret_file == HERE / "secret"
    assert config.tokens_file == HERE / "tokens"
    assert config.tls == Tls(HERE / "n1.pem", HERE / "n1.key", Path("/etc/ca.pem"))
    assert config.connections == Connections(clients=9, strangers=8, handshake=1.0, requests=7)
    assert config.trace.dir == Path("/var/trace")
    assert not config.trace.required
    assert config.election.timeout == 3.0
    assert isinstance(config.election.timeout, float)
    assert (config.batch.entries, config.batch.bytes, config.batch.queue) == (10, 2048, 5)
    assert (config.state_change.backoff_min, config.state_change.backoff_max) == (0.1, 1.0)
    assert config.state_change.deadline == 9.0


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[election]\ntimeout = 0", ["election.timeout = 0", "0.05 to 60", "(s)"]),
        ("[election]\ntimeout = nan", ["election.timeout = nan", "0.05 to 60"]),
        ('[election]\ntimeout = "1s"', ["election.timeout = '1s'", "a number"]),
        ("[election]\ntimeout = true", ["election.timeout = True", "a number"]),
        ("[election]\nheartbeat = 0.5", ["election.heartbeat = 0.5", "half of election.timeout"]),
        ("[batch]\nentries = 1.5", ["batch.entries = 1.5", "whole number", "1 to 100000"]),
        ("[batch]\nbytes = 100000000", ["batch.bytes = 100000000", "1024 to"]),
        ("[state_change]\nbackoff_min = 3", ["backoff_max = 2", "backoff_min"]),
        ("[state_change]\nbackoff_min = 1\ndeadline = 1", ["backoff_min = 1", "less than state_change.deadline"]),
        ("[state_change]\nretries = 1.0", ["retries = 1.0", "a whole number", "0 to 1000000"]),
        ('listen = "h:1"\n[http]\nlisten = "h:1"', ["http.listen = 1", "another port"]),
        ('listen = "0.0.0.0:1"', ["listen = 0.0.0.0:1", "on loopback"]),
        ('tls = {cert="c", key="k", ca="a"}\nhttp.listen = "10.0.0.1:1"', ["http.listen = 10.0.0.1:1", "loopback"]),
        ('[log]\nformat = "xml"', ["log.format = 'xml'", 'one of "text", "json"']),
        ("[shutdown]\nnotice = -1", ["shutdown.notice = -1", "0 to 3600"]),
        ("[trace]\nrequired = 1", ["trace.required = 1", "true or false"]),
        ("trace = 5", ["trace = 5", "[trace]"]),
        ("listen = 7001", ["listen = 7001", "address"]),
        ('listen = "localhost"', ["listen = 'localhost'", "host:port"]),
        ('secret_file = ""', ["secret_file = ''", "path"]),
        ("[election]\ntimeuot = 1", ["unknown key 'election.timeuot'", "election.timeout"]),
        ("node = 'n1'", ["unknown key 'node'"]),
        ('[tls]\ncert = "c"\nca = "a"', ["cert, key and ca", "all three"]),
        ("[tls]\nkey = 5", ["tls.key = 5", "path"]),
        ("[connections]\nstrangers = 1", ["connections.strangers = 1", "8 to"]),
        ("[election.timeout]\nmin = 1", ["election.timeout = {'min': 1}", "a number"]),
        ("[election", ["not valid TOML"]),
    ],
)
def test_a_bad_value_is_refused_with_the_key_the_value_and_what_is_wanted(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text, base=HERE)
    message = str(refused.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_what_is_shown_is_every_key_and_reads_as_the_same_configuration() -> None:
    config = parse(
        'listen = "[::1]:7001"\nsecret_file = "a \\"quoted\\" name"\n[trace]\nrequired = false\n[election]\ntimeout=3',
        base=HERE,
    )
    for each in (Config(), config):
        text = show(each)
        assert parse(text, base=HERE) == each
        for key in SETTINGS:
            assert f"\n{key.rpartition('.')[2]} = " in "\n" + text or f"\n# {key.rpartition('.')[2]}: " in "\n" + text
    assert "\ntimeout = 3.0  # s; silence after which" in show(config)
    assert "\nheartbeat = 0.2  # s; how often a leader speaks up; less than half the timeout (default)" in show(config)


def test_the_page_lists_every_key_with_its_default_range_and_unit() -> None:
    def row(key: str, setting: Setting) -> str:
        unit = f" {setting.unit}" if setting.unit in ("s", "bytes") else ""
        default = setting.unset if setting.default is None else f"{setting.show(setting.default)}{unit}"
        return f"| `{key}` | {default} | {setting.wanted} | {setting.meaning} |"

    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    wanted = [row(key, setting) for key, setting in SETTINGS.items()]
    assert listed == wanted, "\n".join(["the table in docs/configuration.md should be", *wanted])


def test_the_command_line_checks_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hacoord.toml"
    file.write_text("[election]\ntimeout = 3")
    assert main(["config", "check", str(file)]) == 0
    assert "is a good configuration" in capsys.readouterr().out
    assert main(["config", "show", str(file)]) == 0
    assert parse(capsys.readouterr().out, base=HERE).election.timeout == 3
    assert main(["config", "show"]) == 0
    assert parse(capsys.readouterr().out, base=HERE) == Config()
    file.write_text("[election]\ntimeout = 0.3")
    for command in ("check", "show"):
        assert main(["config", command, str(file)]) == 2
        assert "election.heartbeat = 0.2: less than half" in capsys.readouterr().err


class Watched:
    """A configuration, or one of its tables, that remembers which keys were looked at."""

    def __init__(self, table: object, seen: set[str], prefix: str = "") -> None:
        self._table, self._seen, self._prefix = table, seen, prefix

    def __getattr__(self, name: str) -> object:
        value = getattr(self._table, name)
        if dataclasses.is_dataclass(value):
            return Watched(value, self._seen, f"{self._prefix}{name}.")
        self._seen.add(self._prefix + name)
        return value


class FailsOnce:
    def __init__(self) -> None:
        self.failed = False

    def transfer_to_leader(self, epoch: int) -> None:
        if not self.failed:
            self.failed = True
            raise OSError("not yet")

    def transfer_to_non_leader(self, to: object) -> None:
        pass


def test_every_key_is_looked_at(tmp_path: Path) -> None:
    """By a node, from its start to its end, or by the command line; a key that is taken and ignored misleads."""
    seen = {"secret_file", "log.format"}  # `hacoord serve` reads these
    seen |= {"tls.key", "tls.ca"}  # which are only looked at if there is a tls.cert: tests/test_tls.py
    seen |= {"image.every", "image.keep"}  # where a state machine is hosted: tests/test_checkpoint.py
    watched = cast(Config, Watched(Config(election=Election(timeout=0.6, heartbeat=0.1)), seen))
    nodes = [Running(directory, FailsOnce(), config=watched).started() for directory in make(tmp_path, 2)]
    until(lambda: any(running.node.frontend.ready for running in nodes))
    nodes.sort(key=lambda running: running.node.frontend.ready)
    nodes[1].node.journal.append(b"x", WAIT)
    host, port = nodes[1].node.address
    with Client([f"{host}:{port}"], SECRET) as client:
        client.status(f"{host}:{port}")
    assert [nodes[1].stop(), nodes[0].stop()] == [Exit.STOPPED] * 2
    assert SETTINGS.keys() - seen == set()


def test_a_file_is_named_in_its_own_errors(tmp_path: Path) -> None:
    path = tmp_path / "hacoord.toml"
    with pytest.raises(ConfigError, match=r"hacoord\.toml: can't read the configuration"):
        load(path)
    path.write_text("listen = 1")
    with pytest.raises(ConfigError, match=r"hacoord\.toml: listen = 1"):
        load(path)
    path.write_text('secret_file = "s"')
    assert load(path).secret_file == tmp_path / "s"


def test_a_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ConfigError, match="can't read the secret file"):
        read_secret(path)
    path.write_bytes(b"0123456789abcdef\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"mode 0640.*chmod 600"):
        read_secret(path)
    path.chmod(0o600)
    assert read_secret(path) == b"0123456789abcdef"
    path.write_bytes(b"short\n")
    with pytest.raises(ConfigError, match="5 bytes; at least 16"):
        read_secret(path)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("n1.example.org:65535", ("n1.example.org", 65535)),
        ("[::1]:7001", ("::1", 7001)),
    ],
)
def test_good_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("address", ["", ":1", "host", "host:", "host:0", "host:65536", "::1:7001", "a b:1", "a:-1"])
def test_bad_addresses(address: str) -> None:
    with pytest.raises(ConfigError, match="host:port is wanted"):
        parse_address(address)
