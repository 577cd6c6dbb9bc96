"""Who is at the other end: a mutual proof of a shared secret, before anything else is read. Pure: no socket, no clock.

    dialer   -> hello      who I am, what I am, whom I want to reach, a fresh nonce
    listener -> challenge  a fresh nonce, nothing else: a stranger learns nothing about this node
    dialer   -> proof      HMAC(secret, "dialer", hello, challenge)
    listener -> verdict    its own hello or why it refuses, HMAC(secret, "listener", hello, challenge, verdict)

A proof of one role is not one of the other, so a reflected proof is worth nothing; both nonces are in it, so a recorded
one is not either; and the hello names its addressee, so it cannot be passed on to another node. A wrong version or
cluster or name is told only to those who have proved the secret. The secret protects the handshake, not the bytes after
it: whoever can alter packets on the way needs TLS to be stopped, which is why nodes listen on loopback only.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from hacoord.frames import FrameError, TransportError, decode_object, encode_json, is_inc, is_name

PROTOCOL = 1
LIMIT = 1024
"""A frame of the handshake is at most this many bytes."""
STRANGER = "authentication failed: the two ends do not have the same secret"

_NONCE = 32


class HandshakeRefused(TransportError):
    """One end does not want to speak with the other. `reply` is the frame body that says so to it, if any."""

    def __init__(self, reason: str, reply: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks. `cluster` is None for a client that takes any; `to` is the node to be reached, None for any."""

    cluster: str | None
    name: str
    inc: str
    role: Literal["node", "client"]
    to: str | None = None
    protocol: int = PROTOCOL


class Handshake(Protocol):
    """One end. Feed it the bodies that arrive until `peer` is set."""

    peer: Hello | None

    def receive(self, body: bytes) -> bytes:
        """The body to answer with, empty for none. Raises FrameError, HandshakeRefused."""
        ...


class Dialer:
    """The end that connected. Send `hello` first."""

    def __init__(self, me: Hello, secret: bytes) -> None:
        self.peer: Hello | None = None
        self.hello = encode_json({**asdict(me), "nonce": secrets.token_hex(_NONCE)})
        self._me = me
        self._secret = secret
        self._challenge: bytes | None = None

    def receive(self, body: bytes) -> bytes:
        if self._challenge is None:
            _nonce(_fields(body, "nonce")["nonce"])
            self._challenge = body
            return encode_json({"proof": _proof(self._secret, "dialer", self.hello, body)})
        self.peer = self._judge(body)
        return b""

    def _judge(self, body: bytes) -> Hello:
        fields = decode_object(body)
        if fields == {"stranger": True}:
            raise HandshakeRefused(STRANGER)
        fields = _fields(body, "verdict", "proof")
        verdict, proof = fields["verdict"], fields["proof"]
        if not isinstance(verdict, dict):
            raise FrameError("a verdict that is none")
        assert self._challenge is not None
        mine = _proof(self._secret, "listener", self.hello, self._challenge, encode_json(verdict))
        if not _same(proof, mine):
            raise HandshakeRefused("whoever listens there does not know the secret")
        if set(verdict) == {"refused"}:
            raise HandshakeRefused(str(verdict["refused"]))
        peer, me = _hello(verdict), self._me
        if peer.role != "node":
            raise HandshakeRefused("whoever listens there is no node")
        if peer.protocol != PROTOCOL:
            raise HandshakeRefused(_other_protocol(peer))
        if me.cluster is not None and peer.cluster != me.cluster:
            raise HandshakeRefused(f"node {peer.name} is of cluster {peer.cluster}, not of {me.cluster}")
        if me.to is not None and peer.name != me.to:
            raise HandshakeRefused(f"node {peer.name} listens at the address of {me.to}: correct the addresses")
        return peer


class Listener:
    """The end that was connected to. `admit` says why someone who has proved the secret is refused, None if not."""

    def __init__(self, me: Hello, secret: bytes, admit: Callable[[Hello], str | None]) -> None:
        self.peer: Hello | None = None
        self._me = me
        self._secret = secret
        self._admit = admit
        self._hello = b""
        self._claimed: Hello | None = None
        self._challenge = encode_json({"nonce": secrets.token_hex(_NONCE)})

    def receive(self, body: bytes) -> bytes:
        if self._claimed is None:
            fields = decode_object(body)
            _nonce(fields.pop("nonce", None))
            self._claimed, self._hello = _hello(fields), body
            return self._challenge
        proof = _fields(body, "proof")["proof"]
        if not _same(proof, _proof(self._secret, "dialer", self._hello, self._challenge)):
            raise HandshakeRefused(STRANGER, encode_json({"stranger": True}))
        reason = self._refusal(self._claimed)
        if reason is not None:
            raise HandshakeRefused(reason, self._verdict({"refused": reason}))
        self.peer = self._claimed
        return self._verdict(asdict(self._me))

    def _refusal(self, other: Hello) -> str | None:
        me = self._me
        if other.protocol != PROTOCOL:
            return _other_protocol(other)
        if other.cluster != me.cluster and not (other.role == "client" and other.cluster is None):
            return f"node {me.name} is of cluster {me.cluster}, not of {other.cluster}"
        if other.role == "node" and other.name == me.name:
            return f"node {me.name} is here already: two nodes have one name, or one has its own address as a peer's"
        if other.to is not None and other.to != me.name:
            return f"this is node {me.name}, not {other.to}: correct the addresses"
        return self._admit(other)

    def _verdict(self, verdict: dict[str, object]) -> bytes:
        proof = _proof(self._secret, "listener", self._hello, self._challenge, encode_json(verdict))
        return encode_json({"verdict": verdict, "proof": proof})


def _proof(secret: bytes, role: str, *transcript: bytes) -> str:
    mac = hmac.new(secret, b"hacoord handshake 1 " + role.encode(), "sha256")
    for part in transcript:
        mac.update(b"%d " % len(part))
        mac.update(part)
    return mac.hexdigest()


def _same(theirs: object, mine: str) -> bool:
    return isinstance(theirs, str) and theirs.isascii() and hmac.compare_digest(theirs, mine)


def _fields(body: bytes, *names: str) -> dict[str, object]:
    fields = decode_object(body)
    if set(fields) != set(names):
        raise FrameError("not a frame of the handshake")
    return fields


def _nonce(value: object) -> None:
    if not isinstance(value, str) or len(value) != 2 * _NONCE:
        raise FrameError("not a nonce")


def _hello(fields: dict[str, object]) -> Hello:
    # More than these may be there: a later version has to be understood well enough to be refused clearly.
    if not set(fields) >= {"cluster", "name", "inc", "role", "to", "protocol"}:
        raise FrameError("not a hello")
    cluster, name, inc, role = fields["cluster"], fields["name"], fields["inc"], fields["role"]
    to, protocol = fields["to"], fields["protocol"]
    if not (cluster is None or (isinstance(cluster, str) and is_name(cluster))):
        raise FrameError("a hello without a cluster")
    if not (to is None or (isinstance(to, str) and is_name(to))):
        raise FrameError("a hello to nobody")
    if not (isinstance(name, str) and is_name(name) and isinstance(inc, str) and is_inc(inc)):
        raise FrameError("a hello without a name")
    if type(protocol) is not int:
        raise FrameError("a hello without a protocol version")
    if role == "node":
        return Hello(cluster, name, inc, "node", to, protocol)
    if role == "client":
        return Hello(cluster, name, inc, "client", to, protocol)
    raise FrameError("a hello without a role")


def _other_protocol(other: Hello) -> str:
    return f"{other.name} speaks protocol version {other.protocol}, this end {PROTOCOL}: bring both to one version"
