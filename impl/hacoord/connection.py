"""The parts of a node's transport that know nothing of one another: a port, a connection, a peer to be dialled."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import random
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from hacoord.frames import FrameReader, TransportError, frame
from hacoord.handshake import LIMIT, Handshake, Hello

Address = tuple[str, int]

# Seconds: to authenticate; without progress in sending; between attempts to connect.
HANDSHAKE_TIME = 5.0
STALL_TIME = 5.0
RETRY_MIN, RETRY_MAX = 0.05, 1.0

_CHUNK = 64 * 1024
_CHUNKS = 16  # per connection and turn, so that one that floods does not starve the rest
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

log = logging.getLogger("hacoord.transport")


def open_port(address: Address, allow_remote: bool) -> socket.socket:
    """A listening socket. Raises TransportError if the port is in use, not ours, or reachable from other machines."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = found[4]
        if not allow_remote and not ipaddress.ip_address(bound[0]).is_loopback:
            raise TransportError(
                f"{host} can be reached from other machines, and what is sent is not encrypted: listen on "
                "127.0.0.1, or set allow_remote"
            )
        listener = socket.socket(found[0], found[1])
    except OSError as error:
        raise TransportError(f"cannot listen on {host}:{port}: {error}; correct the address") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(bound)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} on {host} is in use: stop what listens there, or choose another port"
            raise TransportError(reason) from error
        raise TransportError(f"cannot listen on {host}:{port}: {error}; correct the address") from error
    return listener


class Connection:
    """One TCP connection, registered with the selector until `close`. `dial` is None when the other end connected.

    `deadline`, by the transport's clock, is when it is given up: unless it authenticates, or makes progress in sending;
    inf for never. Every method that touches the socket may raise OSError.
    """

    __slots__ = (
        "_connecting", "_events", "_reader", "_selector", "_sock", "deadline", "dial", "handshake", "serial", "unsent",
        "where",
    )  # fmt: skip

    def __init__(
        self,
        selector: selectors.BaseSelector,
        sock: socket.socket,
        serial: int,
        where: str,
        handshake: Handshake,
        dial: Dial | None,
        deadline: float,
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.serial = serial
        self.where = where
        self.handshake = handshake
        self.dial = dial
        self.deadline = deadline
        self.unsent = bytearray()
        self._sock = sock
        self._reader = FrameReader()
        self._selector = selector
        self._connecting = dial is not None
        self._events = _WRITE if dial else _READ
        selector.register(sock, self._events, self)

    @property
    def peer(self) -> Hello | None:
        """Who is at the other end, once that is proved."""
        return self.handshake.peer

    def __str__(self) -> str:
        return f"{self.peer.role} {self.peer.name} ({self.where})" if self.peer else self.where

    def queue(self, body: bytes) -> None:
        """A frame for the next `transmit`."""
        self.unsent += frame(body)

    def transmit(self, now: float) -> None:
        """Hand what is queued to the kernel in one send, as far as it takes it; the rest goes when it takes more."""
        if self._connecting:
            return
        unsent, sent = self.unsent, 0
        with contextlib.suppress(BlockingIOError):
            sent = self._sock.send(unsent)
        del unsent[:sent]
        if not unsent:
            self.deadline = inf if self.peer else self.deadline
        elif self.peer and (sent or self.deadline == inf):
            self.deadline = now + STALL_TIME
        events = _READ | _WRITE if unsent else _READ
        if events != self._events:
            self._events = events
            self._selector.modify(self._sock, events, self)

    def writable(self, now: float) -> None:
        """The selector says that the connection is made, or has failed, or that the kernel takes more."""
        if self._connecting:
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            self._connecting = False
        self.transmit(now)

    def bodies(self, max_frame: int) -> Iterator[bytes]:
        """What has arrived, frame by frame; at most LIMIT bytes each until the other end has authenticated.

        Raises FrameError for a larger one, ConnectionResetError at the end of the stream.
        """
        for _ in range(_CHUNKS):
            try:
                data = self._sock.recv(_CHUNK)
            except BlockingIOError:
                return
            if not data:
                raise ConnectionResetError("closed by the other end")
            self._reader.feed(data)
            while (body := self._reader.next(max_frame if self.peer else LIMIT)) is not None:
                yield body
            if len(data) < _CHUNK:
                return

    def close(self) -> None:
        """Once only."""
        self._selector.unregister(self._sock)
        self._sock.close()


@dataclass(eq=False, slots=True)
class Dial:
    """One peer to send to, and when to try next. `_said` is the last thing logged about failing to reach it."""

    name: str
    address: Address
    connection: Connection | None = None
    retry_at: float = -inf
    _pause: float = RETRY_MIN
    _opened_at: float = inf
    _said: str = ""

    @property
    def open(self) -> Connection | None:
        """The connection, if both ends have authenticated."""
        return self.connection if self.connection is not None and self.connection.peer is not None else None

    def opened(self, now: float) -> None:
        """The handshake is done."""
        self._opened_at = now
        self._said = ""
        log.info("connected to %s", self.connection)

    def failed(self, now: float, rng: random.Random, why: str) -> None:
        """There is no connection, or none any more. The pauses grow, unless the last one worked for a while."""
        self.connection = None
        if now - self._opened_at > RETRY_MAX:
            self._pause = RETRY_MIN
        self._opened_at = inf
        self.retry_at = now + self._pause * rng.uniform(0.5, 1.0)
        self._pause = min(2 * self._pause, RETRY_MAX)
        if why != self._said:
            self._said = why
            log.info("no connection to %s at %s", self.name, why)
