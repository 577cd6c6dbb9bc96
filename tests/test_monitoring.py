"""What a node is watched by: the text Prometheus reads, the HTTP it comes over, health, frontends and log lines."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_node import QUICK, SECRET, WAIT, Running, make, until

from hacoord.commands.cli import main
from hacoord.config import Config, Election, Http, Log, Shutdown
from hacoord.disk.storage import StorageError
from hacoord.exits import Exit, NodeFailed
from hacoord.journal import OutcomeUnknown
from hacoord.monitoring.logs import Json
from hacoord.monitoring.metrics import SECONDS, Registry
from hacoord.net.http import MAX_CONNECTIONS, MAX_HEAD, PAGES_A_TURN, TIME, HttpServer, Page
from hacoord.net.port import PAUSE
from hacoord.node import Node
from hacoord.trace import TraceFailed

PAGE = Path(__file__).parent.parent / "docs" / "monitoring.md"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)")


def read(text: str) -> tuple[dict[str, str], Samples]:
    """Types and samples of a text in Prometheus' format 0.0.4; fails wherever it departs from it."""
    assert text.endswith("\n")
    types: dict[str, str] = {}
    samples: Samples = {}
    helped = ""
    current = ""
    for line in text[:-1].split("\n"):
        if match := re.fullmatch(rf"# HELP ({_NAME}) ((?:[^\\\n]|\\[\\n])*)", line):
            helped = match[1]
            assert helped not in types, "one group of lines for each metric"
        elif match := re.fullmatch(rf"# TYPE ({_NAME}) (counter|gauge|histogram)", line):
            assert match[1] == helped, "HELP stands before TYPE"
            current = match[1]
            types[current] = match[2]
        else:
            match = _SAMPLE.fullmatch(line)
            assert match is not None, line
            name, labels = match[1], frozenset(re.findall(_LABEL, match[2] or ""))
            suffixes = ("_bucket", "_sum", "_count") if types[current] == "histogram" else ("",)
            assert name in [current + suffix for suffix in suffixes], f"{name} stands among the lines of {current}"
            assert (name, labels) not in samples, f"twice: {line}"
            samples[name, labels] = float(match.groups()[-1])
    for name, kind in types.items():
        assert (kind == "counter") == name.endswith("_total")
        if kind == "histogram":
            _check_histogram(name, samples)
    return types, samples


def _check_histogram(name: str, samples: Samples) -> None:
    series = {
        labels - {pair for pair in labels if pair[0] == "le"} for key, labels in samples if key == name + "_bucket"
    }
    assert series == {labels for key, labels in samples if key == name + "_count"}
    for labels in series:
        buckets = [
            (float(dict(found)["le"]), value)
            for (key, found), value in samples.items()
            if key == name + "_bucket" and found >= labels and len(found) == len(labels) + 1
        ]
        assert buckets == sorted(buckets)
        assert [bound for bound, _ in buckets] == [*SECONDS, float("inf")]
        counts = [count for _, count in buckets]
        assert counts == sorted(counts)
        assert counts[-1] == samples[name + "_count", labels]
        assert samples[name + "_sum", labels] >= 0


def test_the_text_is_what_prometheus_reads_whatever_the_labels_hold() -> None:
    registry = Registry()
    text = "Back\\slash\nand line."
    registry.totals("a_total", text, ("who", "what"), lambda: {('q"uo\\te\nnew', ""): 3})
    registry.counter("b_total", "Starts at once.")
    counted = registry.counter("c_total", "So does this.")
    counted.add()
    counted.add(2)
    registry.gauge("d", "Odd.", lambda: float("nan"))
    registry.gauges("e", "Odder.", ("x",), lambda: {("up",): float("inf"), ("down",): float("-inf"), ("t",): True})
    slow = registry.histogram("f_seconds", "Buckets.", "x")
    slow.observe(0.3, "y")
    slow.observe(0.25, "y", times=2)
    slow.observe(99, "y")
    text = registry.render()
    types, samples = read(text)
    assert types == {"a_total": "counter", "b_total": "counter", "c_total": "counter", "d": "gauge", "e": "gauge",
                     "f_seconds": "histogram"}  # fmt: skip
    assert "# HELP a_total Back\\\\slash\\nand line.\n# TYPE a_total counter\n" in text
    assert '\na_total{who="q\\"uo\\\\te\\nnew",what=""} 3\n' in text
    assert "\nd NaN\n" in text
    assert 'e{x="up"} +Inf\ne{x="down"} -Inf\ne{x="t"} 1\n' in text
    assert samples["b_total", frozenset()] == 0
    assert samples["c_total", frozenset()] == 3
    assert 'f_seconds_bucket{x="y",le="0.25"} 2\nf_seconds_bucket{x="y",le="0.5"} 3\n' in text
    assert 'f_seconds_bucket{x="y",le="+Inf"} 4\nf_seconds_sum{x="y"} 99.8\nf_seconds_count{x="y"} 4\n' in text


# --- HTTP --------------------------------------------------------------------------------------------------------


class Served:
    """An HttpServer on a loop of its own, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.server = HttpServer(("127.0.0.1", 0), clock=lambda: self.now)
        self.server.pages["/page"] = lambda: Page(HTTPStatus.OK, "text/plain", b"x" * 3_000_000)
        self.server.pages["/broken"] = lambda: Page(HTTPStatus.OK, "text/plain", b"%d" % (1 // 0))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.server.fileno(), selectors.EVENT_READ)
            while not self._ended.is_set():
                selector.select(0.02)
                self.server.poll()
        self.server.close()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(WAIT)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.server.address, WAIT)

    def say(self, *parts: bytes) -> bytes:
        """Everything that is answered to this."""
        with self.connect() as sock:
            for part in parts:
                sock.sendall(part)
            return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])


def test_pages_and_refusals(served: Served) -> None:
    host = b"Host: h\r\n"
    body = served.say(b"GET /page?x=1 HTTP/1.1\r\nHo", b"st: h\r\n\r\n").partition(b"\r\n\r\n")
    assert status(body[0]) == 200
    assert b"Content-Length: 3000000\r\n" in body[0] + b"\r\n"
    assert body[2] == b"x" * 3_000_000
    head = served.say(b"HEAD /page HTTP/1.1\r\n" + host + b"\r\n")
    assert status(head) == 200
    assert b"Content-Length: 3000000\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert status(served.say(b"GET /page HTTP/1.0\r\n\r\n")) == 200
    assert status(served.say(b"GET http://h/page HTTP/1.1\r\n" + host + b"\r\n")) == 200
    missing = served.say(b"GET /pag HTTP/1.1\r\n" + host + b"\r\n")
    assert status(missing) == 404
    assert b"there are /page, /broken" in missing
    refused = served.say(b"POST /page HTTP/1.1\r\n" + host + b"Content-Length: 5\r\n\r\nhello")
    assert status(refused) == 405
    assert b"\r\nAllow: GET, HEAD\r\n" in refused
    assert status(served.say(b"GET /broken HTTP/1.1\r\n" + host + b"\r\n")) == 500
    for bad in (
        b"GET /page HTTP/1.1\r\n\r\n",
        b"GET /page HTTP/1.1\r\n" + host * 2 + b"\r\n",
        b"GET  /page HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /page HTTP/2.0\r\n" + host + b"\r\n",
        b"GET /page HTTP/1.1\r\n" + host + b"bad header: x\r\n\r\n",
        b"GET /page HTTP/1.1\r\n" + host + b"a: b\nc: d\r\n\r\n",
        b"GET http://[/page HTTP/1.1\r\n" + host + b"\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
    ):
        assert status(served.say(bad)) == 400, bad
    assert status(served.say(b"GET /page HTTP/1.1\r\nX: " + b"x" * MAX_HEAD)) == 431


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), good=st.booleans())
def test_nothing_that_is_sent_ends_the_server(data: bytes, good: bool) -> None:
    prefix = b"GET /broken HTTP/1.1\r\nHost: " if good else b""
    with contextlib.closing(Served()) as served:
        with served.connect() as sock:
            sock.sendall(prefix + data + b"\r\n\r\n")
            answered = b"".join(iter(lambda: sock.recv(65536), b""))
        assert answered.startswith(b"HTTP/1.1 ")
        assert status(answered) in (400, 404, 405, 500)
        assert status(served.say(b"GET /page HTTP/1.0\r\n\r\n")) == 200


def test_many_who_ask_at_once_are_answered_a_few_in_each_turn() -> None:
    server = HttpServer(("127.0.0.1", 0))
    made: list[int] = []
    server.pages["/page"] = lambda: made.append(1) or Page(HTTPStatus.OK, "text/plain", b"x")  # type: ignore[func-returns-value]
    with contextlib.closing(server), contextlib.ExitStack() as stack:
        guests = [stack.enter_context(socket.create_connection(server.address, WAIT)) for _ in range(20)]
        for guest in guests:
            guest.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        while len(made) < len(guests):
            before = len(made)
            server.poll()
            assert len(made) - before <= PAGES_A_TURN
        assert {status(guest.recv(65536)) for guest in guests} == {200}


def test_without_descriptors_nothing_spins_and_later_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    server = HttpServer(("127.0.0.1", 0), clock=lambda: now)
    with contextlib.closing(server), socket.create_connection(server.address, WAIT) as guest:
        guest.sendall(b"GET / HTTP/1.0\r\n\r\n")

        def fails(*_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        port, listener = server._port, server._port._socket
        monkeypatch.setattr(port, "_socket", SimpleNamespace(accept=fails, **_same(listener)))
        server.poll()
        monkeypatch.setattr(port, "_socket", listener)
        with selectors.DefaultSelector() as selector:
            selector.register(server.fileno(), selectors.EVENT_READ)
            assert selector.select(0) == [], "the loop is not woken again and again"
        assert server.deadline() == PAUSE
        server.poll()
        assert server.deadline() == PAUSE
        now = PAUSE

        def answered() -> bool:
            server.poll()
            return any(each.answered for each in server._guests.values())

        until(answered)
        assert status(guest.recv(65536)) == 404


def _same(listener: socket.socket) -> dict[str, object]:
    return {name: getattr(listener, name) for name in ("fileno", "close", "getsockname")}


def hung_up(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_nobody_holds_a_connection_for_ever_or_keeps_others_out(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(served.connect()) for _ in range(MAX_CONNECTIONS + 1)]
        assert hung_up(idle[0]), "the oldest gives way"
        assert status(served.say(b"GET /broken HTTP/1.0\r\n\r\n")) == 500
        served.now += TIME / 2
        idle[-1].sendall(b"GET /page")
        served.now += TIME / 2
        assert all(map(hung_up, idle[1:]))


def test_a_port_in_use_and_one_that_others_could_reach(tmp_path: Path) -> None:
    (directory,) = make(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for address, reason in (
            (taken.getsockname(), "in use"),
            (("0.0.0.0", 7), "can be reached from other machines"),
        ):
            with pytest.raises(NodeFailed, match=reason) as failed:
                Node(directory, Config(http=Http(address)), SECRET)
            assert failed.value.code is Exit.LISTEN


# --- a cluster ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Watched:
    """Three nodes with HTTP."""

    def __init__(self, directory: Path, config: Config) -> None:
        self.ports = {path.name: free_port() for path in make(directory, 3)}
        self.nodes = {
            name: Running(
                directory / name, config=dataclasses.replace(config, http=Http(("127.0.0.1", port)))
            ).started()
            for name, port in self.ports.items()
        }
        self.secret = directory / "secret"
        self.secret.touch(mode=0o600)
        self.secret.write_bytes(SECRET)
        until(lambda: sorted(map(self.type, self.nodes)) == ["FOLLOWER", "FOLLOWER", "LEADER"])
        self.leader = next(name for name in self.nodes if self.type(name) == "LEADER")
        self.others = [name for name in self.nodes if name != self.leader]
        until(lambda: self.nodes[self.leader].node.frontend.ready)

    def type(self, name: str) -> str:
        return self.nodes[name].node.frontend.type.value

    def get(self, name: str, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.ports[name], timeout=WAIT)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def metrics(self, name: str) -> Mapping[str, float]:
        """Samples by name and label values, `metric` or `metric/a/b`."""
        code, text = self.get(name, "/metrics")
        assert code == 200
        return {
            "/".join([key, *(value for _, value in sorted(labels))]): v for (key, labels), v in read(text)[1].items()
        }

    def close(self) -> None:
        for running in self.nodes.values():
            running.node.stop()
        for running in self.nodes.values():
            running.join(WAIT)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[Config], Watched]]:
    made: list[Watched] = []

    def make_one(config: Config) -> Watched:
        made.append(Watched(tmp_path, config))
        return made[-1]

    yield make_one
    for each in made:
        each.close()


def test_a_cluster_is_watched(watch: Callable[[Config], Watched], capsys: pytest.CaptureFixture[str]) -> None:
    cluster = watch(Config(election=Election(timeout=0.4, heartbeat=0.05)))
    leader, (gone, stays) = cluster.leader, cluster.others
    journal = cluster.nodes[leader].node.journal
    for _ in range(20):
        journal.append(b"12345", WAIT)
    before = cluster.metrics(leader)
    assert before["hacoord_type/LEADER"] == before["hacoord_ready"] == before["hacoord_healthy"] == 1
    assert before["hacoord_type/FOLLOWER"] == 0
    assert before["hacoord_elections_won_total"] == 1
    assert before["hacoord_elections_started_total"] == 1 + before["hacoord_elections_lost_total"]
    assert before["hacoord_term"] >= before["hacoord_epoch"] == 1
    assert before["hacoord_leader_election_seconds_count"] == before["hacoord_leader_changes_total"] >= 1
    assert before["hacoord_activation_seconds_count"] == 1
    assert before["hacoord_state_change_seconds_count/INIT/LEADER"] == 1
    assert before["hacoord_requests_total/committed"] == 20
    assert before["hacoord_last_index"] == before["hacoord_commit_index"] == before["hacoord_applied_index"] == 22
    assert before["hacoord_commit_seconds_count"] == before["hacoord_journal_entries_total"] == 22
    assert before["hacoord_journal_bytes_total"] > 100
    assert before["hacoord_database_bytes"] > 4096
    assert before["hacoord_sync_seconds_count"] > 0
    assert before["hacoord_turn_seconds_count"] > 20
    assert before["hacoord_trace_lines_total"] > 40
    assert before["hacoord_queue_writes"] == before["hacoord_queue_uncommitted"] == 0
    assert before[f"hacoord_peer_up/{gone}"] == before[f"hacoord_peer_up/{stays}"] == 1
    until(lambda: cluster.metrics(leader)[f"hacoord_replication_lag_entries/{gone}"] == 0)

    follower = cluster.metrics(stays)
    assert follower["hacoord_type/FOLLOWER"] == follower["hacoord_healthy"] == 1
    assert follower["hacoord_ready"] == 0
    assert "hacoord_replication_lag_entries" not in follower
    until(lambda: cluster.metrics(stays)[f"hacoord_peer_up/{leader}"] == 1)
    code, health = cluster.get(stays, "/health")
    assert (code, json.loads(health)) == (200, {"healthy": True, "reason": f"it is FOLLOWER of {leader}"})
    shown = json.loads(cluster.get(leader, "/status")[1])
    assert (shown["node"], shown["type"], shown["ready"]) == (leader, "LEADER", True)

    assert cluster.nodes[gone].stop() is Exit.STOPPED
    journal.append(b"x", WAIT)
    until(lambda: cluster.metrics(leader)[f"hacoord_peer_up/{gone}"] == 0)
    after = cluster.metrics(leader)
    assert after[f"hacoord_replication_lag_entries/{gone}"] == 1
    lag = after[f"hacoord_replication_lag_seconds/{gone}"]
    assert 0 < lag < WAIT
    assert cluster.metrics(leader)[f"hacoord_replication_lag_seconds/{gone}"] > lag
    assert after[f"hacoord_peer_up/{stays}"] == 1
    counters = [key for key in before if key.endswith("_total") or key.endswith("_count")]
    assert all(after[key] >= before[key] for key in counters), "counters only grow"

    addresses = cluster.nodes[leader].node.members
    arguments = ["--secret-file", str(cluster.secret)]
    assert main(["show", "frontends", addresses[gone], addresses[stays], "--json", *arguments]) == 0
    rows = {row["Name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["Role"] for name, row in rows.items()} == {leader: "LEADER", gone: "FOLLOWER", stays: "FOLLOWER"}
    assert {name for name, row in rows.items() if row["Alive"]} == {leader, stays}
    assert "cannot reach" in rows[gone]["ErrMsg"]
    assert rows[gone]["StartTime"] is rows[gone]["HttpPort"] is None
    assert rows[gone]["LastHeartbeat"] <= rows[stays]["LastHeartbeat"]
    assert (rows[stays]["ErrMsg"], rows[stays]["ClusterId"], rows[stays]["Version"]) == ("", "c", "0.1.0")
    assert (rows[leader]["HttpPort"], rows[leader]["ReplayedJournalId"]) == (cluster.ports[leader], 23)
    assert f"{rows[stays]['IP']}:{rows[stays]['Port']}" == addresses[stays]
    assert main(["show", "frontends", addresses[stays], *arguments]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:5] == ["Name", "IP", "Port", "HttpPort", "Role"]
    assert len(table) == 4
    assert main(["show", "frontends", addresses[gone], *arguments]) == 1
    assert "cannot reach" in capsys.readouterr().err


def test_health_ends_with_the_use_of_a_node(watch: Callable[[Config], Watched]) -> None:
    config = Config(election=Election(timeout=0.4, heartbeat=0.05), shutdown=Shutdown(notice=1.0))
    cluster = watch(config)
    leader = cluster.nodes[cluster.leader]
    assert cluster.get(cluster.leader, "/health")[0] == 200
    leader.node.stop()
    until(lambda: cluster.get(cluster.leader, "/health")[0] == 503)
    assert "it is about to end" in cluster.get(cluster.leader, "/health")[1]
    leader.node.journal.append(b"x", WAIT)  # nobody is sent here any more, and who comes all the same is served
    assert leader.ended() is Exit.STOPPED

    until(lambda: any(cluster.nodes[name].node.frontend.ready for name in cluster.others))
    (heir,) = [name for name in cluster.others if cluster.nodes[name].node.frontend.ready]
    (alone,) = {*cluster.others} - {heir}
    until(lambda: cluster.get(alone, "/health")[0] == 200)
    cluster.nodes[heir].stop()
    until(lambda: cluster.get(alone, "/health")[0] == 503)
    assert "follows no leader" in cluster.get(alone, "/health")[1]


def test_every_metric_is_documented_and_no_other(tmp_path: Path) -> None:
    running = Running(make(tmp_path)[0]).ready()
    described = [metric.described for metric in running.node._monitor.registry.metrics.values()]
    assert running.stop() is Exit.STOPPED
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in described
    ]
    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `hacoord_")]
    assert listed == rows, "\n".join(["the table in docs/monitoring.md should be", *rows])


def test_each_transition_is_one_line_with_its_fields(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    running = Running(make(tmp_path)[0]).ready()
    assert running.stop() is Exit.STOPPED
    lines = [json.loads(Json().format(record)) for record in caplog.records]
    (change,) = [line for line in lines if line.get("event") == "state_change"]
    assert change.pop("seconds") >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", change.pop("ts"))
    assert change == {
        "level": "INFO", "logger": "hacoord.monitoring.monitor",
        "event": "state_change", "node": "n1", "cluster": "c", "term": 1,
        "from": "INIT", "to": "LEADER", "epoch": 1,
    }  # fmt: skip
    events = [line["event"] for line in lines if "event" in line]
    assert {"leader", "role_change", "ready"} <= set(events)
    (end,) = [line for line in lines if line.get("event") == "exit"]
    assert (end["from"], end["code"], end["reason"]) == ("LEADER", 0, "stopped in good order")
    (record,) = [record for record in caplog.records if record.__dict__.get("event") == "state_change"]
    assert re.fullmatch(
        r"state_change node=n1 cluster=c term=1 from=INIT to=LEADER epoch=1 seconds=0\.\d{6}", record.getMessage()
    )


@pytest.mark.parametrize("where", ["hacoord.disk.storage.Storage.save", "hacoord.trace.TraceWriter.write"])
def test_an_end_for_the_disks_sake_is_a_line_too(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise (StorageError if "storage" in where else TraceFailed)("there is no room")

    running = Running(make(tmp_path)[0]).ready()
    monkeypatch.setattr(where, full)
    with pytest.raises(OutcomeUnknown):
        running.node.journal.append(b"x", WAIT)
    outcome = running.ended()
    assert isinstance(outcome, NodeFailed)
    lines = [json.loads(Json().format(record)) for record in caplog.records]
    (end,) = [line for line in lines if line.get("event") == "exit"]
    assert (end["level"], end["code"], end["reason"]) == ("ERROR", outcome.code, "there is no room")


def test_a_line_without_fields_and_one_with_odd_ones() -> None:
    def line(message: str, *args: object, **more: object) -> dict[str, object]:
        record = logging.LogRecord("x", logging.WARNING, "f", 1, message, args, None)
        record.__dict__.update(more)
        text = Json().format(record)
        assert "\n" not in text
        return dict(json.loads(text))

    plain = line("node %s\nends", "n1")
    assert (plain["level"], plain["message"]) == ("WARNING", "node n1\nends")
    assert line("", event="e", fields={"path": Path("/a b"), "n": None})["path"] == "/a b"


def test_what_takes_too_long_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = dataclasses.replace(QUICK, log=Log(slow=0.02))
    running = Running(make(tmp_path)[0], config=config)
    running.replay = lambda entry: time.sleep(0.03)
    running.ready().node.journal.append(b"x", WAIT)
    assert running.stop() is Exit.STOPPED
    assert "slow_turn node=n1 cluster=c term=1 seconds=" in caplog.text


def test_the_log_is_written_as_it_is_configured(tmp_path: Path) -> None:
    (directory,) = make(tmp_path)
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET)
    config = tmp_path / "hacoord.toml"
    config.write_text('[log]\nformat = "json"\n')
    command = [sys.executable, "-m", "hacoord.commands.cli", "serve", str(directory), "--secret-file", str(secret)]
    with subprocess.Popen([*command, "--config", str(config)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line).get("event") == "ready":
                break
        process.terminate()
        rest = [json.loads(line) for line in process.stderr]
    assert rest[-1]["event"] == "exit"
    assert process.returncode == 0


def test_watching_wakes_nobody_and_time_is_not_polled(tmp_path: Path) -> None:
    """A node with HTTP sleeps like one without, while nobody asks."""
    (directory,) = make(tmp_path)
    config = Config(election=Election(timeout=0.3, heartbeat=0.1), http=Http(("127.0.0.1", free_port())))
    running = Running(directory, config=config).ready()
    counts = running.node._monitor._turn.counts[()]
    before, began = sum(counts), time.monotonic()
    threading.Event().wait(0.5)
    assert sum(counts) - before <= (time.monotonic() - began) / 0.1 + 5
    assert running.stop() is Exit.STOPPED
