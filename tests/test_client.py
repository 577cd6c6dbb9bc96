"""A client's own evidence: what it may say of an answer, and how its incarnations are counted."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path

import pytest
from test_node import SECRET, Running, make, until
from test_recovery import where

from hacoord.client import Client, Unreachable
from hacoord.exits import Exit
from hacoord.journal import OutcomeUnknown
from hacoord.net.rights import Right


class Boasting(Running):
    """A node whose answer to the request "boast", which writes an entry, fits into no frame."""

    def prepare(self) -> None:
        journal = self.node.journal
        self.node.on_request(
            "boast", lambda _, reply: journal.submit(b"x", lambda _: reply({"text": "x" * (9 << 20)})), Right.WRITE
        )


def test_a_write_whose_answer_is_too_large_is_not_said_to_have_failed(tmp_path: Path) -> None:
    node = Boasting(make(tmp_path / "node")[0]).ready()
    trace = tmp_path / "trace"
    with (
        Client([where(node)], SECRET, cluster="c", name="c1", trace_dir=trace, timeout=2.0) as client,
        pytest.raises(OutcomeUnknown),
    ):
        client.command({"op": "boast"})
    assert len(node.entries) == 1
    node.stop()
    (path,) = trace.iterdir()
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["Invoke", "Unknown"]


def test_a_change_that_waits_when_its_leader_ends_is_known_not_to_have_been_made(tmp_path: Path) -> None:
    running = Running(make(tmp_path)[0]).ready()

    def stop() -> None:
        until(lambda: bool(running.node.membership._requests))
        running.node.stop()

    stopping = threading.Thread(target=stop)
    with Client([where(running)], SECRET, timeout=2.0) as client:
        client.change("join", "n2", address="127.0.0.1:9")
        stopping.start()
        with pytest.raises(Unreachable):  # and not OutcomeUnknown
            client.change("promote", "n2", timeout=60.0)
    stopping.join()
    assert running.ended() is Exit.STOPPED


@pytest.mark.wrong_traces  # without a node
@pytest.mark.parametrize("name", ["c1", "a[1]"])
@pytest.mark.parametrize("renamed", ["", ".gz", ".1", "-20260131.gz"])
def test_a_client_counts_its_incarnations_by_traces_that_were_rotated_too(
    name: str, renamed: str, tmp_path: Path
) -> None:
    for counter in (1, 2):
        Client([], SECRET, cluster="c", name=name, trace_dir=tmp_path).close()
        (path,) = tmp_path.glob("*.ndjson")
        assert path.name.startswith(f"{name}.{counter}-")
        text = path.read_bytes()
        if renamed:
            path.unlink()
            path.with_name(path.name + renamed).write_bytes(gzip.compress(text) if "gz" in renamed else text)
        else:
            path.rename(tmp_path / f"{path.name}.0")
