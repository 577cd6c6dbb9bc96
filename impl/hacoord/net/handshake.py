"""Who is at the other end: a mutual proof of a shared secret, before anything else is read. Pure: no socket, no clock.

    dialer   -> hello      who I am, what I am, whom I want to reach, a fresh nonce
    listener -> challenge  a fresh nonce, nothing else: a stranger learns nothing about this node
    dialer   -> proof      HMAC(secret, "dialer", hello, challenge)
    listener -> verdict    its own hello or why it refuses, HMAC(secret, "listener", hello, challenge, verdict)

A proof of one role is not one of the other, so a reflected proof is worth nothing; both nonces are in it, so a recorded
one is not either; and the hello names its addressee, so it cannot be passed on to another node. A wrong version or
cluster or name is told only to those who have proved the secret. The secret protects the handshake, not the bytes after
it: whoever can alter packets on the way is only stopped by TLS (tls.py), without which nodes listen on loopback only.

A client may prove a token in place of the secret (tokens.py, as RFC 5802 does it): its hello names the token, its proof
is its client key xor HMAC(verifier's hash, "dialer", ...), and the listener's HMAC has the server key.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Literal, Protocol, cast

from hacoord.net.frames import OLDEST, PROTOCOL, FrameError, TransportError, decode_object, encode_json, is_inc, is_name
from hacoord.net.rights import Right
from hacoord.net.tokens import KEY_SIZE, Token, Verifier, verifier

LIMIT = 1024
"""A frame of the handshake is at most this many bytes."""
MOST_SAID = 400
"""Characters of a reason in one, so that it fits."""
STRANGER = "authentication failed: the two ends do not have the same secret"

_NONCE = 32


class HandshakeRefused(TransportError):
    """One end does not want to speak with the other. `reply` is the frame body that says so to it, if any.

    `removed` is, for a node that is refused because it was removed, by which position of the log: index and term.
    """

    def __init__(self, reason: str, reply: bytes = b"", removed: tuple[int, int] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply
        self.removed = removed


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks. `cluster` is None for a client that takes any; `to` is the node to be reached, None for any; `token`
    is the name of a client's token, None if it has the secret. It knows the protocol's versions `oldest` to `protocol`.
    `disk` is the identity of a node's data directory, `address` where it can be reached, `group` where in its log the
    configuration is that it goes by.
    """

    cluster: str | None
    name: str
    inc: str
    role: Literal["node", "client"]
    to: str | None = None
    protocol: int = PROTOCOL
    token: str | None = None
    oldest: int = OLDEST
    disk: str | None = None
    address: str | None = None
    group: int = 0

    def spoken(self, other: Hello) -> int:
        """The version that two ends speak with each other; 0 if there is none."""
        version = min(self.protocol, other.protocol)
        return version if version >= max(self.oldest, other.oldest) else 0


class Handshake(Protocol):
    """One end. Feed it the bodies that arrive until `peer` is set. `token` is what a client has proved."""

    me: Hello
    peer: Hello | None
    token: Verifier | None

    def receive(self, body: bytes) -> bytes:
        """The body to answer with, empty for none. Raises FrameError, HandshakeRefused."""
        ...


class Dialer:
    """The end that connected, with the cluster's secret or, for a client, with a token. Send `hello` first."""

    def __init__(self, me: Hello, secret: bytes | Token) -> None:
        if isinstance(secret, Token):
            me = replace(me, token=secret.name)
        self.peer: Hello | None = None
        self.token: Verifier | None = None
        self.hello = encode_json({**asdict(me), "nonce": secrets.token_hex(_NONCE)})
        self.me = me
        self._secret = secret
        self._challenge: bytes | None = None

    def receive(self, body: bytes) -> bytes:
        if self._challenge is None:
            _nonce(_fields(body, "nonce")["nonce"])
            self._challenge = body
            return encode_json({"proof": self._prove(body)})
        self.peer = self._judge(body)
        return b""

    def _prove(self, challenge: bytes) -> str:
        match self._secret:
            case Token() as token:
                mine = _proof(verifier(token, Right.NONE).hash, "dialer", self.hello, challenge)
                return _xor(token.client_key, bytes.fromhex(mine)).hex()
            case secret:
                return _proof(secret, "dialer", self.hello, challenge)

    def _judge(self, body: bytes) -> Hello:
        token = self._secret if isinstance(self._secret, Token) else None
        fields = decode_object(body)
        if fields == {"stranger": True}:
            reason = f"authentication failed: it accepts no such token {token.name}" if token else STRANGER
            raise HandshakeRefused(reason)
        fields = _fields(body, "verdict", "proof")
        verdict, proof = fields["verdict"], fields["proof"]
        if not isinstance(verdict, dict):
            raise FrameError("a verdict that is none")
        assert self._challenge is not None
        key = token.server_key if token else cast(bytes, self._secret)
        if not _same(proof, _proof(key, "listener", self.hello, self._challenge, encode_json(verdict))):
            raise HandshakeRefused(f"whoever listens there does not know the {'token' if token else 'secret'}")
        match verdict:
            case {"refused": reason, "removed": [int(index), int(term)]}:
                raise HandshakeRefused(str(reason), removed=(index, term))
            case {"refused": reason}:
                raise HandshakeRefused(str(reason))
        peer, me = _hello(verdict), self.me
        if peer.role != "node":
            raise HandshakeRefused("whoever listens there is no node")
        if not me.spoken(peer):
            raise HandshakeRefused(_other_protocol(me, peer))
        if me.cluster is not None and peer.cluster != me.cluster:
            raise HandshakeRefused(f"node {peer.name} is of cluster {peer.cluster}, not of {me.cluster}")
        if me.to is not None and peer.name != me.to:
            raise HandshakeRefused(f"node {peer.name} listens at the address of {me.to}: correct the addresses")
        return peer


class Listener:
    """The end that was connected to. `admit` says why someone who has proved the secret is refused, None if not; or it
    raises HandshakeRefused.

    `find` looks up what is known of a client's token.
    """

    def __init__(
        self,
        me: Hello,
        secret: bytes,
        admit: Callable[[Hello], str | None],
        find: Callable[[str], Verifier | None] = lambda name: None,
    ) -> None:
        self.peer: Hello | None = None
        self.token: Verifier | None = None
        self.me = me
        self._secret = secret
        self._admit = admit
        self._find = find
        self._hello = b""
        self._claimed: Hello | None = None
        self._challenge = encode_json({"nonce": secrets.token_hex(_NONCE)})

    def receive(self, body: bytes) -> bytes:
        if self._claimed is None:
            fields = decode_object(body)
            _nonce(fields.pop("nonce", None))
            self._claimed, self._hello = _hello(fields), body
            return self._challenge
        if not self._proved(self._claimed, _fields(body, "proof")["proof"]):
            raise HandshakeRefused(STRANGER, encode_json({"stranger": True}))
        try:
            reason = self._refusal(self._claimed)
        except HandshakeRefused as refused:
            verdict: dict[str, object] = {"refused": refused.reason[:MOST_SAID], "removed": refused.removed}
            raise HandshakeRefused(refused.reason, self._verdict(verdict)) from None
        if reason is not None:
            raise HandshakeRefused(reason, self._verdict({"refused": reason[:MOST_SAID]}))
        self.peer = self._claimed
        return self._verdict(asdict(self.me))

    def _proved(self, other: Hello, proof: object) -> bool:
        if other.token is None:
            return _same(proof, _proof(self._secret, "dialer", self._hello, self._challenge))
        # For a token that is not known, the same work: who guesses names learns nothing from the time it takes.
        known = self._find(other.token) or _NOBODY
        mine = bytes.fromhex(_proof(known.hash, "dialer", self._hello, self._challenge))
        try:
            claimed = bytes.fromhex(proof) if isinstance(proof, str) else b""
        except ValueError:
            return False
        if len(claimed) != len(mine) or not known.recognises(_xor(claimed, mine)):
            return False
        self.token = known
        return True

    def _refusal(self, other: Hello) -> str | None:
        me = self.me
        if not me.spoken(other):
            return _other_protocol(me, other)
        if other.cluster != me.cluster and not (other.role == "client" and other.cluster is None):
            return f"node {me.name} is of cluster {me.cluster}, not of {other.cluster}"
        if other.role == "node" and other.name == me.name:
            return f"node {me.name} is here already: two nodes have one name, or one has its own address as a peer's"
        if other.to is not None and other.to != me.name:
            return f"this is node {me.name}, not {other.to}: correct the addresses"
        return self._admit(other)

    def _verdict(self, verdict: dict[str, object]) -> bytes:
        key = self.token.server_key if self.token else self._secret
        proof = _proof(key, "listener", self._hello, self._challenge, encode_json(verdict))
        return encode_json({"verdict": verdict, "proof": proof})


_NOBODY = verifier(Token("nobody", secrets.token_bytes(KEY_SIZE)), Right.NONE)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


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
    oldest = fields.get("oldest", protocol)
    if type(protocol) is not int or type(oldest) is not int:
        raise FrameError("a hello without a protocol version")
    token, disk, address = fields.get("token"), fields.get("disk"), fields.get("address")
    if not (disk is None or (isinstance(disk, str) and is_name(disk))):
        raise FrameError("a hello with a disk that has no name")
    if not (address is None or isinstance(address, str)):
        raise FrameError("a hello from nowhere")
    group = fields.get("group", 0)
    if type(group) is not int or group < 0:
        raise FrameError("a hello from no group")
    if role == "node" and token is None:
        return Hello(cluster, name, inc, "node", to, protocol, None, oldest, disk, address, group)
    if role == "client" and (token is None or (isinstance(token, str) and is_name(token))):
        return Hello(cluster, name, inc, "client", to, protocol, token, oldest)
    raise FrameError("a hello without a role")


def _other_protocol(me: Hello, other: Hello) -> str:
    theirs, ours = _versions(other), _versions(me)
    return f"{other.name} speaks protocol version {theirs}, this end {ours}: upgrade the older of the two"


def _versions(hello: Hello) -> str:
    return f"{hello.protocol}" if hello.oldest == hello.protocol else f"{hello.oldest} to {hello.protocol}"
