"""Connections of one node: to and from its peers, and from clients, on one TCP port. No threads: `poll` does the work.

Each node dials each peer and sends on the connection it dialled; it receives on those that were dialled to it. Nothing
is delivered reliably: a message to a peer that is away, or does not read, is dropped. Raft sends again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from hacoord.connect import ClientConnection, ConnectionFailed, RequestUnanswered
from hacoord.connection import HANDSHAKE_TIME, Address, Connection, Dial, log, open_port
from hacoord.frames import (
    MAX_FRAME,
    FrameError,
    TransportError,
    decode_json,
    decode_message,
    encode_json,
    encode_message,
)
from hacoord.handshake import Dialer, Handshake, HandshakeRefused, Hello, Listener
from hacoord.raft.messages import Message

__all__ = [
    "ClientConnection", "ClientRequest", "ConnectionFailed", "FrameError", "HandshakeRefused", "RequestUnanswered",
    "Transport", "TransportError",
]  # fmt: skip

# Seconds: without accepting, when out of descriptors; until the same refusal is logged again.
ACCEPT_PAUSE = 1.0
SAY_AGAIN = 60.0
# How many may be connected without having authenticated, and how many clients.
MAX_STRANGERS = 64
MAX_CLIENTS = 256


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """What an authenticated client asks; answer with `Transport.reply`. `connection` and `number` say where to."""

    connection: int
    number: int
    client: str
    inc: str
    body: dict[str, object]


class Transport:
    """One node's end of all its connections. Not thread-safe, but for `wake`.

    `peers` are the other nodes, name to (host, port); `clock` is monotonic, in seconds. `max_frame` and `max_unsent`
    are bytes. Messages from and to the peers in `blocked` are dropped (fault injection).
    Raises ValueError for an empty secret.
    """

    def __init__(
        self,
        *,
        name: str,
        inc: str,
        cluster: str,
        secret: bytes,
        listen: Address,
        peers: Mapping[str, Address],
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        max_frame: int = MAX_FRAME,
        max_unsent: int = 2 * MAX_FRAME,
        allow_remote: bool = False,
    ) -> None:
        if not secret:
            raise ValueError("the secret is empty: anybody could speak")
        self.name, self.inc, self.cluster = name, inc, cluster
        self.blocked: set[str] = set()
        self.dropped = 0
        self._secret = secret
        self._listen = listen
        self._clock = clock
        self._rng = rng or random.Random()
        self._max_frame = max_frame
        self._max_unsent = max_unsent
        self._allow_remote = allow_remote
        self._dials = {peer: Dial(peer, address) for peer, address in peers.items() if peer != name}
        self._connections: dict[int, Connection] = {}
        self._strangers: dict[int, Connection] = {}  # inbound, oldest first
        self._clients: dict[int, Connection] = {}
        self._inbound: dict[str, Connection] = {}
        self._dirty: dict[int, Connection] = {}
        self._arrived: list[Message | ClientRequest] = []
        self._said: dict[tuple[str, str], float] = {}
        self._serial = 0
        self._listener: socket.socket | None = None
        self._paused = False  # accepting, until `_accept_at`
        self._accept_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    @property
    def address(self) -> Address:
        """Where this node listens: (host, port)."""
        assert self._listener is not None, "listen() first"
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    @property
    def connected(self) -> frozenset[str]:
        """The peers that messages can be sent to now."""
        return frozenset(dial.name for dial in self._dials.values() if dial.open is not None)

    def listen(self) -> None:
        """Open the port. Raises TransportError if it is in use, not ours, or reachable from other machines."""
        self._listener = open_port(self._listen, self._allow_remote)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Have `poll` call `ready` whenever there is something to read from a descriptor of somebody else's."""
        self._selector.register(descriptor, selectors.EVENT_READ, ready)

    def set_address(self, peer: str, address: Address) -> None:
        """A peer is, from now on, to be dialled at this address."""
        dial = self._dials.setdefault(peer, Dial(peer, address))
        if dial.address != address:
            dial.address = address
            if dial.connection is not None:
                self._drop(dial.connection, "its address has changed")
            dial.retry_at = -inf

    def poll(self, timeout: float) -> list[Message | ClientRequest]:
        """Send what is queued, wait at most `timeout` seconds for something to happen, return all that has arrived.

        An empty list may come early: a connection opened, or `wake` was called.
        """
        self.flush()
        now = self._clock()
        deadline = self.next_deadline()
        if deadline is not None and deadline <= now:
            self._on_time(now)
            deadline = self.next_deadline()
        wait = timeout if deadline is None else min(timeout, deadline - now)
        for key, events in self._selector.select(max(0.0, wait)):
            if isinstance(key.data, Connection):
                self._ready(key.data, events)
            elif key.fileobj is self._woken:
                self._woken.recv(4096)
            elif key.data is not None:
                key.data()
            else:
                self._accept()
        arrived, self._arrived = self._arrived, []
        return arrived

    def next_deadline(self) -> float | None:
        """When, by the clock, this has something to do of its own accord. `poll` heeds it by itself."""
        times = [connection.deadline for connection in self._connections.values()]
        times += [dial.retry_at for dial in self._dials.values() if dial.connection is None]
        if self._paused:
            times.append(self._accept_at)
        earliest = min(times, default=inf)
        return None if earliest == inf else earliest

    def send(self, message: Message) -> None:
        """Queue a message for its `dst`; `flush` or the next `poll` sends it. Dropped when the peer cannot take it.

        Raises ValueError for a message larger than `max_frame`: it could never arrive.
        """
        dial = self._dials.get(message.dst)
        connection = dial.open if dial else None
        if connection is None or message.dst in self.blocked:
            self.dropped += 1
            return
        body = encode_message(message)
        if len(body) > self._max_frame:
            raise ValueError(f"a message of {len(body)} bytes where at most {self._max_frame} are allowed: split it")
        if connection.unsent and len(connection.unsent) + len(body) > self._max_unsent:
            self.dropped += 1
            return
        connection.queue(body)
        self._dirty[connection.serial] = connection

    def reply(self, request: ClientRequest, body: dict[str, object]) -> None:
        """Queue the answer to a client's request. A client that has gone is no error."""
        connection = self._clients.get(request.connection)
        if connection is None:
            return
        data = encode_json([request.number, body])
        if len(data) > self._max_frame:
            error = {"error": "answer_too_large", "reason": f"the answer has {len(data)} bytes: ask for less"}
            data = encode_json([request.number, error])
        connection.queue(data)
        if len(connection.unsent) > self._max_unsent:
            self._drop(connection, "does not read its answers")
        else:
            self._dirty[connection.serial] = connection

    def flush(self) -> None:
        """Hand everything queued to the kernel, as far as it takes it: one send for each connection."""
        dirty, self._dirty = self._dirty, {}
        now = self._clock()
        for connection in dirty.values():
            if connection.serial in self._connections:
                try:
                    connection.transmit(now)
                except OSError as error:
                    self._drop(connection, error.strerror or str(error))

    def wake(self) -> None:
        """Make `poll` return at once. From any thread, at any time."""
        with contextlib.suppress(OSError):  # it is full, and so awake; or closed
            self._waker.send(b"\0")

    def close(self) -> None:
        """Send what the kernel takes at once, then close everything. May be called twice."""
        if self._waker.fileno() < 0:
            return
        self.flush()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        if self._listener is not None:
            self._listener.close()
        self._selector.close()
        self._woken.close()
        self._waker.close()

    # -- opening and closing

    def _on_time(self, now: float) -> None:
        for connection in [c for c in self._connections.values() if c.deadline <= now]:
            self._drop(connection, "does not read" if connection.peer else "did not authenticate in time")
        for dial in self._dials.values():
            if dial.connection is None and dial.retry_at <= now:
                self._connect(dial)
        if self._paused and self._accept_at <= now and self._listener is not None:
            self._paused = False
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _connect(self, dial: Dial) -> None:
        where = f"{dial.address[0]}:{dial.address[1]}"
        try:
            found = socket.getaddrinfo(*dial.address, type=socket.SOCK_STREAM)[0]
            sock = socket.socket(found[0], found[1])
        except OSError as error:
            dial.failed(self._clock(), self._rng, f"{where}: {error}")
            return
        handshake = Dialer(Hello(self.cluster, self.name, self.inc, "node", dial.name), self._secret)
        connection = dial.connection = self._add(sock, where, handshake, dial)
        connection.queue(handshake.hello)
        code = sock.connect_ex(found[4])
        if code not in (0, errno.EINPROGRESS):
            self._drop(connection, os.strerror(code))

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(MAX_STRANGERS):
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:  # out of descriptors: the backlog keeps until some are free again
                log.error("cannot accept connections: %s; raise the limit on open files", error)
                self._paused, self._accept_at = True, self._clock() + ACCEPT_PAUSE
                self._selector.unregister(self._listener)
                return
            handshake = Listener(Hello(self.cluster, self.name, self.inc, "node"), self._secret, self._admit)
            connection = self._add(sock, f"{address[0]}:{address[1]}", handshake, None)
            self._strangers[connection.serial] = connection
            if len(self._strangers) > MAX_STRANGERS:
                # The oldest, not the newest: strangers must not be able to keep the nodes out.
                self._drop(next(iter(self._strangers.values())), "too many that have not authenticated")

    def _add(self, sock: socket.socket, where: str, handshake: Handshake, dial: Dial | None) -> Connection:
        self._serial += 1
        deadline = self._clock() + HANDSHAKE_TIME
        connection = Connection(self._selector, sock, self._serial, where, handshake, dial, deadline)
        self._connections[self._serial] = connection
        return connection

    def _new(self, connection: Connection, reason: str) -> bool:
        """Whether to log a refusal: who is refused tries again every second, and one line is enough."""
        now, key = self._clock(), (connection.where.rpartition(":")[0], reason)
        self._said = {known: at for known, at in self._said.items() if now - at < SAY_AGAIN}
        if key in self._said:
            return False
        self._said[key] = now
        return True

    def _drop(self, connection: Connection, why: str, say: bool = True) -> None:
        serial, peer = connection.serial, connection.peer
        if self._connections.pop(serial, None) is None:
            return
        connection.close()
        self._strangers.pop(serial, None)
        self._clients.pop(serial, None)
        if connection.dial is not None:
            connection.dial.failed(self._clock(), self._rng, f"{connection.where}: {why}")
            return
        if peer is not None and self._inbound.get(peer.name) is connection:
            del self._inbound[peer.name]
        level = logging.DEBUG if not say or (peer is not None and peer.role == "client") else logging.INFO
        log.log(level, "closed the connection from %s: %s", connection, why)

    # -- what arrives

    def _ready(self, connection: Connection, events: int) -> None:
        if connection.serial not in self._connections:  # dropped earlier in this turn
            return
        try:
            if events & selectors.EVENT_WRITE:
                connection.writable(self._clock())
            if events & selectors.EVENT_READ:
                for body in connection.bodies(self._max_frame):
                    self._body(connection, body)
        except OSError as error:
            self._drop(connection, error.strerror or str(error))
        except HandshakeRefused as refused:
            if refused.reply:
                connection.queue(refused.reply)
                with contextlib.suppress(OSError):
                    connection.transmit(self._clock())
            self._drop(connection, f"refused: {refused.reason}", self._new(connection, refused.reason))
        except FrameError as error:
            self._drop(connection, f"malformed: {error}")

    def _body(self, connection: Connection, body: bytes) -> None:
        peer = connection.peer
        if peer is None:
            reply = connection.handshake.receive(body)
            if reply:
                connection.queue(reply)
                connection.transmit(self._clock())
            if connection.peer is not None:
                self._opened(connection, connection.peer)
        elif peer.role == "client":
            self._arrived.append(_request(connection, peer, body))
        elif connection.dial is not None:
            raise FrameError("a peer sent on the connection that it was to receive on")
        else:
            message = decode_message(body)
            if (message.src, message.dst, message.ref[:2]) != (peer.name, self.name, (peer.name, peer.inc)):
                raise FrameError(f"a message from {message.src} to {message.dst} that {peer.name} has not to send here")
            if peer.name in self.blocked:
                self.dropped += 1
            else:
                self._arrived.append(message)

    def _admit(self, other: Hello) -> str | None:
        if other.role == "node" and other.name not in self._dials:
            return f"node {self.name} knows no member {other.name} in cluster {self.cluster}: check the configuration"
        if other.role == "client" and len(self._clients) >= MAX_CLIENTS:
            return f"node {self.name} has {MAX_CLIENTS} clients already: close some, or try another node"
        return None

    def _opened(self, connection: Connection, peer: Hello) -> None:
        """The handshake is done."""
        connection.transmit(self._clock())  # its deadline is now that of a known peer
        if connection.dial is not None:
            connection.dial.opened(self._clock())
            return
        del self._strangers[connection.serial]
        if peer.role == "client":
            self._clients[connection.serial] = connection
            return
        older = self._inbound.get(peer.name)
        if older is not None:
            # The other end knows better than we do whether its older connection still lives (incident 16).
            self._drop(older, "replaced by a newer one")
        self._inbound[peer.name] = connection
        log.info("connected from %s", connection)
        dial = self._dials[peer.name]
        if dial.open is not None and dial.open.peer is not None and dial.open.peer.inc != peer.inc:
            self._drop(dial.open, "the peer has started anew")
        if dial.connection is None:  # whoever can reach us can probably be reached: do not wait
            dial.retry_at = -inf


def _request(connection: Connection, peer: Hello, body: bytes) -> ClientRequest:
    value = decode_json(body)
    if not isinstance(value, list) or len(value) != 2:
        raise FrameError("not a request")
    number, request = value
    if type(number) is not int or not isinstance(request, dict):
        raise FrameError("not a request")
    return ClientRequest(connection.serial, number, peer.name, peer.inc, request)
