"""Frames, the handshake, connections. On real loopback sockets; nothing sleeps: `poll` is driven until it is so."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import random
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from certs import certificates
from hypothesis import given, settings
from hypothesis import strategies as st

import hacoord.net.connection
import hacoord.net.handshake
import hacoord.net.transport
from hacoord.config import Connections
from hacoord.net.connect import ClientConnection, ConnectionFailed, RequestUnanswered
from hacoord.net.frames import (
    MAX_FRAME,
    FrameError,
    FrameReader,
    TransportError,
    decode_json,
    decode_message,
    encode_json,
    encode_message,
    frame,
    since,
)
from hacoord.net.handshake import STRANGER, Dialer, HandshakeRefused, Hello, Listener
from hacoord.net.requests import ClientRequest
from hacoord.net.transport import Transport
from hacoord.raft.messages import (
    Appended,
    AppendEntries,
    Base,
    Entry,
    Image,
    InstallSnapshot,
    Kind,
    Message,
    Received,
    Ref,
    Removed,
    RequestVote,
    TimeoutNow,
    Vote,
)

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

SECRET = b"a secret of the cluster"
INC = "1-00000001"
PATIENCE = 20.0  # seconds until a condition that never comes true fails a test


# --- the codec

names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64)
counts = st.integers(0, 2**63 - 1)
refs = st.builds(Ref, names, st.from_regex(r"[0-9]{1,18}-[0-9a-f]{8}", fullmatch=True), counts)
texts = st.text(st.characters(codec="utf-8"), max_size=40).map(str.encode)
images = st.builds(
    Image,
    st.builds(
        Base, counts, counts, st.binary(min_size=8, max_size=8), counts, texts, counts
    ),
    counts,
    st.binary(min_size=16, max_size=16),
)
maybe_refs = st.none() | refs


@st.composite
def append_entries(draw: st.DrawFn) -> AppendEntries:
    prev = draw(st.integers(0, 2**62))
    tail = draw(
        st.lists(st.tuples(counts, st.sampled_from(Kind), st.binary(max_size=50), st.binary(min_size=8, max_size=8)))
    )
    entries = tuple(Entry(prev + i, *parts) for i, parts in enumerate(tail, start=1))
    return AppendEntries(
        draw(names), draw(names), draw(refs), draw(counts), prev, draw(counts), entries, draw(counts),
        draw(maybe_refs), draw(maybe_refs),
    )  # fmt: skip


messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(RequestVote, names, names, refs, counts, counts, counts, st.booleans(), maybe_refs, st.booleans()),
    st.builds(TimeoutNow, names, names, refs, counts),
    st.builds(
        InstallSnapshot, names, names, refs, counts, images, refs, counts, st.booleans(), st.binary(max_size=200)
    ),
    st.builds(Received, names, names, refs, counts, st.binary(min_size=16, max_size=16), counts),
    st.builds(Removed, names, names, refs, counts, counts, counts),
    st.builds(Vote, names, names, refs, counts, st.booleans(), st.booleans(), maybe_refs),
    st.builds(Appended, names, names, refs, counts, st.booleans(), counts, maybe_refs, maybe_refs, maybe_refs),
    append_entries(),
)


@given(messages)
def test_a_message_survives_the_wire(message: Message) -> None:
    decoded = decode_message(encode_message(message))
    assert decoded == message
    assert type(decoded) is type(message)


@given(messages, st.data())
def test_damaged_bytes_are_a_frame_error_or_another_message(message: Message, data: st.DataObject) -> None:
    body = encode_message(message)
    at = data.draw(st.integers(0, len(body)))
    damaged = data.draw(
        st.sampled_from([body[:at], body[at:], body[:at] + b"\0" + body[at:], body[:at] + body[at + 1 :], body + body])
        | st.builds(lambda x: body[:at] + x + body[at + len(x) :], st.binary(min_size=1, max_size=4))
    )
    try:
        decoded = decode_message(damaged)
    except FrameError:
        return
    # What is taken is a message in full: it has one encoding, of the same kind and meaning.
    assert decode_message(encode_message(decoded)) == decoded


@given(st.binary(max_size=200))
def test_random_bytes_are_a_frame_error(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode_message(body)


def raw(tag: int, header: object, rest: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack(">BI", tag, len(text)) + text + rest


REF = ["a", INC, 1]
GOOD = ["a", "b", REF, 1, True, False, None]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, ""), (0, 1), (0, "ä"), (0, "a\n"), (0, "x" * 65), (1, None),
        (2, None), (2, ["a", INC]), (2, ["a", INC, -1]), (2, ["a", "1", 1]), (2, ["a", "x-00000001", 1]), (2, "a"),
        (3, -1), (3, 2**63), (3, 1.0), (3, True), (3, "1"), (3, None), (4, 1), (4, None), (5, 0), (6, []), (6, 0),
    ],
)  # fmt: skip
def test_each_field_is_checked(place: int, value: object) -> None:
    assert isinstance(decode_message(raw(2, GOOD)), Vote)
    with pytest.raises(FrameError):
        decode_message(raw(2, [*GOOD[:place], value, *GOOD[place + 1 :]]))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\2", raw(0, GOOD), raw(9, GOOD), raw(2, GOOD[:-1]), raw(2, [*GOOD, 1]), raw(2, {}), raw(2, GOOD, b"x"),
        struct.pack(">BI", 2, 2**32 - 1), struct.pack(">BI", 2, 100_000) + b"[" * 100_000,
        raw(3, ["a", "b", REF, 1, 0, 0, 0, None, None, 2**40]), raw(3, ["a", "b", REF, 1, 0, 0, 0, None, None, 1]),
        raw(3, ["a", "b", REF, 1, 0, 0, 0, None, None, 1], struct.pack(">QBI8s", 1, 7, 0, b"")),
        raw(3, ["a", "b", REF, 1, 0, 0, 0, None, None, 1], struct.pack(">QBI8s", 1, 1, 5, b"") + b"1234"),
        raw(3, ["a", "b", REF, 1, 0, 0, 0, None, None, 1], struct.pack(">QBI8s", 2**63, 1, 0, b"")),
        raw(3, ["a", "b", REF, 1, 2**63 - 1, 0, 0, None, None, 1], struct.pack(">QBI8s", 1, 1, 0, b"")),
    ],
)  # fmt: skip
def test_malformed_messages_are_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode_message(body)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[" * 100_000, b'"\\ud800"', b"1" * 10_000])
def test_json_that_is_none(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode_json(body)


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 40))
def test_a_stream_is_cut_into_the_same_bodies(bodies: list[bytes], size: int) -> None:
    stream, reader, got = b"".join(map(frame, bodies)), FrameReader(), []
    for at in range(0, len(stream), size):
        reader.feed(stream[at : at + size])
        while (body := reader.next(100)) is not None:
            got.append(body)
    assert got == bodies


def test_a_frame_is_refused_for_the_length_it_announces() -> None:
    reader = FrameReader()
    reader.feed(b"\0\0\0\x65")
    with pytest.raises(FrameError, match="101 bytes where at most 100"):
        reader.next(100)


# --- the handshake, without sockets


def hello(**changes: Any) -> Hello:
    return dataclasses.replace(Hello("c1", "b", INC, "node", "a"), **changes)


def listener(secret: bytes = SECRET) -> Listener:
    me = Hello("c1", "a", INC, "node")
    return Listener(me, secret, lambda other: None if other.name in ("b", "cli") else "who is that")


def shake(dialer: Dialer, other: Listener) -> None:
    """Raises what the dialer raises; what the listener refuses reaches the dialer."""
    challenge = other.receive(dialer.hello)
    proof = dialer.receive(challenge)
    try:
        verdict = other.receive(proof)
    except HandshakeRefused as refused:
        verdict = refused.reply
        assert other.peer is None
    dialer.receive(verdict)


def test_both_ends_learn_who_the_other_is() -> None:
    dialer, other = Dialer(hello(), SECRET), listener()
    shake(dialer, other)
    assert other.peer == hello()
    assert dialer.peer == Hello("c1", "a", INC, "node")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster": "c2"}, "node a is of cluster c1, not of c2"),
        ({"cluster": None}, "node a is of cluster c1, not of None"),
        ({"protocol": 9, "oldest": 7}, "b speaks protocol version 7 to 9, this end 1 to 2: upgrade"),
        ({"name": "a"}, "two nodes have one name"),
        ({"name": "z"}, "who is that"),
        ({"to": "c"}, "this is node a, not c"),
    ],
)
def test_who_knows_the_secret_is_told_why_it_is_refused(changes: dict[str, object], reason: str) -> None:
    dialer = Dialer(hello(**changes), SECRET)
    with pytest.raises(HandshakeRefused, match=reason):
        shake(dialer, listener())
    assert dialer.peer is None


@pytest.mark.parametrize("changes", [{}, {"cluster": "c2"}, {"protocol": 9, "oldest": 9}, {"name": "a"}, {"name": "z"}])
def test_who_does_not_know_it_learns_nothing(changes: dict[str, object]) -> None:
    dialer, other = Dialer(hello(**changes), b"a guess"), listener()
    challenge = other.receive(dialer.hello)
    assert set(json.loads(challenge)) == {"nonce"}
    with pytest.raises(HandshakeRefused) as caught:
        other.receive(dialer.receive(challenge))
    assert caught.value.reply == b'{"stranger":true}'
    with pytest.raises(HandshakeRefused, match=STRANGER):
        dialer.receive(caught.value.reply)


@pytest.mark.parametrize(
    ("mine", "theirs", "spoken"),
    [((1, 1), (1, 2), 1), ((1, 2), (1, 2), 2), ((2, 3), (1, 2), 2), ((2, 3), (1, 1), 0), ((1, 9), (1, 2), 2)],
)
def test_two_ends_speak_the_newest_version_that_both_know(
    mine: tuple[int, int], theirs: tuple[int, int], spoken: int
) -> None:
    me, other = (hello(oldest=oldest, protocol=newest) for oldest, newest in (mine, theirs))
    assert me.spoken(other) == other.spoken(me) == spoken


@given(messages)
def test_an_older_version_leaves_out_what_it_does_not_know(message: Message) -> None:
    if since(message) == 1:
        decoded = decode_message(encode_message(message, 1), 1)
        assert decoded == (dataclasses.replace(message, heir=False) if isinstance(message, RequestVote) else message)
    else:
        with pytest.raises(FrameError, match="version 1"):
            decode_message(encode_message(message), 1)


def test_a_client_may_take_any_cluster_a_node_may_not() -> None:
    dialer, other = Dialer(Hello(None, "cli", INC, "client"), SECRET), listener()
    shake(dialer, other)
    assert dialer.peer is not None
    assert dialer.peer.cluster == "c1"


def test_a_listener_without_the_secret_is_found_out() -> None:
    dialer = Dialer(hello(), SECRET)
    dialer.receive(listener(b"other").receive(Dialer(hello(), b"other").hello))
    verdict = {**dataclasses.asdict(Hello("c1", "a", INC, "node"))}
    with pytest.raises(HandshakeRefused, match="does not know the secret"):
        dialer.receive(encode_json({"verdict": verdict, "proof": "0" * 64}))
    assert dialer.peer is None


@pytest.mark.parametrize(
    ("me", "reason"),
    [
        (Hello("c2", "a", INC, "node"), "of cluster c2, not of c1"),
        (Hello("c1", "x", INC, "node"), "node x listens at the address of a"),
        (Hello("c1", "a", INC, "client"), "is no node"),
        (Hello("c1", "a", INC, "node", None, 7, None, 7), "protocol version 7"),
    ],
)
def test_the_dialer_judges_the_listener_too(me: Hello, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = listener()
    other.me = me
    monkeypatch.setattr(other, "_refusal", lambda _: None)
    with pytest.raises(HandshakeRefused, match=reason):
        shake(Dialer(hello(), SECRET), other)


def test_a_reflected_proof_is_worth_nothing() -> None:
    """Someone without the secret has the victim prove itself, in either role, and hands that back to the victim."""
    victim_listens, victim_dials = listener(), Dialer(Hello("c1", "a", INC, "node", "b"), SECRET)
    challenge = victim_listens.receive(victim_dials.hello)
    with pytest.raises(HandshakeRefused, match="two nodes have one name"):  # a true proof, but of the victim's own name
        victim_listens.receive(victim_dials.receive(challenge))
    # A hello of somebody else's, with the proof the victim gave for its own.
    victim_listens, victim_dials = listener(), Dialer(Hello("c1", "a", INC, "node", "b"), SECRET)
    proof = victim_dials.receive(victim_listens.receive(Dialer(hello(), b"").hello))
    with pytest.raises(HandshakeRefused, match=STRANGER):
        victim_listens.receive(proof)
    # The dialer's own proof, given back to it as the listener's.
    victim_dials = Dialer(hello(), SECRET)
    proof = victim_dials.receive(encode_json({"nonce": "0" * 64}))
    verdict = dataclasses.asdict(Hello("c1", "a", INC, "node"))
    with pytest.raises(HandshakeRefused, match="does not know the secret"):
        victim_dials.receive(encode_json({"verdict": verdict, **json.loads(proof)}))


def test_a_proof_is_bound_to_its_role_and_to_each_part() -> None:
    dialers = hacoord.net.handshake._proof(SECRET, "dialer", b"a", b"bc")
    assert dialers == hacoord.net.handshake._proof(SECRET, "dialer", b"a", b"bc")
    assert dialers != hacoord.net.handshake._proof(SECRET, "listener", b"a", b"bc")
    assert dialers != hacoord.net.handshake._proof(SECRET, "dialer", b"ab", b"c")


@given(st.binary(max_size=100), st.integers(0, 1))
def test_garbage_in_a_handshake_is_a_frame_error(body: bytes, turn: int) -> None:
    for end in (listener(), Dialer(hello(), SECRET)):
        if turn:
            end.receive(hello_bytes() if isinstance(end, Listener) else encode_json({"nonce": "0" * 64}))
        with pytest.raises(FrameError):
            end.receive(body)


def hello_bytes() -> bytes:
    return Dialer(hello(), SECRET).hello


@pytest.mark.parametrize(
    "change",
    [{"name": 1}, {"name": "x" * 65}, {"inc": "1"}, {"role": "king"}, {"cluster": 5}, {"to": 5}, {"protocol": "1"},
     {"protocol": True}, {"nonce": "short"}, {"nonce": 5}],
)  # fmt: skip
def test_each_field_of_a_hello_is_checked(change: dict[str, object]) -> None:
    with pytest.raises(FrameError):
        listener().receive(encode_json({**json.loads(hello_bytes()), **change}))


# --- on sockets


class Net:
    """Some transports, driven together; closed at the end of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.all: list[Transport] = []
        self.got: dict[str, list[Message | ClientRequest]] = {}
        self.now = 0.0  # added to the clock
        self.stack = ExitStack()

    def add(self, name: str, **changes: Any) -> Transport:
        options: dict[str, Any] = {
            "secret": SECRET, "listen": ("127.0.0.1", 0), "peers": {}, "clock": lambda: time.monotonic() + self.now,
            "rng": random.Random(1), **changes,
        }  # fmt: skip
        me = Hello(options.pop("cluster", "c1"), name, options.pop("inc", INC), "node")
        me = dataclasses.replace(me, protocol=options.pop("protocol", me.protocol))
        transport = Transport(me=me, **options)
        self.stack.callback(transport.close)
        transport.listen()
        self.all.append(transport)
        self.got.setdefault(name, [])
        return transport

    def pair(self, **changes: Any) -> tuple[Transport, Transport]:
        a, b = self.add("a"), self.add("b", **changes)
        a.set_address("b", b.address)
        b.set_address("a", a.address)
        return a, b

    def turn(self) -> None:
        for transport in list(self.all):
            self.got[transport.me.name] += transport.poll(0.001)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            self.turn()

    def dial(self, transport: Transport) -> socket.socket:
        """A raw connection to the transport's port."""
        return self.stack.enter_context(socket.create_connection(transport.address, PATIENCE))

    def read_until_closed(self, sock: socket.socket) -> bytes:
        sock.setblocking(False)
        data = bytearray()

        def closed() -> bool:
            try:
                while chunk := sock.recv(65536):
                    data.extend(chunk)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                pass
            return True

        self.until(closed)
        return bytes(data)

    def in_thread(self, work: Callable[[], object]) -> Any:
        """Run something that blocks while the transports are driven; what it returns or raises."""
        outcome: list[object] = []

        def run() -> None:
            try:
                outcome.append(work())
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        self.until(lambda: outcome)
        thread.join()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def client(self, transport: Transport, **changes: Any) -> ClientConnection:
        options: dict[str, Any] = {"cluster": "c1", "secret": SECRET, "name": "cli", "inc": INC, "timeout": PATIENCE}
        connection = self.in_thread(lambda: ClientConnection(transport.address, **{**options, **changes}))
        assert isinstance(connection, ClientConnection)
        self.stack.callback(connection.close)
        return connection


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    net = Net(monkeypatch)
    with net.stack:
        yield net
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before, "a descriptor was left open"


def vote(src: str = "a", dst: str = "b", term: int = 1, inc: str = INC) -> Vote:
    return Vote(src, dst, Ref(src, inc, 1), term, True, False, None)


def test_messages_arrive_in_order_both_ways(net: Net) -> None:
    a, b = net.pair()
    net.until(lambda: a.connected == {"b"} and b.connected == {"a"})
    there = [vote(term=t) for t in range(1000)]
    back = [vote("b", "a", t) for t in range(1000)]
    for m, n in zip(there, back, strict=True):
        a.send(m)
        b.send(n)
    net.until(lambda: len(net.got["a"]) == len(net.got["b"]) == 1000)
    assert net.got == {"a": back, "b": there}
    assert a.dropped == b.dropped == 0


def test_a_turns_messages_to_a_peer_are_one_send(net: Net) -> None:
    a, b = net.pair()
    net.until(lambda: a.connected and b.connected)
    sends = []

    class Spy:
        def send(self, data: bytes) -> int:
            sends.append(len(data))
            return real.send(data)

    connection = a._dials["b"].open
    assert connection is not None
    real, connection._sock = connection._sock, Spy()  # type: ignore[assignment]
    for term in range(50):
        a.send(vote(term=term))
    a.flush()
    a.flush()
    connection._sock = real
    assert len(sends) == 1
    net.until(lambda: len(net.got["b"]) == 50)


def test_a_large_message_arrives(net: Net) -> None:
    a, b = net.pair()
    net.until(lambda: a.connected and b.connected)
    entries = tuple(Entry(i, 1, Kind.WRITE, os.urandom(1_000_000), bytes(8)) for i in range(1, 8))
    message = AppendEntries("a", "b", Ref("a", INC, 1), 1, 0, 0, entries, 0, None)
    a.send(message)
    a.send(vote())
    net.until(lambda: len(net.got["b"]) == 2)
    assert net.got["b"] == [message, vote()]


def test_a_message_that_could_never_arrive_is_a_mistake(net: Net) -> None:
    a = net.add("a", max_frame=1000)
    b = net.add("b", peers={"a": a.address})
    a.set_address("b", b.address)
    net.until(lambda: a.connected)
    entry = Entry(1, 1, Kind.WRITE, bytes(1000), bytes(8))
    with pytest.raises(ValueError, match="split it"):
        a.send(AppendEntries("a", "b", Ref("a", INC, 1), 1, 0, 0, (entry,), 0, None))


def test_what_an_older_peer_can_t_be_told_is_said_in_the_log(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    a, b = net.pair(protocol=1)
    net.until(lambda: "b" in a.connected)
    for _ in range(2):
        a.send(TimeoutNow("a", "b", Ref("a", INC, 1), 1))
    assert a.dropped == 2
    said = f"(TimeoutNow) was not sent to node b (127.0.0.1:{b.address[1]}): it speaks version 1 of the protocol"
    assert caplog.text.count(said) == 1


def test_messages_to_nobody_are_dropped(net: Net) -> None:
    a = net.add("a", peers={"b": ("127.0.0.1", 1)})
    a.send(vote())
    a.send(vote(dst="stranger"))
    net.turn()
    assert a.dropped == 2


def test_a_peer_that_comes_back_is_reached_again(net: Net) -> None:
    a, b = net.pair()
    net.until(lambda: a.connected and b.connected)
    where = b.address
    net.all.remove(b)
    b.close()
    net.until(lambda: not a.connected)
    again = net.add("b", listen=where, peers={"a": a.address}, inc="2-00000002")
    net.until(lambda: a.connected and again.connected)
    a.send(vote())
    again.send(vote("b", "a", inc="2-00000002"))
    net.until(lambda: net.got["a"] and net.got["b"])


def test_a_newer_connection_of_a_peer_replaces_the_older(net: Net) -> None:
    """Incident 16. The older process hangs, and holds its connections open."""
    a, b = net.pair()
    net.until(lambda: a.connected and b.connected)
    net.all.remove(b)
    newer = net.add("b", peers={"a": a.address}, inc="2-00000002")
    a._dials["b"].address = newer.address
    net.until(lambda: newer.connected and a.connected and a._inbound["b"].peer.inc == "2-00000002")  # type: ignore[union-attr]
    dialled = a._dials["b"]
    net.until(lambda: dialled.open is not None and dialled.open.peer is not None and dialled.open.peer.inc[0] == "2")
    newer.send(vote("b", "a", inc="2-00000002"))
    a.send(vote())
    net.until(lambda: net.got["a"] and net.got["b"])


def test_the_older_connection_is_closed(net: Net) -> None:
    a = net.add("a", peers={"b": ("127.0.0.1", 1)})
    older = authenticated(net, a)
    newer = authenticated(net, a)
    assert net.read_until_closed(older) == b""
    newer.sendall(frame(encode_message(vote("b", "a"))))
    net.until(lambda: net.got["a"])


def test_blocked_peers_are_cut_off_in_both_directions(net: Net) -> None:
    a, b = net.pair()
    net.until(lambda: a.connected and b.connected)
    a.blocked.add("b")
    a.send(vote())
    b.send(vote("b", "a", 5))
    net.until(lambda: a.dropped == 2)
    a.blocked.clear()
    a.send(vote(term=2))
    b.send(vote("b", "a", 6))
    net.until(lambda: net.got["a"] and net.got["b"])
    assert net.got == {"a": [vote("b", "a", 6)], "b": [vote(term=2)]}


def test_a_peer_that_does_not_read_costs_bounded_memory_and_is_given_up(net: Net) -> None:
    a, b = net.pair()
    net.until(lambda: a.connected and b.connected)
    net.all.remove(b)  # it hangs
    a._max_unsent = 100_000
    entry = Entry(1, 1, Kind.WRITE, bytes(50_000), bytes(8))
    big = AppendEntries("a", "b", Ref("a", INC, 1), 1, 0, 0, (entry,), 0, None)
    connection = a._dials["b"].open
    assert connection is not None
    while not a.dropped:
        a.send(big)
        a.flush()
        assert len(connection.unsent) <= 100_000
    net.now += hacoord.net.connection.STALL_TIME - 1
    net.turn()
    assert a.connected
    a.send(vote())  # more to send is no progress
    a.flush()
    net.now += 2
    net.turn()
    assert not a.connected


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can be asked for it")
def test_a_network_that_loses_everything_for_long_is_found_to_be_back_by_a_new_connection(net: Net) -> None:
    """TCP itself would wait as long again as the network was away, up to two minutes, before it tries once more."""
    a, b = net.pair()
    net.until(lambda: a.connected and b.connected)
    dialled = a._dials["b"].open
    assert dialled is not None
    longest = dialled._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert longest == 1000 * hacoord.net.connection.STALL_TIME


def test_poll_waits_no_longer_than_told_and_wake_ends_it(net: Net) -> None:
    a = net.add("a")
    a.wake()
    assert a.poll(PATIENCE) == []
    assert a.poll(0.0) == []
    woken = []
    thread = threading.Thread(target=lambda: woken.append(a.poll(PATIENCE)))
    began = time.monotonic()
    thread.start()
    for _ in range(100_000):  # more than the socket holds
        a.wake()
        if woken:
            break
    thread.join()
    assert time.monotonic() - began < PATIENCE / 2
    a.close()
    a.wake()


def test_next_deadline_is_when_to_dial_again(net: Net) -> None:
    assert net.add("a").next_deadline() is None
    b = net.add("b", peers={"a": ("127.0.0.1", 1)}, clock=lambda: net.now)
    pauses = []
    for _ in range(12):
        while (deadline := b.next_deadline()) is None or b._dials["a"].connection is not None or deadline <= net.now:
            b.poll(0.01)
        pauses.append(deadline - net.now)
        net.now = deadline
    assert pauses[0] <= hacoord.net.connection.RETRY_MIN
    assert all(0.5 <= pause <= hacoord.net.connection.RETRY_MAX for pause in pauses[6:])
    assert len(set(pauses)) == 12  # jittered


# --- listening


def test_a_port_in_use_is_a_clear_error(net: Net) -> None:
    a = net.add("a")
    with pytest.raises(TransportError, match=rf"port {a.address[1]} on 127\.0\.0\.1 is in use"):
        net.add("b", listen=a.address)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_kept_out_without_tls(net: Net, host: str) -> None:
    with pytest.raises(TransportError, match=r"not encrypted: listen on 127\.0\.0\.1; .*TLS instead \(tls\.cert"):
        net.add("a", listen=(host, 0))


def test_listening_everywhere_with_tls(net: Net, tmp_path: Path) -> None:
    assert net.add("a", listen=("0.0.0.0", 0), certificates=certificates(tmp_path, "a")).address[0] == "0.0.0.0"


def test_an_address_that_is_not_ours_is_a_clear_error(net: Net, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="correct the address"):
        net.add("a", listen=("192.0.2.1", 0), certificates=certificates(tmp_path, "a"))


def test_an_empty_secret_is_refused(net: Net) -> None:
    with pytest.raises(ValueError, match="empty"):
        net.add("a", secret=b"")


# --- clients


def test_a_client_asks_and_is_answered(net: Net) -> None:
    a = net.add("a")
    client = net.client(a)
    assert (client.peer.name, client.peer.cluster) == ("a", "c1")

    def serve() -> None:
        for request in a.poll(0.001):
            assert isinstance(request, ClientRequest)
            assert (request.client, request.inc) == ("cli", INC)
            a.reply(request, {"you said": request.body})

    net.monkeypatch.setattr(net, "turn", serve)
    for text in ("one", "zwei", "三", "\n\0"):
        assert net.in_thread(partial(client.request, {"say": text})) == {"you said": {"say": text}}


def test_answers_find_their_client_whatever_the_order(net: Net) -> None:
    a = net.add("a")
    first, second = net.client(a, name="one"), net.client(a, name="two")
    answers: dict[str, dict[str, object]] = {}
    threads = [
        threading.Thread(target=lambda c=c, n=n: answers.update({n: c.request({})}))
        for n, c in (("one", first), ("two", second))
    ]
    for thread in threads:
        thread.start()
    net.until(lambda: len(net.got["a"]) == 2)
    for request in reversed(net.got["a"]):
        assert isinstance(request, ClientRequest)
        a.reply(request, {"to": request.client})
    net.until(lambda: len(answers) == 2)
    for thread in threads:
        thread.join()
    assert answers == {"one": {"to": "one"}, "two": {"to": "two"}}


def test_a_client_that_has_gone_is_no_error(net: Net) -> None:
    a = net.add("a")
    client = net.client(a)
    with pytest.raises(RequestUnanswered, match="timed out"):
        client.request({"x": 1}, 0.01)
    net.until(lambda: net.got["a"])
    net.until(lambda: not a._clients)
    request = net.got["a"][0]
    assert isinstance(request, ClientRequest)
    a.reply(request, {"late": True})
    net.turn()
    with pytest.raises(ConnectionFailed, match="connect again"):
        client.request({"x": 2})


def test_a_node_that_hung_up_is_noticed_before_anything_is_sent(net: Net) -> None:
    a = net.add("a")
    client = net.client(a)
    net.all.remove(a)
    a.close()
    with pytest.raises(ConnectionFailed, match="is closed"):
        client.request({})


def test_a_node_that_dies_over_a_request_leaves_it_unanswered(net: Net) -> None:
    a = net.add("a")
    client = net.client(a)

    def die() -> None:
        if a.poll(0.001):
            a.close()
            net.all.clear()
            net.monkeypatch.undo()

    net.monkeypatch.setattr(net, "turn", die)
    with pytest.raises(RequestUnanswered):
        net.in_thread(lambda: client.request({}))


def test_a_request_sent_as_the_node_ends_is_known_not_to_have_been_read(net: Net) -> None:
    """One was read and not answered: its outcome is unknown. The other, just sent, was not: it may be sent again."""
    a = net.add("a")
    read, unread = net.client(a, name="one"), net.client(a, name="two")
    sent = threading.Event()
    send = unread._send

    def and_say_so(body: bytes) -> None:
        send(body)
        sent.set()

    net.monkeypatch.setattr(unread, "_send", and_say_so)
    errors: dict[str, Exception] = {}

    def ask(name: str, client: ClientConnection) -> None:
        try:
            client.request({})
        except (ConnectionFailed, RequestUnanswered) as error:
            errors[name] = error

    threads = [threading.Thread(target=ask, args=each) for each in (("read", read), ("unread", unread))]
    threads[0].start()
    net.until(lambda: net.got["a"])
    threads[1].start()
    assert sent.wait(PATIENCE)
    a.farewell()
    a.close()
    net.all.clear()
    for thread in threads:
        thread.join(PATIENCE)
    assert {name: type(error) for name, error in errors.items()} == {
        "read": RequestUnanswered, "unread": ConnectionFailed,
    }  # fmt: skip
    assert "has ended and had not answered yet" in str(errors["read"])


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process can open no further file meanwhile."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_node_without_descriptors_left_says_farewell_all_the_same(net: Net) -> None:
    a = net.add("a")
    client = net.client(a)
    with no_descriptor_left():
        a.farewell()
    with pytest.raises(ConnectionFailed):
        client.request({})


def test_a_client_in_a_program_with_many_open_files(net: Net) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(2048, limits[0]), limits[1]))
    net.stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
    a = net.add("a")
    client = net.client(a)
    high = fcntl.fcntl(client._socket, fcntl.F_DUPFD_CLOEXEC, 1500)  # select(2) knows no descriptor from 1024 on
    client._socket.close()
    client._socket = socket.socket(fileno=high)

    def serve() -> None:
        for request in a.poll(0.001):
            assert isinstance(request, ClientRequest)
            a.reply(request, {})

    net.monkeypatch.setattr(net, "turn", serve)
    assert net.in_thread(lambda: client.request({})) == {}


def test_an_answer_that_is_too_large_is_answered_all_the_same(net: Net) -> None:
    a = net.add("a", max_frame=1000)
    client = net.client(a)

    def serve() -> None:
        for request in a.poll(0.001):
            assert isinstance(request, ClientRequest)
            a.reply(request, {"data": "x" * 1000})

    net.monkeypatch.setattr(net, "turn", serve)
    assert net.in_thread(lambda: client.request({}))["error"] == "answer_too_large"


def test_a_request_that_is_too_large_is_not_sent(net: Net) -> None:
    client = net.client(net.add("a"))
    with pytest.raises(FrameError, match="make it smaller"):
        client.request({"data": "x" * MAX_FRAME})


def test_nobody_there(net: Net) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionFailed, match="cannot reach"):
            ClientConnection(taken.getsockname(), cluster="c1", secret=SECRET, name="cli", inc=INC)


def test_something_else_there(net: Net) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as sock:
                sock.recv(1000)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionFailed, match="is not a hacoord node"):
            ClientConnection(server.getsockname(), cluster="c1", secret=SECRET, name="cli", inc=INC)
        thread.join()


def test_someone_who_never_answers(net: Net) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(ConnectionFailed, match="did not finish the handshake: timed out"),
    ):
        ClientConnection(server.getsockname(), cluster="c1", secret=SECRET, name="cli", inc=INC, timeout=0.05)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"secret": b"wrong"}, "authentication failed"), ({"cluster": "c9"}, "is of cluster c1, not of c9")],
)
def test_a_refused_client_hears_why(net: Net, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(HandshakeRefused, match=reason):
        net.client(net.add("a"), **changes)


def test_too_many_clients(net: Net) -> None:
    a = net.add("a", limits=Connections(clients=2))
    net.client(a)
    second = net.client(a)
    with pytest.raises(HandshakeRefused, match="has 2 clients already"):
        net.client(a)
    second.close()
    net.until(lambda: len(a._clients) == 1)
    net.client(a)


# --- nodes that do not belong


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"secret": b"wrong"}, "authentication failed"),
        ({"cluster": "c9"}, "is of cluster c1, not of c9"),
        ({"name": "z"}, "knows no member z in cluster c1"),
        ({"name": "a"}, "two nodes have one name"),
    ],
)
def test_a_refused_node_is_told_why_and_both_say_so_once(
    net: Net, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], reason: str
) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    a = net.add("a", peers={"b": ("127.0.0.1", 1)})
    a._dials["b"].retry_at = float("inf")
    name = changes.get("name", "b")
    peers = {"b" if name == "a" else "a": a.address}
    b = net.add(**{"name": name, "peers": peers, **changes})
    (dial,) = b._dials.values()
    net.until(lambda: dial._pause > 4 * hacoord.net.connection.RETRY_MIN)  # it tries again, and is refused again
    assert [line[:10] for line in sorted(lines(caplog, reason))] == ["closed the", "no connect"]
    net.now += hacoord.net.transport.SAY_AGAIN
    net.until(lambda: len(lines(caplog, reason)) == 3)
    assert a._inbound == {}
    assert b.connected == frozenset()


def test_a_member_by_a_later_configuration_is_let_in_and_answered(net: Net) -> None:
    """It may stand for election, and need the vote of one that has been away since before it joined."""
    a, b = net.add("a"), net.add("b")
    a.me = dataclasses.replace(a.me, address="{}:{}".format(*a.address))
    a.set_address("b", b.address)
    a.group, b.group = lambda: 7, lambda: 7
    (dial,) = a._dials.values()
    net.until(lambda: dial._pause > hacoord.net.connection.RETRY_MIN)  # it has been refused
    assert b._inbound == {}
    b.group = lambda: 6
    net.now += 60.0
    net.until(lambda: "b" in a.connected and "a" in b.connected)
    a.send(vote())
    b.send(vote("b", "a"))
    net.until(lambda: net.got["a"] and net.got["b"])


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


def test_random_bytes_are_answered_with_nothing(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    a = net.add("a")
    rng = random.Random(7)
    for number in range(1, 30):
        sock = net.dial(a)
        sock.sendall(rng.choice([b"", b"\0\0\0\7", b"\0\0\3\xff"]) + rng.randbytes(2000))
        assert net.read_until_closed(sock) == b""
        assert len(lines(caplog, "closed the connection from")) == number
    assert not a._connections


def test_a_large_frame_of_a_stranger_is_not_even_read(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    sock = net.dial(net.add("a"))
    sock.sendall(struct.pack(">I", 1025))
    assert net.read_until_closed(sock) == b""
    assert len(lines(caplog, "1025 bytes where at most 1024 are allowed")) == 1


def test_a_slow_stranger_is_closed_in_time(net: Net) -> None:
    a = net.add("a")
    sock = net.dial(a)
    hello = frame(hello_bytes())
    for at in range(8):  # it keeps sending, and that helps it nothing
        sock.sendall(hello[at : at + 1])
        net.turn()
        assert len(a._connections) == 1
        net.now += Connections().handshake / 10
    net.now += Connections().handshake / 4
    net.turn()
    assert a._connections == {}
    assert net.read_until_closed(sock) == b""


def test_a_stranger_that_stops_halfway_is_closed_in_time(net: Net) -> None:
    a = net.add("a")
    sock = net.dial(a)
    sock.sendall(frame(hello_bytes()))
    sock.setblocking(False)
    net.until(lambda: readable(sock))  # the challenge
    net.now += Connections().handshake
    net.turn()
    assert a._connections == {}


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def test_strangers_cannot_keep_the_nodes_out(net: Net) -> None:
    a, b = net.pair()
    a._limits = Connections(strangers=5)
    socks = [net.dial(a) for _ in range(20)]
    net.until(lambda: a.connected and b.connected)
    assert net.read_until_closed(socks[0]) == b""


def test_the_oldest_stranger_makes_place(net: Net) -> None:
    a = net.add("a", peers={"b": ("127.0.0.1", 1)}, limits=Connections(strangers=5))
    socks = [net.dial(a) for _ in range(5)]
    net.until(lambda: len(a._strangers) == 5)
    authenticated(net, a)
    assert net.read_until_closed(socks[0]) == b""
    assert len(a._strangers) == 4


def test_a_recorded_handshake_is_worth_nothing(net: Net) -> None:
    """Record what b sends to a, through a relay; then send it again, with a message behind it."""
    a = net.add("a", peers={"b": ("127.0.0.1", 1)})
    recorded = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as relay:
        relay.setblocking(False)
        b = net.add("b", peers={"a": relay.getsockname()})
        ends: list[socket.socket] = []

        def pump() -> bool:
            if not ends:
                try:
                    ends.append(net.stack.enter_context(relay.accept()[0]))
                except BlockingIOError:
                    return False
                ends.append(net.dial(a))
                for end in ends:
                    end.setblocking(False)
            for source, sink in (ends, reversed(ends)):
                try:
                    data = source.recv(65536)
                except BlockingIOError:
                    continue
                sink.sendall(data)
                if source is ends[0]:
                    recorded.extend(data)
            return bool(net.got["a"])

        net.until(lambda: pump() or b.connected)
        b.send(vote("b", "a"))
        net.until(pump)
    net.got["a"].clear()
    replay = net.dial(a)
    replay.sendall(recorded)
    answer = net.read_until_closed(replay)
    reader = FrameReader()
    reader.feed(answer)
    assert set(decode_json(reader.next(1024) or b"")) == {"nonce"}  # type: ignore[call-overload]
    assert reader.next(1024) in (None, b'{"stranger":true}')
    assert net.got["a"] == []


def authenticated(net: Net, transport: Transport, **changes: Any) -> socket.socket:
    """A raw connection that has passed the handshake as node b, or as told."""
    dialer, reader, sock = Dialer(hello(**changes), SECRET), FrameReader(), net.dial(transport)
    sock.sendall(frame(dialer.hello))
    sock.setblocking(False)

    def step() -> bool:
        try:
            reader.feed(sock.recv(4096))
        except BlockingIOError:
            return False
        while (body := reader.next(1024)) is not None:
            reply = dialer.receive(body)
            if reply:
                sock.sendall(frame(reply))
        return dialer.peer is not None

    net.until(step)
    return sock


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack(">I", 8 * 1024 * 1024 + 1), "8388609 bytes where at most 8388608"),
        (frame(b"nonsense"), "malformed"),
        (frame(encode_message(vote("c", "a"))), "not to send here"),
        (frame(encode_message(vote("b", "c"))), "not to send here"),
        (frame(encode_message(vote("b", "a", inc="9-00000009"))), "not to send here"),
    ],
)
def test_a_peer_that_breaks_the_rules_loses_that_connection_only(
    net: Net, caplog: pytest.LogCaptureFixture, data: bytes, reason: str
) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    a = net.add("a")
    c = net.add("c", peers={"a": a.address})
    a.set_address("c", c.address)
    a.set_address("b", ("127.0.0.1", 1))
    net.until(lambda: c.connected)
    sock = authenticated(net, a)
    sock.setblocking(True)
    sock.sendall(frame(encode_message(vote("b", "a", 3))) + data + frame(encode_message(vote("b", "a", 4))))
    net.read_until_closed(sock)
    assert len(lines(caplog, reason)) == 1
    assert net.got["a"] == [vote("b", "a", 3)]
    c.send(vote("c", "a"))
    net.until(lambda: len(net.got["a"]) == 2)


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'[1,"x"]', b'["1",{}]', b"[true,{}]", b"[1,{},2]"])
def test_a_client_that_breaks_the_rules_is_closed(net: Net, body: bytes) -> None:
    a = net.add("a")
    sock = authenticated(net, a, name="cli", role="client", to=None)
    sock.sendall(frame(body))
    net.read_until_closed(sock)
    assert net.got["a"] == []


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_bring_a_transport_down(data: bytes, framed: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        net = Net(patch)
        with net.stack:
            a = net.add("a", peers={"b": ("127.0.0.1", 1)})
            for sock in (net.dial(a), authenticated(net, a)):
                sock.setblocking(True)
                sock.sendall(frame(data) if framed else data)
                sock.shutdown(socket.SHUT_WR)
                net.read_until_closed(sock)
            assert net.got["a"] == []
