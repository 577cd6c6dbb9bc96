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
from dataclasses import replace
from functools import partial
from math import inf

from hacoord.config import Address, ConfigError, Connections, parse_address
from hacoord.net.connection import Connection, Dial, log
from hacoord.net.frames import (
    CHANGES_SINCE,
    MAX_FRAME,
    PROTOCOL,
    FrameError,
    decode_message,
    encode_message,
    since,
)
from hacoord.net.handshake import Dialer, Handshake, HandshakeRefused, Hello, Listener
from hacoord.net.port import Port
from hacoord.net.requests import ClientRequest, Clients
from hacoord.net.tls import Certificates, TlsEnd
from hacoord.net.tokens import TokensFile
from hacoord.raft.messages import Message

# Seconds until the same refusal is logged again.
SAY_AGAIN = 60.0
# Seconds in which a client hears that this node ends: longer than a message is on its way.
FAREWELL_TIME = 0.25


class Transport:
    """One node's end of all its connections. Not thread-safe, but for `wake`.

    `me` is what this node says of itself, with the newest version of the protocol that it is to speak. `peers` are the
    other nodes, name to (host, port); `clock` is monotonic, in seconds. `max_frame` and `max_unsent` are bytes. Without
    `certificates`, nothing is encrypted, and only this machine is listened to. `refusal` says why a peer with a name
    and disk is not let in. Messages from and to the peers in `blocked` are dropped (fault injection). Raises ValueError
    for an empty secret.

    A node that is `joining` knows no members: it lets in every node of its cluster, and answers it where that says it
    is. So does any other with who goes by a later configuration than it does itself, by where in the log that is
    (`group`): a member that it has not heard of yet may need its vote. `removed` tells of a name by which position of
    the log, index and term, it was removed from the group; who is removed itself finds that in `told_removed`.
    """

    def __init__(
        self,
        *,
        me: Hello,
        secret: bytes,
        listen: Address,
        peers: Mapping[str, Address],
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        max_frame: int = MAX_FRAME,
        max_unsent: int = 2 * MAX_FRAME,
        certificates: Certificates | None = None,
        tokens: TokensFile | None = None,
        limits: Connections | None = None,
        refusal: Callable[[str, str | None], str | None] = lambda name, disk: None,
    ) -> None:
        if not secret:
            raise ValueError("the secret is empty: anybody could speak")
        self.me = me
        self.blocked: set[str] = set()
        self.dropped = 0
        self.joining = False
        self.group: Callable[[], int] = lambda: 0
        self.removed: Callable[[str], tuple[int, int] | None] = lambda name: None
        self.told_removed: tuple[int, int] | None = None
        self._secret = secret
        self._listen = listen
        self._clock = clock
        self._rng = rng or random.Random()
        self._max_frame = max_frame
        self._max_unsent = max_unsent
        self._certificates = certificates
        self._tokens = tokens
        self._limits = limits or Connections()
        self._refusal = refusal
        self._dials = {peer: Dial(peer, address) for peer, address in peers.items() if peer != me.name}
        self._connections: dict[int, Connection] = {}
        self._strangers: dict[int, Connection] = {}  # inbound, oldest first
        self._clients = Clients(tokens, self._limits.requests, max_frame)
        self._inbound: dict[str, Connection] = {}
        self._dirty: dict[int, Connection] = {}
        self._arrived: list[Message | ClientRequest] = []
        self._said: dict[tuple[str, str], float] = {}
        self._serial = 0
        self._port: Port | None = None
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    @property
    def address(self) -> Address:
        """Where this node listens: (host, port)."""
        assert self._port is not None, "listen() first"
        return self._port.address

    @property
    def protocols(self) -> dict[str, int]:
        """The version of the protocol that each peer speaks, of those that messages can be sent to now."""
        return {dial.name: dial.open.protocol for dial in self._dials.values() if dial.open is not None}

    @property
    def outdated(self) -> frozenset[str]:
        """The connected peers whose version of the protocol has no changes of the group, nor handovers."""
        return frozenset(peer for peer, spoken in self.protocols.items() if spoken < CHANGES_SINCE)

    @property
    def peers(self) -> frozenset[str]:
        """The nodes that this one dials, and lets in."""
        return frozenset(self._dials)

    @property
    def connected(self) -> frozenset[str]:
        """The peers that messages can be sent to now."""
        return frozenset(dial.name for dial in self._dials.values() if dial.open is not None)

    def listen(self) -> None:
        """Open the port. Raises TransportError if it is in use, not ours, or not encrypted and not on loopback."""
        self._port = Port(self._listen, self._selector, encrypted=self._certificates is not None)

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

    def forget(self, peer: str) -> None:
        """A node is no peer any more: hang up, and refuse it from now on."""
        dial = self._dials.pop(peer, None)
        if dial is not None and dial.connection is not None:
            self._drop(dial.connection, "it is no member any more")
        if peer in self._inbound:
            self._drop(self._inbound[peer], "it is no member any more")

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
            elif isinstance(key.data, Port):
                self._accept(key.data)
            elif key.data is not None:
                key.data()
            else:
                self._woken.recv(4096)
        arrived, self._arrived = self._arrived, []
        return arrived

    def next_deadline(self) -> float | None:
        """When, by the clock, this has something to do of its own accord. `poll` heeds it by itself."""
        times = [connection.deadline for connection in self._connections.values()]
        times += [dial.retry_at for dial in self._dials.values() if dial.connection is None]
        if self._port is not None:
            times.append(self._port.resumes_at)
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
        if connection.protocol < PROTOCOL and since(message) > connection.protocol:
            self.dropped += 1
            kind, version = type(message).__name__, since(message)
            reason = f"it speaks version {connection.protocol} of the protocol, and this takes {version}: upgrade it"
            if self._new(connection, f"{message.dst} {kind} {reason}"):
                log.warning("a message (%s) was not sent to %s: %s", kind, connection, reason)
            return
        body = encode_message(message, connection.protocol)
        if len(body) > self._max_frame:
            raise ValueError(f"a message of {len(body)} bytes where at most {self._max_frame} are allowed: split it")
        if connection.unsent and len(connection.unsent) + len(body) > self._max_unsent:
            self.dropped += 1
            return
        connection.queue(body)
        self._dirty[connection.serial] = connection

    def reply(self, request: ClientRequest, body: dict[str, object]) -> None:
        """Queue the answer to a client's request. A client that has gone is no error."""
        connection = self._clients.answer(request, body)
        if connection is not None:
            self._answered(connection)

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

    def farewell(self) -> None:
        """Before a planned end: no client shall be left in doubt whether a request that it has just sent was read.

        Each is told which was the last one, and then listened to until it has hung up or must have heard it; closing at
        once would have the kernel throw away what it was told.
        """
        leaving = self._clients.farewell()
        self._dirty.update({connection.serial: connection for connection in leaving})
        self.flush()
        until = self._clock() + FAREWELL_TIME
        with selectors.PollSelector() as open_ends:  # takes no descriptor, of which there may be none left
            for connection in leaving:
                if connection.serial in self._connections:
                    open_ends.register(connection.finish(), selectors.EVENT_READ, connection)
            while open_ends.get_map() and (left := until - self._clock()) > 0:
                for key, _ in open_ends.select(left):
                    if key.data.discard():
                        open_ends.unregister(key.fd)

    def close(self) -> None:
        """Send what the kernel takes at once, then close everything. May be called twice."""
        if self._waker.fileno() < 0:
            return
        self.flush()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        if self._port is not None:
            self._port.close()
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
        if self._port is not None:
            self._port.on_time(now)

    def _connect(self, dial: Dial) -> None:
        where = f"{dial.address[0]}:{dial.address[1]}"
        try:
            found = socket.getaddrinfo(*dial.address, type=socket.SOCK_STREAM)[0]
            sock = socket.socket(found[0], found[1])
        except (OSError, ValueError) as error:  # ValueError: a host that no name server could be asked for
            dial.failed(self._clock(), self._rng, f"{where}: {error}")
            return
        handshake = Dialer(replace(self.me, to=dial.name, group=self.group()), self._secret)
        tls = self._certificates.dial() if self._certificates is not None else None
        connection = dial.connection = self._add(sock, where, handshake, dial, tls)
        connection.queue(handshake.hello)
        code = sock.connect_ex(found[4])
        if code not in (0, errno.EINPROGRESS):
            self._drop(connection, os.strerror(code))

    def _accept(self, port: Port) -> None:
        find = self._tokens.find if self._tokens is not None else lambda name: None
        for sock, where in port.accept(self._limits.strangers, self._clock):
            tls = self._certificates.accept() if self._certificates is not None else None
            handshake = Listener(self.me, self._secret, partial(self._admit, tls), find)
            connection = self._add(sock, where, handshake, None, tls)
            self._strangers[connection.serial] = connection
            if len(self._strangers) > self._limits.strangers:
                # The oldest, not the newest: strangers must not be able to keep the nodes out.
                self._drop(next(iter(self._strangers.values())), "too many that have not authenticated")

    def _add(
        self, sock: socket.socket, where: str, handshake: Handshake, dial: Dial | None, tls: TlsEnd | None
    ) -> Connection:
        self._serial += 1
        deadline = self._clock() + self._limits.handshake
        connection = Connection(self._selector, sock, self._serial, where, handshake, dial, deadline, tls)
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
        self._clients.remove(connection)
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
                    if connection.serial not in self._connections:
                        return
                if connection.peer is None and connection.unsent:
                    connection.transmit(self._clock())
        except OSError as error:
            self._drop(connection, error.strerror or str(error))
        except HandshakeRefused as refused:
            self.told_removed = refused.removed or self.told_removed
            if refused.reply:
                connection.queue(refused.reply)
            if connection.unsent:
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
            request = self._clients.asked(connection, body)
            if request is None:
                self._answered(connection)
            else:
                self._arrived.append(request)
        elif connection.dial is not None:
            raise FrameError("a peer sent on the connection that it was to receive on")
        else:
            message = decode_message(body, connection.protocol)
            if (message.src, message.dst, message.ref[:2]) != (peer.name, self.me.name, (peer.name, peer.inc)):
                raise FrameError(f"a message from {message.src} to {message.dst} that {peer.name} has not to send here")
            if peer.name in self.blocked:
                self.dropped += 1
            else:
                self._arrived.append(message)

    def _answered(self, connection: Connection) -> None:
        if len(connection.unsent) > self._max_unsent:
            self._drop(connection, "does not read its answers")
        else:
            self._dirty[connection.serial] = connection

    def _admit(self, tls: TlsEnd | None, other: Hello) -> str | None:
        if other.role == "node" and other.name not in self._dials and not self.joining:
            if entry := self.removed(other.name):
                reason = f"node {other.name} was removed from cluster {self.me.cluster}: don't start it again"
                raise HandshakeRefused(reason, removed=entry)
            if other.group <= self.group():
                known = f"node {self.me.name} knows no member {other.name} in cluster {self.me.cluster}"
                return f"{known}: check the configuration"
        if other.role == "client" and len(self._clients) >= self._limits.clients:
            most = self._limits.clients
            return f"node {self.me.name} has {most} clients already: close some, or try another node"
        return self._impostor(tls, other) if other.role == "node" else None

    def _impostor(self, tls: TlsEnd | None, peer: Hello) -> str | None:
        """Why a node that knows the secret is not the one that it says it is."""
        return (tls.mismatch(peer.name) if tls is not None else None) or self._refusal(peer.name, peer.disk)

    def _opened(self, connection: Connection, peer: Hello) -> None:
        """The handshake is done."""
        if connection.dial is not None and (why := self._impostor(connection.tls, peer)):
            raise HandshakeRefused(why)
        connection.transmit(self._clock())  # its deadline is now that of a known peer
        if connection.dial is not None:
            connection.dial.opened(self._clock())
            return
        del self._strangers[connection.serial]
        if peer.role == "client":
            self._clients.add(connection)
            return
        older = self._inbound.get(peer.name)
        if older is not None:
            # The other end knows better than we do whether its older connection still lives (incident 16).
            self._drop(older, "replaced by a newer one")
        self._inbound[peer.name] = connection
        log.info("connected from %s", connection)
        if peer.name not in self._dials or (self.joining and self._dials[peer.name].open is None):
            self._call_back(peer)
        dial = self._dials.get(peer.name)
        if dial is None:
            return
        if dial.open is not None and dial.open.peer is not None and dial.open.peer.inc != peer.inc:
            self._drop(dial.open, "the peer has started anew")
        if dial.connection is None:  # whoever can reach us can probably be reached: do not wait
            dial.retry_at = -inf

    def _call_back(self, peer: Hello) -> None:
        """Reach a node that this one knows only from its hello."""
        try:
            self.set_address(peer.name, parse_address(peer.address or ""))
        except ConfigError as error:
            log.info("node %s can't be answered: %s", peer.name, error)
