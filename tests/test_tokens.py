"""Tokens of clients: who may do what, who can't pose as whom, and the file that the nodes keep."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_node import QUICK, SECRET, Running, make
from test_transport import INC, PATIENCE, Net, net, no_descriptor_left

from hacoord.catalog.client import CatalogClient
from hacoord.catalog.service import serve
from hacoord.client import Client, RequestRefused, Unreachable
from hacoord.commands.cli import main
from hacoord.config import ConfigError, Connections
from hacoord.net.frames import FrameError, encode_json
from hacoord.net.handshake import Dialer, HandshakeRefused, Hello, Listener
from hacoord.net.requests import ClientRequest
from hacoord.net.rights import OPERATIONS, Right
from hacoord.net.tokens import Token, TokensFile, Verifier, open_tokens, read_token, verifier

__all__ = ["net"]

TOKEN = Token("reports", bytes(range(32)))
ME = Hello("c1", "cli", INC, "client")


def listener(*known: Verifier) -> Listener:
    table = {one.name: one for one in known}
    return Listener(Hello("c1", "a", INC, "node"), SECRET, lambda other: None, table.get)


def shake(dialer: Dialer, other: Listener) -> None:
    """Raises what the dialer raises; what the listener refuses reaches the dialer."""
    proof = dialer.receive(other.receive(dialer.hello))
    try:
        verdict = other.receive(proof)
    except HandshakeRefused as refused:
        verdict = refused.reply
    dialer.receive(verdict)


# --- the proof


def test_a_token_proves_its_owner_and_the_node() -> None:
    dialer, other = Dialer(ME, TOKEN), listener(verifier(TOKEN, Right.READ))
    shake(dialer, other)
    assert dialer.peer == Hello("c1", "a", INC, "node")
    assert other.peer == dataclasses.replace(ME, token="reports")
    assert other.token is not None
    assert other.token.right is Right.READ


def test_the_secret_is_still_taken_beside_tokens() -> None:
    dialer, other = Dialer(ME, SECRET), listener(verifier(TOKEN, Right.READ))
    shake(dialer, other)
    assert other.peer == ME
    assert other.token is None


@pytest.mark.parametrize("token", [Token("reports", bytes(32)), Token("others", TOKEN.key), Token("nobody", bytes(32))])
def test_another_token_is_refused_and_nothing_is_learnt(token: Token) -> None:
    dialer, other = Dialer(ME, token), listener(verifier(TOKEN, Right.ADMIN))
    challenge = other.receive(dialer.hello)
    assert set(json.loads(challenge)) == {"nonce"}
    with pytest.raises(HandshakeRefused) as caught:
        other.receive(dialer.receive(challenge))
    assert caught.value.reply == b'{"stranger":true}'
    assert (other.peer, other.token) == (None, None)
    with pytest.raises(HandshakeRefused, match=f"it accepts no such token {token.name}"):
        dialer.receive(caught.value.reply)


def test_what_the_nodes_keep_proves_nothing() -> None:
    """Someone who has read the tokens file tries each thing in it as a key, and as a token."""
    known = verifier(TOKEN, Right.ADMIN)
    for stolen in (known.hash, known.server_key):
        for attempt in (Token("reports", stolen), stolen):
            other = listener(known)
            dialer = Dialer(dataclasses.replace(ME, token="reports"), attempt)
            with pytest.raises(HandshakeRefused):
                other.receive(dialer.receive(other.receive(dialer.hello)))
            assert other.peer is None


def test_a_recorded_proof_is_worth_nothing() -> None:
    other, again = listener(verifier(TOKEN, Right.ADMIN)), listener(verifier(TOKEN, Right.ADMIN))
    dialer = Dialer(ME, TOKEN)
    proof = dialer.receive(other.receive(dialer.hello))
    other.receive(proof)
    again.receive(dialer.hello)
    with pytest.raises(HandshakeRefused):
        again.receive(proof)


def test_a_listener_that_does_not_know_the_token_is_found_out() -> None:
    dialer = Dialer(ME, TOKEN)
    dialer.receive(encode_json({"nonce": "0" * 64}))
    verdict = dataclasses.asdict(Hello("c1", "a", INC, "node"))
    with pytest.raises(HandshakeRefused, match="does not know the token"):
        dialer.receive(encode_json({"verdict": verdict, "proof": "0" * 64}))
    assert dialer.peer is None


def test_a_token_makes_no_node() -> None:
    dialer = Dialer(dataclasses.replace(ME, role="node"), TOKEN)
    with pytest.raises(FrameError):
        listener(verifier(TOKEN, Right.ADMIN)).receive(dialer.hello)


@pytest.mark.parametrize("proof", ["", "zz", "0" * 62, "0" * 66, "ä" * 64, 5, None])
def test_a_malformed_proof_is_a_strangers(proof: object) -> None:
    other = listener(verifier(TOKEN, Right.ADMIN))
    other.receive(Dialer(ME, TOKEN).hello)
    with pytest.raises(HandshakeRefused):
        other.receive(encode_json({"proof": proof}))


# --- the file


def test_tokens_are_made_listed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens, out = tmp_path / "tokens", tmp_path / "reports.token"

    def command(*words: str) -> tuple[int, str, str]:
        code = main(["token", *words, "--tokens-file", str(tokens)])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert command("new", "reports", "--right", "read", "--out", str(out))[0] == 0
    code, printed, _ = command("new", "loader", "--right", "write")
    assert code == 0
    assert (tokens.stat().st_mode & 0o777, out.stat().st_mode & 0o777) == (0o600, 0o600)
    assert command("list")[1] == "loader\twrite\nreports\tread\n"
    for name, token in (("reports", read_token(out)), ("loader", Token("loader", bytes.fromhex(printed.strip()[7:])))):
        known = TokensFile(tokens).find(name)
        assert known is not None
        assert known.recognises(token.client_key)
        assert token.key.hex() not in tokens.read_text()
    code, _, said = command("new", "reports", "--right", "admin", "--out", str(tmp_path / "x"))
    assert (code, said) == (
        2, "hacoord: there is a token reports already: remove it first, or choose another name\n"
    )  # fmt: skip
    assert not (tmp_path / "x").exists()
    assert command("new", "new", "--right", "read", "--out", str(out))[0] == 2  # nothing is overwritten
    assert command("new", "a b", "--right", "read")[0] == 2
    assert command("remove", "reports") == (0, "token reports is removed\n", "")
    assert command("list")[1] == "loader\twrite\n"
    assert "there is no token reports" in command("remove", "reports")[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reports.token", "tokens"]


@pytest.mark.parametrize(
    "line",
    [
        "reports read", "reports read 00 00", "reports king {hash} {hash}", "reports none {hash} {hash}",
        "reports read {hash} {hash} x", "ä read {hash} {hash}", "r read {hash} {hash}\nr read {hash} {hash}", "\0",
    ],
)  # fmt: skip
def test_a_malformed_tokens_file_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text(line.format(hash="ab" * 32) + "\n")
    with pytest.raises(ConfigError, match=r"tokens:\d: NAME RIGHT VERIFIER SERVER is wanted, once a name"):
        TokensFile(path)


def test_a_token_file_holds_a_token_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    for text in ("", "reports", "reports:zz", "reports:00", ":" + "00" * 32):
        path.write_text(text)
        with pytest.raises(ConfigError, match="holds no token"):
            read_token(path)
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN
    path.chmod(0o604)
    with pytest.raises(ConfigError, match="mode 0604"):
        read_token(path)
    assert TOKEN.key.hex() not in repr(TOKEN)


def test_a_change_of_the_file_is_noticed_and_a_bad_one_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    tokens = open_tokens(path)
    assert tokens.find("reports") is None
    open_tokens(path).new("reports", Right.READ)
    found = tokens.find("reports")
    assert found is not None
    assert found.right is Right.READ
    path.chmod(0o644)
    assert tokens.find("reports") is None
    assert tokens.find("reports") is None
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "no token is accepted any more" in said[0]
    path.chmod(0o600)
    assert tokens.find("reports") == found


# --- rights


@contextlib.contextmanager
def node(tmp_path: Path) -> Iterator[tuple[str, TokensFile]]:
    """A node with the catalog that accepts tokens; its address and its tokens file."""

    class WithCatalog(Running):
        def prepare(self) -> None:
            serve(self.node)
            self.node.on_request("unheard_of", lambda body, reply: reply({"done": True}))

    tokens = open_tokens(tmp_path / "tokens")
    config = dataclasses.replace(QUICK, tokens_file=tmp_path / "tokens")
    running = WithCatalog(make(tmp_path)[0], config=config).ready()
    try:
        host, port = running.node.address
        yield f"{host}:{port}", tokens
    finally:
        running.stop()


def test_a_file_that_can_be_read_again_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens"
    changing = open_tokens(path)
    changing.new("a", Right.READ)
    tokens = TokensFile(path)
    changing.new("b", Right.READ)
    with no_descriptor_left():
        assert tokens.find("a") is tokens.find("b") is None
    assert None not in (tokens.find("a"), tokens.find("b"))
    assert caplog.text.count("no token is accepted any more") == 1


def test_each_right_goes_so_far_and_no_further(tmp_path: Path) -> None:
    with node(tmp_path) as (address, tokens), contextlib.ExitStack() as stack:
        clients = {
            right: stack.enter_context(Client([address], tokens.new(str(right), right), timeout=10))
            for right in (Right.READ, Right.WRITE, Right.ADMIN)
        }
        clients[Right.WRITE].append(b"data")
        requests: dict[str, dict[str, Any]] = {
            "status": {}, "read": {"first": 1, "last": 9}, "read_point": {},
            "append": {"data": base64.b64encode(b"x").decode()}, "fault": {"unblock": True}, "unheard_of": {},
            "catalog_get": {"key": "k"}, "catalog_list": {}, "catalog_change": {"command": "{}"}, "no_such_thing": {},
            "transfer": {"to": None, "timeout": 1.0, "force": False},
        }  # fmt: skip
        requests = {operation: {} for operation in OPERATIONS} | requests  # wrong fields are refused after the right
        reads = {"status", "frontends", "read", "read_point", "catalog_get", "catalog_list"}
        writes = {"append", "catalog_change"}
        for operation, fields in requests.items():
            needed = Right.READ if operation in reads else Right.WRITE if operation in writes else Right.ADMIN
            for right, client in clients.items():
                reply = client._request(address, {"op": operation, **fields})
                assert (reply.get("error") == "forbidden") == (right < needed), (operation, right, reply)
        reader = clients[Right.READ]
        assert b"data" in [entry.data for entry in reader.linearizable_read()]
        with pytest.raises(RequestRefused, match="token read has the right read, and 'append' takes write"):
            reader.append(b"not this")
        with pytest.raises(RequestRefused, match="'catalog_change' takes write"):
            CatalogClient(reader).put("k", "v")
        with pytest.raises(RequestRefused, match="'fault' takes admin"):
            clients[Right.WRITE].fault(address, {"unblock": True})
        assert b"not this" not in [entry.data for entry in reader.linearizable_read()]
        with Client([address], SECRET) as owner:
            assert "--test-faults" in str(owner._request(address, {"op": "fault", "unblock": True})["reason"])


def test_a_removed_token_is_worth_nothing_from_the_next_request_on(tmp_path: Path) -> None:
    with node(tmp_path) as (address, tokens):
        token = tokens.new("reports", Right.WRITE)
        with Client([address], token, timeout=0.3) as client:
            client.append(b"one")
            tokens.remove("reports")
            with pytest.raises(RequestRefused, match="token reports has the right none, and 'append' takes write"):
                client.append(b"two")
            tokens.new("reports", Right.ADMIN)  # another token of the same name is not this one
            with pytest.raises(RequestRefused, match="has the right none"):
                client.append(b"three")
        with Client([address], token, timeout=0.3) as client, pytest.raises(Unreachable, match="no such token reports"):
            client.status(address)


def test_a_node_without_a_tokens_file_accepts_no_token(net: Net) -> None:
    with pytest.raises(HandshakeRefused, match="it accepts no such token reports"):
        net.client(net.add("a"), secret=TOKEN)


# --- too much of a client


def test_a_client_that_asks_too_much_at_a_time_is_told_so(net: Net) -> None:
    a = net.add("a", limits=Connections(requests=3))
    client = net.client(a)
    for _ in range(5):
        client._number += 1
        client._send(encode_json([client._number, {}]))
    net.until(lambda: len(net.got["a"]) == 3)
    answers = [json.loads(net.in_thread(lambda: client._next(10_000, time.monotonic() + PATIENCE))) for _ in range(2)]
    assert [(number, body["error"]) for number, body in answers] == [(4, "overloaded"), (5, "overloaded")]
    for request in net.got["a"]:
        assert isinstance(request, ClientRequest)
        a.reply(request, {"ok": True})
    net.turn()
    for _ in range(3):
        client._next(10_000, time.monotonic() + PATIENCE)
    net.got["a"].clear()
    client._number += 1
    client._send(encode_json([client._number, {}]))
    net.until(lambda: net.got["a"])


def test_a_client_that_floods_and_does_not_read_is_closed(net: Net) -> None:
    a = net.add("a", limits=Connections(requests=1), max_unsent=10_000)
    client = net.client(a)
    client._socket.setblocking(False)

    def flooded() -> bool:
        with contextlib.suppress(OSError):
            client._socket.send(b"\0\0\0\x06[1,{}]" * 1000)
        return not len(a._clients)

    net.until(flooded)
