"""The parts of a node's transport that know nothing of one another: a connection, a peer to be dialled."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from hacoord.config import Address
from hacoord.net.frames import FrameReader, frame
from hacoord.net.handshake import LIMIT, Handshake, Hello
from hacoord.net.tls import TlsEnd

# Seconds: without progress in sending; between attempts to connect.
STALL_TIME = 5.0
RETRY_MIN, RETRY_MAX = 0.05, 1.0

_CHUNK = 64 * 1024
_CHUNKS = 16  # per connection and turn, so that one that floods does not starve the rest
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

log = logging.getLogger("hacoord.net.transport")


class Connection:
    """One TCP connection, registered with the selector until `close`. `dial` is None when the other end connected.

    `tls` is None where nothing is encrypted. `deadline`, by the transport's clock, is when it is given up: unless it
    authenticates, or makes progress in sending; inf for never. Every method that touches the socket may raise OSError,
    and HandshakeRefused if TLS fails.
    """

    __slots__ = (
        "_connecting", "_events", "_reader", "_selector", "_sock", "deadline", "dial", "handshake", "serial", "tls",
        "unsent", "where",
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
        tls: TlsEnd | None = None,
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if dial is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # What is sent while the network loses everything is sent again at growing pauses, at last of two minutes;
            # for so long the two would not find each other when it is back.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * STALL_TIME))
        self.serial = serial
        self.where = where
        self.handshake = handshake
        self.dial = dial
        self.deadline = deadline
        self.tls = tls
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

    @property
    def protocol(self) -> int:
        """The version of the protocol that both ends speak, once the other one is known."""
        return self.handshake.me.spoken(self.peer) if self.peer else 0

    def __str__(self) -> str:
        return f"{self.peer.role} {self.peer.name} ({self.where})" if self.peer else self.where

    def queue(self, body: bytes) -> None:
        """A frame for the next `transmit`."""
        if self.tls is None:
            self.unsent += frame(body)
        else:
            self.tls.send(frame(body))
            self.unsent += self.tls.outgoing()

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
            self._reader.feed(data if self.tls is None else self._decrypted(self.tls, data))
            while (body := self._reader.next(max_frame if self.peer else LIMIT)) is not None:
                yield body
            if len(data) < _CHUNK:
                return

    def _decrypted(self, tls: TlsEnd, data: bytes) -> bytes:
        try:
            return tls.receive(data)
        finally:  # also what tells the other end that it is refused
            self.unsent += tls.outgoing()

    def finish(self) -> int:
        """Nothing more will be sent, nor what arrives be looked at; returns the descriptor to wait on for `discard`."""
        with contextlib.suppress(OSError):  # it is closed already
            self._sock.shutdown(socket.SHUT_WR)
        return self._sock.fileno()

    def discard(self) -> bool:
        """Read what has arrived, for nothing; whether the other end has closed."""
        try:
            return not self._sock.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            return True

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
