"""TLS between nodes and clients: what it lets through, and everybody whom it keeps out."""

from __future__ import annotations

import dataclasses
import os
import socket
import ssl
import struct
from functools import partial
from pathlib import Path

import pytest
from certs import certificates, tls
from test_transport import INC, PATIENCE, SECRET, Net, lines, net, vote

import hacoord.net.connection
import hacoord.net.tls
from hacoord.config import ConfigError, Connections
from hacoord.net.connect import ClientConnection, ConnectionFailed
from hacoord.net.frames import encode_message
from hacoord.net.handshake import HandshakeRefused
from hacoord.net.requests import ClientRequest
from hacoord.net.transport import Transport
from hacoord.raft.messages import AppendEntries, Entry, Kind, Message, Ref

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

__all__ = ["net"]


def serve(net: Net, transport: Transport) -> None:
    """From now on, each turn answers what clients ask with what they said."""

    def turn() -> None:
        for request in transport.poll(0.001):
            assert isinstance(request, ClientRequest)
            transport.reply(request, {"you said": request.body})

    net.monkeypatch.setattr(net, "turn", turn)


def pair(net: Net, path: Path, second: str = "b") -> tuple[Transport, Transport]:
    """Two nodes that may dial each other; `second` names the certificate that node b shows."""
    a = net.add("a", certificates=certificates(path, "a"))
    b = net.add("b", certificates=certificates(path, second), peers={"a": a.address})
    a.set_address("b", b.address)
    return a, b


def test_nodes_speak_over_tls_and_in_order(net: Net, tmp_path: Path) -> None:
    a, b = pair(net, tmp_path)
    net.until(lambda: a.connected and b.connected)
    entries = tuple(Entry(i, 1, Kind.WRITE, os.urandom(1_000_000), bytes(8)) for i in range(1, 8))
    large = AppendEntries("a", "b", Ref("a", INC, 1), 1, 0, 0, entries, 0, None)
    there: list[Message] = [vote(term=1), large, *(vote(term=t) for t in range(2, 300))]
    for message in there:
        a.send(message)
        a.flush()
    b.send(vote("b", "a"))
    net.until(lambda: len(net.got["b"]) == len(there) and net.got["a"])
    assert net.got == {"a": [vote("b", "a")], "b": there}


def test_nothing_can_be_read_on_the_way(net: Net, tmp_path: Path) -> None:
    a, b = pair(net, tmp_path)
    net.until(lambda: a.connected and b.connected)
    connection = a._dials["b"].open
    assert connection is not None
    message = vote(term=77)
    a.send(message)
    assert len(connection.unsent) > 0
    assert encode_message(message) not in connection.unsent
    assert b"77" not in connection.unsent


def test_a_client_speaks_over_tls(net: Net, tmp_path: Path) -> None:
    a = net.add("a", certificates=certificates(tmp_path, "a"))
    client = net.client(a, certificates=certificates(tmp_path, "client"))
    serve(net, a)
    for text in ("one", "x" * 3_000_000, "三"):
        assert net.in_thread(partial(client.request, {"say": text})) == {"you said": {"say": text}}


def test_tls_does_not_replace_the_secret(net: Net, tmp_path: Path) -> None:
    a = net.add("a", certificates=certificates(tmp_path, "a"))
    with pytest.raises(HandshakeRefused, match="authentication failed"):
        net.client(a, certificates=certificates(tmp_path, "client"), secret=b"wrong")


@pytest.mark.parametrize(
    ("certificate", "reasons"),
    [
        ("expired", ["certificate has expired", "does not accept our TLS or our certificate"]),
        ("foreign", ["unable to get local issuer certificate", "does not accept our TLS or our certificate"]),
        ("client", ["its certificate is for client, not for node b: issue one whose subjectAltName has DNS:b"]),
        ("a", ["its certificate is for a, not for node b"]),
    ],
)
def test_a_node_with_a_wrong_certificate_is_kept_out(
    net: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture, certificate: str, reasons: list[str]
) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    a, b = pair(net, tmp_path, certificate)
    dials = [*a._dials.values(), *b._dials.values()]
    net.until(lambda: all(dial._pause > 2 * hacoord.net.connection.RETRY_MIN for dial in dials))  # each tried, in vain
    for reason in reasons:
        assert lines(caplog, reason)
    assert a._inbound == b._inbound == {}
    assert not a.connected
    assert not b.connected
    a.send(vote())
    b.send(vote("b", "a"))
    net.turn()
    assert net.got == {"a": [], "b": []}


def test_a_client_does_not_take_a_node_with_anothers_certificate(net: Net, tmp_path: Path) -> None:
    a = net.add("a", certificates=certificates(tmp_path, "b"))
    with pytest.raises(HandshakeRefused, match="its certificate is for b, not for node a"):
        net.client(a, certificates=certificates(tmp_path, "client"))


@pytest.mark.parametrize(
    ("certificate", "reason"), [("expired", "alert certificate expired"), ("foreign", "alert unknown ca")]
)
def test_a_client_with_a_wrong_certificate_hears_why(net: Net, tmp_path: Path, certificate: str, reason: str) -> None:
    a = net.add("a", certificates=certificates(tmp_path, "a"))
    with pytest.raises(HandshakeRefused, match=f"does not accept our TLS or our certificate: .*{reason}"):
        net.client(a, certificates=certificates(tmp_path, certificate))


def test_a_client_without_tls_gets_nothing_out_of_a_node_that_has_it(net: Net, tmp_path: Path) -> None:
    a = net.add("a", certificates=certificates(tmp_path, "a"))
    with pytest.raises(ConnectionFailed):
        net.client(a)
    assert len(a._clients) == 0


def test_a_client_with_tls_does_not_fall_back(net: Net, tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="did not finish the handshake"):
        net.client(net.add("a"), certificates=certificates(tmp_path, "client"))


@pytest.mark.parametrize("without", ["certificate", "version"])
def test_strangers_without_a_certificate_or_a_present_version_are_kept_out(
    net: Net, tmp_path: Path, without: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    a = net.add("a", certificates=certificates(tmp_path, "a"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if without == "version":
        files = tls(tmp_path, "b")
        assert files.cert is not None
        context.load_cert_chain(files.cert, files.key)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1

    def talk() -> None:
        with socket.create_connection(a.address, PATIENCE) as sock, context.wrap_socket(sock) as secure:
            secure.recv(1)

    with pytest.raises(ssl.SSLError):
        net.in_thread(talk)
    net.until(lambda: not a._connections)
    assert lines(caplog, "refused: it")


def test_both_ends_ask_for_a_present_version_whatever_openssl_allows(tmp_path: Path) -> None:
    mine = certificates(tmp_path, "a")
    for context in (mine._dialling, mine._listening):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_garbage_on_a_port_with_tls(net: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    a = net.add("a", certificates=certificates(tmp_path, "a"))
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(3000),
        b"\x16\x03\x01\x40\x00" + bytes(20_000),
    ):
        sock = net.dial(a)
        sock.sendall(data)
        net.read_until_closed(sock)
    assert a._connections == {}
    assert net.got["a"] == []


def test_a_slow_stranger_is_closed_in_time_wherever_it_stops(net: Net, tmp_path: Path) -> None:
    a = net.add("a", certificates=certificates(tmp_path, "a"), limits=Connections(handshake=2.0))
    end = certificates(tmp_path, "b").dial()
    end.send(b"")
    hello = end.outgoing()
    halfway = net.dial(a)
    for at in range(10):  # it keeps sending, and that helps it nothing
        halfway.sendall(hello[at : at + 1])
        net.turn()
    agreed = net.dial(a)
    agreed.sendall(hello)
    agreed.setblocking(False)

    def agree() -> bool:
        try:
            end.receive(agreed.recv(65536))
        except BlockingIOError:
            return False
        agreed.sendall(end.outgoing())
        return end.established

    net.until(agree)
    net.until(lambda: any(c.tls is not None and c.tls.established for c in a._connections.values()))
    assert len(a._connections) == 2
    net.now += 2.0
    net.turn()
    assert a._connections == {}


def test_a_large_frame_of_a_stranger_within_tls_is_not_read(
    net: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    a = net.add("a", certificates=certificates(tmp_path, "a"))
    end, sock = certificates(tmp_path, "b").dial(), net.dial(a)
    end.send(struct.pack(">I", 1025))
    sock.sendall(end.outgoing())
    sock.setblocking(False)

    def refused() -> bool:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        if data:
            end.receive(data)
            sock.sendall(end.outgoing())
        return not data

    net.until(refused)
    assert lines(caplog, "1025 bytes where at most 1024 are allowed")


def test_an_altered_byte_ends_the_connection(net: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hacoord.net.transport")
    a, b = pair(net, tmp_path)
    net.until(lambda: a.connected and b.connected)
    connection = a._dials["b"].open
    assert connection is not None
    a.send(vote())
    connection.unsent[-1] ^= 1
    net.until(lambda: not a.connected)
    assert net.got["b"] == []
    net.until(lambda: a.connected)  # and it connects again
    assert lines(caplog, "bad record mac")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cert": "nowhere.pem"}, "can't use the certificate .*nowhere.pem with the key .*No such file"),
        ({"key": "nowhere.pem"}, "can't read the key .*nowhere.pem: No such file"),
        ({"ca": "nowhere.pem"}, "can't use the authority's certificate .*nowhere.pem: No such file"),
        ({"cert": "key.pem"}, "PEM is wanted"),
        ({"ca": "key.pem"}, "can't use the authority's certificate"),
        ({"key": "open.pem"}, r"the key .*open.pem has mode 0644: others may use it; .*chmod 600"),
        ({"key": "other.pem"}, "can't use the certificate .*KEY_VALUES_MISMATCH"),
        ({"key": "locked.pem"}, "can't use the certificate .*the key is encrypted"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    files = tls(tmp_path, "a")
    (tmp_path / "open.pem").write_bytes((tmp_path / "key.pem").read_bytes())
    (tmp_path / "open.pem").chmod(0o644)
    for name, text in (("other.pem", OTHER_KEY), ("locked.pem", LOCKED_KEY)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    changed = dataclasses.replace(files, **{name: tmp_path / path for name, path in change.items()})
    with pytest.raises(ConfigError, match=reason) as caught:
        hacoord.net.tls.certificates(changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [("expired", "has expired"), ("foreign", "local issuer"), ("a", "for a, not for node b"), ("b", "")],
)
def test_a_node_tries_its_own_certificate(tmp_path: Path, certificate: str, reason: str) -> None:
    mine = certificates(tmp_path, certificate)
    if not reason:
        mine.check("b")
        return
    with pytest.raises(ConfigError, match=rf"tls\.cert can't be used: .*{reason}"):
        mine.check("b")


def test_a_client_connection_is_closed_when_the_node_is_not_the_one(net: Net, tmp_path: Path) -> None:
    a = net.add("a", certificates=certificates(tmp_path, "b"))
    with pytest.raises(HandshakeRefused):
        net.in_thread(
            lambda: ClientConnection(
                a.address, cluster="c1", secret=SECRET, name="cli", inc=INC, certificates=certificates(tmp_path, "a")
            )
        )
    net.until(lambda: not a._connections)


# Keys of nothing, for the test above.
OTHER_KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVc/qMZZl5lO/1Zz2
0xyzLKMBleBiqFibcgTkhvYnO8uhRANCAASXL2nRTpYzP7RgYUip7BxRxnShTfVd
pnOdcvkH5Gd7J6vc0PgBWZcUOWc/u9fROFEXdNUcpi6vP2AV3W3RNJ8Z
-----END PRIVATE KEY-----
"""
LOCKED_KEY = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiqcQZM9PdT7gICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEGPmbJxrZ+tqixmujJCf1cMEgZBy
4rpIIV/HzvSoa+3Q8E8OmOeq8bkpt8Tt2W+sMT+ypRIVzmsCCDFeRjs0f+MEAixM
Bt/1bczaPBhQpS62IrGqX5RAvl35sCACauJrf5puoBGq9Qe4ZbiDYn4k9Tv+oMst
TXg5zfStlGEYwaW73/U9HYxcUfwgMcdYKWmpOVSMjWNk5BqzNXyPDlQ63AeIvpc=
-----END ENCRYPTED PRIVATE KEY-----
"""
