"""The example of an embedding system: the catalog's state, and the catalog on a node, judged by a client's trace."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from test_node import QUICK, SECRET, Running, make

from hacoord.catalog import machine, service
from hacoord.catalog.client import CatalogClient
from hacoord.catalog.machine import BadCommand, Catalog, Command, Item, Outcome
from hacoord.client import Client, RequestRefused
from hacoord.commands.cli import main
from hacoord.config import Config, Trace
from trace_check import Verdict, replay

KEYS = st.sampled_from(["a", "ab", "b"])
VALUES = st.sampled_from(["", "one", "two"])
EXPECTED = st.none() | st.integers(0, 12)
COMMANDS = st.one_of(
    st.builds(Command, st.sampled_from(["put", "create", "alter"]), KEYS, VALUES, EXPECTED),
    st.builds(Command, st.just("drop"), KEYS, st.none(), EXPECTED),
)


def contents(catalog: Catalog) -> list[tuple[str, Item]]:
    return list(catalog.list("", ""))


@given(st.lists(COMMANDS, max_size=12))
def test_a_catalog_is_what_its_commands_say(commands: list[Command]) -> None:
    """Each command either does what its verb promises or says why not and changes nothing; an image keeps it all."""
    catalog = Catalog()
    for index, command in enumerate(commands, start=1):
        before, whole = catalog.get(command.key), contents(catalog)
        there = before.value is not None
        outcome = catalog.apply(index, command.encode())
        if outcome is Outcome.DONE:
            assert command.verb != "create" or not there
            assert command.verb not in ("alter", "drop") or there
            assert command.expected in (None, before.version if there else 0)
            assert catalog.get(command.key) == Item(command.value, index)
        else:
            assert contents(catalog) == whole
            assert catalog.get(command.key) == before
            assert (outcome is Outcome.EXISTS) == (command.verb == "create" and there)
            assert (outcome is Outcome.MISSING) == (command.verb in ("alter", "drop") and not there)
        again = Catalog()
        again.restore(catalog.image())
        assert again.image() == catalog.image()
        assert contents(again) == contents(catalog)
        assert again.get(command.key) == catalog.get(command.key)


@given(st.binary() | st.builds(lambda v: json.dumps(v).encode(), st.recursive(st.none() | st.text(), st.lists)))
def test_what_is_no_command_changes_nothing(data: bytes) -> None:
    catalog = Catalog()
    assert catalog.apply(1, data) is None
    assert not len(catalog)


def test_what_a_command_does_is_the_same_however_deep_the_stack_is() -> None:
    """An entry that anybody may append: a command, and beside it what only a shallow stack can read."""

    def apply(deeper: int, data: bytes) -> Outcome | None:
        return apply(deeper - 1, data) if deeper else Catalog().apply(1, data)

    command = Command("put", "k", "v").encode()
    assert apply(0, command) == apply(100, command) == Outcome.DONE
    for nested in range(0, sys.getrecursionlimit(), 50):
        data = b'{"x":[%s%s],%s' % (b"[" * nested, b"]" * nested, command[1:])
        assert apply(0, data) == apply(100, data)


@pytest.mark.parametrize(
    ("verb", "key", "value", "says"),
    [
        ("grow", "k", "v", "unknown verb"),
        ("put", "", "v", "1 to"),
        ("put", "k", None, "a value"),
        ("drop", "k", "v", "no"),
        ("put", "k\udcff", "v", "UTF-8"),
        ("put", "k", "\udcff", "UTF-8"),
    ],
)
def test_what_cannot_be_a_command_is_refused(verb: str, key: str, value: str | None, says: str) -> None:
    with pytest.raises(BadCommand, match=says):
        Command(verb, key, value)


def test_a_drop_that_is_forgotten_is_not_passed_off_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "TOMBSTONES", 1)
    catalog = Catalog()
    for index, command in enumerate(
        [Command(v, k, x) for k in "ab" for v, x in (("put", "x"), ("drop", None))], start=1
    ):
        catalog.apply(index, command.encode())
    assert catalog.get("b") == Item(None, 4)
    assert catalog.get("a") == catalog.get("never") == Item(None, None)


class Cataloguing(Running):
    """A node that keeps a catalog."""

    def prepare(self) -> None:
        service.serve(self.node)


def test_the_catalog_on_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every verb through the client and on the command line, pages, a restart; and the clients' trace is kept to."""
    monkeypatch.setattr(service, "PAGE", 2)
    (directory,) = make(tmp_path)
    config = Config(election=QUICK.election, state_change=QUICK.state_change, trace=Trace(dir=tmp_path / "trace"))
    running = Cataloguing(directory, config=config).ready()
    host, port = running.node.address
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--node", f"{host}:{port}", "--secret-file", str(secret)])
        return code, *capsys.readouterr()

    with Client([f"{host}:{port}"], SECRET, cluster="c", trace_dir=tmp_path / "trace") as client:
        catalog = CatalogClient(client)
        first = catalog.create("t1", "id int")
        assert first.outcome is Outcome.DONE
        assert catalog.create("t1", "other").outcome is Outcome.EXISTS
        assert catalog.get("t1") == catalog.get_local(f"{host}:{port}", "t1") == Item("id int", first.index)
        assert catalog.alter("t1", "id bigint", expected=first.index + 1).outcome is Outcome.CONFLICT
        second = catalog.alter("t1", "id bigint", expected=first.index)
        assert catalog.get("t1") == Item("id bigint", second.index)
        for key in ("t2", "t3", "u1"):
            catalog.put(key, key.upper())
        assert [key for key, _ in catalog.list()] == ["t1", "t2", "t3", "u1"]
        assert [key for key, _ in catalog.list("t")] == ["t1", "t2", "t3"]
        dropped = catalog.drop("t3")
        assert catalog.get("t3") == Item(None, dropped.index)
        client.append(b"not for the catalog")
        # Half a surrogate pair: no node could send it to whoever asks for it.
        client.append(rb'{"catalog":{"verb":"put","key":"t0","value":"\udcff"}}')
        assert command("put", "t0", "\udcff")[0] == 2
        assert catalog.get("t0") == Item(None, 0)

        assert command("get", "t1") == (0, "id bigint\n", "")
        assert command("put", "t4", "x")[0] == 0
        code, out, err = command("create", "t4", "y")
        assert (code, out) == (4, "")
        assert "is in the catalog already" in err
        assert command("drop", "t4", "--expected", "1")[0] == 4
        assert command("get", "t3")[0] == 4
        assert command("list", "u")[1].split() == ["u1", str(dropped.index - 1), "U1"]
        running.stop()
        running = Cataloguing(directory, config=config).ready()
        assert catalog.get("t1").value == "id bigint"
    running.stop()
    result = replay(tmp_path / "trace")
    assert result.verdict is Verdict.HOLDS, (result.violation, result.missing)


def test_a_node_without_a_catalog_says_so(tmp_path: Path) -> None:
    running = Running(make(tmp_path)[0]).ready()
    host, port = running.node.address
    with Client([f"{host}:{port}"], SECRET) as client, pytest.raises(RequestRefused, match="started for it"):
        CatalogClient(client).put("k", "v")
    running.stop()
